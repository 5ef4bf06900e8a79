//! Writes to nginx's error log, also for threads: nginx's logger may only be used on the event loop's thread.
//!
//! A thread puts its line into a channel and writes to an eventfd; the event loop wakes and logs the line as
//! `error_log` says.

use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use crossbeam_channel as channel;
use nginx_sys::{
    NGX_LOG_ALERT, NGX_LOG_CRIT, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_close_connection,
    ngx_connection_t, ngx_cycle_t, ngx_event_actions, ngx_event_t, ngx_get_connection, ngx_int_t, ngx_log_error_core,
    ngx_log_t, ngx_str_t, ngx_uint_t,
};
use once_cell::sync::OnceCell;

use crate::nginx::callback::caught;
use crate::nginx::{bits, cycle};
use crate::pipeline::log_line::{LogLevel, LogLine};

/// The most lines that can wait for the event loop; further ones are lost. It would take 1024 lines in one turn of the
/// loop.
const WAITING: usize = 1024;

/// `NGX_READ_EVENT`, and `NGX_CLEAR_EVENT`, which is `EPOLLET`. Both are macros that bindgen cannot read.
const READ_EVENT: ngx_int_t = (libc::EPOLLIN | libc::EPOLLRDHUP) as ngx_int_t;
const CLEAR_EVENT: ngx_uint_t = 1 << 31;

static LINES: OnceCell<Lines> = OnceCell::new();

struct Lines {
    sender: channel::Sender<LogLine>,
    receiver: channel::Receiver<LogLine>,
    eventfd: RawFd,
    /// Called on the event loop's thread when the worker begins to shut down.
    when_exiting: fn(),
}

/// The connection of the eventfd; only the event loop's thread uses it. Null: not open.
static CONNECTION: AtomicPtr<ngx_connection_t> = AtomicPtr::new(ptr::null_mut());

/// Opens the channel and the eventfd, once in a process. `None`: no descriptor or connection was free, and lines of
/// threads are logged when the worker exits.
pub(crate) fn open(cycle: &ngx_cycle_t, when_exiting: fn()) -> Option<()> {
    let (sender, receiver) = channel::bounded(WAITING);
    // SAFETY: makes a descriptor.
    let eventfd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    LINES.set(Lines { sender, receiver, eventfd, when_exiting }).ok()?;
    if eventfd < 0 {
        return None;
    }
    // SAFETY: called by the event loop's thread with an open descriptor and the cycle's log.
    let connection = NonNull::new(unsafe { ngx_get_connection(eventfd, cycle.log) })?;
    // SAFETY: nginx has just handed out this connection, with its read event.
    let read = unsafe { (*connection.as_ptr()).read };
    // SAFETY: as above.
    let read_event = unsafe { &mut *read };
    read_event.handler = Some(on_readable);
    read_event.log = cycle.log;
    // SAFETY: the event module has set its actions before any module's init_process.
    let add = unsafe { ngx_event_actions.add }?;
    // SAFETY: a valid event of an open descriptor.
    let added = unsafe { add(read, READ_EVENT, CLEAR_EVENT) };
    bits::set_idle(connection);
    CONNECTION.store(connection.as_ptr(), Ordering::Relaxed);
    (added == 0).then_some(())
}

/// Logs the lines that still wait, and closes the eventfd.
pub(crate) fn close(cycle: &ngx_cycle_t) {
    log_waiting(cycle.log);
    if let Some(connection) = NonNull::new(CONNECTION.swap(ptr::null_mut(), Ordering::Relaxed)) {
        // SAFETY: opened above, closed once, on the event loop's thread. The eventfd goes with it.
        unsafe { ngx_close_connection(connection.as_ptr()) };
    }
}

/// Has the event loop log a line. May be called on any thread, and never waits.
pub(crate) fn send(line: LogLine) {
    let Some(lines) = LINES.get() else { return };
    if lines.sender.try_send(line).is_ok() {
        let one = 1_u64;
        // SAFETY: eight bytes to an eventfd of ours. A full one is readable already.
        unsafe { libc::write(lines.eventfd, (&raw const one).cast(), size_of::<u64>()) };
    }
}

/// Logs the waiting lines. Only for the event loop's thread.
fn log_waiting(log: *mut ngx_log_t) {
    let Some(lines) = LINES.get() else { return };
    for line in lines.receiver.try_iter() {
        let level = match line.level {
            LogLevel::Alert => NGX_LOG_ALERT,
            LogLevel::Critical => NGX_LOG_CRIT,
            LogLevel::Error => NGX_LOG_ERR,
            LogLevel::Warn => NGX_LOG_WARN,
            LogLevel::Notice => NGX_LOG_NOTICE,
            LogLevel::Info => NGX_LOG_INFO,
        };
        write(level, log, &line.text);
    }
}

/// Logs one line if `error_log` has this level. Only for nginx's own thread.
pub(crate) fn write(level: u32, log: *mut ngx_log_t, text: &str) {
    // SAFETY: callers pass a log of nginx's.
    let Some(wanted) = (unsafe { log.as_ref() }) else { return };
    if wanted.log_level < level as ngx_uint_t {
        return;
    }
    let text = ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() };
    // SAFETY: "%V" takes a pointer to an ngx_str_t; nginx copies the text, cut to its line length.
    unsafe { ngx_log_error_core(level as ngx_uint_t, log, 0, c"poolwatch: %V".as_ptr(), ptr::from_ref(&text)) };
}

unsafe extern "C" fn on_readable(_event: *mut ngx_event_t) {
    caught(|| {
        if let Some(lines) = LINES.get() {
            if cycle::is_exiting() {
                (lines.when_exiting)();
            }
            let mut count = 0_u64;
            // SAFETY: eight bytes from an eventfd of ours.
            unsafe { libc::read(lines.eventfd, (&raw mut count).cast(), size_of::<u64>()) };
        }
        // Not the event's own log: it may belong to an earlier configuration, whose files are closed.
        log_waiting(cycle::log());
    });
}
