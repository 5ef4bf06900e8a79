//! What is owed: for each incident key and receiver, the difference between the truth and what was last accepted.
//!
//! Level-triggered, not a queue: nothing can overflow, nothing is forgotten. Cooldown, silence, back-off and rate limits only
//! delay, they never touch `acked`; at their end the truth is compared again. So the last message that a receiver accepted
//! always equals reality.

pub mod outcome;
pub mod backoff;
pub mod tally;
pub mod receiver;
pub mod debt;

/// Receivers that the zone keeps debts for.
pub const MAX_RECEIVERS: usize = 8;
