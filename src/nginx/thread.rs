//! Threads beside the event loop. They take no signals, and start again after a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel as channel;

use crate::nginx::error_log;
use crate::pipeline::log_line::{LogLevel, LogLine};

/// The pause before a thread's loop starts again after a panic.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// Starts a thread that runs `run` until it returns, and again after each panic, which is logged at `alert`. `panicked`
/// is called before the pause; `ends` is dropped when the thread ends.
pub(crate) fn spawn(
    name: &'static str,
    ends: channel::Sender<()>,
    run: impl Fn() + Send + 'static,
    panicked: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    let body = move || {
        while catch_unwind(AssertUnwindSafe(&run)).is_err() {
            panicked();
            error_log::send(LogLine {
                level: LogLevel::Alert,
                text: format!("the {name} panicked and is started again"),
            });
            thread::sleep(PANIC_PAUSE);
        }
        drop(ends);
    };
    thread::Builder::new().name(format!("poolwatch-{name}")).spawn(body).map(drop)
}

/// Runs `f` with all signals blocked except those of faults: threads that it starts inherit the mask.
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
