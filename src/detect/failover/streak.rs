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

#[cfg(test)]
mod tests {
    use super::*;

    fn streak(starts: impl IntoIterator<Item = u64>) -> Streak {
        let mut streak = Streak::default();
        starts.into_iter().for_each(|start| streak.extend(Millis(start)));
        streak
    }

    #[test]
    fn starts_that_arrive_out_of_order_are_remembered_in_order() {
        let streak = streak([5, 9, 7]);
        assert_eq!((streak.first(), streak.last(), streak.count()), (Millis(5), Millis(9), 3));
        assert_eq!(streak.latest.map(|start| start.0), [9, 7, 5, 0, 0]);
    }

    #[test]
    fn a_contradiction_before_the_first_start_takes_nothing_away() {
        let before = streak(100..107);
        let mut after = before;
        after.contradict(Millis(99));
        assert_eq!(after, before);
    }

    #[test]
    fn after_a_contradiction_no_more_starts_count_than_are_remembered() {
        let mut streak = streak(10..17);
        streak.contradict(Millis(10));
        assert_eq!((streak.first(), streak.count()), (Millis(11), 5), "those from 11 on, of which five are known");
    }

    #[test]
    fn fewer_than_the_least_are_never_certain() {
        let certain = |starts: u64, least| streak(1..=starts).certain_at(least, Millis(100), Millis::ZERO);
        assert_eq!([certain(0, 0), certain(2, 3), certain(3, 3)], [None, None, Some(Millis(101))]);
    }
}
