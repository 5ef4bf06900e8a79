//! Reads the zone without its lock, for the event loop, which must not wait.
//!
//! Other processes may write at any moment. So a value is copied word by word, and the copy is used only if the number
//! that writers raise with each commit is the same before and after.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use super::layout::Zone;
use crate::shared::double_buffer::DoubleBuffer;
use crate::shared::ring_log::RingLog;
use crate::state::announcements::Announcements;
use crate::state::counters::Counters;
use crate::state::slot::Slot;
use crate::state::snapshot::{Contents, Upstream};
use crate::text::Name;

/// How often a copy is tried. A copy takes a microsecond, and commits are milliseconds apart.
const ATTEMPTS: usize = 16;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

impl Zone {
    /// A copy of everything; `None`: all attempts were disturbed by writers.
    pub(crate) fn contents(&self) -> Option<Contents> {
        let head = self.head.as_ptr();
        // SAFETY: the head lives as long as the zone.
        let receivers = committed(unsafe { &raw const (*head).receivers })?;
        let mut upstreams = Vec::new();
        for index in 0..self.capacity() {
            // SAFETY: the zone has this many slots.
            let slot = unsafe { self.first_slot().add(index) };
            upstreams.extend(upstream(slot)?);
        }
        Some(Contents { receivers, announcements: self.announcements()?, upstreams })
    }

    /// A copy of the announcements; `None`: all attempts were disturbed.
    pub(crate) fn announcements(&self) -> Option<Announcements> {
        // SAFETY: the head lives as long as the zone.
        committed(unsafe { &raw const (*self.head.as_ptr()).announcements })
    }

    /// A copy of the upstream of this name; `None`: it is not watched, or all attempts were disturbed.
    pub(crate) fn upstream(&self, name: &Name) -> Option<Upstream> {
        for index in 0..self.capacity() {
            // SAFETY: the zone has this many slots.
            let slot = unsafe { self.first_slot().add(index) };
            if name_of(slot) == Some(*name) {
                return upstream(slot)?;
            }
        }
        None
    }
}

/// A copy of one slot. The outer `None`: all attempts were disturbed; the inner: no upstream is watched in the slot.
#[expect(clippy::option_option, reason = "nothing read, or nothing there")]
fn upstream(slot: *const Slot) -> Option<Option<Upstream>> {
    for _ in 0..ATTEMPTS {
        let Some(name) = name_of(slot) else { return Some(None) };
        // SAFETY: a slot of the zone, which outlives this call; so are its parts, here and below.
        let setup = committed(unsafe { &raw const (*slot).setup })?;
        // SAFETY: as above.
        let detection = committed(unsafe { &raw const (*slot).detection })?;
        // SAFETY: as above.
        let deliveries = committed(unsafe { &raw const (*slot).deliveries })?;
        // SAFETY: as above.
        let releases = committed(unsafe { &raw const (*slot).releases })?;
        // SAFETY: as above.
        let history = log(unsafe { &raw const (*slot).history })?;
        // SAFETY: as above.
        let series = log(unsafe { &raw const (*slot).series })?;
        // SAFETY: as above.
        let counters = copy::<Counters>(unsafe { &raw const (*slot).counters });
        // SAFETY: counters are integers, each a word or a part of one: whatever was read is a value.
        let counters = unsafe { counters.assume_init() };
        // Else the slot was given to another upstream meanwhile.
        if name_of(slot) == Some(name) {
            return Some(Some(Upstream { name, setup, detection, deliveries, counters, releases, history, series }));
        }
    }
    None
}

/// The name of the upstream that is watched in this slot; `None`: none is.
fn name_of(slot: *const Slot) -> Option<Name> {
    // SAFETY: a slot of the zone.
    let name = copy::<Name>(unsafe { &raw const (*slot).name });
    // SAFETY: a length, which is checked at each use, and bytes: whatever was read is a value.
    let name = unsafe { name.assume_init() };
    // SAFETY: a slot of the zone.
    let left = copy::<u64>(unsafe { &raw const (*slot).left });
    // SAFETY: one word.
    let left = unsafe { left.assume_init() };
    (!name.is_empty() && left == 0).then_some(name)
}

/// The committed value of a double buffer; `None`: writers spoiled every attempt.
fn committed<T: Copy>(buffer: *const DoubleBuffer<T>) -> Option<T> {
    // SAFETY: a double buffer in the zone, which outlives this call; its counter is atomic.
    let commits = unsafe { &(*buffer).commits };
    // SAFETY: as above.
    let copies = unsafe { &raw const (*buffer).copies }.cast::<T>();
    steady(commits, |commits| {
        // SAFETY: one of two copies.
        copy(unsafe { copies.add((commits & 1) as usize) })
    })
}

/// A copy of a ring log; `None`: writers spoiled every attempt.
fn log<T: Copy, const N: usize>(log: *const RingLog<T, N>) -> Option<RingLog<T, N>> {
    // SAFETY: a ring log in the zone, which outlives this call; its counter is atomic.
    let written = unsafe { &(*log).written };
    steady(written, |_| copy(log))
}

/// A copy during which the number did not change; `None`: all attempts were disturbed.
fn steady<T>(number: &AtomicU64, copy: impl Fn(u64) -> MaybeUninit<T>) -> Option<T> {
    for _ in 0..ATTEMPTS {
        let before = number.load(Ordering::Acquire);
        let copied = copy(before);
        // The copy must be complete before the number is read again.
        fence(Ordering::Acquire);
        if number.load(Ordering::Relaxed) == before {
            // SAFETY: writers raise the number before they touch what belongs to it, so this is a value that one of
            // them wrote.
            return Some(unsafe { copied.assume_init() });
        }
    }
    None
}

/// A copy of a value as it is now, in whole words if it is aligned to them. Its words may be of different moments.
fn copy<T>(from: *const T) -> MaybeUninit<T> {
    let mut copied = MaybeUninit::<T>::uninit();
    let words = if from.addr() % WORD == 0 { size_of::<T>() / WORD } else { 0 };
    let target = copied.as_mut_ptr().cast::<u8>();
    for word in 0..words {
        // SAFETY: within the value, and aligned.
        let source = unsafe { from.cast::<AtomicU64>().add(word) };
        // SAFETY: memory of the zone, always mapped and initialised.
        let value = unsafe { &*source }.load(Ordering::Relaxed);
        // SAFETY: within the copy.
        let target = unsafe { target.add(word * WORD) };
        // SAFETY: as above; the copy may be aligned to less.
        unsafe { target.cast::<u64>().write_unaligned(value) };
    }
    for byte in words * WORD..size_of::<T>() {
        // SAFETY: within the value.
        let source = unsafe { from.cast::<AtomicU8>().add(byte) };
        // SAFETY: memory of the zone, always mapped and initialised.
        let value = unsafe { &*source }.load(Ordering::Relaxed);
        // SAFETY: within the copy.
        let target = unsafe { target.add(byte) };
        // SAFETY: as above.
        unsafe { target.write(value) };
    }
    copied
}
