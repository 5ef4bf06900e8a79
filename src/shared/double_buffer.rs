//! Two copies of a value, and a counter that says which copy is valid. A killed writer leaves nothing to repair.
//!
//! A writer, who holds the zone's lock, changes the spare copy and then increments the counter, which is a single
//! store. A writer that is killed before this store leaves only a damaged spare copy, which the next writer overwrites.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::crash;

/// A value and its spare copy.
#[derive(Debug, Default)]
#[repr(C)]
pub struct DoubleBuffer<T> {
    /// Edits committed so far. The low bit is the index of the valid copy.
    pub(crate) commits: AtomicU64,
    pub(crate) copies: [T; 2],
}

impl<T: Copy> DoubleBuffer<T> {
    /// Both copies have this value.
    pub fn new(value: T) -> Self {
        Self { commits: AtomicU64::new(0), copies: [value; 2] }
    }

    /// The committed value, for a caller that holds the lock.
    pub fn live(&self) -> &T {
        let [even, odd] = &self.copies;
        if self.commits.load(Ordering::Acquire) & 1 == 0 { even } else { odd }
    }

    /// Changes the value: either all of `change` or, if the process dies or panics meanwhile, nothing.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let commits = self.commits.load(Ordering::Acquire);
        let [even, odd] = &mut self.copies;
        let (live, spare) = if commits & 1 == 0 { (even, odd) } else { (odd, even) };
        // A reader without the lock may still read the spare copy. It must see the last commit before the first change.
        fence(Ordering::Release);
        *spare = *live;
        crash::at("buffer-copied");
        let result = change(spare);
        crash::at("buffer-changed");
        self.commits.store(commits.wrapping_add(1), Ordering::Release);
        crash::at("buffer-committed");
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_that_panics_changes_nothing() {
        let mut buffer = DoubleBuffer::new(1);
        buffer.edit(|value| *value = 2);
        let torn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            buffer.edit(|value| {
                *value = 3;
                panic!("killed half-way");
            });
        }));
        assert!(torn.is_err());
        assert_eq!(*buffer.live(), 2);
        buffer.edit(|value| *value += 10);
        assert_eq!(*buffer.live(), 12);
    }
}
