//! What an exchange with a receiver means for what is owed.

use crate::units::Millis;

/// What an exchange means for the debt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Accepted,
    /// Nobody may send to this receiver for that long (already clamped); `None`: it did not say how long.
    RateLimited(Option<Millis>),
    /// May be better later: try again with back-off.
    Retry(String),
    /// The exiting worker broke it off. That says nothing of the receiver, so the next worker tries at once.
    CutShort,
    /// The receiver dislikes the payload: the same bytes are never sent again, the plain fallback may be.
    Rejected(String),
    /// The receiver is gone or refuses us: keep the debt, probe slowly.
    Broken(String),
}
