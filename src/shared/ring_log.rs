//! The last entries of a log, written in place: half the memory of a double buffer, for data that only grows at one
//! end.
//!
//! An entry counts once the number of entries includes it, which is a single store. A writer that is killed before this
//! store damages only the slot of the oldest entry, which is never shown.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A log of the last `N` - 1 entries.
#[derive(Debug)]
#[repr(C)]
pub struct RingLog<T, const N: usize> {
    /// Entries ever written, which is also the number of the next entry.
    pub(crate) written: AtomicU64,
    entries: [T; N],
}

impl<T: Copy + Default, const N: usize> RingLog<T, N> {
    /// A log without entries.
    pub fn empty() -> Self {
        Self { written: AtomicU64::new(0), entries: [T::default(); N] }
    }

    /// Adds an entry. When the log is full, the oldest entry is dropped.
    pub fn push(&mut self, entry: T) {
        let written = self.written.load(Ordering::Relaxed);
        self.entries[index::<N>(written)] = entry;
        self.written.store(written + 1, Ordering::Release);
        // No reader may see a later store before this number.
        fence(Ordering::Release);
    }

    /// Overwrites all entries with the default value. The number of entries goes on, so that a reader notices the
    /// change.
    pub fn clear(&mut self) {
        (0..N).for_each(|_| self.push(T::default()));
    }

    /// How many entries were ever written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The entries, newest first.
    pub fn newest(&self) -> impl Iterator<Item = &T> {
        let written = self.written();
        let oldest = written.saturating_sub(N as u64 - 1);
        (oldest..written).rev().map(|number| &self.entries[index::<N>(number)])
    }

    /// The entries in the order of memory, to be completed in place; among them a slot that is not shown.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut()
    }
}

impl<T: Copy + Default, const N: usize> Clone for RingLog<T, N> {
    fn clone(&self) -> Self {
        Self { written: AtomicU64::new(self.written()), entries: self.entries }
    }
}

const fn index<const N: usize>(number: u64) -> usize {
    (number % N as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(log: &RingLog<u32, 4>) -> Vec<u32> {
        log.newest().copied().collect()
    }

    #[test]
    fn the_last_entries_are_kept_newest_first() {
        let mut log = RingLog::<u32, 4>::empty();
        assert_eq!(newest(&log), [0; 0]);
        log.push(1);
        assert_eq!(newest(&log), [1]);
        (2..=9).for_each(|entry| log.push(entry));
        assert_eq!(newest(&log), [9, 8, 7]);
        assert_eq!(newest(&log.clone()), [9, 8, 7]);
    }

    #[test]
    fn an_entry_half_written_is_not_there_and_spoils_none() {
        let mut log = RingLog::<u32, 4>::empty();
        (1..=9).for_each(|entry| log.push(entry));
        // The writer is killed before it raises the number.
        log.entries[index::<4>(9)] = 666;
        assert_eq!(newest(&log), [9, 8, 7]);
        log.push(10);
        assert_eq!(newest(&log), [10, 9, 8]);
    }

    #[test]
    fn what_was_cleared_is_gone_and_the_number_goes_on() {
        let mut log = RingLog::<u32, 4>::empty();
        log.push(5);
        let written = log.written();
        log.clear();
        assert!(log.written() > written);
        assert_eq!(newest(&log), [0, 0, 0]);
    }
}
