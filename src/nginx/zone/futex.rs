//! A counter in shared memory on which threads of all processes can sleep until it rises.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::nginx::clock::timespec;
use crate::units::Millis;

/// Counts how often something happened, modulo 2^32.
#[repr(transparent)]
pub(super) struct Futex(AtomicU32);

impl Futex {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Adds one, and wakes all threads that wait.
    pub(super) fn wake(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // SAFETY: a futex word in shared memory that outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) };
    }

    /// Waits while the counter is `count`, at most for `span`; `None`: without a limit. It may return early.
    pub(super) fn wait(&self, count: u32, span: Option<Millis>) {
        let span = span.map(timespec);
        let timeout = span.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: a futex word in shared memory and a timeout that outlive the call. After an error the caller looks
        // again.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAIT, count, timeout) };
    }
}
