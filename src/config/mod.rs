//! What the operator asked for, as values.

pub mod rules;
pub mod upstream;
pub mod receiver;
