//! Which process writes the state file, and so which nginx delivers: of several with the same file, only the one that
//! writes it.

use std::sync::atomic::Ordering;

use super::layout::Zone;
use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::units::Millis;

/// Stands for a process that this one cannot see, as in another container.
const UNKNOWN: u32 = u32::MAX;

impl Zone {
    /// Notes that another zone replaces this one: the workers of this one stop delivering.
    pub(crate) fn supersede(self) {
        self.head().superseded.store(1, Ordering::Release);
        self.head().notifications.wake();
        self.head().changes.wake();
    }

    /// Has another zone replaced this one?
    pub(crate) fn is_superseded(self) -> bool {
        self.head().superseded.load(Ordering::Acquire) != 0
    }

    /// Notes that this process writes the state file. `true`: before, another nginx was noted.
    pub(crate) fn set_writer(self, process: u32) -> bool {
        self.head().writer.store(process, Ordering::Release);
        self.head().rival.swap(0, Ordering::AcqRel) != 0
    }

    /// Notes that a process of another nginx writes the state file; `None`: one that cannot be seen. `true`: none was
    /// noted before.
    pub(crate) fn note_rival(self, process: Option<u32>) -> bool {
        self.head().rival.swap(process.unwrap_or(UNKNOWN), Ordering::AcqRel) == 0
    }

    /// May the workers of this zone deliver? `has_file`: they have a state file.
    pub(super) fn may_deliver(self, has_file: bool, clock: &dyn Clock) -> bool {
        let writer = self.head().writer.load(Ordering::Acquire);
        !self.is_superseded() && (!has_file || (writer != 0 && clock.is_alive(writer)))
    }

    /// Why the workers of this zone do not deliver, for the status page; `None`: they do. `has_file`: they have a state
    /// file.
    pub(crate) fn hindrance(self, has_file: bool) -> Option<String> {
        let rival = self.head().rival.load(Ordering::Acquire);
        match (self.may_deliver(has_file, &SystemClock), self.is_superseded(), rival) {
            (true, ..) => None,
            (_, true, _) => Some("the workers of a newer configuration deliver".to_owned()),
            (.., 0) => Some("no worker keeps the state file yet".to_owned()),
            (.., UNKNOWN) => Some("another nginx keeps the state file and delivers".to_owned()),
            (.., rival) => Some(format!("another nginx keeps the state file and delivers, process {rival}")),
        }
    }

    /// Notes that this process no longer writes the state file.
    pub(crate) fn clear_writer(self, process: u32) {
        // Unless another process was noted meanwhile.
        let _ = self.head().writer.compare_exchange(process, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Counts the changes that belong in the state file, modulo 2^32.
    pub(crate) fn changes(self) -> u32 {
        self.head().changes.count()
    }

    /// Waits while the count is `changes`, at most for `span`; `None`: without a limit.
    pub(crate) fn await_change(self, changes: u32, span: Option<Millis>) {
        self.head().changes.wait(changes, span);
    }
}
