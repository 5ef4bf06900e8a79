//! Which worker sends, and what a late sender leaves behind.

use super::*;

#[test]
fn a_silence_that_begins_between_claim_and_send_holds_the_message_back() {
    let mut outbox = Outbox::default();
    let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    outbox.silenced = Millis(60_000);
    assert!(!outbox.may_send(&claim, &FIRING, 1_001));
    assert!(outbox.send(&FIRING, 60_000));
}

#[test]
fn a_leased_delivery_is_sent_by_nobody_else_until_the_owner_dies_or_the_lease_ends() {
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
fn no_message_starts_when_the_lease_is_over() {
    let mut outbox = Outbox::default();
    let claim = outbox.claim_as(ME, &FIRING, 1_000).expect("due");
    let mut late = Outbox { delivery: outbox.delivery, ..Outbox::default() };
    assert!(outbox.may_send(&claim, &FIRING, 1_000 + LEASE.0 - 1));
    assert!(!late.may_send(&claim, &FIRING, 1_000 + LEASE.0));
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
