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
mod tests;
