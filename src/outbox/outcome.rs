//! The outcome of an exchange with a receiver.

use crate::units::Millis;

/// The outcome of an exchange, as far as it decides what happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver accepted the message.
    Accepted,
    /// No worker may send to this receiver for this long (already clamped); `None`: the answer did not say how long.
    RateLimited(Option<Millis>),
    /// May succeed later: try again with back-off. The text says why.
    Retry(String),
    /// The exiting worker broke the exchange off. This says nothing about the receiver, so the next worker tries at
    /// once.
    CutShort,
    /// The receiver does not accept the payload: the same bytes are never sent again; the plain fallback may be.
    Rejected(String),
    /// The webhook is gone or forbidden: keep the delivery state, and try again every 15 minutes.
    Broken(String),
}
