//! Time, processes and the machine's name, from the operating system; a test answers with values of its own.

use crate::units::Millis;

/// What only the operating system knows.
pub trait Clock {
    /// Milliseconds since boot, the same for all workers.
    fn now(&self) -> Millis;

    /// Wall clock, milliseconds since the epoch. For display, and for what must survive a restart of the machine;
    /// decisions use [`Clock::now`].
    fn wall(&self) -> u64;

    /// This moment on both clocks.
    fn times(&self) -> Times {
        Times { now: self.now(), wall: self.wall() }
    }

    /// Does the process with this id exist?
    fn is_alive(&self, process: u32) -> bool;

    /// The machine's name, which may change while nginx runs.
    fn host(&self) -> String;
}

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Milliseconds since boot.
    pub now: Millis,
    /// Milliseconds since the epoch.
    pub wall: u64,
}

impl Times {
    /// The date of an instant, milliseconds since the epoch; 0: never. A past instant's date is at least 1.
    pub fn date(self, instant: Millis) -> u64 {
        match instant {
            Millis::ZERO => 0,
            _ if instant > self.now => self.wall.saturating_add((instant - self.now).0),
            _ => self.wall.saturating_sub((self.now - instant).0).max(1),
        }
    }

    /// The instant of a past date; zero: never. At least 1, and at most now.
    pub fn instant(self, date: u64) -> Millis {
        if date == 0 { Millis::ZERO } else { (self.now - Millis(self.wall.saturating_sub(date))).max(Millis(1)) }
    }

    /// The instant of a future date; zero: the date has passed, or there is none.
    pub fn due(self, date: u64) -> Millis {
        if date > self.wall { self.now + Millis(date - self.wall) } else { Millis::ZERO }
    }
}

/// A clock for unit tests of what depends on processes alone.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// All processes are alive but one; it is always the same moment.
    #[derive(Clone, Copy, Default)]
    pub(crate) struct Processes {
        pub(crate) dead: u32,
    }

    impl Clock for Processes {
        fn now(&self) -> Millis {
            Millis::ZERO
        }

        fn wall(&self) -> u64 {
            0
        }

        fn is_alive(&self, process: u32) -> bool {
            process != self.dead
        }

        fn host(&self) -> String {
            "web1".to_owned()
        }
    }
}
