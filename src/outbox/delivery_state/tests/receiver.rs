//! Receivers that fail, pause, reject or are new.

use super::*;

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
