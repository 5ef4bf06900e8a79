//! Writes the state file. Of all processes that are configured with the file, one writes it, and only the workers of
//! its nginx deliver messages.
//!
//! Each worker has a thread that waits for the lock on the file. The worker that gets the lock notes itself in its
//! zone, where the couriers of all workers see that they may deliver, and writes every change to the file. When it ends
//! or is killed, the kernel passes the lock on. So no process has to poll, and of two nginx with the same file, as
//! during an upgrade of the binary, one delivers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::clock::Clock;
use crate::crash;
use crate::nginx::clock::SystemClock;
use crate::nginx::error_log;
use crate::nginx::state_file::file::{Holder, StateFile};
use crate::nginx::zone::Zone;
use crate::persist::document::Saved;
use crate::persist::record::{self, Found};
use crate::pipeline::Store;
use crate::pipeline::log_line::{LogLevel, LogLine};
use crate::units::Millis;

/// How long changes are collected after a write, before the next one.
const COLLECT: Duration = Duration::from_millis(200);

/// How long a worker that gives up the lock waits for messages that are being sent: the next writer should know their
/// outcome.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// A worker that is shutting down, which may take hours, gives up the lock after this time.
const EXITING_SPAN: Millis = Millis::from_secs(5);
/// After giving up the lock, a worker waits for it again after this pause, in which another one can take it.
const PAUSE: Duration = Duration::from_secs(1);

/// A worker that has waited for another nginx's lock for this time logs that. Until then it polls: usually the lock is
/// free soon.
const RIVAL_AFTER: Duration = Duration::from_secs(5);
/// The pause between two polls.
const POLL: Duration = Duration::from_millis(50);

/// How long this thread waits for the zone's lock.
const PATIENCE: Millis = Millis(300);

/// One worker's writer of the state file. It writes only while it has the lock on the file.
pub(crate) struct StateFileWriter {
    file: Arc<StateFile>,
    zone: Zone,
    /// This process.
    process: u32,
    /// The thread of [`StateFileWriter::run`], once it runs.
    thread: OnceCell<Thread>,
    /// The thread has the lock, or continues without one since there are none.
    writing: AtomicBool,
    /// The worker is shutting down: it serves no new connections.
    exiting: AtomicBool,
    /// The process is about to end.
    stopped: AtomicBool,
    /// An error of the file was logged.
    logged_error: AtomicBool,
}

impl StateFileWriter {
    /// A writer whose thread does not run yet.
    pub(crate) fn new(file: Arc<StateFile>, zone: Zone, process: u32) -> Self {
        let (writing, exiting) = (AtomicBool::new(false), AtomicBool::new(false));
        let (stopped, logged_error) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { file, zone, process, thread: OnceCell::new(), writing, exiting, stopped, logged_error }
    }

    /// The thread's body. Returns when the process is about to end, with the lock, which the kernel then releases; or
    /// when another zone has replaced this one.
    pub(crate) fn run(&self) {
        self.thread.get_or_init(thread::current);
        while !self.zone.is_superseded() {
            if let Err(error) = self.await_lock() {
                // The file system has no locks: every nginx with this file delivers.
                self.log_error("fcntl", &error);
            }
            if !self.is_stopped() {
                self.write_changes();
            }
            if self.is_stopped() {
                return;
            }
            self.file.unlock();
            thread::park_timeout(PAUSE);
        }
    }

    /// Takes the lock, and waits for it without a limit. A thread that waits here holds nothing, so the process can end
    /// meanwhile.
    fn await_lock(&self) -> io::Result<()> {
        let until = Instant::now() + RIVAL_AFTER;
        while Instant::now() < until && !self.is_stopped() {
            match self.file.try_lock() {
                Err(error) if is_taken(&error) => thread::park_timeout(POLL),
                taken => return taken,
            }
        }
        match self.file.holder() {
            None => {}
            Some(Holder::Process(process)) if self.zone.workers().is_worker(process) => {}
            Some(Holder::Process(process)) => self.log_rival(Some(process)),
            Some(Holder::Unseen) => self.log_rival(None),
        }
        self.file.lock()
    }

    /// Logs that another nginx has the lock, once for all workers. This also happens during a long upgrade of the
    /// binary.
    fn log_rival(&self, process: Option<u32>) {
        if !self.is_stopped() && self.zone.note_rival(process) {
            let who = process.map_or_else(String::new, |process| format!(", process {process},"));
            let name = self.file.name();
            let text = format!("another nginx{who} keeps \"{name}\": it delivers messages, and this one does not");
            error_log::send(LogLine { level: LogLevel::Warn, text });
        }
    }

    /// The worker is shutting down: another one should write the file. May be called more than once.
    pub(crate) fn note_exiting(&self) {
        if !self.exiting.swap(true, Ordering::AcqRel) {
            self.zone.note_change();
        }
    }

    /// Asks the thread to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.zone.note_change();
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// May the thread be in the middle of a write?
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// Writes the process' last changes, unless another process has the lock. Called on nginx's own thread, after
    /// [`Self::stop`].
    pub(crate) fn write_last(&self) {
        if !self.zone.is_superseded() && self.file.try_lock().is_ok() {
            self.take_over();
            self.write();
        }
    }

    /// Writes every change, while this process has the lock. Returns when another process should have it, or the
    /// process ends.
    fn write_changes(&self) {
        self.writing.store(true, Ordering::Release);
        crash::at("keeper-locked");
        self.take_over();
        crash::at("keeper-informed");
        if self.zone.set_writer(self.process) {
            let text = format!("\"{}\" is kept by this nginx now, which delivers messages", self.file.name());
            error_log::send(LogLine { level: LogLevel::Notice, text });
        }
        crash::at("keeper-noted");
        self.zone.notify();
        let until = self.is_exiting().then(|| SystemClock.now() + EXITING_SPAN);
        loop {
            let changes = self.zone.changes();
            self.write_and_sync();
            let now = SystemClock.now();
            let is_over = until.map_or_else(|| self.is_exiting(), |until| now >= until);
            if is_over || self.is_stopped() || self.zone.is_superseded() {
                break;
            }
            thread::park_timeout(COLLECT);
            self.zone.await_change(changes, until.map(|until| until - now));
        }
        self.zone.clear_writer(self.process);
        if !self.is_stopped() && !self.zone.is_superseded() {
            self.await_messages();
            self.write_and_sync();
        }
        self.writing.store(false, Ordering::Release);
    }

    /// If the file was written last by a process with another zone, merges what it says into this zone.
    fn take_over(&self) {
        let bytes = match self.file.read() {
            Ok(bytes) => bytes,
            Err(error) => return self.log_error("read", &error),
        };
        let Found::FileRecord(record) = record::find(&bytes) else { return };
        if let Some(saved) = Saved::from_text(record.text).filter(|saved| saved.zone != self.zone.id()) {
            self.zone.with_patience(PATIENCE, |table| saved.merge(table, SystemClock.times()));
        }
    }

    fn write_and_sync(&self) {
        self.write();
        crash::at("record-written");
        if let Err(error) = self.file.sync() {
            self.log_error("fdatasync", &error);
        }
    }

    fn write(&self) {
        let id = self.zone.id();
        let Some(saved) = self.zone.with_patience(PATIENCE, |table| Saved::of(table, id, SystemClock.times())) else {
            return;
        };
        if let Err(error) = self.file.write(&saved.to_text(), SystemClock.times().wall) {
            self.log_error("write", &error);
        }
    }

    /// Waits until no message is being sent, at most for [`LAST_MESSAGES`].
    fn await_messages(&self) {
        let until = Instant::now() + LAST_MESSAGES;
        let is_sending = || self.zone.is_sending(PATIENCE);
        while !self.is_stopped() && Instant::now() < until && is_sending() {
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Logs an error of the file, only the first one in this process: nginx works without the file.
    fn log_error(&self, call: &str, error: &io::Error) {
        if !self.logged_error.swap(true, Ordering::Relaxed) {
            error_log::send(LogLine { level: LogLevel::Warn, text: self.file.failed(call, error) });
        }
    }

    fn is_exiting(&self) -> bool {
        self.exiting.load(Ordering::Acquire)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Does this error mean that another process has the lock?
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied)
}
