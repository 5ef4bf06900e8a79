//! Scenes of one upstream: who answers when, and which changes come of it.

mod mixed;
mod outage;

use super::*;

const BLUE: PoolId = PoolId::FIRST;
const GREEN: PoolId = PoolId::new(1).expect("a pool");
const RED: PoolId = PoolId::new(2).expect("a pool");

fn set(pools: &[PoolId]) -> PoolSet {
    pools.iter().copied().collect()
}

/// One upstream whose expected pool is blue, with a clock that the test moves.
struct Upstream {
    machine: Failover,
    rules: Rules,
    now: Millis,
    changes: Vec<(Serving, Serving)>,
}

impl Upstream {
    fn new() -> Self {
        let rules = Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() };
        let mut machine = Failover::default();
        machine.set_rules(&rules);
        Self { machine, rules, now: Millis(100_000), changes: Vec::new() }
    }

    fn serving(pool: PoolId) -> Self {
        let mut upstream = Self::new();
        upstream.answer(pool, 1);
        upstream.wait(60_000);
        upstream.changes.clear();
        upstream
    }

    /// Blue served, and three requests in three seconds failed.
    fn in_outage() -> Self {
        let mut upstream = Self::serving(BLUE);
        for _ in 0..3 {
            upstream.fail();
            upstream.wait(1000);
        }
        upstream.changes.clear();
        upstream
    }

    fn note(&mut self, change: Option<Change>) {
        self.changes.extend(change.map(|change| (change.from, change.to)));
    }

    fn see(&mut self, evidence: Evidence) {
        let change = self.machine.fold(&evidence, Expected::Pool(BLUE));
        self.note(change);
        let change = self.machine.tick(&self.rules, Expected::Pool(BLUE), self.now);
        self.note(change);
    }

    /// An answer that took `took` milliseconds, ending now.
    fn answer(&mut self, pool: PoolId, took: u64) {
        let start = self.now - Millis(took);
        self.see(Evidence { answered: Some(pool), start, to_header: took as u32, ..Evidence::default() });
    }

    fn fail(&mut self) {
        self.see(Evidence { start: self.now, ..Evidence::default() });
    }

    /// An answer of a pool while nginx refuses to ask these.
    fn answer_instead(&mut self, pool: PoolId, unusable: &[PoolId]) {
        self.see(Evidence { answered: Some(pool), start: self.now, unusable: set(unusable), ..Evidence::default() });
    }

    /// An answer of a pool while these have all the connections that they may have.
    fn answer_overflow(&mut self, pool: PoolId, full: &[PoolId]) {
        self.see(Evidence { answered: Some(pool), start: self.now, full: set(full), ..Evidence::default() });
    }

    fn wait(&mut self, millis: u64) {
        (0..millis).for_each(|_| self.jump(1));
    }

    /// The same time at once, without a look in between.
    fn jump(&mut self, millis: u64) {
        self.now = self.now + Millis(millis);
        let change = self.machine.tick(&self.rules, Expected::Pool(BLUE), self.now);
        self.note(change);
    }
}

#[test]
fn the_expected_pool_is_taken_for_serving_with_its_first_answer() {
    let mut upstream = Upstream::new();
    upstream.answer(BLUE, 1);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Pool(BLUE))]);
}

#[test]
fn a_backup_that_answers_once_uncontradicted_is_a_failover_after_confirm() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(GREEN, 0);
    upstream.wait(999);
    assert_eq!(upstream.changes, []);
    upstream.wait(1);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn a_later_answer_of_the_primary_contradicts_the_backup() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..100 {
        upstream.answer(GREEN, 1);
        upstream.wait(10);
        upstream.answer(BLUE, 1);
        upstream.wait(10);
    }
    upstream.wait(5000);
    assert_eq!(upstream.changes, []);
}

#[test]
fn an_earlier_answer_of_the_primary_that_ends_later_contradicts_nothing() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.wait(500);
    upstream.answer(GREEN, 0);
    upstream.wait(300);
    upstream.answer(BLUE, 310);
    upstream.wait(700);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn many_answers_in_a_row_need_no_confirmation() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..40 {
        upstream.answer(GREEN, 0);
        upstream.wait(1);
    }
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn nginx_refusing_to_ask_the_primary_is_a_failover_at_once() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer_instead(GREEN, &[BLUE]);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn a_stale_finisher_of_the_old_pool_proves_nothing() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(GREEN, 0);
    upstream.wait(1000);
    upstream.changes.clear();
    for _ in 0..60 {
        upstream.wait(500);
        upstream.answer(BLUE, 40_000);
        upstream.answer(GREEN, 1);
    }
    assert_eq!(upstream.changes, []);
}

#[test]
fn a_probe_per_fail_timeout_is_no_recovery() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(GREEN, 0);
    upstream.wait(1000);
    upstream.changes.clear();
    for _ in 0..30 {
        upstream.answer(BLUE, 1);
        for _ in 0..20 {
            upstream.wait(100);
            upstream.answer(GREEN, 1);
        }
    }
    assert_eq!(upstream.changes, []);
}

#[test]
fn the_primary_is_back_when_it_answers_everything_for_the_return_span() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(GREEN, 0);
    upstream.wait(30_000);
    upstream.changes.clear();
    let mut waited = 0;
    while upstream.changes.is_empty() && waited < 60_000 {
        upstream.wait(100);
        upstream.answer(BLUE, 1);
        waited += 100;
    }
    assert_eq!(upstream.changes, [(Serving::Pool(GREEN), Serving::Pool(BLUE))]);
    assert!((7_000..=11_000).contains(&waited), "came after {waited} ms");
}

#[test]
fn at_low_traffic_five_answers_over_the_return_span_are_a_recovery_without_a_further_request() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(GREEN, 0);
    upstream.wait(30_000);
    upstream.changes.clear();
    for _ in 0..4 {
        upstream.answer(BLUE, 1);
        upstream.wait(5000);
    }
    assert_eq!(upstream.changes, []);
    upstream.answer(BLUE, 1);
    assert_eq!(upstream.changes, [(Serving::Pool(GREEN), Serving::Pool(BLUE))]);
}

#[test]
fn what_follows_an_answer_within_one_tick_of_the_clock_counts() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(BLUE, 0);
    (0..3).for_each(|_| upstream.fail());
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Down)]);

    let mut upstream = Upstream::serving(BLUE);
    upstream.answer(BLUE, 0);
    upstream.answer(GREEN, 0);
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);

    let mut upstream = Upstream::serving(BLUE);
    (0..3).for_each(|_| upstream.fail());
    upstream.answer(GREEN, 0);
    upstream.answer(BLUE, 0);
    upstream.wait(60_000);
    assert_eq!(upstream.changes, []);
}

#[test]
fn what_is_younger_than_the_answer_that_begins_a_state_may_come_first() {
    let mut upstream = Upstream::new();
    upstream.fail();
    upstream.answer(BLUE, 1);
    (0..2).for_each(|_| upstream.fail());
    upstream.wait(1000);
    let known = (Serving::Unknown, Serving::Pool(BLUE));
    assert_eq!(upstream.changes, [known, (Serving::Pool(BLUE), Serving::Down)]);

    let mut upstream = Upstream::new();
    upstream.answer(GREEN, 0);
    upstream.answer(BLUE, 1);
    upstream.wait(1000);
    assert_eq!(upstream.changes, [known, (Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn a_primary_that_nginx_has_given_up_before_its_first_answer_is_a_failover_at_once() {
    let mut upstream = Upstream::new();
    upstream.answer_instead(GREEN, &[BLUE]);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Pool(GREEN))]);
}

#[test]
fn a_fast_backup_does_not_outrun_a_slow_primary() {
    let mut upstream = Upstream::new();
    for _ in 0..21 {
        upstream.wait(5000);
        upstream.answer(BLUE, 5000);
    }
    upstream.changes.clear();
    // Ten requests a second; each hundredth fails at blue at once and is answered by green.
    for index in 0..6000 {
        if index % 100 == 0 {
            upstream.answer(GREEN, 0);
        }
        upstream.wait(100);
        if index % 100 != 50 {
            upstream.answer(BLUE, 5000);
        }
    }
    assert_eq!(upstream.changes, []);
}

#[test]
fn pools_that_serve_together_by_configuration_are_one_and_never_a_failover() {
    let mut machine = Failover::default();
    let rules = Rules::default();
    let mut changes = Vec::new();
    let together = Expected::Several(set(&[BLUE, GREEN]));
    for now in 1..2000 {
        let pool = [BLUE, GREEN][now as usize % 2];
        let seen = Evidence { answered: Some(pool), start: Millis(now), ..Evidence::default() };
        changes.extend(machine.fold(&seen, together));
        changes.extend(machine.tick(&rules, together, Millis(now)));
    }
    assert_eq!(changes, [Change { from: Serving::Unknown, to: Serving::Pool(BLUE), since: Millis(1) }]);
}

#[test]
fn pools_that_serve_together_are_given_up_when_nginx_refuses_to_ask_any_of_them() {
    for (unusable, changes) in [(&[BLUE][..], 0), (&[GREEN], 0), (&[BLUE, GREEN], 1)] {
        let mut machine = Failover::default();
        let together = Expected::Several(set(&[BLUE, GREEN]));
        machine.fold(&Evidence { answered: Some(GREEN), start: Millis(1), ..Evidence::default() }, together);
        let seen = Evidence { answered: Some(RED), start: Millis(2), unusable: set(unusable), ..Evidence::default() };
        assert_eq!(machine.fold(&seen, together).into_iter().count(), changes, "{unusable:?}");
    }
}

#[test]
fn before_its_first_answer_a_primary_has_ten_seconds() {
    let mut upstream = Upstream::new();
    for _ in 0..90 {
        upstream.answer(GREEN, 0);
        upstream.fail();
        upstream.wait(100);
    }
    assert_eq!(upstream.changes, []);
    upstream.answer(GREEN, 0);
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Pool(GREEN))]);
}

#[test]
fn what_was_chosen_in_the_tick_in_which_a_state_begins_proves_nothing_against_it() {
    let mut upstream = Upstream::new();
    upstream.answer(BLUE, 0);
    upstream.answer(GREEN, 0);
    upstream.wait(60_000);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Pool(BLUE))]);
}

#[test]
fn of_several_challengers_the_one_that_is_certain_first_takes_over() {
    // A slow pool is certain later, although its answers began earlier.
    for (green_took, winner) in [(2000, RED), (10, GREEN)] {
        let mut upstream = Upstream::serving(BLUE);
        upstream.answer(GREEN, green_took);
        upstream.answer(RED, 0);
        upstream.jump(10_000);
        assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(winner))]);
    }
}

#[test]
fn a_resumed_state_is_the_one_that_was_saved() {
    let machine = Failover::resume(Serving::Pool(GREEN), Millis(5));
    assert_eq!((machine.serving(), machine.since()), (Serving::Pool(GREEN), Millis(5)));
}

#[test]
fn another_span_of_the_rules_drops_the_shares_counted_so_far() {
    let mut upstream = Upstream::new();
    upstream.answer(BLUE, 1);
    let counted = |upstream: &Upstream| upstream.machine.ledger.share(BLUE, Millis::ZERO, upstream.now).of;
    upstream.machine.set_rules(&upstream.rules);
    assert_eq!(counted(&upstream), 1);
    upstream.machine.set_rules(&Rules { fail_timeout: Millis::from_secs(60), ..upstream.rules });
    assert_eq!(counted(&upstream), 0);
}

#[test]
fn after_the_operators_choice_a_pool_that_has_answered_before_is_not_waited_for_as_a_cold_one() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.machine.expect_anew(upstream.now);
    assert_eq!((upstream.machine.serving(), upstream.machine.since()), (Serving::Unknown, upstream.now));
    upstream.jump(1);
    upstream.answer(GREEN, 0);
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Unknown, Serving::Pool(GREEN))]);
}

#[test]
fn a_stale_finisher_says_nothing_about_how_fast_its_pool_is() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer_instead(GREEN, &[BLUE]);
    let before = upstream.machine;
    upstream.answer(BLUE, 40_000);
    assert_eq!(upstream.machine, before);
}

#[test]
fn in_the_tick_in_which_a_state_begins_only_its_own_pools_answers_count() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer_instead(GREEN, &[BLUE]);
    let counted =
        |upstream: &Upstream, pool| upstream.machine.ledger.share(pool, upstream.machine.since(), upstream.now).of;
    let before = [GREEN, RED].map(|pool| upstream.machine.ledger.share(pool, Millis::ZERO, upstream.now).of);
    upstream.answer(GREEN, 0);
    upstream.answer(RED, 0);
    let after = [GREEN, RED].map(|pool| upstream.machine.ledger.share(pool, Millis::ZERO, upstream.now).of);
    assert_eq!((after, before, counted(&upstream, RED)), ([2, 0], [1, 0], 0));
}

#[test]
fn what_was_answered_before_a_state_began_is_no_share_of_it() {
    let mut upstream = Upstream::serving(BLUE);
    for _ in 0..100 {
        upstream.wait(100);
        upstream.answer(BLUE, 0);
    }
    upstream.wait(1);
    upstream.answer_instead(GREEN, &[BLUE]);
    upstream.wait(1000);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn thin_traffic_of_the_expected_pool_is_a_return_by_its_share_of_the_whole_span() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer_instead(GREEN, &[BLUE]);
    upstream.wait(30_000);
    upstream.changes.clear();
    for count in 0..7 {
        upstream.answer(BLUE, 0);
        if count == 1 {
            upstream.jump(1);
            upstream.answer(GREEN, 0);
        }
        upstream.wait(1800);
    }
    assert_eq!(upstream.changes, [(Serving::Pool(GREEN), Serving::Pool(BLUE))]);
}

#[test]
fn what_a_full_pool_cannot_take_is_no_failover() {
    let overflow = |full: &[PoolId]| {
        let mut upstream = Upstream::serving(BLUE);
        for _ in 0..200 {
            upstream.answer_overflow(GREEN, full);
            (0..5).for_each(|_| upstream.answer(GREEN, 1));
            upstream.wait(50);
        }
        upstream.changes
    };
    assert_eq!(overflow(&[BLUE]), []);
    assert_eq!(overflow(&[GREEN]), [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn a_full_pool_that_is_given_up_is_left() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer_overflow(GREEN, &[BLUE]);
    upstream.answer_instead(GREEN, &[BLUE]);
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn an_overflow_ends_and_a_failover_after_it_is_seen() {
    let mut upstream = Upstream::serving(BLUE);
    upstream.answer_overflow(GREEN, &[BLUE]);
    upstream.wait(1100);
    (0..100).for_each(|_| {
        upstream.answer(GREEN, 1);
        upstream.wait(20);
    });
    assert_eq!(upstream.changes, [(Serving::Pool(BLUE), Serving::Pool(GREEN))]);
}

#[test]
fn a_worker_that_has_given_up_the_own_pool_need_not_wait_for_a_cold_start() {
    let changes_after = |unusable_here: &[PoolId], millis| {
        let mut upstream = Upstream::new();
        let (start, unusable_here) = (upstream.now, set(unusable_here));
        upstream.see(Evidence { answered: Some(GREEN), start, unusable_here, ..Evidence::default() });
        upstream.wait(millis);
        upstream.changes.len()
    };
    assert_eq!([500, 1500].map(|millis| changes_after(&[BLUE], millis)), [0, 1]);
    assert_eq!([1500, 9000, 10_500].map(|millis| changes_after(&[], millis)), [0, 0, 1]);
}
