//! Deliberately wrong variants: mistakes that other programs have made, and that this project has made.

use ngx_http_poolwatch_module::outbox::outcome::Outcome;

/// What is wrong with a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// Leaves out the final check before sending: no rate limit, no check for a silence.
    NoLastLook,
    /// Settles the present revision instead of the one that was sent.
    AcksCurrent,
    /// Ignores messages of claims that were overtaken.
    NoRepair,
    /// Repairs after such a message only if it was surely accepted.
    NoRepairOfUnsure,
    /// Each worker keeps a `Retry-After` to itself.
    RetryAfterPerWorker,
    /// Each worker by itself keeps to one message a second.
    RateTokenPerWorker,
    /// Sends one message a second to all receivers together.
    ReceiversShareTheirRate,
    /// Gives a message up after four failures.
    GivesUp,
    /// Forgets what a silence held back.
    SilenceDrops,
    /// Checks for a silence when it claims, and not when it sends.
    SilenceOnlyWhenClaiming,
    /// Sends only a state that differs from the last accepted one, whatever happened in between.
    ByStateOnly,
    /// Forgets what a cooldown held back, as the log watchers do.
    CooldownDrops,
    /// Does not say how many changes were held back.
    CountsNothing,
    /// The leases of dead processes stay valid.
    NoLeaseExpiry,
    /// A worker that takes a claim over uses the same token.
    TokenNotRaised,
    /// A reload also ends a `Retry-After`.
    ReloadEndsPauses,
    /// Treats every answer as a failure while there is trouble.
    SeesNoAcceptance,
}

impl Wrong {
    /// Each variant, with the invariants of which it violates at least one.
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
        (Self::SeesNoAcceptance, &["8"]),
    ];

    pub(crate) fn forgets_overtaken(self, outcome: &Outcome) -> bool {
        match self {
            Self::NoRepair => true,
            Self::NoRepairOfUnsure => *outcome != Outcome::Accepted,
            _ => false,
        }
    }

    /// The outcome as the variant understands it.
    pub(crate) fn understands(self, outcome: Outcome, trouble: bool) -> Outcome {
        match (self, outcome) {
            (Self::RetryAfterPerWorker, Outcome::RateLimited(_)) => Outcome::Retry("429, kept to itself".into()),
            (Self::SeesNoAcceptance, Outcome::Accepted) if trouble => Outcome::Retry("what?".into()),
            (_, outcome) => outcome,
        }
    }
}
