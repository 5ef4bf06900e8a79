//! The detectors: state machines over plain values, folded by observations and moved on by a clock that is an argument.

pub mod error_rate;
pub mod failover;
pub mod flapping;
pub mod shares;
