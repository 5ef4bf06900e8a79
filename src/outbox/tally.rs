//! How the messages to one receiver ended, for people who check its health: counts, and the last error in words.

use crate::outbox::outcome::Outcome;
use crate::text::Text;
use crate::units::Millis;

/// Why an exchange did not deliver, by index in [`Tally::failed`].
pub const REASONS: [&str; 4] = ["unavailable", "rate_limited", "rejected", "broken"];

/// Counts and last error: fixed-size plain data, kept beside the receiver's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tally {
    /// Messages that the receiver accepted.
    pub sent: u64,
    /// Exchanges that failed, by index in [`REASONS`].
    pub failed: [u64; REASONS.len()],
    /// When the receiver last accepted a message; zero: never.
    pub last_accepted: Millis,
    /// When an exchange last failed; zero: never.
    pub last_failed: Millis,
    /// Why the last exchange failed, in Poolwatch's words, without a URL or a secret; empty: none failed.
    pub last_error: Text<160>,
}

impl Tally {
    /// Counts one exchange that ended at `now`.
    pub fn note(&mut self, outcome: &Outcome, now: Millis) {
        let now = now.max(Millis(1));
        let (reason, why) = match outcome {
            Outcome::Accepted => {
                self.sent += 1;
                self.last_accepted = now;
                return;
            }
            Outcome::Retry(why) => (0, why.as_str()),
            Outcome::CutShort => (0, "was cut short"),
            Outcome::RateLimited(_) => (1, "asked for a pause"),
            Outcome::Rejected(why) => (2, why.as_str()),
            Outcome::Broken(why) => (3, why.as_str()),
        };
        self.failed[reason] += 1;
        self.last_failed = now;
        self.last_error = Text::new(why.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exchange_is_counted_once_and_the_last_error_stays() {
        let mut tally = Tally::default();
        let outcomes = [
            Outcome::Accepted,
            Outcome::Retry("timed out".into()),
            Outcome::RateLimited(None),
            Outcome::Rejected("answered 400".into()),
            Outcome::Broken("answered 404".into()),
            Outcome::Accepted,
        ];
        for (outcome, now) in outcomes.iter().zip(10..) {
            tally.note(outcome, Millis(now));
        }
        assert_eq!((tally.sent, tally.failed), (2, [1, 1, 1, 1]));
        assert_eq!((tally.last_accepted, tally.last_failed), (Millis(15), Millis(14)));
        assert_eq!(tally.last_error.as_bytes(), b"answered 404");
    }
}
