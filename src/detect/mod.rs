//! The detectors: state machines over plain values. Observations and ticks change them; the time is an argument.

pub mod serving;
pub mod error_rate;
pub mod first_choice;
pub mod failover;
pub mod flapping;
