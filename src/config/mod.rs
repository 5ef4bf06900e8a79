//! What the operator configured, as values.

pub mod rules;
pub mod blocks;
pub mod upstream;
pub mod receiver;
