//! The state file: how its path is resolved, the file and the lock on it, and the thread that writes it.

mod path;
pub(crate) mod file;
pub(crate) mod writer;
