//! A number in shared memory that processes wait for: the kernel puts them to sleep until it rises.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::nginx::clock::timespec;
use crate::units::Millis;

/// How often something happened. It wraps.
#[repr(transparent)]
pub(super) struct Futex(AtomicU32);

impl Futex {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Counts once more, and wakes all that wait.
    pub(super) fn wake(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // SAFETY: a futex word in shared memory that outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) };
    }

    /// Waits while the count is `count`, at most for `span`; `None`: for as long as it takes. It may return early.
    pub(super) fn wait(&self, count: u32, span: Option<Millis>) {
        let span = span.map(timespec);
        let timeout = span.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: a futex word in shared memory and a timeout that outlive the call. All its errors mean: look again.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAIT, count, timeout) };
    }
}
