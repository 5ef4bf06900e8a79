//! Which pools an upstream has, and which peer is in which of them.

pub mod set;
pub mod directory;
