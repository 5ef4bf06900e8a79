//! How often requests fail: invariants 18 to 20, for windows of requests and of time.

use ngx_http_poolwatch_module::config::rules::ErrorRateRules;
use ngx_http_poolwatch_module::detect::error_rate::{ErrorRate, RateState};
use ngx_http_poolwatch_module::units::Ratio;
use ngx_http_poolwatch_module::window::{Entry, Period, Ring, WORDS, Window};

use super::*;

/// Judges the counts after each request: the real detector, or a wrong one.
trait Judge: Default {
    fn judge(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Option<RateState>;
}

impl Judge for ErrorRate {
    fn judge(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Option<RateState> {
        self.note_traffic(now);
        self.tick(rules, window, period, now)
    }
}

/// Reports what it sees at each look, as a log watcher does after each restart.
#[derive(Default)]
struct Forgetful;

impl Judge for Forgetful {
    fn judge(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Option<RateState> {
        ErrorRate::default().judge(rules, window, period, now)
    }
}

/// Divides by the requests that there were, however few, and resolves at the threshold itself.
#[derive(Default)]
struct Eager {
    is_firing: bool,
}

impl Judge for Eager {
    fn judge(&mut self, rules: &ErrorRateRules, window: &Window, period: &Period, now: Millis) -> Option<RateState> {
        let counts = period.counts(now).unwrap_or_else(|| window.counts());
        let is_firing = rules.threshold.is_exceeded_by(counts.upstream_errors.into(), counts.requests.into());
        let was_firing = std::mem::replace(&mut self.is_firing, is_firing);
        (is_firing != was_firing).then_some(if is_firing { RateState::Firing } else { RateState::Ok })
    }
}

/// The levels that a judge goes through over a list of requests, `pause` milliseconds apart.
fn levels<J: Judge>(rules: &ErrorRateRules, errors: impl IntoIterator<Item = bool>, pause: u64) -> Vec<RateState> {
    let mut ring: Box<Ring> = vec![0; WORDS].into_boxed_slice().try_into().expect("the ring's length");
    let (mut judge, mut window, mut period) = (J::default(), Window::new(rules.window), Period::new(rules.period));
    let mut levels = Vec::new();
    let mut now = BOOT;
    for upstream_error in errors {
        now += pause;
        let entry = Entry { upstream_error, client_error: false };
        window.push(&mut ring, entry);
        period.push(entry, Millis(now));
        levels.extend(judge.judge(rules, &window, &period, Millis(now)));
    }
    levels
}

/// Rules with a window of requests, or with a window of time.
fn any_window() -> impl Strategy<Value = ErrorRateRules> {
    let by_count = (1..400_u32).prop_map(|window| ErrorRateRules { window, ..ErrorRateRules::default() });
    let by_time = (10..120_u64).prop_map(|seconds| ErrorRateRules {
        window: 0,
        period: Millis::from_secs(seconds),
        ..ErrorRateRules::default()
    });
    prop_oneof![by_count, by_time]
}

// -- 18: levels alternate.

fn alternate<J: Judge>(rules: &ErrorRateRules, runs: &[(usize, u32)], pause: u64) -> Result<(), TestCaseError> {
    let errors = runs.iter().flat_map(|&(count, share)| (0..count).map(move |index| (index as u32 * 37) % 100 < share));
    for (index, level) in levels::<J>(rules, errors, pause).into_iter().enumerate() {
        prop_assert_eq!(level, if index % 2 == 0 { RateState::Firing } else { RateState::Ok });
    }
    Ok(())
}

#[test]
fn invariant_18_firing_and_ok_alternate() {
    let runs = || (any_window(), prop::collection::vec((1..300_usize, 0..100_u32), 1..20), 1..500_u64);
    assert!(holds(runs(), 100, |(rules, runs, pause)| alternate::<ErrorRate>(&rules, &runs, pause)));
    assert!(!holds(runs(), 100, |(rules, runs, pause)| alternate::<Forgetful>(&rules, &runs, pause)));
}

// -- 19: hysteresis.

/// One error in every `apart` requests is between 1 % and 2 % of every window: nothing fires, and what fires does not
/// resolve.
fn hysteresis<J: Judge>(rules: &ErrorRateRules, apart: u32) -> Result<(), TestCaseError> {
    let constant = move || (1..4000).map(move |index| index % apart == 0);
    prop_assert_eq!(levels::<J>(rules, constant(), 100), []);
    let outage = std::iter::repeat_n(true, 30);
    prop_assert_eq!(levels::<J>(rules, outage.chain(constant()), 100), [RateState::Firing]);
    Ok(())
}

#[test]
fn invariant_19_a_rate_between_resolve_and_threshold_changes_nothing() {
    // Windows of which 1 % and 2 % are whole numbers of errors, and a period that has 600 requests.
    let by_count = (1..=10_u32, 50..=100_u32)
        .prop_map(|(hundreds, apart)| (ErrorRateRules { window: hundreds * 100, ..ErrorRateRules::default() }, apart));
    let period = ErrorRateRules { window: 0, period: Millis::from_secs(60), ..ErrorRateRules::default() };
    let by_time = (60..=80_u32).prop_map(move |apart| (period, apart));
    let rates = prop_oneof![by_count, by_time];
    assert!(holds(&rates, 100, |(rules, apart)| hysteresis::<ErrorRate>(&rules, apart)));
    assert!(!holds(&rates, 100, |(rules, apart)| hysteresis::<Eager>(&rules, apart)));
    assert!(!holds(&rates, 100, |(rules, apart)| {
        hysteresis::<ErrorRate>(&ErrorRateRules { resolve: rules.threshold, ..rules }, apart)
    }));
}

// -- 20: few requests prove nothing.

fn few_never_fire<J: Judge>(rules: &ErrorRateRules, errors: &[bool]) -> Result<(), TestCaseError> {
    let rules = ErrorRateRules { threshold: Ratio::from_millionths(500_000), ..*rules };
    let (requests, failed) = (errors.len(), errors.iter().filter(|&&error| error).count());
    let enough = if rules.window > 0 { failed * 2 > rules.window as usize } else { requests >= 50 && failed >= 5 };
    prop_assert!(enough || levels::<J>(&rules, errors.iter().copied(), 10).is_empty());
    Ok(())
}

#[test]
fn invariant_20_few_requests_never_fire() {
    let few = || (any_window(), prop::collection::vec(any::<bool>(), 0..300));
    assert!(holds(few(), 200, |(rules, errors)| few_never_fire::<ErrorRate>(&rules, &errors)));
    assert!(!holds(few(), 200, |(rules, errors)| few_never_fire::<Eager>(&rules, &errors)));
}

/// D21, D22: the window is judged after every request and at every size, and against its full size while it fills.
#[test]
fn d21_d22_any_window_fires_with_the_first_error_beyond_its_share() {
    for window in [5, 7, 10, 199, 200, 201, 100_000] {
        let rules = ErrorRateRules { window, ..ErrorRateRules::default() };
        let needed = (window / 50 + 1) as usize;
        assert_eq!(levels::<ErrorRate>(&rules, vec![true; needed - 1], 10), [], "window={window}");
        assert_eq!(levels::<ErrorRate>(&rules, vec![true; needed], 10), [RateState::Firing], "window={window}");
        let after_a_while = std::iter::repeat_n(false, 777).chain(vec![true; needed]);
        assert_eq!(levels::<ErrorRate>(&rules, after_a_while, 10), [RateState::Firing], "window={window}");
    }
}

/// Messages in an hour at a true rate equal to the threshold, with fifty requests a second.
fn messages_of_an_hour<J: Judge>(seed: u64) -> usize {
    let mut state = seed;
    let errors = (0..180_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 50 == 0
    });
    levels::<J>(&ErrorRateRules::default(), errors, 20).len()
}

#[test]
fn an_hour_at_the_threshold_is_two_messages_at_most() {
    for seed in 1..5 {
        assert!(messages_of_an_hour::<ErrorRate>(seed) <= 2, "seed {seed}");
        assert!(messages_of_an_hour::<Eager>(seed) > 100, "without hysteresis and hold");
    }
}
