//! Two copies of a value and a counter that says which one holds: what a killed writer leaves behind needs no repair.
//!
//! A writer, who holds the zone's lock, changes the spare copy and then raises the counter, a single store. Killed before it,
//! only the spare is spoiled, and the next writer overwrites that.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::crash;

/// A value with a spare.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Twin<T> {
    /// The low bit is the index of the copy that holds.
    pub(crate) commits: AtomicU64,
    pub(crate) copies: [T; 2],
}

impl<T: Copy> Twin<T> {
    /// Both copies the same.
    pub fn new(value: T) -> Self {
        Self { commits: AtomicU64::new(0), copies: [value; 2] }
    }

    /// The committed value, to whoever holds the lock.
    pub fn live(&self) -> &T {
        let [even, odd] = &self.copies;
        if self.commits.load(Ordering::Acquire) & 1 == 0 { even } else { odd }
    }

    /// Changes the value: all of `change` or, if the process dies or panics within, nothing.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let commits = self.commits.load(Ordering::Acquire);
        let [even, odd] = &mut self.copies;
        let (live, spare) = if commits & 1 == 0 { (even, odd) } else { (odd, even) };
        // Whoever still reads the spare without the lock must see the last commit before the first of these changes.
        fence(Ordering::Release);
        *spare = *live;
        crash::at("twin-copied");
        let result = change(spare);
        crash::at("twin-changed");
        self.commits.store(commits.wrapping_add(1), Ordering::Release);
        crash::at("twin-committed");
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_that_panics_changes_nothing() {
        let mut twin = Twin::new(1);
        twin.edit(|value| *value = 2);
        let torn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            twin.edit(|value| {
                *value = 3;
                panic!("killed half-way");
            });
        }));
        assert!(torn.is_err());
        assert_eq!(*twin.live(), 2);
        twin.edit(|value| *value += 10);
        assert_eq!(*twin.live(), 12);
    }
}
