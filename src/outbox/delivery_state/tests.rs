use super::*;

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

/// All processes are alive but one.
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
fn a_silence_that_begins_between_claim_and_send_holds_the_message_back() {
    let mut outbox = Outbox::default();
    let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    outbox.silenced = Millis(60_000);
    assert!(!outbox.may_send(&claim, &FIRING, 1_001));
    assert!(outbox.send(&FIRING, 60_000));
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
    let other = Revision { number: 2, state: DOWN, from: GREEN, ..Revision::default() };
    assert!(!outbox.may_send(&claim, &other, 1_001));
    assert!(outbox.send(&other, 1_002));
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
fn a_late_sender_makes_the_present_state_be_sent_once_more() {
    let mut outbox = Outbox::default();
    let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    assert!(outbox.send(&FIRING, 40_000));
    outbox.settle(&zombie, &Outcome::Accepted, 41_000);
    assert!(outbox.send(&FIRING, 42_000));
    assert!(!outbox.send(&FIRING, 1_000_000));
}

#[test]
fn a_late_sender_that_does_not_know_the_outcome_counts_as_accepted() {
    for outcome in [Outcome::Retry("reset".into()), Outcome::CutShort] {
        let mut outbox = Outbox::default();
        let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
        assert!(outbox.send(&FIRING, 40_000));
        outbox.settle(&zombie, &outcome, 41_000);
        assert!(outbox.send(&FIRING, 102_000));
    }
}

#[test]
fn a_late_message_that_arrives_during_an_exchange_is_not_repaired_by_it() {
    let mut outbox = Outbox::default();
    let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    let other = Revision { number: 2, state: DOWN, from: GREEN, ..Revision::default() };
    let claim = outbox.claim_as(ME, &other, 40_000).expect("due");
    assert!(outbox.may_send(&claim, &other, 40_000));
    outbox.settle(&zombie, &Outcome::Accepted, 41_000);
    outbox.settle(&claim, &Outcome::Accepted, 42_000);
    assert!(outbox.send(&other, 43_000));
    assert!(!outbox.send(&other, 1_000_000));
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
fn a_skipped_revision_needs_no_repair() {
    let mut outbox = Outbox::default();
    let zombie = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    assert!(outbox.send(&FIRING, 40_000));
    outbox.settle(&zombie, &Outcome::Accepted, 41_000);
    let over = Revision { number: 2, state: BLUE, from: GREEN, over: true, ..Revision::default() };
    outbox.delivery.skip(&over);
    assert!(!outbox.delivery.is_due(&over));
}

#[test]
fn a_claim_broken_off_by_an_exit_is_taken_up_at_once_and_nobody_is_blamed() {
    let mut outbox = Outbox::default();
    let claim = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    assert!(!outbox.settle(&claim, &Outcome::CutShort, 1_100).health_changed);
    assert!(outbox.send(&FIRING, 1_100));
}

#[test]
fn a_failing_receiver_is_spared_other_news_as_well() {
    let (mut outbox, mut other) = (Outbox::default(), Outbox::default());
    let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    outbox.settle(&claim, &Outcome::Retry("503".into()), 1_000);
    other.receiver = outbox.receiver;
    assert!(other.claim_as(ME, &FIRING, 1_499).is_none());
    assert!(other.send(&FIRING, 1_500));
}

#[test]
fn a_pause_of_no_given_length_is_twice_as_long_each_time() {
    let mut outbox = Outbox::default();
    for (now, pause) in [(1_000, 5_000), (6_000, 10_000), (16_000, 20_000)] {
        let claim = outbox.claim_as(ME, &FIRING, now).expect("due");
        outbox.settle(&claim, &Outcome::RateLimited(None), now);
        assert_eq!(outbox.receiver.earliest, Millis(now + pause));
    }
    assert!(outbox.send(&FIRING, 36_000));
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
        let due = outbox.delivery.due_at(&outbox.conditions(ME, &FIRING)).expect("still owed");
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
    let news = Revision { number: 2, state: DOWN, from: GREEN, ..Revision::default() };
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

#[test]
fn no_message_starts_when_the_lease_is_over() {
    let mut outbox = Outbox::default();
    let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    let mut late = Outbox { delivery: outbox.delivery, ..Outbox::default() };
    assert!(outbox.may_send(&claim, &FIRING, 1_000 + LEASE.0 - 1));
    assert!(!late.may_send(&claim, &FIRING, 1_000 + LEASE.0));
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
fn a_new_receiver_is_sent_the_open_incident_and_no_past_one() {
    let begun = |number, over| {
        let delivery =
            DeliveryState::begin(&Revision { number, state: DOWN, from: GREEN, over, ..Revision::default() });
        (delivery.acked, delivery.acked_state)
    };
    assert_eq!(begun(3, false), (2, GREEN));
    assert_eq!(begun(3, true), (3, DOWN));
    assert_eq!(begun(0, false), (0, DOWN), "before the first revision there is no incident");
}

#[test]
fn before_the_first_revision_nothing_is_due() {
    let delivery = DeliveryState { repair: 1, ..DeliveryState::default() };
    assert!(!delivery.is_due(&Revision::default()));
    assert!(delivery.is_due(&FIRING));
}

#[test]
fn only_an_open_incident_whose_end_is_not_owed_waits_for_the_receiver() {
    let waits = |revision: &Revision, must_send_end| {
        let mut outbox = Outbox::default();
        outbox.receiver.rests = Millis(900_000);
        outbox.delivery.must_send_end = must_send_end;
        outbox.delivery.waits_for_receiver(&outbox.conditions(ME, revision), Millis(1_000))
    };
    assert!(waits(&FIRING, false));
    assert!(!waits(&FIRING, true));
    assert!(!waits(&Revision { over: true, planned: true, ..FIRING }, false));
}

#[test]
fn a_receiver_whose_pause_ends_now_holds_nothing_back() {
    let mut outbox = Outbox::default();
    outbox.receiver.rests = Millis(1_000);
    assert!(!outbox.delivery.waits_for_receiver(&outbox.conditions(ME, &FIRING), Millis(1_000)));
    assert!(outbox.send(&FIRING, 1_000));
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
fn a_lease_that_was_given_back_holds_nobody_back_whatever_lives() {
    let mut outbox = Outbox { processes: Processes { dead: 99 }, ..Outbox::default() };
    let claim = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    outbox.settle(&claim, &Outcome::CutShort, 1_100);
    assert!(outbox.send(&FIRING, 1_200));
}

#[test]
fn of_two_claims_at_one_instant_only_the_later_one_sends() {
    let mut outbox = Outbox::default();
    let first = outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    outbox.processes.dead = OTHER;
    let second = outbox.claim_as(ME, &FIRING, 1_000).expect("the owner is dead");
    assert!(!outbox.may_send(&first, &FIRING, 1_000));
    assert!(outbox.may_send(&second, &FIRING, 1_000));
}

#[test]
fn a_message_may_be_on_its_way_while_a_living_process_has_the_lease() {
    let mut outbox = Outbox { processes: Processes { dead: 99 }, ..Outbox::default() };
    let is_leased = |outbox: &Outbox, now| outbox.delivery.is_leased(&outbox.processes, Millis(now));
    assert!(!is_leased(&outbox, 0), "nobody ever had it");
    outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    assert_eq!([30_999, 31_000].map(|now| is_leased(&outbox, now)), [true, false]);
    outbox.processes.dead = ME;
    assert!(!is_leased(&outbox, 30_999));
}

#[test]
fn an_exiting_worker_gives_back_its_own_lease_and_no_other() {
    let mut outbox = Outbox::default();
    outbox.claim_as(OTHER, &FIRING, 1_000).expect("due");
    outbox.delivery.release(ME);
    assert_eq!(outbox.claim_as(ME, &FIRING, 2_000), None);
    outbox.delivery.release(OTHER);
    assert!(outbox.claim_as(ME, &FIRING, 2_000).is_some());
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
