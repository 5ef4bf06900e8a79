//! What must be sent: for each incident key and receiver, the difference between the newest revision and the one that
//! the receiver last accepted.
//!
//! This is level-triggered and no queue, so nothing can overflow and nothing is forgotten. Cooldown, silence, back-off
//! and rate limits only delay a message; they never touch `acked`. When they end, the revisions are compared again, so
//! in the end the last message that a receiver accepted equals the present state.

pub mod outcome;
pub mod backoff;
pub mod tally;
pub mod receiver;
pub mod delivery_state;

/// Receivers for which the zone keeps delivery states.
pub const MAX_RECEIVERS: usize = 8;
