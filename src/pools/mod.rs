//! Which pools an upstream has, and which peer is in which pool.

pub mod set;
pub mod peers;
pub mod directory;
