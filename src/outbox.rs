//! What is owed: for each incident key and receiver, the difference between the truth and what was last accepted.
//!
//! Level-triggered, not a queue: nothing can overflow, nothing is forgotten. Cooldown, silence, back-off and rate limits only
//! delay, they never touch `acked`; at their end the truth is compared again. So the last message that a receiver accepted
//! always equals reality.

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::deliver::Outcome;
use crate::deliver::backoff;
use crate::deliver::tally::Tally;
use crate::text::Name;
use crate::units::Millis;

/// Receivers that the zone keeps debts for.
pub const MAX_RECEIVERS: usize = 8;

/// A claim is good for this long, and from the first byte on for as long again: longer than any exchange may take.
pub const LEASE: Millis = Millis::from_secs(30);

/// Slack allows one message per second and webhook.
const RATE: Millis = Millis::from_secs(1);

/// A broken receiver is tried again this often.
const PROBE: Millis = Millis::from_secs(15 * 60);

/// A bit of a state: the serving pool changes again and again, and the rest of the state says where it stands.
pub const FLAPPING: u8 = 0x40;

/// What is true of one incident key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Truth {
    /// Rises by one with each change worth telling; 0: there was none yet.
    pub generation: u64,
    /// Which state holds: `Serving::index`, perhaps with [`FLAPPING`], or the error rate's level.
    pub state: u8,
    /// Which state held before.
    pub from: u8,
    /// The state is the end of an incident.
    pub over: bool,
    /// Clients suffer in this incident.
    pub critical: bool,
    /// The state is the operator's own act, which is told at once.
    pub planned: bool,
}

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

fn is_flapping(state: u8) -> bool {
    state & FLAPPING != 0
}

/// The state, without where it stands while the pool changes again and again.
fn whichever_pool(state: u8) -> u8 {
    if is_flapping(state) { FLAPPING } else { state }
}

impl ReceiverState {
    /// Takes over a configuration. A reload is the operator's hand: a receiver that fails or is broken is tried again.
    pub fn adopt(&mut self, generation: u64) {
        if self.adopted < generation {
            (self.adopted, self.rests) = (generation, Millis::ZERO);
        }
    }

    /// When anybody may send.
    fn opens(&self) -> Millis {
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

/// What is worth a line in error.log after an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The receiver's health is another than before.
    pub health_changed: bool,
    /// This generation will never be heard there.
    pub refused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1;
    const OTHER: u32 = 2;
    const FIRING: Truth = Truth { generation: 1, state: 1, from: 0, over: false, critical: false, planned: false };

    /// One debt, one receiver, two workers.
    #[derive(Default)]
    struct Outbox {
        debt: Debt,
        receiver: ReceiverState,
        silenced: Millis,
        processes: Processes,
    }

    /// All processes live but one.
    #[derive(Clone, Copy, Default)]
    struct Processes {
        dead: u32,
    }

    impl Clock for Processes {
        fn now(&self) -> Millis {
            Millis::ZERO
        }

        fn wall(&self) -> u64 {
            0
        }

        fn is_alive(&self, process: u32) -> bool {
            process != self.dead
        }

        fn host(&self) -> String {
            "web1".to_owned()
        }
    }

    impl Outbox {
        fn terms(&self, me: u32, truth: &Truth) -> Terms<'_> {
            let (cooldown, silenced) = (Millis::from_secs(300), self.silenced);
            Terms { truth: *truth, cooldown, silenced, receiver: self.receiver, clock: &self.processes, me }
        }

        fn claim_as(&mut self, me: u32, truth: &Truth, now: u64) -> Option<Claim> {
            let mut debt = self.debt;
            let claim = debt.claim(&self.terms(me, truth), Millis(now));
            self.debt = debt;
            claim
        }

        fn may_send(&mut self, claim: &Claim, truth: &Truth, now: u64) -> bool {
            let (mut debt, mut receiver) = (self.debt, self.receiver);
            let may_send = debt.may_send(claim, &self.terms(ME, truth), &mut receiver, Millis(now));
            (self.debt, self.receiver) = (debt, receiver);
            may_send
        }

        fn settle(&mut self, claim: &Claim, outcome: &Outcome, now: u64) -> Settled {
            self.debt.settle(claim, outcome, &mut self.receiver, Millis(now), 0)
        }

        /// Claims, sends and is heard.
        fn tell(&mut self, truth: &Truth, now: u64) -> bool {
            let Some(claim) = self.claim_as(ME, truth, now) else { return false };
            let sent = self.may_send(&claim, truth, now);
            if sent {
                self.settle(&claim, &Outcome::Accepted, now);
            }
            sent
        }
    }

    #[test]
    fn a_change_in_a_quiet_channel_goes_at_once_and_once() {
        let mut outbox = Outbox::default();
        assert!(outbox.tell(&FIRING, 10));
        assert!(!outbox.tell(&FIRING, 1_000_000_000));
    }

    #[test]
    fn cooldown_delays_the_same_news_but_not_the_way_back() {
        let mut outbox = Outbox::default();
        let there = |generation| Truth { generation, state: 1, from: 0, over: false, ..Truth::default() };
        let back = |generation| Truth { generation, state: 0, from: 1, over: true, ..Truth::default() };
        assert!(outbox.tell(&there(1), 1_000));
        assert!(outbox.tell(&back(2), 20_000));
        assert!(!outbox.tell(&there(3), 40_000));
        assert!(!outbox.tell(&there(3), 300_999));
        assert!(outbox.tell(&there(3), 301_000));
    }

    #[test]
    fn the_end_of_an_outage_is_told_although_the_end_of_a_failover_just_was() {
        let (blue, green, down) = (0, 1, 2);
        let mut outbox = Outbox::default();
        let changes = [(blue, green, false), (green, blue, true), (blue, down, false), (down, blue, true)];
        for (generation, (from, state, over)) in (1..).zip(changes) {
            assert!(outbox.tell(&Truth { generation, state, from, over, ..Truth::default() }, generation * 2_000));
        }
    }

    #[test]
    fn a_blip_during_cooldown_is_told_when_it_ends_and_covers_what_was_kept_back() {
        let mut outbox = Outbox::default();
        assert!(outbox.tell(&Truth { generation: 1, state: 1, from: 0, over: false, ..Truth::default() }, 1_000));
        let blip = Truth { generation: 3, state: 1, from: 0, over: false, ..Truth::default() };
        assert_eq!(outbox.claim_as(ME, &blip, 300_000), None);
        assert_eq!(outbox.claim_as(ME, &blip, 301_000).map(|claim| claim.covered), Some(1));
    }

    #[test]
    fn the_end_of_what_was_never_heard_is_not_told_and_the_next_message_covers_it() {
        let mut outbox = Outbox { silenced: Millis(500_000), ..Outbox::default() };
        assert!(!outbox.tell(&FIRING, 1_000));
        let over = Truth { generation: 2, state: 0, from: 1, over: true, ..Truth::default() };
        assert!(!outbox.debt.is_due(&over));
        let next = Truth { generation: 3, ..FIRING };
        assert_eq!(outbox.claim_as(ME, &next, 600_000).map(|claim| claim.covered), Some(2));
    }

    #[test]
    fn the_end_of_what_was_sent_or_only_waited_for_the_receiver_is_told() {
        let over = Truth { generation: 2, state: 0, from: 1, over: true, ..Truth::default() };
        for outcome in [Outcome::Retry("timed out".into()), Outcome::CutShort, Outcome::RateLimited(None)] {
            let mut outbox = Outbox::default();
            let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
            assert!(outbox.may_send(&claim, &FIRING, 1_000));
            outbox.settle(&claim, &outcome, 2_000);
            assert!(outbox.debt.is_due(&over), "{outcome:?}");
        }
        let mut outbox = Outbox::default();
        assert!(!outbox.debt.waits_for_receiver(&outbox.terms(ME, &FIRING), Millis(1_000)), "it may go");
        outbox.receiver.rests = Millis(900_000);
        assert!(outbox.debt.waits_for_receiver(&outbox.terms(ME, &FIRING), Millis(1_000)));
        outbox.silenced = Millis(5_000);
        assert!(
            !outbox.debt.waits_for_receiver(&outbox.terms(ME, &FIRING), Millis(1_000)),
            "the silence holds it back"
        );
        outbox.debt.owe_end();
        assert!(outbox.debt.is_due(&over));
        outbox.debt.waive(&over);
        assert!(!outbox.debt.is_due(&Truth { generation: 4, ..over }));
    }

    #[test]
    fn an_operators_act_is_told_at_once_however_often() {
        let mut outbox = Outbox::default();
        for generation in 1..9 {
            let state = (generation % 2) as u8;
            let switch = Truth { generation, state, from: 1 - state, over: true, planned: true, ..Truth::default() };
            assert!(outbox.tell(&switch, generation * 2_000));
        }
    }

    #[test]
    fn that_it_reaches_clients_now_is_told_at_once_and_once() {
        let mut outbox = Outbox::default();
        assert!(outbox.tell(&FIRING, 1_000));
        let worse = Truth { generation: 2, from: 1, critical: true, ..FIRING };
        assert!(outbox.tell(&worse, 3_000));
        let still = Truth { generation: 3, ..worse };
        assert!(!outbox.tell(&still, 5_000));
    }

    #[test]
    fn while_flapping_an_outage_is_told_at_once_and_a_repetition_when_its_cooldown_ends() {
        let (blue, green, down) = (FLAPPING, FLAPPING | 1, 2);
        let mut outbox = Outbox::default();
        let mut generation = 0;
        let mut from = 0;
        let mut tell = |outbox: &mut Outbox, state, now| {
            generation += 1;
            let truth = Truth { generation, state, from, critical: state == down, ..Truth::default() };
            from = state;
            outbox.tell(&truth, now)
        };
        assert!(tell(&mut outbox, blue, 1_000), "flapping begins");
        assert!(!tell(&mut outbox, green, 3_000), "a single change");
        assert!(tell(&mut outbox, down, 5_000), "the first outage");
        assert!(tell(&mut outbox, blue, 7_000), "and its end");
        assert!(!tell(&mut outbox, down, 9_000));
        assert!(!tell(&mut outbox, down, 304_999));
        assert!(tell(&mut outbox, down, 305_000), "it is down again when the cooldown is over");
        assert!(tell(&mut outbox, green, 307_000));
        assert!(!tell(&mut outbox, blue, 606_999), "another pool than the last message named");
        assert!(tell(&mut outbox, blue, 607_000));
    }

    #[test]
    fn while_flapping_what_is_as_the_last_message_said_is_not_told_again() {
        let mut outbox = Outbox::default();
        let at = |generation, state, from| Truth { generation, state, from, ..Truth::default() };
        assert!(outbox.tell(&at(1, FLAPPING, 0), 1_000));
        let back = at(3, FLAPPING, FLAPPING | 1);
        assert!(!outbox.debt.is_due(&back));
        assert!(outbox.tell(&at(4, 0, FLAPPING), 900_000), "its end is told all the same");
    }

    #[test]
    fn silence_delays_and_forgets_nothing() {
        let mut outbox = Outbox { silenced: Millis::NEVER, ..Outbox::default() };
        assert!(!outbox.tell(&FIRING, 1_000));
        outbox.silenced = Millis(600_000);
        assert!(!outbox.tell(&FIRING, 599_999));
        assert!(outbox.tell(&FIRING, 600_000));
    }

    #[test]
    fn a_silence_that_begins_between_claim_and_send_holds_the_message_back() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        outbox.silenced = Millis(60_000);
        assert!(!outbox.may_send(&claim, &FIRING, 1_001));
        assert!(outbox.tell(&FIRING, 60_000));
    }

    #[test]
    fn a_leased_debt_is_sent_by_nobody_else_until_the_owner_dies_or_the_lease_ends() {
        let mut outbox = Outbox::default();
        assert!(outbox.claim_as(OTHER, &FIRING, 1_000).is_some());
        assert!(outbox.claim_as(ME, &FIRING, 30_999).is_none());
        assert!(outbox.claim_as(ME, &FIRING, 31_000).is_some());
        outbox.processes.dead = ME;
        assert!(outbox.claim_as(OTHER, &FIRING, 31_001).is_some());
    }

    #[test]
    fn what_was_overtaken_between_claim_and_send_is_not_sent() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        let other = Truth { generation: 2, state: 2, from: 1, ..Truth::default() };
        assert!(!outbox.may_send(&claim, &other, 1_001));
        assert!(outbox.tell(&other, 1_002));
    }

    #[test]
    fn the_news_after_an_accepted_message_is_still_owed() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        assert!(outbox.may_send(&claim, &FIRING, 1_000));
        outbox.settle(&claim, &Outcome::Accepted, 1_500);
        let over = Truth { generation: 2, state: 0, from: 1, over: true, ..Truth::default() };
        assert!(outbox.tell(&over, 2_000));
    }

    #[test]
    fn an_outdated_sender_makes_the_truth_be_told_once_more() {
        let mut outbox = Outbox::default();
        let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
        assert!(outbox.tell(&FIRING, 40_000));
        outbox.settle(&zombie, &Outcome::Accepted, 41_000);
        assert!(outbox.tell(&FIRING, 42_000));
        assert!(!outbox.tell(&FIRING, 1_000_000));
    }

    #[test]
    fn an_outdated_sender_that_does_not_know_whether_it_was_heard_counts_as_heard() {
        for outcome in [Outcome::Retry("reset".into()), Outcome::CutShort] {
            let mut outbox = Outbox::default();
            let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
            assert!(outbox.tell(&FIRING, 40_000));
            outbox.settle(&zombie, &outcome, 41_000);
            assert!(outbox.tell(&FIRING, 102_000));
        }
    }

    #[test]
    fn an_outdated_message_that_lands_during_an_exchange_is_not_made_good_by_that() {
        let mut outbox = Outbox::default();
        let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
        let other = Truth { generation: 2, state: 2, from: 1, ..Truth::default() };
        let claim = outbox.claim_as(ME, &other, 40_000).expect("due");
        assert!(outbox.may_send(&claim, &other, 40_000));
        outbox.settle(&zombie, &Outcome::Accepted, 41_000);
        outbox.settle(&claim, &Outcome::Accepted, 42_000);
        assert!(outbox.tell(&other, 43_000));
        assert!(!outbox.tell(&other, 1_000_000));
    }

    #[test]
    fn the_lease_is_whole_when_the_first_byte_leaves() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        assert!(outbox.may_send(&claim, &FIRING, 30_999));
        assert!(outbox.claim_as(OTHER, &FIRING, 60_998).is_none());
        assert!(outbox.claim_as(OTHER, &FIRING, 60_999).is_some());
    }

    #[test]
    fn what_was_waived_needs_no_repair() {
        let mut outbox = Outbox::default();
        let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
        assert!(outbox.tell(&FIRING, 40_000));
        outbox.settle(&zombie, &Outcome::Accepted, 41_000);
        let over = Truth { generation: 2, state: 0, from: 1, over: true, ..Truth::default() };
        outbox.debt.waive(&over);
        assert!(!outbox.debt.is_due(&over));
    }

    #[test]
    fn a_claim_broken_off_by_an_exit_is_taken_up_at_once_and_nobody_is_blamed() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
        assert!(!outbox.settle(&claim, &Outcome::CutShort, 1_100).health_changed);
        assert!(outbox.tell(&FIRING, 1_100));
    }

    #[test]
    fn a_failing_receiver_is_spared_other_news_as_well() {
        let (mut outbox, mut other) = (Outbox::default(), Outbox::default());
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        outbox.settle(&claim, &Outcome::Retry("503".into()), 1_000);
        other.receiver = outbox.receiver;
        assert!(other.claim_as(ME, &FIRING, 1_499).is_none());
        assert!(other.tell(&FIRING, 1_500));
    }

    #[test]
    fn a_pause_of_no_given_length_is_twice_as_long_each_time() {
        let mut outbox = Outbox::default();
        for (now, pause) in [(1_000, 5_000), (6_000, 10_000), (16_000, 20_000)] {
            let claim = outbox.claim_as(ME, &FIRING, now).expect("due");
            outbox.settle(&claim, &Outcome::RateLimited(None), now);
            assert_eq!(outbox.receiver.earliest, Millis(now + pause));
        }
        assert!(outbox.tell(&FIRING, 36_000));
        assert_eq!(outbox.receiver.vague, 0);
    }

    #[test]
    fn retry_after_holds_for_everyone() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
        outbox.settle(&claim, &Outcome::RateLimited(Some(Millis(7_000))), 1_100);
        assert_eq!(outbox.claim_as(ME, &FIRING, 8_099), None);
        assert!(outbox.claim_as(ME, &FIRING, 8_100).is_some());
    }

    #[test]
    fn failures_are_retried_for_ever_with_growing_pauses() {
        let mut outbox = Outbox::default();
        let mut now = 1_000;
        for _ in 0..50 {
            let due = outbox.debt.due_at(&outbox.terms(ME, &FIRING)).expect("still owed");
            assert!(due.0 <= now + 60_000);
            now = now.max(due.0);
            let claim = outbox.claim_as(ME, &FIRING, now).expect("due");
            outbox.settle(&claim, &Outcome::Retry("refused".into()), now);
        }
        assert!(now > 1_000_000);
    }

    #[test]
    fn a_rejected_message_is_followed_by_the_plain_one_and_then_by_nothing() {
        let mut outbox = Outbox::default();
        let rejected = Outcome::Rejected("invalid_blocks".into());
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        outbox.settle(&claim, &rejected, 1_000);
        let plain = outbox.claim_as(ME, &FIRING, 2_000).expect("the plain form is owed");
        assert!(plain.plain);
        assert!(outbox.settle(&plain, &rejected, 2_000).refused);
        assert_eq!(outbox.claim_as(ME, &FIRING, 1_000_000), None);
        let news = Truth { generation: 2, state: 2, from: 1, ..Truth::default() };
        assert_eq!(outbox.claim_as(ME, &news, 1_000_000).map(|claim| claim.plain), Some(false));
    }

    #[test]
    fn a_broken_receiver_is_probed_slowly_and_says_so_once() {
        let mut outbox = Outbox::default();
        let broken = Outcome::Broken("no_service".into());
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        assert!(outbox.settle(&claim, &broken, 1_000).health_changed);
        assert_eq!(outbox.claim_as(ME, &FIRING, 900_999), None);
        let probe = outbox.claim_as(ME, &FIRING, 901_000).expect("the probe");
        assert!(!outbox.settle(&probe, &broken, 901_000).health_changed);
    }

    #[test]
    fn a_broken_receiver_that_dislikes_the_message_gets_the_plain_one_at_once() {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        outbox.settle(&claim, &Outcome::Broken("no_service".into()), 1_000);
        let probe = outbox.claim_as(ME, &FIRING, 901_000).expect("the probe");
        outbox.settle(&probe, &Outcome::Rejected("invalid_blocks".into()), 901_000);
        assert_eq!(outbox.claim_as(ME, &FIRING, 902_000).map(|claim| claim.plain), Some(true));
    }
}
