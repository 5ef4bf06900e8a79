//! One receiver's condition: its health, and when anybody may send to it.

use serde::{Deserialize, Serialize};

use crate::outbox::backoff;
use crate::outbox::outcome::Outcome;
use crate::outbox::tally::Tally;
use crate::text::Name;
use crate::units::Millis;

/// A broken receiver is tried again this often.
const PROBE: Millis = Millis::from_secs(15 * 60);

/// One receiver's condition, shared by all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ReceiverState {
    /// Its name; empty: a free place.
    pub name: Name,
    /// The configuration that last named it.
    pub adopted: u64,
    /// Nobody sends earlier: rate limit or `Retry-After`. No reload changes that.
    pub earliest: Millis,
    /// Nobody tries earlier: back-off of a failing receiver, probe of a broken one. A reload ends it.
    pub rests: Millis,
    /// Answers in a row that asked for a pause and did not say how long.
    pub vague: u32,
    /// Its health.
    pub health: Health,
    /// What became of its messages.
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
    /// It refuses us for good, as far as it says.
    Broken,
}

impl ReceiverState {
    /// Takes over a configuration. A reload is the operator's hand: a receiver that fails or is broken is tried again.
    pub fn adopt(&mut self, generation: u64) {
        if self.adopted < generation {
            (self.adopted, self.rests) = (generation, Millis::ZERO);
        }
    }

    /// When anybody may send.
    pub(crate) fn opens(&self) -> Millis {
        self.earliest.max(self.rests)
    }

    /// Books what an exchange tells of the receiver; whoever had it, it holds for everyone. Is its health another now?
    pub(crate) fn note(&mut self, outcome: &Outcome, now: Millis, random: u64) -> bool {
        let before = self.health;
        self.health = match (outcome, before) {
            (Outcome::Accepted, _) => Health::Up,
            (Outcome::Broken(_), _) | (Outcome::Retry(_) | Outcome::RateLimited(_), Health::Broken) => Health::Broken,
            // It reads again what it is sent.
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
