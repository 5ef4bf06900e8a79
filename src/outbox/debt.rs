//! One debt: what one incident key owes to one receiver, and who may send it now.

use crate::clock::Clock;
use crate::incident::{FLAPPING, Truth, is_flapping, whichever_pool};
use crate::outbox::backoff;
use crate::outbox::outcome::Outcome;
use crate::outbox::receiver::ReceiverState;
use crate::units::Millis;

/// A claim is good for this long, and from the first byte on for as long again: longer than any exchange may take.
pub const LEASE: Millis = Millis::from_secs(30);

/// Slack allows one message per second and webhook.
const RATE: Millis = Millis::from_secs(1);

/// Who delivers, and until when nobody else may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Lease {
    /// A process id; 0: free.
    owner: u32,
    until: Millis,
    /// Rises with each claim, so that a claim that was overtaken is recognised. It is never less than the time of the claim: a debt
    /// that begins anew in the same place gives no old token out again.
    token: u64,
}

/// Changes whose last telling is remembered, for the cooldown.
pub(crate) const TOLD: usize = 8;

/// A change that was told, from one state to another, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Told {
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) at: Millis,
}

/// One key's debt to one receiver: fixed-size plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Debt {
    /// The generation that the receiver last accepted, and its state.
    pub(crate) acked: u64,
    pub(crate) acked_state: u8,
    /// What it last accepted is an open incident, in which clients suffer.
    pub(crate) acked_open: bool,
    pub(crate) acked_critical: bool,
    /// A message of an open incident was sent, or would have been if the receiver had been there: the incident is owed to its end.
    pub(crate) is_owed_end: bool,
    /// The generation that the receiver refused in every form: settled unheard.
    pub(crate) refused: u64,
    /// The generation whose full message it disliked: the plain one is next.
    pub(crate) plain: u64,
    /// The last tellings, each of another change. A change that is not among them was never told, or long ago.
    pub(crate) told: [Told; TOLD],
    attempts: u32,
    next_attempt: Millis,
    lease: Lease,
    /// The message of a sender that was overtaken may have landed last, so the truth is told once more: by a claim after this
    /// one, since its own message may have landed before that. 0: no need.
    pub(crate) repair: u64,
}

/// The right to send, for a short time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is being told.
    pub truth: Truth,
    /// Changes beside this one that the message covers.
    pub covered: u64,
    /// The plain form is asked for.
    pub plain: bool,
    token: u64,
}

/// Everything that decides when a debt may go, beside the debt itself.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The truth.
    pub truth: Truth,
    /// The least time between two messages of the same change.
    pub cooldown: Millis,
    /// Silenced until then; zero: not silenced.
    pub silenced: Millis,
    /// The receiver's condition.
    pub receiver: ReceiverState,
    /// Asked whether the owner of a lease is alive.
    pub clock: &'a dyn Clock,
    /// The process that asks.
    pub me: u32,
}

impl Debt {
    /// Nothing was ever told.
    pub const NONE: Self = Self {
        acked: 0,
        acked_state: 0,
        acked_open: false,
        acked_critical: false,
        is_owed_end: false,
        refused: 0,
        told: [Told { from: 0, to: 0, at: Millis::ZERO }; TOLD],
        attempts: 0,
        next_attempt: Millis::ZERO,
        lease: Lease { owner: 0, until: Millis::ZERO, token: 0 },
        repair: 0,
        plain: 0,
    };

    /// A debt that begins now. Of an incident that is open the receiver will hear, of the past it will not.
    pub fn begin(truth: &Truth) -> Self {
        let open = !truth.over && truth.generation > 0;
        let (acked, acked_state) =
            if open { (truth.generation - 1, truth.from) } else { (truth.generation, truth.state) };
        Self { acked, acked_state, ..Self::default() }
    }

    /// Is anything owed, now or later?
    ///
    /// Of the end of an incident whose beginning a silence or a cooldown held back to the end a receiver hears nothing, nor, while the pool changes again and again, of a
    /// state that is as it was when it last heard.
    pub fn is_due(&self, truth: &Truth) -> bool {
        let unheard = self.acked != truth.generation && self.refused != truth.generation;
        let ends_nothing = truth.over && !truth.planned && !self.acked_open && !self.is_owed_end;
        let is_as_heard =
            is_flapping(truth.state) && self.acked_state == truth.state && self.acked_critical == truth.critical;
        truth.generation > 0 && (self.repair > 0 || (unheard && !ends_nothing && !is_as_heard))
    }

    /// Is there news that nothing but the receiver holds back, of an incident that is not owed to its end yet?
    pub fn waits_for_receiver(&self, terms: &Terms<'_>, now: Millis) -> bool {
        let is_open = !terms.truth.over && !self.is_owed_end;
        is_open && terms.receiver.opens() > now && self.ready_at(terms).is_some_and(|ready| ready <= now)
    }

    /// Notes that: whatever comes of the receiver, it hears of this incident.
    pub fn owe_end(&mut self) {
        self.is_owed_end = true;
    }

    /// Has the receiver heard of this generation, or refused it? Perhaps only together with a later one.
    pub fn has_settled(&self, generation: u64) -> bool {
        self.acked >= generation || self.refused == generation
    }

    /// When it may be sent; `None`: nothing is owed, or only a reload can end what holds it back.
    pub fn due_at(&self, terms: &Terms<'_>) -> Option<Millis> {
        Some(self.ready_at(terms)?.max(terms.receiver.opens()))
    }

    /// As [`Debt::due_at`] if the receiver would take anything at any time: who is ready first is told first, and a message that
    /// fails again and again goes behind the others.
    pub fn ready_at(&self, terms: &Terms<'_>) -> Option<Millis> {
        if !self.is_due(&terms.truth) || terms.silenced == Millis::NEVER {
            return None;
        }
        let cooled = match self.last_told(&terms.truth) {
            Some(at) if !self.is_urgent(&terms.truth) => at + terms.cooldown,
            _ => Millis::ZERO,
        };
        let leased = self.lease.owner != 0 && self.lease.owner != terms.me && terms.clock.is_alive(self.lease.owner);
        let freed = if leased { self.lease.until } else { Millis::ZERO };
        Some(cooled.max(terms.silenced).max(freed).max(self.next_attempt))
    }

    /// Takes the lease, if the debt may be sent at `now`.
    pub fn claim(&mut self, terms: &Terms<'_>, now: Millis) -> Option<Claim> {
        self.due_at(terms).filter(|&due| due <= now)?;
        let token = now.0.max(self.lease.token + 1);
        self.lease = Lease { owner: terms.me, until: now + LEASE, token };
        let covered = terms.truth.generation.saturating_sub(self.acked).saturating_sub(1);
        Some(Claim { truth: terms.truth, covered, plain: self.plain == terms.truth.generation, token })
    }

    /// The last look before the first byte: still ours, still true, not silenced? Then the receiver's rate token is taken, here
    /// and not with the claim, since any time may have passed between the two, and the lease begins anew. Otherwise it is given back.
    pub fn may_send(&mut self, claim: &Claim, terms: &Terms<'_>, receiver: &mut ReceiverState, now: Millis) -> bool {
        if self.lease.token != claim.token {
            return false;
        }
        let current = terms.truth == claim.truth && terms.silenced <= now && now < self.lease.until;
        if !current || receiver.opens() > now {
            self.lease.owner = 0;
            return false;
        }
        self.lease.until = now + LEASE;
        self.is_owed_end |= !claim.truth.over;
        receiver.earliest = now + RATE;
        true
    }

    /// Books what came of the exchange.
    pub fn settle(
        &mut self,
        claim: &Claim,
        outcome: &Outcome,
        receiver: &mut ReceiverState,
        now: Millis,
        random: u64,
    ) -> Settled {
        let health_changed = receiver.note(outcome, now, random);
        if self.lease.token != claim.token {
            // Overtaken. What it sent, if it was heard, may have been heard after what was sent since.
            if matches!(outcome, Outcome::Accepted | Outcome::Retry(_) | Outcome::CutShort) {
                self.repair = self.lease.token;
            }
            return Settled { health_changed, refused: false };
        }
        self.lease.owner = 0;
        let mut refused = false;
        match outcome {
            Outcome::Accepted => {
                self.note_told(&claim.truth, now);
                self.acknowledge(&claim.truth);
                (self.attempts, self.next_attempt) = (0, Millis::ZERO);
                if self.repair < claim.token {
                    self.repair = 0;
                }
            }
            Outcome::RateLimited(_) | Outcome::Broken(_) | Outcome::CutShort => {}
            Outcome::Rejected(_) if self.plain != claim.truth.generation => self.plain = claim.truth.generation,
            Outcome::Rejected(_) => {
                refused = true;
                (self.refused, self.repair) = (claim.truth.generation, 0);
            }
            Outcome::Retry(_) => {
                self.attempts = self.attempts.saturating_add(1);
                self.next_attempt = now + backoff::delay(self.attempts, random);
                // The receiver fails, not this message: other news spare it as well.
                receiver.rests = receiver.rests.max(self.next_attempt);
            }
        }
        Settled { health_changed, refused }
    }

    /// Settles without a message what the receiver does not want to hear (`send_resolved=off`).
    pub fn waive(&mut self, truth: &Truth) {
        self.acknowledge(truth);
        self.repair = 0;
    }

    fn acknowledge(&mut self, truth: &Truth) {
        (self.acked, self.acked_state) = (truth.generation, truth.state);
        (self.acked_open, self.acked_critical, self.is_owed_end) = (!truth.over, truth.critical, false);
    }

    /// May a message be on its way?
    pub fn is_leased(&self, clock: &dyn Clock, now: Millis) -> bool {
        self.lease.owner != 0 && now < self.lease.until && clock.is_alive(self.lease.owner)
    }

    /// An exiting worker gives its lease back.
    pub fn release(&mut self, owner: u32) {
        if self.lease.owner == owner {
            self.lease.owner = 0;
        }
    }

    /// Does no cooldown hold it back? An operator's act, a repair, and that an incident which the receiver knows of reaches clients now.
    fn is_urgent(&self, truth: &Truth) -> bool {
        let (from, to) = self.change(truth);
        let is_worse = from == to && truth.critical && self.acked_open && !self.acked_critical;
        self.repair > 0 || truth.planned || is_worse
    }

    /// The change as the receiver will see it: from what it heard last, if something was kept from it in between. While the pool changes
    /// again and again, all pools are one.
    fn change(&self, truth: &Truth) -> (u8, u8) {
        let from = if self.acked + 1 == truth.generation { truth.from } else { self.acked_state };
        (whichever_pool(from), whichever_pool(truth.state))
    }

    /// When this change was last told; of a state that came back unheard: when anything was. While the pool changes again and again, an
    /// outage is told once per cooldown, whoever served before.
    fn last_told(&self, truth: &Truth) -> Option<Millis> {
        let (from, to) = self.change(truth);
        let same = |told: &&Told| match (from, to) {
            (FLAPPING, _) => told.to == to,
            _ if from == to => true,
            _ => (told.from, told.to) == (from, to),
        };
        self.told.iter().filter(|told| told.at != Millis::ZERO).filter(same).map(|told| told.at).max()
    }

    fn note_told(&mut self, truth: &Truth, at: Millis) {
        let (from, to) = self.change(truth);
        let known = self.told.iter().position(|told| (told.from, told.to) == (from, to) && told.at != Millis::ZERO);
        let oldest = (0..TOLD).min_by_key(|&place| self.told.get(place).map(|told| told.at));
        if let Some(told) = known.or(oldest).and_then(|place| self.told.get_mut(place)) {
            *told = Told { from, to, at };
        }
    }
}

/// What is worth a line in error.log after an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The receiver's health is another than before.
    pub health_changed: bool,
    /// This generation will never be heard there.
    pub refused: bool,
}

#[cfg(test)]
mod tests;
