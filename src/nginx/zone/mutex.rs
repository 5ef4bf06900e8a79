//! A lock that processes share. When a process that holds it is killed, the kernel passes it on.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use crate::clock::Clock;
use crate::nginx::clock::{SystemClock, timespec};
use crate::units::Millis;

/// A robust, process-shared POSIX mutex.
#[repr(transparent)]
pub(super) struct RobustMutex(UnsafeCell<libc::pthread_mutex_t>);

/// This thread holds the lock until the guard is dropped.
pub(super) struct Guard<'a>(&'a RobustMutex);

impl RobustMutex {
    /// An unlocked mutex, which may be moved until its first use; `None`: the system has no such mutexes.
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

    /// Takes the lock, and waits for it without a limit. `Err`: the mutex is damaged; libc's error number.
    pub(super) fn lock(&self) -> Result<Guard<'_>, libc::c_int> {
        // SAFETY: the mutex was initialised and is not moved any more.
        self.taken(unsafe { libc::pthread_mutex_lock(self.0.get()) })
    }

    /// Takes the lock, and waits for it at most for `patience`. `Err`: libc's error number.
    pub(super) fn lock_within(&self, patience: Millis) -> Result<Guard<'_>, libc::c_int> {
        // The call takes an absolute time of the wall clock.
        let until = timespec(Millis(SystemClock.wall()) + patience);
        // SAFETY: the mutex was initialised and is not moved any more.
        self.taken(unsafe { libc::pthread_mutex_timedlock(self.0.get(), &raw const until) })
    }

    fn taken(&self, result: libc::c_int) -> Result<Guard<'_>, libc::c_int> {
        match result {
            0 => {}
            // A process was killed while it held the lock. The data under it is never half-written, so nothing needs
            // repair.
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
        // SAFETY: a guard exists only in the thread that holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.0.0.get()) };
    }
}
