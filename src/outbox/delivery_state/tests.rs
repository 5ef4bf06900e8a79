//! When a message is sent: cooldown, silence, flapping, and what a revision covers.

mod lease;
mod receiver;

use super::*;
use crate::clock::fixture::Processes;

const ME: u32 = 1;
const OTHER: u32 = 2;

const BLUE: StateCode = StateCode::new(0);
const GREEN: StateCode = StateCode::new(1);
const DOWN: StateCode = StateCode::new(2);

const FIRING: Revision = Revision { number: 1, state: GREEN, from: BLUE, over: false, critical: false, planned: false };

/// One delivery state, one receiver, two workers.
#[derive(Default)]
struct Outbox {
    delivery: DeliveryState,
    receiver: ReceiverState,
    silenced: Millis,
    processes: Processes,
}

impl Outbox {
    fn conditions(&self, me: u32, revision: &Revision) -> SendConditions<'_> {
        let (cooldown, silenced) = (Millis::from_secs(300), self.silenced);
        SendConditions { revision: *revision, cooldown, silenced, receiver: self.receiver, clock: &self.processes, me }
    }

    fn claim_as(&mut self, me: u32, revision: &Revision, now: u64) -> Option<Claim> {
        let mut delivery = self.delivery;
        let claim = delivery.claim(&self.conditions(me, revision), Millis(now));
        self.delivery = delivery;
        claim
    }

    fn may_send(&mut self, claim: &Claim, revision: &Revision, now: u64) -> bool {
        let (mut delivery, mut receiver) = (self.delivery, self.receiver);
        let may_send = delivery.may_send(claim, &self.conditions(ME, revision), &mut receiver, Millis(now));
        (self.delivery, self.receiver) = (delivery, receiver);
        may_send
    }

    fn settle(&mut self, claim: &Claim, outcome: &Outcome, now: u64) -> Settled {
        self.delivery.settle(claim, outcome, &mut self.receiver, Millis(now), 0)
    }

    /// Claims, sends, and the receiver accepts.
    fn send(&mut self, revision: &Revision, now: u64) -> bool {
        let Some(claim) = self.claim_as(ME, revision, now) else { return false };
        let sent = self.may_send(&claim, revision, now);
        if sent {
            self.settle(&claim, &Outcome::Accepted, now);
        }
        sent
    }
}

#[test]
fn a_change_in_a_quiet_channel_goes_at_once_and_once() {
    let mut outbox = Outbox::default();
    assert!(outbox.send(&FIRING, 10));
    assert!(!outbox.send(&FIRING, 1_000_000_000));
}

#[test]
fn cooldown_delays_the_same_news_but_not_the_way_back() {
    let mut outbox = Outbox::default();
    let there = |number| Revision { number, state: GREEN, from: BLUE, over: false, ..Revision::default() };
    let back = |number| Revision { number, state: BLUE, from: GREEN, over: true, ..Revision::default() };
    assert!(outbox.send(&there(1), 1_000));
    assert!(outbox.send(&back(2), 20_000));
    assert!(!outbox.send(&there(3), 40_000));
    assert!(!outbox.send(&there(3), 300_999));
    assert!(outbox.send(&there(3), 301_000));
}

#[test]
fn the_end_of_an_outage_is_sent_although_the_end_of_a_failover_just_was() {
    let mut outbox = Outbox::default();
    let changes = [(BLUE, GREEN, false), (GREEN, BLUE, true), (BLUE, DOWN, false), (DOWN, BLUE, true)];
    for (number, (from, state, over)) in (1..).zip(changes) {
        assert!(outbox.send(&Revision { number, state, from, over, ..Revision::default() }, number * 2_000));
    }
}

#[test]
fn a_blip_during_cooldown_is_sent_when_it_ends_and_covers_what_was_kept_back() {
    let mut outbox = Outbox::default();
    assert!(outbox.send(&Revision { number: 1, state: GREEN, from: BLUE, over: false, ..Revision::default() }, 1_000));
    let blip = Revision { number: 3, state: GREEN, from: BLUE, over: false, ..Revision::default() };
    assert_eq!(outbox.claim_as(ME, &blip, 300_000), None);
    assert_eq!(outbox.claim_as(ME, &blip, 301_000).map(|claim| claim.covered), Some(1));
}

#[test]
fn the_end_of_an_unsent_incident_is_not_sent_and_the_next_message_covers_it() {
    let mut outbox = Outbox { silenced: Millis(500_000), ..Outbox::default() };
    assert!(!outbox.send(&FIRING, 1_000));
    let over = Revision { number: 2, state: BLUE, from: GREEN, over: true, ..Revision::default() };
    assert!(!outbox.delivery.is_due(&over));
    let next = Revision { number: 3, ..FIRING };
    assert_eq!(outbox.claim_as(ME, &next, 600_000).map(|claim| claim.covered), Some(2));
}

#[test]
fn the_end_of_what_was_sent_or_only_waited_for_the_receiver_is_sent() {
    let over = Revision { number: 2, state: BLUE, from: GREEN, over: true, ..Revision::default() };
    for outcome in [Outcome::Retry("timed out".into()), Outcome::CutShort, Outcome::RateLimited(None)] {
        let mut outbox = Outbox::default();
        let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
        assert!(outbox.may_send(&claim, &FIRING, 1_000));
        outbox.settle(&claim, &outcome, 2_000);
        assert!(outbox.delivery.is_due(&over), "{outcome:?}");
    }
    let mut outbox = Outbox::default();
    assert!(!outbox.delivery.waits_for_receiver(&outbox.conditions(ME, &FIRING), Millis(1_000)), "it may go");
    outbox.receiver.rests = Millis(900_000);
    assert!(outbox.delivery.waits_for_receiver(&outbox.conditions(ME, &FIRING), Millis(1_000)));
    outbox.silenced = Millis(5_000);
    assert!(
        !outbox.delivery.waits_for_receiver(&outbox.conditions(ME, &FIRING), Millis(1_000)),
        "the silence holds it back"
    );
    outbox.delivery.require_end();
    assert!(outbox.delivery.is_due(&over));
    outbox.delivery.skip(&over);
    assert!(!outbox.delivery.is_due(&Revision { number: 4, ..over }));
}

#[test]
fn an_operators_act_is_sent_at_once_however_often() {
    let mut outbox = Outbox::default();
    for number in 1..9 {
        let (from, state) = if number % 2 == 0 { (GREEN, BLUE) } else { (BLUE, GREEN) };
        let switch = Revision { number, state, from, over: true, planned: true, ..Revision::default() };
        assert!(outbox.send(&switch, number * 2_000));
    }
}

#[test]
fn an_incident_that_reaches_clients_now_is_sent_at_once_and_once() {
    let mut outbox = Outbox::default();
    assert!(outbox.send(&FIRING, 1_000));
    let worse = Revision { number: 2, from: GREEN, critical: true, ..FIRING };
    assert!(outbox.send(&worse, 3_000));
    let still = Revision { number: 3, ..worse };
    assert!(!outbox.send(&still, 5_000));
}

#[test]
fn while_flapping_an_outage_is_sent_at_once_and_a_repetition_when_its_cooldown_ends() {
    let (blue, green, down) = (BLUE.flapping(), GREEN.flapping(), DOWN);
    let mut outbox = Outbox::default();
    let mut number = 0;
    let mut from = BLUE;
    let mut send = |outbox: &mut Outbox, state, now| {
        number += 1;
        let revision = Revision { number, state, from, critical: state == down, ..Revision::default() };
        from = state;
        outbox.send(&revision, now)
    };
    assert!(send(&mut outbox, blue, 1_000), "flapping begins");
    assert!(!send(&mut outbox, green, 3_000), "a single change");
    assert!(send(&mut outbox, down, 5_000), "the first outage");
    assert!(send(&mut outbox, blue, 7_000), "and its end");
    assert!(!send(&mut outbox, down, 9_000));
    assert!(!send(&mut outbox, down, 304_999));
    assert!(send(&mut outbox, down, 305_000), "it is down again when the cooldown is over");
    assert!(send(&mut outbox, green, 307_000));
    assert!(!send(&mut outbox, blue, 606_999), "another pool than the last message named");
    assert!(send(&mut outbox, blue, 607_000));
}

#[test]
fn while_flapping_a_state_that_the_last_message_said_is_not_sent_again() {
    let mut outbox = Outbox::default();
    let at = |number, state, from| Revision { number, state, from, ..Revision::default() };
    assert!(outbox.send(&at(1, BLUE.flapping(), BLUE), 1_000));
    let back = at(3, BLUE.flapping(), GREEN.flapping());
    assert!(!outbox.delivery.is_due(&back));
    assert!(outbox.send(&at(4, BLUE, BLUE.flapping()), 900_000), "its end is sent all the same");
}

#[test]
fn silence_delays_and_forgets_nothing() {
    let mut outbox = Outbox { silenced: Millis::NEVER, ..Outbox::default() };
    assert!(!outbox.send(&FIRING, 1_000));
    outbox.silenced = Millis(600_000);
    assert!(!outbox.send(&FIRING, 599_999));
    assert!(outbox.send(&FIRING, 600_000));
}

#[test]
fn the_news_after_an_accepted_message_is_still_owed() {
    let mut outbox = Outbox::default();
    let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    assert!(outbox.may_send(&claim, &FIRING, 1_000));
    outbox.settle(&claim, &Outcome::Accepted, 1_500);
    let over = Revision { number: 2, state: BLUE, from: GREEN, over: true, ..Revision::default() };
    assert!(outbox.send(&over, 2_000));
}

#[test]
fn a_change_that_is_sent_again_takes_one_place_of_the_memory() {
    let mut delivery = DeliveryState::default();
    let change =
        |from: u8| Revision { number: 1, from: StateCode::new(from), state: StateCode::new(20), ..Revision::default() };
    for from in 0..LAST_SENT as u8 {
        delivery.note_sent(&change(from), Millis(1_000 + u64::from(from)));
    }
    delivery.note_sent(&change(0), Millis(2_000));
    delivery.note_sent(&change(0), Millis(3_000));
    let known: Vec<_> = (0..LAST_SENT as u8).map(|from| delivery.last_sent(&change(from)).is_some()).collect();
    assert_eq!(known, [true; LAST_SENT]);
    assert_eq!(delivery.last_sent(&change(0)), Some(Millis(3_000)));
}

#[test]
fn before_the_first_revision_nothing_is_due() {
    let delivery = DeliveryState { repair: 1, ..DeliveryState::default() };
    assert!(!delivery.is_due(&Revision::default()));
    assert!(delivery.is_due(&FIRING));
}

#[test]
fn a_revision_is_done_if_it_or_a_later_one_was_accepted_or_it_was_rejected() {
    let is_done = |acked, refused| DeliveryState { acked, refused, ..DeliveryState::default() }.is_done(5);
    assert_eq!(
        [(4, 0), (5, 0), (6, 0), (0, 5), (0, 4), (0, 6)].map(|(acked, refused)| is_done(acked, refused)),
        [false, true, true, true, false, false]
    );
}

#[test]
fn a_receiver_sees_a_change_from_the_state_that_it_was_sent_last() {
    let delivery = DeliveryState { acked: 1, acked_state: BLUE, ..DeliveryState::default() };
    let revision = |number| Revision { number, from: GREEN, state: DOWN, ..Revision::default() };
    assert_eq!([2, 3].map(|number| delivery.change(&revision(number))), [(GREEN, DOWN), (BLUE, DOWN)]);
}

#[test]
fn while_flapping_an_outage_counts_for_the_cooldown_whichever_pool_served_before() {
    let mut outbox = Outbox::default();
    let at = |number, state, from| Revision { number, state, from, ..Revision::default() };
    assert!(outbox.send(&at(1, DOWN, BLUE), 1_000));
    assert!(outbox.send(&at(2, BLUE.flapping(), DOWN), 3_000));
    let again = at(3, DOWN, BLUE.flapping());
    assert!(!outbox.send(&again, 300_999));
    assert!(outbox.send(&again, 301_000));
}
