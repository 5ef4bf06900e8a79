//! When an error rate fires, eases and resolves.

use super::*;
use crate::units::Ratio;
use crate::window::{Entry, Ring, WORDS};

struct Upstream {
    machine: ErrorRate,
    rules: ErrorRateRules,
    window: Window,
    period: Period,
    ring: Box<Ring>,
    now: Millis,
    changes: Vec<RateState>,
}

impl Upstream {
    fn new() -> Self {
        let ring = vec![0; WORDS].into_boxed_slice().try_into().expect("the ring's length");
        let rules = ErrorRateRules::default();
        let window = Window::new(rules.window);
        let period = Period::default();
        Self { machine: ErrorRate::default(), rules, window, period, ring, now: Millis(50_000), changes: Vec::new() }
    }

    fn requests(&mut self, count: usize, error: bool, apart: Millis) {
        for _ in 0..count {
            self.now = self.now + apart;
            let entry = Entry { upstream_error: error, client_error: false };
            self.window.push(&mut self.ring, entry);
            self.period.push(entry, self.now);
            self.machine.note_traffic(self.now);
            self.tick();
        }
    }
}

impl Upstream {
    fn push(&mut self, count: usize, client_error: bool) {
        for _ in 0..count {
            self.window.push(&mut self.ring, Entry { upstream_error: client_error, client_error });
        }
    }

    fn tick(&mut self) {
        self.changes.extend(self.machine.tick(&self.rules, &self.window, &self.period, self.now));
    }

    /// No requests; time passes, and the machine ticks at every deadline.
    fn silence(&mut self, span: Millis) {
        let until = self.now + span;
        while let Some(due) = self.machine.deadline(&self.rules, &self.window).filter(|&due| due <= until) {
            let before = self.changes.len();
            self.now = due;
            self.tick();
            assert!(self.changes.len() > before, "a deadline that changes nothing would be waited for again and again");
        }
        self.now = until;
    }
}

#[test]
fn a_total_outage_fires_with_the_fifth_failed_request() {
    let mut upstream = Upstream::new();
    upstream.requests(4, true, Millis(10));
    assert_eq!(upstream.changes, []);
    upstream.requests(1, true, Millis(10));
    assert_eq!(upstream.changes, [RateState::Firing]);
}

#[test]
fn one_error_among_the_first_ten_requests_is_no_alert() {
    let mut upstream = Upstream::new();
    upstream.requests(9, false, Millis(10));
    upstream.requests(1, true, Millis(10));
    assert_eq!(upstream.changes, []);
}

#[test]
fn a_low_rate_resolves_after_a_whole_window_and_the_hold() {
    let mut upstream = Upstream::new();
    upstream.requests(5, true, Millis(10));
    // After 199 good requests one error is left in the window, which is low. From there on a whole window must
    // pass.
    upstream.requests(199, false, Millis(10));
    upstream.requests(200, false, Millis(10));
    assert_eq!(upstream.changes, [RateState::Firing]);
    let hold_ends = upstream.machine.deadline(&upstream.rules, &upstream.window).expect("only time is missing");
    upstream.now = hold_ends - Millis(1);
    upstream.tick();
    assert_eq!(upstream.changes, [RateState::Firing]);
    upstream.now = hold_ends;
    upstream.tick();
    assert_eq!(upstream.changes, [RateState::Firing, RateState::Ok]);
}

#[test]
fn errors_during_the_hold_start_it_again() {
    let mut upstream = Upstream::new();
    upstream.requests(5, true, Millis(100));
    for _ in 0..20 {
        upstream.requests(190, false, Millis(100));
        upstream.requests(3, true, Millis(100));
    }
    assert_eq!(upstream.changes, [RateState::Firing]);
}

#[test]
fn traffic_that_ends_while_firing_is_no_data_and_never_a_recovery() {
    let mut upstream = Upstream::new();
    upstream.requests(5, true, Millis(10));
    upstream.silence(Millis::from_secs(3600));
    assert_eq!(upstream.changes, [RateState::Firing, RateState::NoData]);
    upstream.requests(1, false, Millis(10));
    assert_eq!(upstream.changes, [RateState::Firing, RateState::NoData], "a good request raises no alarm");
}

#[test]
fn a_rate_below_the_threshold_says_how_far_it_is_from_its_end() {
    let mut upstream = Upstream::new();
    upstream.requests(69, false, Millis(10));
    let easing = |upstream: &Upstream| upstream.machine.easing(&upstream.rules, &upstream.window, upstream.now);
    upstream.requests(31, true, Millis(10));
    assert_eq!(easing(&upstream), None, "it is above the threshold");
    // After 196 good requests four errors are left, then one.
    upstream.requests(196, false, Millis(10));
    let below = easing(&upstream).expect("below the threshold");
    assert_eq!((below.peak, below.is_low), (Ratio::from_millionths(310_000), false));
    assert_eq!(below.below, upstream.now);
    upstream.requests(3, false, Millis(10));
    let low = easing(&upstream).expect("still firing");
    assert_eq!((low.is_low, low.requests, low.time), (true, 200, HOLD));
    upstream.requests(60, false, Millis(10));
    let later = easing(&upstream).expect("still firing");
    assert_eq!((later.requests, later.time, later.below), (140, HOLD - Millis(600), below.below));
}

#[test]
fn clients_get_errors_by_the_requests_since_that_number() {
    let mut upstream = Upstream::new();
    upstream.push(10, true);
    let get_errors = |upstream: &Upstream, number| {
        do_clients_get_errors(&upstream.rules, &upstream.window, &upstream.period, &upstream.ring, number, upstream.now)
    };
    assert!(get_errors(&upstream, 0) && get_errors(&upstream, 5));
    assert!(!get_errors(&upstream, 6), "four are not more than 2% of 200");
    upstream.push(195, false);
    assert!(get_errors(&upstream, 0), "five are among the last two hundred");
    upstream.push(1, false);
    assert!(!get_errors(&upstream, 0));
}

#[test]
fn a_period_fires_by_the_share_of_what_it_saw_and_resolves_after_itself() {
    let mut upstream = Upstream::new();
    upstream.rules = ErrorRateRules { window: 0, period: Millis::from_secs(60), ..upstream.rules };
    upstream.period.set_span(upstream.rules.period);
    // Ten errors in forty requests: too few requests for a verdict.
    upstream.requests(30, false, Millis(100));
    upstream.requests(10, true, Millis(100));
    assert_eq!(upstream.changes, []);
    upstream.requests(10, false, Millis(100));
    assert_eq!(upstream.changes, [RateState::Firing]);
    upstream.requests(1100, false, Millis(100));
    assert_eq!(upstream.changes, [RateState::Firing]);
    upstream.requests(200, false, Millis(100));
    assert_eq!(upstream.changes, [RateState::Firing, RateState::Ok]);
}

#[test]
fn a_period_says_nothing_before_its_fifth_error() {
    let mut upstream = Upstream::new();
    upstream.rules = ErrorRateRules { window: 0, period: Millis::from_secs(60), ..upstream.rules };
    upstream.period.set_span(upstream.rules.period);
    upstream.requests(60, false, Millis(100));
    upstream.requests(4, true, Millis(100));
    assert_eq!(upstream.changes, []);
    upstream.requests(1, true, Millis(100));
    assert_eq!(upstream.changes, [RateState::Firing]);
}

#[test]
fn a_threshold_of_nothing_fires_at_the_first_error_and_can_resolve() {
    let mut upstream = Upstream::new();
    upstream.rules.threshold = Ratio::default();
    upstream.rules.resolve = Ratio::default();
    upstream.requests(1, true, Millis(100));
    assert_eq!(upstream.changes, [RateState::Firing]);
    upstream.requests(401, false, Millis(100));
    assert_eq!(upstream.changes, [RateState::Firing, RateState::Ok]);
}

#[test]
fn a_resumed_state_is_the_one_that_was_saved_and_a_reset_one_keeps_the_last_request() {
    let mut machine = ErrorRate::resume(RateState::Firing, Millis(5), Millis(9));
    assert_eq!((machine.level(), machine.since(), machine.seen()), (RateState::Firing, Millis(5), Millis(9)));
    machine.reset();
    assert_eq!((machine.level(), machine.since(), machine.seen()), (RateState::Ok, Millis::ZERO, Millis(9)));
}

#[test]
fn a_level_begins_when_it_changes_and_without_requests_a_low_rate_does_not_resolve() {
    let mut upstream = Upstream::new();
    upstream.requests(5, true, Millis(10));
    assert_eq!((upstream.machine.since(), upstream.machine.seen()), (upstream.now, upstream.now));
    upstream.requests(250, false, Millis(10));
    let seen = upstream.now;
    assert_eq!(upstream.machine.deadline(&upstream.rules, &upstream.window), Some(seen + NO_DATA));
    upstream.now = seen + HOLD + HOLD;
    upstream.tick();
    assert_eq!(upstream.changes, [RateState::Firing]);
}

#[test]
fn by_the_period_clients_get_errors_by_the_client_errors_since_that_number_whatever_the_rules_watch() {
    let mut upstream = Upstream::new();
    upstream.rules =
        ErrorRateRules { window: 0, period: Millis::from_secs(60), of: RateOf::Upstream, ..upstream.rules };
    upstream.period.set_span(upstream.rules.period);
    let push = |upstream: &mut Upstream, count, entry| {
        for _ in 0..count {
            upstream.window.push(&mut upstream.ring, entry);
            upstream.period.push(entry, upstream.now);
        }
    };
    let get_errors = |upstream: &Upstream, number| {
        do_clients_get_errors(&upstream.rules, &upstream.window, &upstream.period, &upstream.ring, number, upstream.now)
    };
    push(&mut upstream, 60, Entry { upstream_error: true, client_error: false });
    assert!(!get_errors(&upstream, 0), "a retry gave the clients good answers");
    push(&mut upstream, 10, Entry { upstream_error: true, client_error: true });
    assert!(get_errors(&upstream, 0) && get_errors(&upstream, 60));
    assert!(!get_errors(&upstream, 66), "four errors are too few");
    push(&mut upstream, 600, Entry::default());
    push(&mut upstream, 10, Entry { upstream_error: true, client_error: true });
    assert!(
        !get_errors(&upstream, 100),
        "the ten of six hundred are many of the last two hundred, but there is no window"
    );
}

#[test]
fn the_periods_counts_are_shown_if_there_is_no_window_or_only_the_period_is_above() {
    // The window's length, errors, good requests after them; is the period shown?
    for (window, errors, good, by_period) in
        [(0, 0, 10, true), (200, 0, 60, false), (200, 4, 60, false), (200, 6, 60, false), (200, 5, 200, true)]
    {
        let mut upstream = Upstream::new();
        upstream.rules = ErrorRateRules { window, period: Millis::from_secs(60), ..upstream.rules };
        upstream.period.set_span(upstream.rules.period);
        // One request that only the window saw tells the two apart.
        upstream.push(1, false);
        upstream.requests(errors, true, Millis(10));
        upstream.requests(good, false, Millis(10));
        let shown = shown(&upstream.rules, &upstream.window, &upstream.period, upstream.now);
        let period = upstream.period.counts(upstream.now).unwrap_or_default();
        assert_eq!(shown == period, by_period, "{window} {errors} {good}");
    }
}

#[test]
fn when_the_requests_end_a_period_without_errors_is_no_recovery() {
    let mut upstream = Upstream::new();
    upstream.rules = ErrorRateRules { window: 0, period: Millis::from_secs(60), ..upstream.rules };
    upstream.period.set_span(upstream.rules.period);
    upstream.requests(50, true, Millis(100));
    for _ in 0..5 {
        upstream.now = upstream.now + Millis::from_secs(61);
        upstream.tick();
    }
    assert_eq!(upstream.changes, [RateState::Firing]);
}
