//! Flapping: the serving pool changes so often that messages about single changes would be useless. One message says
//! that flapping begins, with the number of changes, and one that it is over.

use crate::units::Millis;

/// Changes within this time are counted.
const SPAN: Millis = Millis::from_secs(600);

/// With this many changes within the span flapping begins; with this many or fewer it ends.
const BEGINS: u32 = 6;
const ENDS: u32 = 2;

/// How many times of changes are kept.
const KEPT: usize = 21;

/// The times of the last changes, and whether flapping is on: fixed-size plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flapping {
    /// Newest first; zero: none.
    times: [Millis; KEPT],
    is_on: bool,
}

impl Flapping {
    /// The state that was saved before a restart: whether flapping was on, and the times of changes, newest first. Only
    /// the first 21 times are kept.
    pub fn resume(is_on: bool, changes: impl Iterator<Item = Millis>) -> Self {
        let mut flapping = Self { is_on, ..Self::default() };
        flapping.times.iter_mut().zip(changes).for_each(|(entry, time)| *entry = time);
        flapping
    }

    /// The times of the last changes, newest first, at most 21.
    pub fn times(&self) -> impl Iterator<Item = Millis> {
        self.times.iter().copied().filter(|&time| time != Millis::ZERO)
    }

    /// Notes a change at `now`. Does flapping begin with this change?
    pub fn note(&mut self, now: Millis) -> bool {
        self.times.rotate_right(1);
        self.times[0] = now.max(Millis(1));
        let begins = !self.is_on && self.changes(now) >= BEGINS;
        self.is_on |= begins;
        begins
    }

    /// Is flapping on?
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Ends flapping if at most two changes are left within the span. Returns `true` if flapping ended with this call.
    pub fn ends(&mut self, now: Millis) -> bool {
        let ends = self.is_on && self.changes(now) <= ENDS;
        self.is_on &= !ends;
        ends
    }

    /// Changes within the ten minutes before `now`, at most 21.
    pub fn changes(&self, now: Millis) -> u32 {
        self.times.iter().filter(|&&time| time != Millis::ZERO && now < time + SPAN).count() as u32
    }

    /// When flapping ends if nothing changes any more; `None`: flapping is not on.
    pub fn deadline(&self) -> Option<Millis> {
        let last_too_many = self.times.get(ENDS as usize).filter(|_| self.is_on)?;
        Some(*last_too_many + SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_changes_in_ten_minutes_are_flapping_and_it_ends_when_two_are_left() {
        let mut flapping = Flapping::default();
        let begun: Vec<bool> = (0..8).map(|minute| flapping.note(Millis::from_secs(1000 + 60 * minute))).collect();
        assert_eq!(begun, [false, false, false, false, false, true, false, false]);
        assert_eq!(flapping.changes(Millis::from_secs(1421)), 8);
        let due = flapping.deadline().expect("it is on");
        assert!(!flapping.ends(due - Millis(1)));
        assert!(flapping.ends(due));
        assert_eq!((flapping.changes(due), flapping.deadline()), (2, None));
    }

    #[test]
    fn rare_changes_are_never_flapping() {
        let mut flapping = Flapping::default();
        assert!((0..100).all(|count| !flapping.note(Millis::from_secs(1 + 121 * count))));
    }

    #[test]
    fn a_resumed_flapping_is_the_one_that_was_saved() {
        for is_on in [false, true] {
            let flapping = Flapping::resume(is_on, [Millis(9), Millis(5)].into_iter());
            assert_eq!((flapping.is_on(), flapping.times().collect()), (is_on, vec![Millis(9), Millis(5)]));
        }
    }
}
