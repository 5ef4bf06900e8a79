//! What the operator configured for one upstream: every directive's value after inheritance, as plain data.
//!
//! The rules live in the zone beside the state that they govern. The workers of an old configuration, which finish
//! their requests for minutes after a reload, therefore judge by the new rules, as all others do.

use crate::text::{Name, Text};
use crate::units::{Millis, Ratio};
use crate::window::Counts;

/// Which of the two error rates may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RateOf {
    /// A request counts as an error when any of its attempts failed, even if a retry gave the client a good answer.
    Upstream,
    /// A request counts as an error when the client got a 5xx.
    Client,
}

impl Counts {
    /// Requests with an error of this kind.
    pub fn errors(&self, of: RateOf) -> u32 {
        match of {
            RateOf::Upstream => self.upstream_errors,
            RateOf::Client => self.client_errors,
        }
    }

    /// Their share of all requests, from 0 to 1. `None`: there were no requests.
    pub fn ratio(&self, of: RateOf) -> Option<f64> {
        (self.requests > 0).then(|| f64::from(self.errors(of)) / f64::from(self.requests))
    }
}

/// `poolwatch_error_rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorRateRules {
    /// Fires above this share of the full window.
    pub threshold: Ratio,
    /// Resolves below this share.
    pub resolve: Ratio,
    /// Length of the window in requests, 1 to [`crate::window::MAX_REQUESTS`]; 0: no such window, only a period.
    pub window: u32,
    /// Length of the window in time; zero: no such window.
    pub period: Millis,
    /// What counts as an error.
    pub of: RateOf,
}

/// Everything by which one upstream is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rules {
    /// `poolwatch_failover on confirm=`: how long another pool's answers must stand without a contrary one; `None`:
    /// off.
    pub failover: Option<Millis>,
    /// `poolwatch_error_rate`; `None`: off.
    pub error_rate: Option<ErrorRateRules>,
    /// `poolwatch_active`: the name of the pool that should serve; empty: the pool or pools of the primary servers.
    pub active: Name,
    /// The longest `fail_timeout` of the upstream's servers.
    pub fail_timeout: Millis,
    /// `poolwatch_cooldown`: the least time between two messages about the same kind of change.
    pub cooldown: Millis,
    /// `poolwatch_silence on`.
    pub silenced: bool,
    /// `poolwatch_runbook`: the URL that the alerts link to; empty: none.
    pub runbook: Text<256>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            failover: Some(Millis::from_secs(1)),
            error_rate: Some(ErrorRateRules::default()),
            active: Name::EMPTY,
            fail_timeout: Millis::from_secs(10),
            cooldown: Millis::from_secs(300),
            silenced: false,
            runbook: Text::EMPTY,
        }
    }
}

impl Default for ErrorRateRules {
    fn default() -> Self {
        let threshold = Ratio::from_millionths(20_000);
        Self { threshold, resolve: threshold.half(), window: 200, period: Millis::ZERO, of: RateOf::Upstream }
    }
}
