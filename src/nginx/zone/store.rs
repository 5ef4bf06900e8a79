//! Access to the table in the zone, under the zone's lock.

use std::ptr;
use std::sync::atomic::Ordering;

use super::layout::{Head, Zone};
use super::mutex::Guard;
use crate::clock::Clock;
use crate::crash;
use crate::nginx::clock::SystemClock;
use crate::pipeline::Store;
use crate::shared::double_buffer::DoubleBuffer;
use crate::state::table::Table;
use crate::state::workers::Held;
use crate::text::Name;
use crate::units::Millis;

impl Store for Zone {
    #[expect(
        clippy::panic,
        reason = "only a damaged mutex gets there; who runs this catches panics, and requests go on"
    )]
    fn with<R>(&self, f: impl FnOnce(&mut Table<'_>) -> R) -> R {
        match self.head().lock.lock() {
            Ok(guard) => self.locked(guard, f),
            Err(error) => panic!("the zone's lock is damaged ({error})"),
        }
    }

    fn with_patience<R>(&self, patience: Millis, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R> {
        Some(self.locked(self.head().lock.lock_within(patience).ok()?, f))
    }

    fn notifications(&self) -> u32 {
        self.head().notifications.count()
    }

    fn notify(&self) {
        self.head().notifications.wake();
    }

    fn wait(&self, notifications: u32, span: Option<Millis>) {
        self.head().notifications.wait(notifications, span);
    }

    fn delivers(&self, clock: &dyn Clock) -> bool {
        self.may_deliver(self.has_file, clock)
    }

    fn note_change(&self) {
        self.head().changes.wake();
    }

    fn count_lost(&self, count: u64) {
        self.head().dropped.fetch_add(count, Ordering::Relaxed);
    }
}

impl Zone {
    /// Copies the table of an old zone into this one, which no worker uses yet. If this one has fewer slots, upstreams
    /// in `watched` come first, then those with undelivered messages. `false`: the old zone's lock was not free within
    /// `patience`.
    pub(crate) fn take_from(self, old: Self, watched: &[Name], patience: Millis) -> bool {
        let (from, to) = (old.head(), self.head());
        let copied = old.with_patience(patience, |old| {
            self.with(|new| {
                *new.receivers = DoubleBuffer::new(*old.receivers.live());
                *new.announcements = DoubleBuffer::new(*old.announcements.live());
                for (slot, new_slot) in old.by_need(watched).into_iter().zip(new.slots.iter_mut()) {
                    // SAFETY: two slots of two zones, both under their locks. A slot is plain data, even if
                    // half-written.
                    unsafe { ptr::copy_nonoverlapping(slot, new_slot, 1) };
                }
            });
        });
        to.generation.store(from.generation.load(Ordering::Relaxed), Ordering::Relaxed);
        to.dropped.store(from.dropped.load(Ordering::Relaxed), Ordering::Relaxed);
        to.id.store(old.id(), Ordering::Relaxed);
        copied.is_some()
    }

    /// Is a message being sent? `true` also if the lock was not free within `patience`.
    pub(crate) fn is_sending(self, patience: Millis) -> bool {
        let now = SystemClock.now();
        self.with_patience(patience, |table| table.is_sending(&SystemClock, now)).unwrap_or(true)
    }

    /// Which live worker holds the lock, and for how long; `None`: none does.
    pub(crate) fn held(self) -> Option<Held> {
        let head = self.head();
        let since = head.held_since.load(Ordering::Acquire);
        let process = head.holder.load(Ordering::Acquire);
        let is_held = since != 0 && process != 0 && SystemClock.is_alive(process);
        is_held.then(|| Held { process, span: SystemClock.now() - Millis(since) })
    }

    fn locked<R>(&self, guard: Guard<'_>, f: impl FnOnce(&mut Table<'_>) -> R) -> R {
        let _turn = Turn::begin(guard, self.head(), self.process);
        // SAFETY: the lock is held, and all plain data of the zone is used under it alone.
        let receivers = unsafe { &raw mut (*self.head.as_ptr()).receivers };
        // SAFETY: as above.
        let receivers = unsafe { &mut *receivers };
        // SAFETY: as above.
        let announcements = unsafe { &raw mut (*self.head.as_ptr()).announcements };
        // SAFETY: as above.
        let announcements = unsafe { &mut *announcements };
        // SAFETY: as above.
        let due = unsafe { &raw mut (*self.head.as_ptr()).due };
        // SAFETY: as above.
        let due = unsafe { &mut *due };
        // SAFETY: as above; the slots were initialised with the zone.
        let slots = unsafe { std::slice::from_raw_parts_mut(self.first_slot(), self.capacity()) };
        crash::at("lock-taken");
        let result = f(&mut Table { receivers, announcements, due, slots });
        crash::at("lock-held");
        result
    }
}

/// The held lock, and the note in the head that says who holds it, for readers without the lock.
struct Turn<'a> {
    head: &'a Head,
    _guard: Guard<'a>,
}

impl<'a> Turn<'a> {
    fn begin(guard: Guard<'a>, head: &'a Head, process: u32) -> Self {
        head.holder.store(process, Ordering::Relaxed);
        head.held_since.store(SystemClock.now().0, Ordering::Release);
        Self { head, _guard: guard }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.head.held_since.store(0, Ordering::Release);
    }
}
