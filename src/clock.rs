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
