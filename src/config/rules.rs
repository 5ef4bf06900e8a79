//! What the operator asked for, for one upstream: every directive's value after inheritance, as plain data.
//!
//! The rules live in the zone beside the state they govern, so that the workers of an old configuration, which finish their
//! requests for minutes after a reload, judge by the new rules like everyone else.

use crate::text::{Name, Text};
use crate::units::{Millis, Ratio};

/// Which rate may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RateOf {
    /// A request counts as an error when any of its attempts failed, even if a retry spared the client.
    Upstream,
    /// A request counts as an error when the client got a 5xx.
    Client,
}

/// `poolwatch_error_rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorRateRules {
    /// Fires above this share of the full window.
    pub threshold: Ratio,
    /// Resolves below this share.
    pub resolve: Ratio,
    /// Window of the last N requests, 1 to [`crate::window::MAX_REQUESTS`]; 0: none, there is a period.
    pub window: u32,
    /// Window of time; zero: none.
    pub period: Millis,
    /// What counts as an error.
    pub of: RateOf,
}

/// Everything one upstream is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rules {
    /// `poolwatch_failover on confirm=`: how long another pool's answer must stand uncontradicted; `None`: off.
    pub failover: Option<Millis>,
    /// `poolwatch_error_rate`; `None`: off.
    pub error_rate: Option<ErrorRateRules>,
    /// `poolwatch_active`: the pool that should serve; empty: the primary servers' pool.
    pub active: Name,
    /// The longest `fail_timeout` of the upstream's servers.
    pub fail_timeout: Millis,
    /// `poolwatch_cooldown`: the least time between two messages of the same change.
    pub cooldown: Millis,
    /// `poolwatch_silence on`.
    pub silenced: bool,
    /// `poolwatch_runbook`: a link for the alerts; empty: none.
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
