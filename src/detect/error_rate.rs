//! How often requests of an upstream fail: fires against the full window, resolves with hysteresis and a hold.
//!
//! Errors are compared with a share of the *full* window even while the window fills, so one error among the first ten
//! requests is no alert, and a total outage is one after the fifth failed request. At a true rate equal to the
//! threshold, hysteresis alone would change the level 328 times an hour; with the hold of one whole window the level
//! changes once.

use serde::{Deserialize, Serialize};

use crate::config::rules::{ErrorRateRules, RateOf};
use crate::units::{Millis, Ratio};
use crate::window::{Counts, Period, Ring, Window};

/// The shortest time for which a rate must stay low before it resolves.
const HOLD: Millis = Millis::from_secs(10);

/// A period with fewer requests, or with fewer errors, cannot fire.
const PERIOD_REQUESTS: u32 = 50;
const PERIOD_ERRORS: u32 = 5;

/// A firing rate becomes [`RateState::NoData`] after this time without a request.
const NO_DATA: Millis = Millis::from_secs(600);

/// The state of the error rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RateState {
    /// Not above the threshold, as far as the counts show.
    #[default]
    Ok,
    /// Above the threshold, and not yet resolved.
    Firing,
    /// The rate was firing when the traffic ended.
    NoData,
}

/// The state machine: fixed-size plain data. The counts are in the [`Window`] and the [`Period`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorRate {
    level: RateState,
    since: Millis,
    /// When the last request was counted.
    seen: Millis,
    /// While firing: the highest share of failed requests so far.
    peak: Ratio,
    /// While firing: since when the rate has not been above the threshold; zero: the rate is above.
    below: Millis,
    /// While firing: since when the rate has been low, and how many requests had ever been counted then; `None`: not
    /// low.
    recovering: Option<(Millis, u64)>,
}

/// How far a firing rate that is below its threshold is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Easing {
    /// The highest share of failed requests while the rate fired.
    pub peak: Ratio,
    /// Since when the rate has been below the threshold.
    pub below: Millis,
    /// Is the rate below the resolve ratio, so that only requests or time are missing?
    pub is_low: bool,
    /// Requests that must still come with the rate low; 0: enough.
    pub requests: u32,
    /// Time for which the rate must still stay low; zero: enough.
    pub time: Millis,
}

impl ErrorRate {
    /// The state that was saved before a restart. What a firing rate needs for its end is counted from now on.
    pub fn resume(level: RateState, since: Millis, seen: Millis) -> Self {
        Self { level, since, seen, ..Self::default() }
    }

    /// Goes back to [`RateState::Ok`]: requests counted so far no longer count. The caller empties the windows.
    pub fn reset(&mut self) {
        *self = Self { seen: self.seen, ..Self::default() };
    }

    /// The present level.
    pub fn level(&self) -> RateState {
        self.level
    }

    /// When the present level began; zero: no change of the level yet.
    pub fn since(&self) -> Millis {
        self.since
    }

    /// When the last request was counted; zero: none yet.
    pub fn seen(&self) -> Millis {
        self.seen
    }

    /// Notes that a request was counted at `now`.
    pub fn note_traffic(&mut self, now: Millis) {
        self.seen = now;
    }

    /// Judges the counts after a batch, a change of the rules, or a deadline. Returns the new level if it changed.
    pub fn tick(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Option<RateState> {
        let is_above = self.level == RateState::Firing && self.note_share(rules, window, period, now);
        let is_over = match self.level {
            RateState::Ok if is_breached(rules, window, period, now) => {
                let level = self.change(RateState::Firing, now);
                self.note_share(rules, window, period, now);
                return Some(level);
            }
            // With level `NoData`, the caller resets the machine when the next request comes.
            RateState::Ok | RateState::NoData => return None,
            RateState::Firing if now >= self.seen + NO_DATA => return Some(self.change(RateState::NoData, now)),
            RateState::Firing if is_above || !is_low(rules, window, period, now) => {
                self.recovering = None;
                false
            }
            RateState::Firing => {
                let (since, head) = *self.recovering.get_or_insert((now, window.head));
                now >= since + hold(rules) && window.head >= head + u64::from(counted(rules, window))
            }
        };
        is_over.then(|| self.change(RateState::Ok, now))
    }

    /// When a further [`ErrorRate::tick`] without a request may change the level; `None`: only a request can.
    pub fn deadline(&self, rules: &ErrorRateRules, window: &Window) -> Option<Millis> {
        let no_data = (self.level == RateState::Firing).then_some(self.seen + NO_DATA);
        let resolved = self.recovering.and_then(|(since, head)| {
            (window.head >= head + u64::from(counted(rules, window))).then_some(since + hold(rules))
        });
        no_data.into_iter().chain(resolved).min()
    }

    /// How far a firing rate below its threshold is from its end; `None`: the rate does not fire, or is above its
    /// threshold.
    pub fn easing(&self, rules: &ErrorRateRules, window: &Window, now: Millis) -> Option<Easing> {
        if self.level != RateState::Firing || self.below == Millis::ZERO {
            return None;
        }
        let (low_since, head) = self.recovering.unwrap_or((now, window.head));
        let missing = (head + u64::from(counted(rules, window))).saturating_sub(window.head);
        Some(Easing {
            peak: self.peak,
            below: self.below,
            is_low: self.recovering.is_some(),
            requests: u32::try_from(missing).unwrap_or(u32::MAX),
            time: low_since + hold(rules) - now,
        })
    }

    /// Notes the present share of failed requests. Is the rate above the threshold?
    fn note_share(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> bool {
        let counts = shown(rules, window, period, now);
        let millionths = u64::from(counts.errors(rules.of)) * 1_000_000 / u64::from(counts.requests.max(1));
        self.peak = self.peak.max(Ratio::from_millionths(u32::try_from(millionths).unwrap_or(u32::MAX)));
        let is_above = is_breached(rules, window, period, now);
        self.below = match (is_above, self.below) {
            (true, _) => Millis::ZERO,
            (false, Millis::ZERO) => now,
            (false, below) => below,
        };
        is_above
    }

    fn change(&mut self, level: RateState, now: Millis) -> RateState {
        *self = Self { level, since: now, seen: self.seen, ..Self::default() };
        level
    }
}

/// Do clients get more errors than the threshold allows, among the requests from `number` on? The client errors count,
/// whichever of the two rates the rules watch.
pub fn do_clients_get_errors(
    rules: &ErrorRateRules,
    window: &Window,
    period: &Period,
    ring: &Ring,
    number: u64,
    now: Millis,
) -> bool {
    let client = ErrorRateRules { of: RateOf::Client, ..*rules };
    let by_count = rules.window > 0
        && rules
            .threshold
            .is_exceeded_by(window.counts_from(ring, number, window.size).client_errors.into(), window.size.into());
    by_count
        || period.counts(now).is_some_and(|all| {
            let since = window.counts_from(ring, number, all.requests);
            is_exceeded_by_time(&client, &Counts { client_errors: since.client_errors, ..all })
        })
}

/// The counts to show: those of the window or of the period, whichever the rules have. If they have both: those of the
/// period if only the period is above the threshold, else those of the window.
pub fn shown(rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Counts {
    let by_time = period.counts(now).filter(|counts| {
        rules.window == 0 || (!is_exceeded_by_count(rules, window) && is_exceeded_by_time(rules, counts))
    });
    by_time.unwrap_or_else(|| window.counts())
}

/// Is the rate above the threshold, by the window or by the period?
fn is_breached(rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> bool {
    is_exceeded_by_count(rules, window) || period.counts(now).is_some_and(|counts| is_exceeded_by_time(rules, &counts))
}

fn is_exceeded_by_count(rules: &ErrorRateRules, window: &Window) -> bool {
    let errors = window.counts().errors(rules.of);
    rules.window > 0 && rules.threshold.is_exceeded_by(errors.into(), window.size.into())
}

fn is_exceeded_by_time(rules: &ErrorRateRules, counts: &Counts) -> bool {
    let errors = counts.errors(rules.of);
    counts.requests >= PERIOD_REQUESTS
        && errors >= PERIOD_ERRORS
        && rules.threshold.is_exceeded_by(errors.into(), counts.requests.into())
}

/// Is the rate below the resolve ratio, by each of window and period that the rules have?
fn is_low(rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> bool {
    // No share is less than a resolve ratio of 0, so a window without an error is low in any case.
    let low = |errors: u32, requests: u32| errors == 0 || rules.resolve.is_above(errors.into(), requests.into());
    let by_count = rules.window == 0 || low(window.counts().errors(rules.of), window.size);
    by_count && period.counts(now).is_none_or(|counts| low(counts.errors(rules.of), counts.requests))
}

/// New requests that must come with the rate low before it resolves: a whole window, or the fewest that a period needs.
/// Without new requests no rate resolves.
fn counted(rules: &ErrorRateRules, window: &Window) -> u32 {
    let by_count = if rules.window == 0 { 0 } else { window.size };
    let by_time = if rules.period == Millis::ZERO { 0 } else { PERIOD_REQUESTS };
    by_count.max(by_time)
}

/// Time for which the rate must stay low before it resolves: a whole period, at least [`HOLD`].
fn hold(rules: &ErrorRateRules) -> Millis {
    HOLD.max(rules.period)
}

#[cfg(test)]
mod tests {
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
            Self {
                machine: ErrorRate::default(),
                rules,
                window,
                period,
                ring,
                now: Millis(50_000),
                changes: Vec::new(),
            }
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
                assert!(
                    self.changes.len() > before,
                    "a deadline that changes nothing would be waited for again and again"
                );
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
            do_clients_get_errors(
                &upstream.rules,
                &upstream.window,
                &upstream.period,
                &upstream.ring,
                number,
                upstream.now,
            )
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
            do_clients_get_errors(
                &upstream.rules,
                &upstream.window,
                &upstream.period,
                &upstream.ring,
                number,
                upstream.now,
            )
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
}
