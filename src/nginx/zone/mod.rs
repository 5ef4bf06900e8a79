//! The shared memory zone: the table in it, the lock on the table, and the futexes that wake other processes.
//!
//! The lock is a robust mutex: when a worker is killed while it holds the lock, the kernel passes it on at once, and
//! the table's double buffers make sure that nothing is half-written. With nginx's own slab mutex no other process
//! would learn of the death, and with a spin lock all workers would hang forever.

mod futex;
mod mutex;
pub(crate) mod workers;
mod layout;
mod store;
mod writer;
mod read;
pub(crate) mod previous;

pub(crate) use layout::{Zone, needed_size, room};
