//! How long to wait after a failure: twice as long each time, up to a minute, without an end. Half of the delay is
//! random, so that senders that failed together do not return together.

use crate::units::Millis;

/// The longest delay after a failure.
pub const LONGEST: Millis = Millis::from_secs(60);

/// The longest pause that a receiver can ask for.
pub const LONGEST_PAUSE: Millis = Millis::from_secs(900);

/// The pause for a receiver that asked for one without saying how long, after `times` such answers before: 5 s, and
/// twice as long each time, up to [`LONGEST_PAUSE`].
pub fn unasked(times: u32) -> Millis {
    // 2^8 × 5 s is already longer than the longest pause.
    Millis::from_secs(5 << times.min(8)).min(LONGEST_PAUSE)
}

/// The pause, and up to a tenth more, so that machines that were asked to pause together do not return together. Any
/// `random` is good.
pub fn spread(pause: Millis, random: u64) -> Millis {
    pause + Millis(random % (pause.0 / 10 + 1))
}

/// The delay after `attempts` failures in a row, including the last one: between half and the whole of min(60 s,
/// 2^(`attempts` − 1) s), so 0.5 s to 1 s after the first. Any `random` is good; it chooses the point in between.
pub fn delay(attempts: u32, random: u64) -> Millis {
    // 2^6 s is already longer than the longest delay.
    let doublings = attempts.saturating_sub(1).min(6);
    let whole = Millis::from_secs(1 << doublings).min(LONGEST);
    let half = whole.0 / 2;
    Millis(half + random % (half + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bounds_double_up_to_a_minute() {
        let longest = |attempts: u32| delay(attempts, 500 * (1 << (attempts - 1).min(6)));
        assert_eq!((delay(1, 0), longest(1)), (Millis(500), Millis(1000)));
        assert_eq!((delay(2, 0), longest(2)), (Millis(1000), Millis(2000)));
        assert_eq!((delay(6, 0), longest(6)), (Millis(16_000), Millis(32_000)));
        assert_eq!((delay(7, 0), delay(7, 30_000)), (Millis(30_000), Millis(60_000)));
        assert_eq!((delay(u32::MAX, 0), delay(u32::MAX, 30_000)), (Millis(30_000), Millis(60_000)));
    }

    #[test]
    fn without_a_failure_the_delay_is_as_after_the_first() {
        assert_eq!(delay(0, 7), delay(1, 7));
    }

    #[test]
    fn pauses_of_no_given_length_double_up_to_the_longest() {
        assert_eq!([0, 1, 2, 7, 8, u32::MAX].map(|times| unasked(times).as_secs()), [5, 10, 20, 640, 900, 900]);
    }

    #[test]
    fn a_pause_is_never_shortened_and_hardly_lengthened() {
        assert_eq!(spread(Millis(1000), 0), Millis(1000));
        assert_eq!(spread(Millis(1000), 100), Millis(1100));
        assert_eq!(spread(Millis::ZERO, u64::MAX), Millis::ZERO);
    }

    proptest! {
        #[test]
        fn no_delay_leaves_its_bounds(attempts in any::<u32>(), random in any::<u64>()) {
            let Millis(delay) = delay(attempts, random);
            let whole = if attempts > 6 { 60_000 } else { 1000 << attempts.saturating_sub(1) };
            prop_assert!((whole / 2..=whole).contains(&delay));
        }

        #[test]
        fn one_more_failure_never_makes_the_bounds_smaller(attempts in 0_u32..100, random in any::<u64>()) {
            prop_assert!(delay(attempts + 1, 0) >= delay(attempts, 0));
            prop_assert!(delay(attempts + 1, random).0 * 2 >= delay(attempts, random).0);
        }
    }
}
