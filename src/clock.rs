//! Time, processes and the machine, as the edge of the program knows them; a number in tests.

use crate::units::Millis;

/// What only the operating system can tell.
pub trait Clock {
    /// Since boot, the same for all workers.
    fn now(&self) -> Millis;

    /// Wall clock, milliseconds since the epoch; for display only.
    fn wall(&self) -> u64;

    /// Is this process alive?
    fn is_alive(&self, process: u32) -> bool;

    /// The machine's name, which may change while nginx runs.
    fn host(&self) -> String;
}

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Since boot.
    pub now: Millis,
    /// Since the epoch, in milliseconds.
    pub wall: u64,
}

impl Times {
    /// An instant as a date; 0: never.
    pub fn date(self, instant: Millis) -> u64 {
        match instant {
            Millis::ZERO => 0,
            _ if instant > self.now => self.wall + (instant - self.now).0,
            _ => self.wall.saturating_sub((self.now - instant).0).max(1),
        }
    }

    /// A date of the past as an instant.
    pub fn instant(self, date: u64) -> Millis {
        if date == 0 { Millis::ZERO } else { (self.now - Millis(self.wall.saturating_sub(date))).max(Millis(1)) }
    }

    /// A date of the future as an instant; zero: it has passed.
    pub fn due(self, date: u64) -> Millis {
        if date > self.wall { self.now + Millis(date - self.wall) } else { Millis::ZERO }
    }
}
