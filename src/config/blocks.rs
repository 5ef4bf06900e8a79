//! The `upstream` blocks of a service: which of them, and how often each was chosen.

use std::sync::atomic::{AtomicU32, Ordering};

/// Blocks of one service.
pub const MAX_BLOCKS: usize = 8;

/// Some of a service's blocks, by their indices; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct BlockSet(u8);

const _: () = assert!(MAX_BLOCKS == u8::BITS as usize, "a bit for each block in a byte");

impl BlockSet {
    /// No block.
    pub const EMPTY: Self = Self(0);

    /// Adds a block. An index that is too high is ignored.
    pub fn insert(&mut self, block: usize) {
        self.0 |= 1_u8.checked_shl(block as u32).unwrap_or_default();
    }

    /// Is this block one of them?
    #[inline]
    pub fn contains(self, block: usize) -> bool {
        block < MAX_BLOCKS && self.0 >> block & 1 == 1
    }

    /// All others that there may be.
    #[must_use]
    pub fn complement(self) -> Self {
        Self(!self.0)
    }

    /// Their indices, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_BLOCKS).filter(move |block| self.0 >> block & 1 == 1)
    }

    /// The only one; `None`: there is none, or there are several.
    pub fn only(self) -> Option<usize> {
        self.iter().next().filter(|_| self.0.is_power_of_two())
    }
}

impl FromIterator<usize> for BlockSet {
    fn from_iter<I: IntoIterator<Item = usize>>(blocks: I) -> Self {
        let mut set = Self::EMPTY;
        blocks.into_iter().for_each(|block| set.insert(block));
        set
    }
}

/// How often each block of a service was chosen, by its index.
pub type Choices = [u32; MAX_BLOCKS];

/// What a worker counts of a service: requests by the block that its configuration sent them to first. The event loop
/// counts a request when it is sent there, since one that hangs ends much later than one that is answered. The observer
/// takes the counts.
#[derive(Debug, Default)]
pub struct ChoiceCounter([AtomicU32; MAX_BLOCKS]);

impl ChoiceCounter {
    /// Counts a request. Never waits.
    pub fn count(&self, block: usize) {
        if let Some(count) = self.0.get(block) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the counts, which begin again at 0; `None`: all are 0.
    pub fn take(&self) -> Option<Choices> {
        let mut choices = Choices::default();
        for (choice, count) in choices.iter_mut().zip(&self.0) {
            if count.load(Ordering::Relaxed) > 0 {
                *choice = count.swap(0, Ordering::Relaxed);
            }
        }
        (choices != Choices::default()).then_some(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set: BlockSet = [5, 2, MAX_BLOCKS, 400].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [2, 5]);
        assert!(set.contains(5) && !set.contains(4) && !set.contains(MAX_BLOCKS));
        assert_eq!([set, BlockSet::EMPTY, [7].into_iter().collect()].map(BlockSet::only), [None, None, Some(7)]);
    }

    #[test]
    fn what_is_counted_is_taken_once() {
        let counter = ChoiceCounter::default();
        assert_eq!(counter.take(), None);
        for block in [1, 7, 1, MAX_BLOCKS] {
            counter.count(block);
        }
        assert_eq!(counter.take(), Some([0, 2, 0, 0, 0, 0, 0, 1]));
        assert_eq!(counter.take(), None);
    }
}
