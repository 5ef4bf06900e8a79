//! The state file: the way to its path, the file and the lock on it, and the one process that writes it.

mod path;
pub(crate) mod file;
pub(crate) mod writer;
