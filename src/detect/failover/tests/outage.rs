//! Outages: what begins one, what ends one, and what does neither.

use super::*;

#[test]
fn three_failed_requests_without_an_answer_are_an_outage() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.fail();
    upstream.wait(10);
    upstream.fail();
    upstream.wait(3000);
    assert_eq!(upstream.changes, []);
    upstream.fail();
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);
}

#[test]
fn an_exhausted_upstream_is_down_at_once() {
    let mut upstream = Upstream::serving(BLUE);
    let start = upstream.now;
    upstream.see(Evidence { start, exhausted: true, ..Evidence::default() });
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);
}

#[test]
fn every_second_request_failing_is_no_outage() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..1000 {
        upstream.fail();
        upstream.wait(5);
        upstream.answer(BLUE, 1);
        upstream.wait(5);
    }
    assert_eq!(upstream.changes, []);
}

#[test]
fn an_outage_ends_with_an_answer_that_no_failure_contradicts() {
    let mut upstream = Upstream::in_outage();
    upstream.answer(GREEN, 0);
    upstream.wait(100);
    upstream.fail();
    upstream.wait(2000);
    assert_eq!(upstream.changes, []);
    upstream.answer(GREEN, 0);
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Down, Serving::Pool(GREEN))]);
}

#[test]
fn an_outage_ends_although_some_requests_still_fail() {
    let mut upstream = Upstream::in_outage();
    for _ in 0..100 {
        for _ in 0..4 {
            upstream.answer(BLUE, 0);
            upstream.wait(10);
        }
        upstream.fail();
        upstream.wait(10);
    }
    assert_eq!(upstream.changes, [(Serving::Down, Serving::Pool(BLUE))]);
}

#[test]
fn an_outage_goes_on_while_most_requests_fail() {
    let mut upstream = Upstream::in_outage();
    for _ in 0..100 {
        upstream.answer(BLUE, 0);
        for _ in 0..4 {
            upstream.wait(10);
            upstream.fail();
        }
    }
    assert_eq!(upstream.changes, []);
}

#[test]
fn a_stranger_s_answer_speaks_against_an_outage_and_ends_one() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..10 {
        upstream.fail();
        let start = upstream.now + Millis(1);
        assert_eq!(upstream.machine.fold_stranger(start, Expected::Pool(BLUE)), None);
        upstream.wait(1000);
    }
    assert_eq!(upstream.changes, []);
    for _ in 0..3 {
        upstream.fail();
        upstream.wait(1000);
    }
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);
    assert_eq!(upstream.machine.fold_stranger(upstream.now, Expected::Pool(BLUE)), None);
    upstream.wait(1000);
    assert_eq!(upstream.changes.last(), Some(&(Serving::Down, Serving::Pool(BLUE))));
}

#[test]
fn before_any_answer_an_outage_is_confirmed_for_ten_seconds() {
    let mut upstream = Upstream::new();
    (0..3).for_each(|_| upstream.fail());
    upstream.wait(9_999);
    assert_eq!(upstream.changes, []);
    upstream.wait(1);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Down)]);
}

#[test]
fn failures_outlive_a_failover_but_neither_an_outage_nor_its_end() {
    let mut upstream = Upstream::serving(BLUE);
    (0..2).for_each(|_| upstream.fail());
    upstream.answer(GREEN, 1);
    upstream.wait(1000);
    upstream.fail();
    let failover = (Serving::Pool(BLUE), Serving::Pool(GREEN));
    assert_eq!(upstream.changes, [failover, (Serving::Pool(GREEN), Serving::Down)]);

    upstream.changes.clear();
    upstream.answer(GREEN, 0);
    (0..2).for_each(|_| upstream.fail());
    (0..2).for_each(|_| upstream.answer(GREEN, 0));
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Down, Serving::Pool(GREEN))]);
    upstream.changes.clear();
    upstream.fail();
    upstream.wait(5000);
    assert_eq!(upstream.changes, []);
}

#[test]
fn an_outage_and_its_end_are_confirmed_for_a_second_at_most() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.rules.failover = Some(Millis::from_secs(20));
    (0..3).for_each(|_| upstream.fail());
    upstream.wait(999);
    assert_eq!(upstream.changes, []);
    upstream.wait(1);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);
    upstream.answer(BLUE, 0);
    upstream.wait(999);
    assert_eq!(upstream.changes.len(), 1);
    upstream.wait(1);
    assert_eq!(upstream.changes.last(), Some(&(Serving::Down, Serving::Pool(BLUE))));
}

#[test]
fn any_number_of_failures_from_the_third_on_is_an_outage_when_its_deadline_comes() {
    for failures in 3..6 {
        let mut upstream = Upstream::serving(BLUE);
        let due = upstream.now + Millis(1000);
        (0..failures).for_each(|_| upstream.fail());
        assert_eq!(upstream.machine.outage_due(&upstream.rules), Some(due));
        assert_eq!(upstream.machine.deadline(&upstream.rules, Expected::Pool(BLUE)), Some(due));
        upstream.jump(1000);
        assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);
    }
}

#[test]
fn another_pools_answer_has_a_deadline_and_is_no_outage() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(GREEN, 0);
    assert_eq!(upstream.machine.outage_due(&upstream.rules), None);
    let due = upstream.now + Millis(1000);
    assert_eq!(upstream.machine.deadline(&upstream.rules, Expected::Pool(BLUE)), Some(due));
}

#[test]
fn after_the_operators_choice_an_outage_is_not_waited_for_as_in_a_cold_upstream() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.machine.expect_anew(upstream.now);
    upstream.jump(1);
    (0..3).for_each(|_| upstream.fail());
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Down)]);
}

#[test]
fn an_outage_of_a_slow_pool_is_waited_for_twice_as_long_as_the_pool_takes() {
    let mut upstream = Upstream::serving(BLUE);
    (0..3).for_each(|_| upstream.answer(BLUE, 2000));
    upstream.jump(1);
    (0..3).for_each(|_| upstream.fail());
    upstream.wait(3999);
    assert_eq!(upstream.changes, []);
    upstream.wait(1);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);
}
