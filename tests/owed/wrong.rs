//! Deliberately wrong variants: mistakes that others have made, and that this project has made.

use ngx_http_poolwatch_module::outbox::outcome::Outcome;

/// What is wrong with a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// The last look before sending is left out: no rate token, no look at silence.
    NoLastLook,
    /// Books what is true now instead of what was sent.
    AcksCurrent,
    /// Does not care about messages of claims that were overtaken.
    NoRepair,
    /// Cares about those only that were surely accepted.
    NoRepairOfUnsure,
    /// Each worker keeps a Retry-After to itself.
    RetryAfterPerWorker,
    /// Each worker keeps to one message a second by itself.
    RateTokenPerWorker,
    /// One message a second to all receivers together.
    ReceiversShareTheirRate,
    /// Four failures, and the message is given up.
    GivesUp,
    /// Forgets what a silence kept back.
    SilenceDrops,
    /// Looks at a silence when it claims, and not when it sends.
    SilenceOnlyWhenClaiming,
    /// Tells only what differs from the last told state, whatever happened in between.
    ByStateOnly,
    /// A cooldown forgets what it held back, as the watchers' do.
    CooldownDrops,
    /// Does not say what was kept back.
    CountsNothing,
    /// The dead keep their leases.
    NoLeaseExpiry,
    /// Who takes a claim over goes by the same token.
    TokenNotRaised,
    /// A reload ends a Retry-After as well.
    ReloadEndsPauses,
    /// Takes every answer for a failure, as long as there is trouble.
    HearsNoAcceptance,
}

impl Wrong {
    /// Each variant, and the invariants of which it violates one at least.
    pub(crate) const ALL: [(Self, &[&str]); 17] = [
        (Self::NoLastLook, &["6", "7", "10"]),
        (Self::AcksCurrent, &["1"]),
        (Self::NoRepair, &["1", "4"]),
        (Self::NoRepairOfUnsure, &["1", "4"]),
        (Self::RetryAfterPerWorker, &["5"]),
        (Self::RateTokenPerWorker, &["6"]),
        (Self::ReceiversShareTheirRate, &["12"]),
        (Self::GivesUp, &["1", "3"]),
        (Self::SilenceDrops, &["1", "3"]),
        (Self::SilenceOnlyWhenClaiming, &["7"]),
        (Self::ByStateOnly, &["1", "3"]),
        (Self::CooldownDrops, &["1", "3"]),
        (Self::CountsNothing, &["3"]),
        (Self::NoLeaseExpiry, &["1"]),
        (Self::TokenNotRaised, &["10"]),
        (Self::ReloadEndsPauses, &["5"]),
        (Self::HearsNoAcceptance, &["8"]),
    ];

    pub(crate) fn forgets_overtaken(self, outcome: &Outcome) -> bool {
        match self {
            Self::NoRepair => true,
            Self::NoRepairOfUnsure => *outcome != Outcome::Accepted,
            _ => false,
        }
    }

    /// What the variant makes of an outcome.
    pub(crate) fn hears(self, outcome: Outcome, trouble: bool) -> Outcome {
        match (self, outcome) {
            (Self::RetryAfterPerWorker, Outcome::RateLimited(_)) => Outcome::Retry("429, kept to itself".into()),
            (Self::HearsNoAcceptance, Outcome::Accepted) if trouble => Outcome::Retry("what?".into()),
            (_, outcome) => outcome,
        }
    }
}
