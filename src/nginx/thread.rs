//! Threads beside the event loop: they take no signal, and one that panics starts again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel as channel;

use crate::nginx::error_log;
use crate::pipeline::log_line::{Level, Line};

/// After a panic a loop starts again, but not in a tight circle.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// A thread whose loop is started again after a panic, which is said in error.log; `panicked` is told first.
pub(crate) fn spawn(
    name: &'static str,
    ends: channel::Sender<()>,
    run: impl Fn() + Send + 'static,
    panicked: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    let body = move || {
        while catch_unwind(AssertUnwindSafe(&run)).is_err() {
            panicked();
            error_log::send(Line { level: Level::Alert, text: format!("the {name} panicked and is started again") });
            thread::sleep(PANIC_PAUSE);
        }
        drop(ends);
    };
    thread::Builder::new().name(format!("poolwatch-{name}")).spawn(body).map(drop)
}

/// Threads inherit the mask of the thread that makes them. Signals for real faults stay open.
pub(crate) fn with_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    let mut blocked = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set.
    unsafe { libc::sigfillset(blocked.as_mut_ptr()) };
    // SAFETY: initialised above.
    let mut blocked = unsafe { blocked.assume_init() };
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP] {
        // SAFETY: a valid set and signal.
        unsafe { libc::sigdelset(&raw mut blocked, fault) };
    }
    let mut before = blocked;
    // SAFETY: valid sets.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const blocked, &raw mut before) };
    let result = f();
    // SAFETY: the mask from before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}
