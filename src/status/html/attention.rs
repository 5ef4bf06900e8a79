//! How much an operator has to look at an upstream.

use crate::alert::Severity;
use crate::status::view::serving::ServingState;
use crate::status::view::upstream::UpstreamView;

/// From the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attention {
    /// Clients see errors.
    Critical,
    /// The reserve is used, or it is not clear which pool serves.
    Warning,
    /// Nothing is wrong that is known.
    Calm,
}

impl Attention {
    /// The most that one of the upstream's alerts or its state needs.
    pub(super) fn of(upstream: &UpstreamView) -> Self {
        let alerts = upstream.alerts.iter().map(|alert| match alert.severity {
            Severity::Critical => Self::Critical,
            Severity::Warning => Self::Warning,
            Severity::Info => Self::Calm,
        });
        let state = match upstream.serving.state {
            ServingState::Down => Self::Critical,
            ServingState::Unknown => Self::Calm,
            _ if upstream.as_expected && !upstream.flapping => Self::Calm,
            _ => Self::Warning,
        };
        alerts.chain([state]).min().unwrap_or(state)
    }

    /// As a class.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Calm => "calm",
        }
    }
}
