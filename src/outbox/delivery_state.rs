//! The delivery state: what one receiver last accepted of one incident key, and which worker may send now.

use crate::clock::Clock;
use crate::incident::{Revision, StateCode};
use crate::outbox::backoff;
use crate::outbox::outcome::Outcome;
use crate::outbox::receiver::ReceiverState;
use crate::units::Millis;

/// A claim is valid for this long; the first byte renews it for the same time, longer than any exchange may take.
pub const LEASE: Millis = Millis::from_secs(30);

/// Slack allows one message per second and webhook.
const RATE: Millis = Millis::from_secs(1);

/// Which worker delivers, and until when no other may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Lease {
    /// A process id; 0: free.
    owner: u32,
    until: Millis,
    /// Fencing token: grows with each claim, so that a late sender is recognised. Never less than the time of its
    /// claim, so that a delivery state that begins again in the same memory reuses no token.
    token: u64,
}

/// How many changes are remembered for the cooldown.
pub(crate) const LAST_SENT: usize = 8;

/// A change that was sent, from one state to another, and when; `at` zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct LastSent {
    pub(crate) from: StateCode,
    pub(crate) to: StateCode,
    pub(crate) at: Millis,
}

/// One receiver's delivery state for one incident key: fixed-size plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DeliveryState {
    /// The number of the revision that the receiver last accepted or skipped.
    pub(crate) acked: u64,
    /// The state of that revision.
    pub(crate) acked_state: StateCode,
    /// That revision was of an open incident.
    pub(crate) acked_open: bool,
    /// Clients got errors in that revision's incident.
    pub(crate) acked_critical: bool,
    /// A message of an open incident was sent, or was held back by nothing but the receiver: the end of the incident
    /// must be sent too.
    pub(crate) must_send_end: bool,
    /// The number of the revision that the receiver rejected in every form, which settles it; 0: none.
    pub(crate) refused: u64,
    /// The number of the revision whose full message the receiver rejected: the plain form is next; 0: none.
    pub(crate) plain: u64,
    /// The last changes that were sent, each a different one. A change that is missing was never sent, or long ago.
    pub(crate) sent: [LastSent; LAST_SENT],
    /// Failed exchanges in a row (only [`Outcome::Retry`]); 0: none.
    attempts: u32,
    /// The back-off's end: no message is sent before.
    next_attempt: Millis,
    lease: Lease,
    /// A late sender's message may have arrived last. Send the present state once more, by a claim with a newer token
    /// than this one: the message of the claim with this token may have arrived before the late one. 0: no need.
    pub(crate) repair: u64,
}

/// The right to send, for the length of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The revision to send.
    pub revision: Revision,
    /// Revisions that the message covers besides this one.
    pub covered: u64,
    /// Send the plain form.
    pub plain: bool,
    token: u64,
}

/// What decides when a message may be sent, besides the delivery state.
#[derive(Clone, Copy)]
pub struct SendConditions<'a> {
    /// The present revision.
    pub revision: Revision,
    /// The least time between two messages about the same change.
    pub cooldown: Millis,
    /// Silenced until then; zero: not silenced; [`Millis::NEVER`]: until a reload.
    pub silenced: Millis,
    /// The receiver's state.
    pub receiver: ReceiverState,
    /// Says whether the owner of a lease is alive.
    pub clock: &'a dyn Clock,
    /// The id of this process.
    pub me: u32,
}

impl DeliveryState {
    /// No message was ever sent.
    pub const NONE: Self = Self {
        acked: 0,
        acked_state: StateCode::new(0),
        acked_open: false,
        acked_critical: false,
        must_send_end: false,
        refused: 0,
        sent: [LastSent { from: StateCode::new(0), to: StateCode::new(0), at: Millis::ZERO }; LAST_SENT],
        attempts: 0,
        next_attempt: Millis::ZERO,
        lease: Lease { owner: 0, until: Millis::ZERO, token: 0 },
        repair: 0,
        plain: 0,
    };

    /// The delivery state of a new receiver or upstream. The receiver is sent an incident that is open now, not past
    /// ones.
    pub fn begin(revision: &Revision) -> Self {
        let open = !revision.over && revision.number > 0;
        let (acked, acked_state) =
            if open { (revision.number - 1, revision.from) } else { (revision.number, revision.state) };
        Self { acked, acked_state, ..Self::default() }
    }

    /// Is a message due, now or later?
    ///
    /// The end of an incident is not sent if no message of the incident was, because a silence or a cooldown held them
    /// all back. While the serving pool changes again and again, a state is not sent that equals the one that the
    /// receiver last accepted.
    pub fn is_due(&self, revision: &Revision) -> bool {
        let unanswered = self.acked != revision.number && self.refused != revision.number;
        let ends_nothing = revision.over && !revision.planned && !self.acked_open && !self.must_send_end;
        let is_as_accepted = revision.state.is_flapping()
            && self.acked_state == revision.state
            && self.acked_critical == revision.critical;
        revision.number > 0 && (self.repair > 0 || (unanswered && !ends_nothing && !is_as_accepted))
    }

    /// Does only the receiver hold back a message of an open incident whose end is not owed yet?
    pub fn waits_for_receiver(&self, conditions: &SendConditions<'_>, now: Millis) -> bool {
        let is_open = !conditions.revision.over && !self.must_send_end;
        is_open && conditions.receiver.opens() > now && self.ready_at(conditions).is_some_and(|ready| ready <= now)
    }

    /// Makes sure that the receiver will be sent the end of this incident too.
    pub fn require_end(&mut self) {
        self.must_send_end = true;
    }

    /// Is this revision settled: accepted (perhaps only as part of a later one), skipped or rejected?
    pub fn is_done(&self, number: u64) -> bool {
        self.acked >= number || self.refused == number
    }

    /// When the message may be sent; `None`: nothing is due, or only a reload ends the silence.
    pub fn due_at(&self, conditions: &SendConditions<'_>) -> Option<Millis> {
        Some(self.ready_at(conditions)?.max(conditions.receiver.opens()))
    }

    /// Like [`DeliveryState::due_at`], but ignoring the receiver's own pauses. Messages go out in the order of this time: the
    /// one that has waited longest is first, and one that fails again and again goes behind the others.
    pub fn ready_at(&self, conditions: &SendConditions<'_>) -> Option<Millis> {
        if !self.is_due(&conditions.revision) || conditions.silenced == Millis::NEVER {
            return None;
        }
        let cooled = match self.last_sent(&conditions.revision) {
            Some(at) if !self.is_urgent(&conditions.revision) => at + conditions.cooldown,
            _ => Millis::ZERO,
        };
        let leased =
            self.lease.owner != 0 && self.lease.owner != conditions.me && conditions.clock.is_alive(self.lease.owner);
        let freed = if leased { self.lease.until } else { Millis::ZERO };
        Some(cooled.max(conditions.silenced).max(freed).max(self.next_attempt))
    }

    /// Takes the lease; `None`: the message may not be sent at `now`.
    pub fn claim(&mut self, conditions: &SendConditions<'_>, now: Millis) -> Option<Claim> {
        self.due_at(conditions).filter(|&due| due <= now)?;
        let token = now.0.max(self.lease.token + 1);
        self.lease = Lease { owner: conditions.me, until: now + LEASE, token };
        let covered = conditions.revision.number.saturating_sub(self.acked).saturating_sub(1);
        Some(Claim { revision: conditions.revision, covered, plain: self.plain == conditions.revision.number, token })
    }

    /// The final check before the first byte: same claim, same revision, not silenced, lease not over, receiver not
    /// paused. On success takes the receiver's rate-limit slot and renews the lease; the slot is taken here and not by
    /// the claim, because any time may have passed in between. Otherwise gives the lease back, if this claim still has
    /// it.
    pub fn may_send(
        &mut self,
        claim: &Claim,
        conditions: &SendConditions<'_>,
        receiver: &mut ReceiverState,
        now: Millis,
    ) -> bool {
        if self.lease.token != claim.token {
            return false;
        }
        let current = conditions.revision == claim.revision && conditions.silenced <= now && now < self.lease.until;
        if !current || receiver.opens() > now {
            self.lease.owner = 0;
            return false;
        }
        self.lease.until = now + LEASE;
        self.must_send_end |= !claim.revision.over;
        receiver.earliest = now + RATE;
        true
    }

    /// Notes the outcome of the exchange.
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
            // Another claim overtook this one. If this message arrived, it may have arrived after the other claim's
            // message.
            if matches!(outcome, Outcome::Accepted | Outcome::Retry(_) | Outcome::CutShort) {
                self.repair = self.lease.token;
            }
            return Settled { health_changed, refused: false };
        }
        self.lease.owner = 0;
        let mut refused = false;
        match outcome {
            Outcome::Accepted => {
                self.note_sent(&claim.revision, now);
                self.acknowledge(&claim.revision);
                (self.attempts, self.next_attempt) = (0, Millis::ZERO);
                if self.repair < claim.token {
                    self.repair = 0;
                }
            }
            Outcome::RateLimited(_) | Outcome::Broken(_) | Outcome::CutShort => {}
            Outcome::Rejected(_) if self.plain != claim.revision.number => self.plain = claim.revision.number,
            Outcome::Rejected(_) => {
                refused = true;
                (self.refused, self.repair) = (claim.revision.number, 0);
            }
            Outcome::Retry(_) => {
                self.attempts = self.attempts.saturating_add(1);
                self.next_attempt = now + backoff::delay(self.attempts, random);
                // The receiver fails, not this message, so other messages wait too.
                receiver.rests = receiver.rests.max(self.next_attempt);
            }
        }
        Settled { health_changed, refused }
    }

    /// Settles a revision without a message, because the receiver does not want it (`send_resolved=off`) or another
    /// message says the same.
    pub fn skip(&mut self, revision: &Revision) {
        self.acknowledge(revision);
        self.repair = 0;
    }

    fn acknowledge(&mut self, revision: &Revision) {
        (self.acked, self.acked_state) = (revision.number, revision.state);
        (self.acked_open, self.acked_critical, self.must_send_end) = (!revision.over, revision.critical, false);
    }

    /// May a message be on its way?
    pub fn is_leased(&self, clock: &dyn Clock, now: Millis) -> bool {
        self.lease.owner != 0 && now < self.lease.until && clock.is_alive(self.lease.owner)
    }

    /// Gives back the lease of an exiting worker.
    pub fn release(&mut self, owner: u32) {
        if self.lease.owner == owner {
            self.lease.owner = 0;
        }
    }

    /// May this message ignore the cooldown? A change by the operator may, and a repair, and an incident that the
    /// receiver knows and in which clients get errors now.
    fn is_urgent(&self, revision: &Revision) -> bool {
        let (from, to) = self.change(revision);
        let is_worse = from == to && revision.critical && self.acked_open && !self.acked_critical;
        self.repair > 0 || revision.planned || is_worse
    }

    /// The change as the receiver sees it: from the state that it last accepted, if states in between were not sent.
    /// While the serving pool changes again and again, all pools are one state.
    fn change(&self, revision: &Revision) -> (StateCode, StateCode) {
        let from = if self.acked + 1 == revision.number { revision.from } else { self.acked_state };
        (from.whichever_pool(), revision.state.whichever_pool())
    }

    /// When this change was last sent. If the state is again the one that the receiver last accepted: when any change
    /// was sent. While the serving pool changes again and again, an outage is sent once per cooldown, whichever pool
    /// served before.
    fn last_sent(&self, revision: &Revision) -> Option<Millis> {
        let (from, to) = self.change(revision);
        let same = |sent: &&LastSent| match (from, to) {
            (StateCode::FLAPPING, _) => sent.to == to,
            _ if from == to => true,
            _ => (sent.from, sent.to) == (from, to),
        };
        self.sent.iter().filter(|sent| sent.at != Millis::ZERO).filter(same).map(|sent| sent.at).max()
    }

    fn note_sent(&mut self, revision: &Revision, at: Millis) {
        let (from, to) = self.change(revision);
        let known = self.sent.iter().position(|sent| (sent.from, sent.to) == (from, to) && sent.at != Millis::ZERO);
        let oldest = (0..LAST_SENT).min_by_key(|&index| self.sent.get(index).map(|sent| sent.at));
        if let Some(sent) = known.or(oldest).and_then(|index| self.sent.get_mut(index)) {
            *sent = LastSent { from, to, at };
        }
    }
}

/// What error.log should report after an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The receiver's health changed.
    pub health_changed: bool,
    /// The receiver rejected this revision in every form and will never accept it.
    pub refused: bool,
}

#[cfg(test)]
mod tests;
