//! How often an upstream errs: fires against the full window, resolves with hysteresis and a hold.
//!
//! Errors are compared with a share of the *full* window even while it fills, so one error among the first ten requests is no
//! alert and a total outage is one after the fifth failed request. Hysteresis alone would flap 328 times an hour at a true rate
//! equal to the threshold; the hold of one whole window makes that one.

use serde::{Deserialize, Serialize};

use crate::config::rules::{ErrorRateRules, RateOf};
use crate::units::{Millis, Ratio};
use crate::window::{Counts, Period, Ring, Window};

/// The shortest time that a rate must stay low before it counts as resolved.
const HOLD: Millis = Millis::from_secs(10);

/// A period says nothing with fewer requests, or fewer errors.
const PERIOD_REQUESTS: u32 = 50;
const PERIOD_ERRORS: u32 = 5;

/// Without a request for this long nobody knows whether a firing rate still holds.
const NO_DATA: Millis = Millis::from_secs(600);

/// The judgement on the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Level {
    /// Below the threshold, as far as anyone can tell.
    #[default]
    Ok,
    /// Above the threshold, and not yet resolved.
    Firing,
    /// It was firing when the traffic ended.
    NoData,
}

/// The machine: fixed-size plain data; the counts are the [`Window`]'s and the [`Period`]'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorRate {
    level: Level,
    since: Millis,
    /// The last request.
    seen: Millis,
    /// While firing: the highest share of failed requests so far.
    peak: Ratio,
    /// While firing: since when the rate has been below the threshold; zero: it is above.
    below: Millis,
    /// While firing: the rate is low, since then and since that many requests.
    recovering: Option<(Millis, u64)>,
}

/// How far a firing rate that is below its threshold is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Easing {
    /// The highest share of failed requests while it fired.
    pub peak: Ratio,
    /// Since when it has been below the threshold.
    pub below: Millis,
    /// Is it below the resolve ratio, so that only requests or time are missing?
    pub is_low: bool,
    /// Requests that are missing.
    pub requests: u32,
    /// Time that is missing.
    pub time: Millis,
}

impl ErrorRate {
    /// The judgement of an earlier life.
    pub fn resume(level: Level, since: Millis, seen: Millis) -> Self {
        Self { level, since, seen, ..Self::default() }
    }

    /// Begins anew: what was counted so far counts no more. The caller empties the windows.
    pub fn reset(&mut self) {
        *self = Self { seen: self.seen, ..Self::default() };
    }

    /// The judgement.
    pub fn level(&self) -> Level {
        self.level
    }

    /// When it began.
    pub fn since(&self) -> Millis {
        self.since
    }

    /// The last request.
    pub fn seen(&self) -> Millis {
        self.seen
    }

    /// There are new requests.
    pub fn note_traffic(&mut self, now: Millis) {
        self.seen = now;
    }

    /// Judges the counts anew after a batch, a change of the rules, or a deadline. Returns the new level if it changed.
    pub fn tick(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Option<Level> {
        let is_above = self.level == Level::Firing && self.note_share(rules, window, period, now);
        let is_over = match self.level {
            Level::Ok if is_breached(rules, window, period, now) => {
                let level = self.change(Level::Firing, now);
                self.note_share(rules, window, period, now);
                return Some(level);
            }
            // Where there was no data, the caller begins anew with the next request.
            Level::Ok | Level::NoData => return None,
            Level::Firing if now >= self.seen + NO_DATA => return Some(self.change(Level::NoData, now)),
            Level::Firing if is_above || !is_low(rules, window, period, now) => {
                self.recovering = None;
                false
            }
            Level::Firing => {
                let (since, head) = *self.recovering.get_or_insert((now, window.head));
                now >= since + hold(rules) && window.head >= head + u64::from(counted(rules, window))
            }
        };
        is_over.then(|| self.change(Level::Ok, now))
    }

    /// When a further [`ErrorRate::tick`] without a request may change the level.
    pub fn deadline(&self, rules: &ErrorRateRules, window: &Window) -> Option<Millis> {
        let no_data = (self.level == Level::Firing).then_some(self.seen + NO_DATA);
        let resolved = self.recovering.and_then(|(since, head)| {
            (window.head >= head + u64::from(counted(rules, window))).then_some(since + hold(rules))
        });
        no_data.into_iter().chain(resolved).min()
    }

    /// Of a firing rate that is below its threshold: how far it is from its end.
    pub fn easing(&self, rules: &ErrorRateRules, window: &Window, now: Millis) -> Option<Easing> {
        if self.level != Level::Firing || self.below == Millis::ZERO {
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

    /// Notes the share of now. Is it above the threshold?
    fn note_share(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> bool {
        let counts = shown(rules, window, period, now);
        let millionths = u64::from(errors_of(rules, &counts)) * 1_000_000 / u64::from(counts.requests.max(1));
        self.peak = self.peak.max(Ratio::from_millionths(u32::try_from(millionths).unwrap_or(u32::MAX)));
        let is_above = is_breached(rules, window, period, now);
        self.below = match (is_above, self.below) {
            (true, _) => Millis::ZERO,
            (false, Millis::ZERO) => now,
            (false, below) => below,
        };
        is_above
    }

    fn change(&mut self, level: Level, now: Millis) -> Level {
        *self = Self { level, since: now, seen: self.seen, ..Self::default() };
        level
    }
}

/// Do clients see more errors than the threshold allows, whichever rate is watched, among the requests from this number on?
pub fn do_clients_suffer(
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

/// The counts to show: of the window or the period, whichever is asked for; of both, the one that is above the threshold.
pub fn shown(rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Counts {
    let by_time = period.counts(now).filter(|counts| {
        rules.window == 0 || (!is_exceeded_by_count(rules, window) && is_exceeded_by_time(rules, counts))
    });
    by_time.unwrap_or_else(|| window.counts())
}

/// Above the threshold, by any window that is asked for.
fn is_breached(rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> bool {
    is_exceeded_by_count(rules, window) || period.counts(now).is_some_and(|counts| is_exceeded_by_time(rules, &counts))
}

fn is_exceeded_by_count(rules: &ErrorRateRules, window: &Window) -> bool {
    let errors = errors_of(rules, &window.counts());
    rules.window > 0 && rules.threshold.is_exceeded_by(errors.into(), window.size.into())
}

fn is_exceeded_by_time(rules: &ErrorRateRules, counts: &Counts) -> bool {
    let errors = errors_of(rules, counts);
    counts.requests >= PERIOD_REQUESTS
        && errors >= PERIOD_ERRORS
        && rules.threshold.is_exceeded_by(errors.into(), counts.requests.into())
}

/// Below the resolve ratio, by every window that is asked for.
fn is_low(rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> bool {
    // With a resolve ratio of nothing, a window without any error is the best there can be.
    let low = |errors: u32, requests: u32| errors == 0 || rules.resolve.is_above(errors.into(), requests.into());
    let by_count = rules.window == 0 || low(errors_of(rules, &window.counts()), window.size);
    by_count && period.counts(now).is_none_or(|counts| low(errors_of(rules, &counts), counts.requests))
}

fn errors_of(rules: &ErrorRateRules, counts: &Counts) -> u32 {
    match rules.of {
        RateOf::Upstream => counts.upstream_errors,
        RateOf::Client => counts.client_errors,
    }
}

/// So many new requests must stay low before it is over: a whole window, or what a period needs to say anything. Without
/// requests nothing is over.
fn counted(rules: &ErrorRateRules, window: &Window) -> u32 {
    let by_count = if rules.window == 0 { 0 } else { window.size };
    let by_time = if rules.period == Millis::ZERO { 0 } else { PERIOD_REQUESTS };
    by_count.max(by_time)
}

/// So long must it stay low: a whole period.
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
        changes: Vec<Level>,
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

        /// No request, but the clock at every deadline.
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
        assert_eq!(upstream.changes, [Level::Firing]);
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
        // 199 requests leave one error in the window, which is low. From there a whole window must pass.
        upstream.requests(199, false, Millis(10));
        upstream.requests(200, false, Millis(10));
        assert_eq!(upstream.changes, [Level::Firing]);
        let hold_ends = upstream.machine.deadline(&upstream.rules, &upstream.window).expect("only time is missing");
        upstream.now = hold_ends - Millis(1);
        upstream.tick();
        assert_eq!(upstream.changes, [Level::Firing]);
        upstream.now = hold_ends;
        upstream.tick();
        assert_eq!(upstream.changes, [Level::Firing, Level::Ok]);
    }

    #[test]
    fn errors_during_the_hold_start_it_again() {
        let mut upstream = Upstream::new();
        upstream.requests(5, true, Millis(100));
        for _ in 0..20 {
            upstream.requests(190, false, Millis(100));
            upstream.requests(3, true, Millis(100));
        }
        assert_eq!(upstream.changes, [Level::Firing]);
    }

    #[test]
    fn traffic_that_ends_while_firing_is_no_data_and_never_a_recovery() {
        let mut upstream = Upstream::new();
        upstream.requests(5, true, Millis(10));
        upstream.silence(Millis::from_secs(3600));
        assert_eq!(upstream.changes, [Level::Firing, Level::NoData]);
        upstream.requests(1, false, Millis(10));
        assert_eq!(upstream.changes, [Level::Firing, Level::NoData], "a good request raises no alarm");
    }

    #[test]
    fn a_rate_below_the_threshold_says_how_far_it_is_from_its_end() {
        let mut upstream = Upstream::new();
        upstream.requests(69, false, Millis(10));
        let easing = |upstream: &Upstream| upstream.machine.easing(&upstream.rules, &upstream.window, upstream.now);
        upstream.requests(31, true, Millis(10));
        assert_eq!(easing(&upstream), None, "it is above the threshold");
        // 200 requests later four errors are left, then one.
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
    fn clients_suffer_by_what_came_since_then() {
        let mut upstream = Upstream::new();
        upstream.push(10, true);
        let suffer = |upstream: &Upstream, number| {
            do_clients_suffer(&upstream.rules, &upstream.window, &upstream.period, &upstream.ring, number, upstream.now)
        };
        assert!(suffer(&upstream, 0) && suffer(&upstream, 5));
        assert!(!suffer(&upstream, 6), "four are not more than 2% of 200");
        upstream.push(195, false);
        assert!(suffer(&upstream, 0), "five are among the last two hundred");
        upstream.push(1, false);
        assert!(!suffer(&upstream, 0));
    }

    #[test]
    fn a_period_fires_by_the_share_of_what_it_saw_and_resolves_after_itself() {
        let mut upstream = Upstream::new();
        upstream.rules = ErrorRateRules { window: 0, period: Millis::from_secs(60), ..upstream.rules };
        upstream.period.set_span(upstream.rules.period);
        // Ten errors in forty requests say nothing yet.
        upstream.requests(30, false, Millis(100));
        upstream.requests(10, true, Millis(100));
        assert_eq!(upstream.changes, []);
        upstream.requests(10, false, Millis(100));
        assert_eq!(upstream.changes, [Level::Firing]);
        upstream.requests(1100, false, Millis(100));
        assert_eq!(upstream.changes, [Level::Firing]);
        upstream.requests(200, false, Millis(100));
        assert_eq!(upstream.changes, [Level::Firing, Level::Ok]);
    }

    #[test]
    fn a_threshold_of_nothing_fires_at_the_first_error_and_can_resolve() {
        let mut upstream = Upstream::new();
        upstream.rules.threshold = Ratio::default();
        upstream.rules.resolve = Ratio::default();
        upstream.requests(1, true, Millis(100));
        assert_eq!(upstream.changes, [Level::Firing]);
        upstream.requests(401, false, Millis(100));
        assert_eq!(upstream.changes, [Level::Firing, Level::Ok]);
    }
}
