//! Containers in shared memory that need no repair after a writer was killed.

pub mod double_buffer;
pub mod ring_log;
