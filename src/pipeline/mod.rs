//! The two loops of a worker process: the observer folds what requests saw, the courier delivers what is owed.
//!
//! Both run on threads of their own, so nothing here is ever waited for by nginx's event loop. They meet in the shared table
//! and nowhere else: any worker's courier delivers what any worker's observer found.

pub mod gate;
pub mod log_line;
pub mod order;
mod observer;
mod courier;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crossbeam_channel as channel;
use once_cell::sync::OnceCell;

use crate::alert::Report;
use crate::clock::Clock;
use crate::config::receiver::Receiver;
use crate::config::upstream::Watched;
use crate::crash;
use crate::observation::Recall;
use crate::pipeline::gate::Gate;
use crate::pipeline::log_line::{Line, level};
use crate::pipeline::order::{ORDERS, Order};
use crate::state::table::{Caller, Places, Subject, Table};
use crate::units::Millis;
use crate::wording;

/// What this worker was configured with.
#[derive(Debug)]
pub struct Config {
    /// The watched upstreams, in the order of [`Observation::upstream`].
    pub upstreams: Vec<Watched>,
    /// The receivers.
    pub receivers: Vec<Receiver>,
    /// Rises with every configuration that nginx loads; orders the rules of old and new workers.
    pub generation: u64,
}

/// The shared table and its bell, rung when there is something to deliver or the clock must be looked at anew.
pub trait Store {
    /// Runs `f` under the lock that all workers share.
    fn with<R>(&self, f: impl FnOnce(&mut Table<'_>) -> R) -> R;

    /// The same, unless the lock cannot be had within `patience`.
    fn with_patience<R>(&self, patience: Millis, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R>;

    /// How often the bell was rung.
    fn rings(&self) -> u32;

    /// Rings it: every courier of every worker wakes.
    fn ring(&self);

    /// Waits for a ring after `rings`, at most for `span`.
    fn listen(&self, rings: u32, span: Option<Millis>);

    /// Is it for the workers of this table to deliver? When that changes, the bell is rung.
    fn delivers(&self, clock: &dyn Clock) -> bool;

    /// Something changed that should outlive the table.
    fn note_change(&self);

    /// Counts observations that nobody will fold.
    fn count_lost(&self, count: u64);
}

/// One worker process.
pub struct Worker<S, C> {
    /// The configuration.
    pub config: Config,
    /// The shared table.
    pub store: S,
    /// Time.
    pub clock: C,
    /// This process.
    pub process: u32,
    /// Takes lines for error.log; must not block.
    pub log: Box<dyn Fn(Line) + Send + Sync>,
    /// Wakes the observer.
    pub gate: Gate,
    /// What was asked for and not done yet.
    orders: (channel::Sender<Order>, channel::Receiver<Order>),
    /// Observations that found no room since the last line about them.
    lost: AtomicU64,
    /// Observations that were taken from the channel and are not folded yet.
    in_hand: AtomicU64,
    /// What the observations refer to. Only one thread folds at a time.
    recall: Mutex<Recall>,
    /// Where this configuration is in the table.
    places: OnceCell<Places>,
    /// Nothing more will be observed.
    observed: AtomicBool,
    /// Nothing more shall be delivered than what may go at once.
    delivered: AtomicBool,
}

impl<S: Store, C: Clock> Worker<S, C> {
    /// A worker that has not joined the table yet: its threads will, since joining takes the lock.
    pub fn new(config: Config, store: S, clock: C, process: u32, log: Box<dyn Fn(Line) + Send + Sync>) -> Self {
        let (gate, places) = (Gate::default(), OnceCell::new());
        let (observed, delivered) = (AtomicBool::new(false), AtomicBool::new(false));
        let (orders, lost, in_hand) = (channel::bounded(ORDERS), AtomicU64::new(0), AtomicU64::new(0));
        let recall = Mutex::new(Recall::new(config.upstreams.iter().map(|watched| watched.peers.len())));
        Self { config, store, clock, process, log, gate, orders, lost, in_hand, recall, places, observed, delivered }
    }

    /// Joins the table. Is there room in it for everything that is watched?
    pub fn join(&self) -> bool {
        self.places().upstreams.iter().all(Option::is_some)
    }

    /// The same where no thread can wait for the lock: the table then shows what should be watched.
    pub fn join_within(&self, patience: Millis) {
        if let Some(adopted) = self.store.with_patience(patience, |table| self.adopt(table)) {
            // Its threads, should there be any one day, find the same places.
            let _ = self.places.set(self.adopted(adopted));
        }
    }

    fn announce(&self, reports: &[Report]) {
        if !reports.is_empty() {
            crash::at("change-committed");
        }
        for report in reports {
            (self.log)(Line { level: level(report), text: wording::log_line(report) });
        }
        if !reports.is_empty() {
            self.store.ring();
            self.store.note_change();
        }
    }

    fn places(&self) -> &Places {
        self.places.get_or_init(|| self.adopted(self.store.with(|table| self.adopt(table))))
    }

    fn adopt(&self, table: &mut Table<'_>) -> (Places, Vec<Report>) {
        let Config { upstreams, receivers, generation } = &self.config;
        let caller = self.caller();
        let mut changes = Vec::new();
        let places = table.adopt(upstreams, receivers, *generation, caller.now, &mut changes);
        (places, reports(table, &changes, &caller))
    }

    fn adopted(&self, (places, reports): (Places, Vec<Report>)) -> Places {
        self.announce(&reports);
        self.store.ring();
        self.store.note_change();
        places
    }

    fn caller(&self) -> Caller<'_> {
        Caller { me: self.process, clock: &self.clock, now: self.clock.now(), wall: self.clock.wall() }
    }
}

fn reports(table: &Table<'_>, changes: &[Subject], caller: &Caller<'_>) -> Vec<Report> {
    changes.iter().filter_map(|&subject| table.report(subject, caller)).collect()
}
