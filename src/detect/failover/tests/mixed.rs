//! Traffic that several pools share: which of them keeps it, takes it, or neither.

use super::*;

/// So many requests, of which every `of`-th is answered by the other pool.
fn every(upstream: &mut Upstream, of: u64, other: PoolId, own: PoolId, count: u64) {
    for index in 0..count {
        upstream.answer(if index % of == 0 { other } else { own }, 0);
        upstream.wait(20);
    }
}

#[test]
fn a_primary_that_keeps_four_fifths_of_the_answers_keeps_the_state() {
    let mut upstream = Upstream::serving(BLUE);
    every(&mut upstream, 6, GREEN, BLUE, 3000);
    assert_eq!(upstream.changes, []);
}

#[test]
fn half_of_the_answers_each_is_mixed_after_the_span_and_once() {
    let mut upstream = Upstream::serving(BLUE);
    every(&mut upstream, 2, GREEN, BLUE, 3000);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Mixed)]);
}

#[test]
fn few_answers_are_looked_at_for_longer_before_they_are_mixed() {
    for (seconds, expected) in [(30, &[][..]), (70, &[(Serving::Pool(BLUE), Serving::Mixed)][..])] {
        let mut upstream = Upstream::serving(BLUE);
        for index in 0..2 * seconds {
            upstream.answer(if matches!(index % 5, 0 | 2) { GREEN } else { BLUE }, 0);
            upstream.wait(500);
        }
        assert_eq!(upstream.changes, expected, "{seconds} s");
    }
}

#[test]
fn half_of_the_answers_each_is_mixed_under_load_too() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..12_000 {
        for pool in [BLUE, GREEN, BLUE, GREEN] {
            upstream.answer(pool, 0);
        }
        upstream.wait(1);
    }
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Mixed)]);
}

#[test]
fn a_backup_that_prevails_although_the_primary_answers_now_and_then_takes_over() {
    let mut upstream = Upstream::serving(BLUE);
    every(&mut upstream, 10, BLUE, GREEN, 3000);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn mixed_ends_when_one_pool_prevails_again() {
    for (winner, other) in [(BLUE, GREEN), (GREEN, BLUE)] {
        let mut upstream = Upstream::serving(BLUE);
        every(&mut upstream, 2, GREEN, BLUE, 1500);
        upstream.changes.clear();
        every(&mut upstream, 20, other, winner, 1500);
        assert_eq!(upstream.changes, [(Serving::Mixed, Serving::Pool(winner))]);
    }
}

#[test]
fn stale_finishers_prove_nothing_in_mixed_traffic_either() {
    let mut upstream = Upstream::serving(BLUE);
    every(&mut upstream, 2, GREEN, BLUE, 1500);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Mixed)]);
    upstream.wait(1000);
    upstream.answer(BLUE, 0);
    for _ in 0..5 {
        upstream.wait(10);
        upstream.answer(GREEN, 500);
    }
    upstream.wait(60_000);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Mixed)]);
}

#[test]
fn a_failover_and_its_end_are_never_mixed_on_the_way() {
    let mut upstream = Upstream::serving(BLUE);
    every(&mut upstream, 1, GREEN, BLUE, 1000);
    every(&mut upstream, 1, BLUE, GREEN, 1000);
    let expected = [(Serving::Pool(BLUE), Serving::Pool(GREEN)), (Serving::Pool(GREEN), Serving::Pool(BLUE))];
    assert_eq!(upstream.changes, expected);
}

#[test]
fn traffic_is_mixed_only_by_what_came_since_the_state_began() {
    fn share(upstream: &mut Upstream, seconds: u64) {
        for index in 0..2 * seconds {
            upstream.answer(if matches!(index % 5, 0 | 2) { GREEN } else { BLUE }, 0);
            upstream.wait(500);
        }
    }
    let mut upstream = Upstream::serving(BLUE);
    share(&mut upstream, 40);
    upstream.answer_instead(GREEN, &[BLUE]);
    let failover = (Serving::Pool(BLUE), Serving::Pool(GREEN));
    share(&mut upstream, 55);
    assert_eq!(upstream.changes, [failover]);
    share(&mut upstream, 10);
    assert_eq!(upstream.changes, [failover, (Serving::Pool(GREEN), Serving::Mixed)]);
}

#[test]
fn traffic_is_mixed_too_if_the_serving_pool_answered_last_at_each_look() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..300 {
        upstream.jump(100);
        upstream.answer(GREEN, 0);
        upstream.answer(BLUE, 0);
    }
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Mixed)]);
}
