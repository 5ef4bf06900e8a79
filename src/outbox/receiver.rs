//! The state of one receiver: its health, and when a worker may send to it.

use serde::{Deserialize, Serialize};

use crate::outbox::backoff;
use crate::outbox::outcome::Outcome;
use crate::outbox::tally::Tally;
use crate::text::Name;
use crate::units::Millis;

/// A broken receiver is tried again after this time.
const PROBE: Millis = Millis::from_secs(15 * 60);

/// The state of one receiver, shared by all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ReceiverState {
    /// The receiver's name; empty: this entry is free.
    pub name: Name,
    /// The generation of the configuration that last named the receiver.
    pub adopted: u64,
    /// No message is sent before this instant: rate limit or `Retry-After`. A reload does not change it.
    pub earliest: Millis,
    /// No message is sent before this instant: back-off of a failing receiver, or the next try of a broken one. A
    /// reload resets it.
    pub rests: Millis,
    /// Consecutive answers that asked for a pause without saying how long.
    pub vague: u32,
    /// The receiver's health.
    pub health: Health,
    /// How the messages ended.
    pub tally: Tally,
}

/// A receiver's health; each change is one line in error.log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Health {
    /// The last exchange was accepted, or there was none.
    #[default]
    Up,
    /// The last exchange failed in a way that may pass.
    Failing,
    /// The receiver answers that the webhook is gone or forbidden.
    Broken,
}

impl ReceiverState {
    /// Applies a configuration. A reload is an act of the operator: a failing or broken receiver is tried again at
    /// once.
    pub fn adopt(&mut self, generation: u64) {
        if self.adopted < generation {
            (self.adopted, self.rests) = (generation, Millis::ZERO);
        }
    }

    /// The instant from which on a worker may send.
    pub(crate) fn opens(&self) -> Millis {
        self.earliest.max(self.rests)
    }

    /// Notes what an exchange says about the receiver, for all messages to it, even if the claim of this exchange was
    /// overtaken. Returns `true` if the health changed.
    pub(crate) fn note(&mut self, outcome: &Outcome, now: Millis, random: u64) -> bool {
        let before = self.health;
        self.health = match (outcome, before) {
            (Outcome::Accepted, _) => Health::Up,
            (Outcome::Broken(_), _) | (Outcome::Retry(_) | Outcome::RateLimited(_), Health::Broken) => Health::Broken,
            // A broken receiver that rejects a payload reads messages again, so it is only failing.
            (Outcome::Rejected(_), Health::Broken) | (Outcome::Retry(_) | Outcome::RateLimited(_), _) => {
                Health::Failing
            }
            (Outcome::Rejected(_) | Outcome::CutShort, _) => before,
        };
        self.rests = match self.health {
            Health::Broken if *outcome != Outcome::CutShort => now + PROBE,
            Health::Up => Millis::ZERO,
            _ => self.rests,
        };
        match outcome {
            Outcome::RateLimited(asked) => {
                let pause = asked.unwrap_or_else(|| backoff::unasked(self.vague));
                self.vague = if asked.is_some() { 0 } else { self.vague.saturating_add(1) };
                self.earliest = self.earliest.max(now + backoff::spread(pause, random));
            }
            Outcome::CutShort => {}
            _ => self.vague = 0,
        }
        self.health != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_receiver_stays_broken_until_it_reads_a_message() {
        let broken = Outcome::Broken("no_service".into());
        for (outcome, after) in [
            (Outcome::Retry("timed out".into()), Health::Broken),
            (Outcome::RateLimited(None), Health::Broken),
            (Outcome::CutShort, Health::Broken),
            (broken.clone(), Health::Broken),
            (Outcome::Rejected("invalid_blocks".into()), Health::Failing),
            (Outcome::Accepted, Health::Up),
        ] {
            let mut receiver = ReceiverState::default();
            assert!(receiver.note(&broken, Millis(1_000), 0));
            let changed = receiver.note(&outcome, Millis(5_000), 0);
            assert_eq!((receiver.health, changed), (after, after != Health::Broken), "{outcome:?}");
            let rests = match outcome {
                // What nginx's exit cut short says nothing.
                Outcome::CutShort | Outcome::Rejected(_) => Millis(1_000) + PROBE,
                Outcome::Accepted => Millis::ZERO,
                _ => Millis(5_000) + PROBE,
            };
            assert_eq!(receiver.rests, rests, "{outcome:?}");
        }
    }

    #[test]
    fn a_configuration_ends_the_rest_of_a_failing_receiver_once() {
        let mut receiver = ReceiverState::default();
        for (number, rests) in [(1, Millis::ZERO), (1, Millis(9_000)), (2, Millis::ZERO)] {
            receiver.adopt(number);
            assert_eq!(receiver.rests, rests);
            receiver.rests = Millis(9_000);
        }
    }

    #[test]
    fn an_exchange_cut_short_does_not_end_a_row_of_pauses() {
        let mut receiver = ReceiverState::default();
        receiver.note(&Outcome::RateLimited(None), Millis(1_000), 0);
        receiver.note(&Outcome::CutShort, Millis(2_000), 0);
        assert_eq!(receiver.vague, 1);
        receiver.note(&Outcome::Retry("503".into()), Millis(3_000), 0);
        assert_eq!(receiver.vague, 0);
    }
}
