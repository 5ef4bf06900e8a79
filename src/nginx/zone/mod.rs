//! The shared memory zone: the table in it, the lock around it, and the bell beside it.
//!
//! The lock is a robust mutex: when a worker is killed while it holds it, the kernel passes it on at once, and the table's
//! twins make sure that nothing is half-written then. nginx's own slab mutex would tell nobody, and a spin lock would hang
//! every worker for good.

mod futex;
mod mutex;
pub(crate) mod workers;
mod layout;
mod store;
mod writer;
mod read;
pub(crate) mod previous;

pub(crate) use layout::{Zone, needed_size, room};
