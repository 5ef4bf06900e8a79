//! The workers' reports in the zone: each has a place, which it alone writes and everybody reads, without the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Zone;
use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::state::workers::{Condition, Held, Workers};
use crate::units::Millis;

/// nginx starts no more processes.
pub(super) const PLACES: usize = 1024;

/// One worker's place.
#[repr(C)]
pub(super) struct Place {
    /// [`Reporter::key`]; 0: free.
    whose: AtomicU64,
    /// The process, and its condition below it; 0: none yet.
    what: AtomicU64,
}

impl Place {
    pub(super) const fn free() -> Self {
        Self { whose: AtomicU64::new(0), what: AtomicU64::new(0) }
    }

    fn process(&self) -> u32 {
        (self.what.load(Ordering::Acquire) >> 32) as u32
    }

    fn said(&self) -> Option<(u32, Condition)> {
        let what = self.what.load(Ordering::Acquire);
        Some(((what >> 32) as u32, Condition::from_word(what as u32)?))
    }
}

/// Who reports: a worker's number in its configuration. One that takes the place of a killed one has the same.
#[derive(Clone, Copy)]
pub(crate) struct Reporter {
    pub(crate) generation: u64,
    pub(crate) number: usize,
    pub(crate) process: u32,
}

impl Reporter {
    fn key(self) -> u64 {
        self.generation << 16 | (self.number as u64 & 0xffff)
    }
}

impl Zone {
    /// A worker says what it does.
    pub(crate) fn report(self, reporter: Reporter, condition: Condition) {
        if let Some(place) = self.place_for(reporter) {
            place.what.store(u64::from(reporter.process) << 32 | u64::from(condition.to_word()), Ordering::Release);
        }
    }

    /// A worker ends.
    pub(crate) fn retract(self, reporter: Reporter) {
        if let Some(place) = self.place_of(reporter) {
            place.what.store(0, Ordering::Release);
            place.whose.store(0, Ordering::Release);
        }
    }

    /// What the workers of a configuration do, of which there should be `expected`.
    pub(crate) fn workers(self, generation: u64, expected: u64) -> Workers {
        let of_this = |place: &&Place| place.whose.load(Ordering::Acquire) >> 16 == generation;
        let alive = |&(process, _): &(u32, Condition)| SystemClock.is_alive(process);
        let said: Vec<_> = self.places().iter().filter(of_this).filter_map(Place::said).filter(alive).collect();
        Workers::new(expected, &said, self.held())
    }

    /// Is this a worker that uses the zone?
    pub(crate) fn is_worker(self, process: u32) -> bool {
        process != 0 && self.places().iter().any(|place| place.process() == process)
    }

    fn place_of(self, reporter: Reporter) -> Option<&'static Place> {
        self.places().iter().find(|place| place.whose.load(Ordering::Acquire) == reporter.key())
    }

    fn place_for(self, reporter: Reporter) -> Option<&'static Place> {
        self.place_of(reporter).or_else(|| {
            self.places().iter().find(|place| {
                let whose = place.whose.load(Ordering::Acquire);
                let is_free =
                    whose == 0 || (whose >> 16 < reporter.generation && !SystemClock.is_alive(place.process()));
                is_free
                    && place.whose.compare_exchange(whose, reporter.key(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
            })
        })
    }

    /// Who holds the lock, as far as is known.
    fn held(self) -> Option<Held> {
        let head = self.head();
        let since = head.held_since.load(Ordering::Acquire);
        let process = head.holder.load(Ordering::Acquire);
        let is_held = since != 0 && process != 0 && SystemClock.is_alive(process);
        is_held.then(|| Held { process, span: SystemClock.now() - Millis(since) })
    }

    fn places(self) -> &'static [Place; PLACES] {
        // SAFETY: initialised with the zone, all atomic, and mapped for as long as the process lives.
        unsafe { &(*self.head.as_ptr()).workers }
    }
}
