//! A lock that processes share, and that the kernel passes on when the process that holds it is killed.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use crate::clock::Clock;
use crate::nginx::clock::{SystemClock, timespec};
use crate::units::Millis;

/// A robust mutex.
#[repr(transparent)]
pub(super) struct RobustMutex(UnsafeCell<libc::pthread_mutex_t>);

/// The lock is this thread's until the guard is dropped.
pub(super) struct Guard<'a>(&'a RobustMutex);

impl RobustMutex {
    /// An unlocked one, which may be moved until it is used; `None`: the system has no such mutexes.
    pub(super) fn new() -> Option<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises the attributes.
        if unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: initialised above.
        let mut attributes = unsafe { attributes.assume_init() };
        // SAFETY: as above.
        let shared = unsafe { libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above.
        let robust = unsafe { libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST) };
        let mut mutex = MaybeUninit::uninit();
        // SAFETY: initialises the mutex; Linux allows an unlocked one to be moved before its first use.
        let made = unsafe { libc::pthread_mutex_init(mutex.as_mut_ptr(), &raw const attributes) };
        // SAFETY: initialised above, not used again.
        unsafe { libc::pthread_mutexattr_destroy(&raw mut attributes) };
        if shared != 0 || robust != 0 || made != 0 {
            return None;
        }
        // SAFETY: `pthread_mutex_init` succeeded.
        Some(Self(UnsafeCell::new(unsafe { mutex.assume_init() })))
    }

    /// Waits for the lock for as long as it takes. An error, as libc numbers them, means that the mutex is damaged.
    pub(super) fn lock(&self) -> Result<Guard<'_>, libc::c_int> {
        // SAFETY: the mutex was initialised and is not moved any more.
        self.taken(unsafe { libc::pthread_mutex_lock(self.0.get()) })
    }

    /// Waits for the lock, at most for `patience`.
    pub(super) fn lock_within(&self, patience: Millis) -> Result<Guard<'_>, libc::c_int> {
        // On the clock that the call looks at.
        let until = timespec(Millis(SystemClock.wall()) + patience);
        // SAFETY: the mutex was initialised and is not moved any more.
        self.taken(unsafe { libc::pthread_mutex_timedlock(self.0.get(), &raw const until) })
    }

    fn taken(&self, result: libc::c_int) -> Result<Guard<'_>, libc::c_int> {
        match result {
            0 => {}
            // The process that held it was killed. What is kept under the lock is whole at every moment, so there is nothing to mend.
            libc::EOWNERDEAD => {
                // SAFETY: this thread has just been given the lock.
                unsafe { libc::pthread_mutex_consistent(self.0.get()) };
            }
            error => return Err(error),
        }
        Ok(Guard(self))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: made only by the thread that holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}
