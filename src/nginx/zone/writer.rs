//! Which process writes the state file: its nginx delivers messages, and no other.

use std::sync::atomic::Ordering;

use super::layout::Zone;
use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::units::Millis;

/// A process without a number here.
const UNKNOWN: u32 = u32::MAX;

impl Zone {
    /// Another zone takes its place: its workers deliver nothing any more.
    pub(crate) fn supersede(self) {
        self.head().superseded.store(1, Ordering::Release);
        self.head().rings.wake();
        self.head().changes.wake();
    }

    /// Another zone has taken its place.
    pub(crate) fn is_superseded(self) -> bool {
        self.head().superseded.load(Ordering::Acquire) != 0
    }

    /// This process keeps the state file now. `true`: another nginx did before.
    pub(crate) fn set_writer(self, process: u32) -> bool {
        self.head().writer.store(process, Ordering::Release);
        self.head().rival.swap(0, Ordering::AcqRel) != 0
    }

    /// This process of another nginx keeps it; `None`: one that this process cannot see. `true`: that is news.
    pub(crate) fn note_rival(self, process: Option<u32>) -> bool {
        self.head().rival.swap(process.unwrap_or(UNKNOWN), Ordering::AcqRel) == 0
    }

    /// Is it for the workers of this zone, with a state file or without, to deliver?
    pub(super) fn may_deliver(self, kept: bool, clock: &dyn Clock) -> bool {
        let writer = self.head().writer.load(Ordering::Acquire);
        !self.is_superseded() && (!kept || (writer != 0 && clock.is_alive(writer)))
    }

    /// Why the workers of this zone, with a state file or without, deliver nothing; `None`: they do.
    pub(crate) fn hindrance(self, kept: bool) -> Option<String> {
        let rival = self.head().rival.load(Ordering::Acquire);
        match (self.may_deliver(kept, &SystemClock), self.is_superseded(), rival) {
            (true, ..) => None,
            (_, true, _) => Some("the workers of a newer configuration deliver".to_owned()),
            (.., 0) => Some("no worker keeps the state file yet".to_owned()),
            (.., UNKNOWN) => Some("another nginx keeps the state file and delivers".to_owned()),
            (.., rival) => Some(format!("another nginx keeps the state file and delivers, process {rival}")),
        }
    }

    /// It does not any more.
    pub(crate) fn clear_writer(self, process: u32) {
        // Another writer may have noted itself since.
        let _ = self.head().writer.compare_exchange(process, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// How often something changed that the state file should hold.
    pub(crate) fn changes(self) -> u32 {
        self.head().changes.count()
    }

    /// Waits for a change after `changes`, at most for `span`.
    pub(crate) fn await_change(self, changes: u32, span: Option<Millis>) {
        self.head().changes.wait(changes, span);
    }
}
