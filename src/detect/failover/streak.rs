//! A streak: answers, or failures, with no contrary one among them. They may arrive out of order.

use crate::units::Millis;

/// The latest starts that a streak remembers, for a contrary answer that arrives late.
const LATEST: usize = 5;

/// A streak of this length needs no longer confirmation than [`SETTLE`].
const MANY: u32 = 32;

/// Long enough for every worker's observer to have folded what its requests saw; they sleep at most 10 ms under load.
const SETTLE: Millis = Millis(25);

/// Fixed-size plain data; all zero: empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Streak {
    /// The earliest start; of an empty streak zero.
    first: Millis,
    count: u32,
    /// The latest starts, the last one first; zero: none.
    latest: [Millis; LATEST],
}

impl Streak {
    /// Nothing was seen, or all of it was contradicted.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many are certain to be in it; after a contradiction there may be more.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The earliest start; of an empty streak zero.
    pub(super) fn first(&self) -> Millis {
        self.first
    }

    /// The latest start; of an empty streak zero.
    pub(super) fn last(&self) -> Millis {
        self.latest[0]
    }

    /// One more, that started at `start`.
    pub(super) fn extend(&mut self, start: Millis) {
        self.first = if self.is_empty() { start } else { self.first.min(start) };
        self.count = self.count.saturating_add(1);
        if let Some(index) = self.latest.iter().position(|&latest| latest < start) {
            self.latest[index..].rotate_right(1);
            self.latest[index] = start;
        }
    }

    /// Evidence for the contrary started at `start`: only what started later still counts.
    pub(super) fn contradict(&mut self, start: Millis) {
        if self.is_empty() || start < self.first {
            return;
        }
        let known = self.latest.iter().take(self.count as usize);
        let younger = known.filter(|&&latest| latest > start).count();
        match self.latest[..younger].last() {
            None => *self = Self::default(),
            // Older starts are forgotten, so keep the smallest count that is certain.
            Some(_) if younger == LATEST => (self.first, self.count) = (start + Millis(1), LATEST as u32),
            Some(&first) => (self.first, self.count) = (first, younger as u32),
        }
        self.latest[younger..].fill(Millis::ZERO);
    }

    /// When it is certain, if nothing contradicts it until then: `confirm` after its first start, but at least `slack`.
    /// `None`: it has fewer than `least`, or none.
    pub(super) fn certain_at(&self, least: u32, confirm: Millis, slack: Millis) -> Option<Millis> {
        match self.count {
            0 => None,
            count if count < least => None,
            count if count >= MANY => Some(self.first + SETTLE.max(slack).min(confirm.max(slack))),
            _ => Some(self.first + confirm.max(slack)),
        }
    }
}
