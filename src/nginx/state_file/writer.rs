//! The keeper of the state file: the one process, of all that were configured with the file, that writes it. Its process tree delivers.
//!
//! Each worker has a thread that waits for the lock on the file. Whoever gets it notes itself in its zone, by which the couriers of
//! all workers of its tree know that it is their turn, and writes down what changes. When it ends, or is killed, the kernel hands the
//! lock to the next. So nobody needs to ask again and again, and of two trees, as during an upgrade of the binary, one sends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::clock::{Clock, Times};
use crate::crash;
use crate::nginx::clock::SystemClock;
use crate::nginx::error_log;
use crate::nginx::state_file::file::{Holder, StateFile};
use crate::nginx::zone::Zone;
use crate::persist::document::Saved;
use crate::persist::record::{self, Found};
use crate::pipeline::Store;
use crate::pipeline::log_line::{Level, Line};
use crate::units::Millis;

/// A change is written at once, and those that follow it within this time together.
const TOGETHER: Duration = Duration::from_millis(200);

/// How long a keeper that gives its turn away waits for messages on their way, whose fate the next one should know.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// A worker on its way out, which may take hours, gives its turn away this often, and asks for it again after a pause.
const RETIRED_TURN: Millis = Millis::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

/// Whoever waits longer than this for another nginx says so. Until then it looks again and again, since as a rule it is its turn at once.
const RIVAL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// How long anything waits for the zone's lock at the end.
const PATIENCE: Millis = Millis(300);

/// One worker's share in keeping the file.
pub(crate) struct StateFileWriter {
    file: Arc<StateFile>,
    zone: Zone,
    process: u32,
    thread: OnceCell<Thread>,
    /// This process has the lock and keeps the file.
    writing: AtomicBool,
    /// The worker serves no new requests.
    retired: AtomicBool,
    /// The process is about to end.
    stopped: AtomicBool,
    /// Something went wrong with the file, and was said.
    complained: AtomicBool,
}

impl StateFileWriter {
    pub(crate) fn new(file: Arc<StateFile>, zone: Zone, process: u32) -> Self {
        let (writing, retired) = (AtomicBool::new(false), AtomicBool::new(false));
        let (stopped, complained) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { file, zone, process, thread: OnceCell::new(), writing, retired, stopped, complained }
    }

    /// The thread. It ends when the process is about to, and then keeps the lock: the process' end gives it back. Or when a larger
    /// zone has taken this one's place.
    pub(crate) fn run(&self) {
        self.thread.get_or_init(thread::current);
        while !self.zone.is_superseded() {
            if let Err(error) = self.await_lock() {
                // No locks on this file system: every tree is the one to send.
                self.complain("fcntl", &error);
            }
            if !self.is_stopped() {
                self.run_turn();
            }
            if self.is_stopped() {
                return;
            }
            self.file.unlock();
            thread::park_timeout(PAUSE);
        }
    }

    /// Takes the lock when it is free, which may take for ever. A thread that waits here holds nothing, and the process ends without it.
    fn await_lock(&self) -> io::Result<()> {
        let until = Instant::now() + RIVAL;
        while Instant::now() < until && !self.is_stopped() {
            match self.file.try_lock() {
                Err(error) if is_taken(&error) => thread::park_timeout(LOOK),
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

    /// Once for all workers of this tree. During an upgrade of the binary it is true as well, for as long as that takes.
    fn log_rival(&self, process: Option<u32>) {
        if !self.is_stopped() && self.zone.note_rival(process) {
            let who = process.map_or_else(String::new, |process| format!(", process {process},"));
            let name = self.file.name();
            let text = format!("another nginx{who} keeps \"{name}\": it delivers messages, and this one does not");
            error_log::send(Line { level: Level::Warn, text });
        }
    }

    /// The worker serves no new requests: another should keep the file.
    pub(crate) fn retire(&self) {
        if !self.retired.swap(true, Ordering::AcqRel) {
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

    /// Is there a thread to wait for?
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// What the process did last goes into the file, unless another one keeps it. On the thread that ends the process.
    pub(crate) fn write_last(&self) {
        if !self.zone.is_superseded() && self.file.try_lock().is_ok() {
            self.take_over();
            self.write();
        }
    }

    /// Has the lock. Returns when this turn is over.
    fn run_turn(&self) {
        self.writing.store(true, Ordering::Release);
        crash::at("keeper-locked");
        self.take_over();
        crash::at("keeper-informed");
        if self.zone.set_writer(self.process) {
            let text = format!("\"{}\" is kept by this nginx now, which delivers messages", self.file.name());
            error_log::send(Line { level: Level::Notice, text });
        }
        crash::at("keeper-noted");
        self.zone.ring();
        let until = self.is_retired().then(|| SystemClock.now() + RETIRED_TURN);
        loop {
            let changes = self.zone.changes();
            self.write_and_sync();
            let now = SystemClock.now();
            let is_over = until.map_or_else(|| self.is_retired(), |until| now >= until);
            if is_over || self.is_stopped() || self.zone.is_superseded() {
                break;
            }
            thread::park_timeout(TOGETHER);
            self.zone.await_change(changes, until.map(|until| until - now));
        }
        self.zone.clear_writer(self.process);
        if !self.is_stopped() && !self.zone.is_superseded() {
            self.await_messages();
            self.write_and_sync();
        }
        self.writing.store(false, Ordering::Release);
    }

    /// If another zone's keeper wrote last, its receivers' accounts are continued here.
    fn take_over(&self) {
        let bytes = match self.file.read() {
            Ok(bytes) => bytes,
            Err(error) => return self.complain("read", &error),
        };
        let Found::Record(record) = record::find(&bytes) else { return };
        if let Some(saved) = Saved::from_text(record.text).filter(|saved| saved.zone != self.zone.id()) {
            self.zone.with_patience(PATIENCE, |table| saved.merge(table, times()));
        }
    }

    fn write_and_sync(&self) {
        self.write();
        crash::at("record-written");
        if let Err(error) = self.file.sync() {
            self.complain("fdatasync", &error);
        }
    }

    fn write(&self) {
        let id = self.zone.id();
        let Some(saved) = self.zone.with_patience(PATIENCE, |table| Saved::of(table, id, times())) else { return };
        if let Err(error) = self.file.write(&saved.to_text(), times().wall) {
            self.complain("write", &error);
        }
    }

    /// Until no message is on its way, but not for long.
    fn await_messages(&self) {
        let until = Instant::now() + LAST_MESSAGES;
        let is_sending = || self.zone.is_sending(PATIENCE);
        while !self.is_stopped() && Instant::now() < until && is_sending() {
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Once: nginx goes on without the file, and the disk is another's business.
    fn complain(&self, call: &str, error: &io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            error_log::send(Line { level: Level::Warn, text: self.file.failed(call, error) });
        }
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Another process has the lock.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied)
}

fn times() -> Times {
    Times { now: SystemClock.now(), wall: SystemClock.wall() }
}
