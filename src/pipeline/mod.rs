//! The two loops of a worker process: the observer folds what requests saw, and the courier sends the messages that are
//! due.
//!
//! Both loops run on threads of their own, so nginx's event loop never waits for them. They only meet in the shared
//! table: the courier of any worker delivers what the observer of any worker found.

pub mod doorbell;
pub mod log_line;
pub mod order;
mod observer;
mod courier;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use crossbeam_channel as channel;
use once_cell::sync::OnceCell;

use crate::alert::Alert;
use crate::clock::Clock;
use crate::config::blocks::ChoiceCounter;
use crate::config::receiver::Receiver;
use crate::config::upstream::WatchedUpstream;
use crate::crash;
use crate::observation::{NameCache, Observation};
use crate::pipeline::doorbell::Doorbell;
use crate::pipeline::log_line::{LogLine, level};
use crate::pipeline::order::{ORDERS, Order};
use crate::state::table::{Environment, SlotMap, Subject, Table};
use crate::units::Millis;
use crate::wording;

/// The configuration of this worker.
#[derive(Debug)]
pub struct Config {
    /// The watched upstreams, in the order of [`crate::observation::Observation::upstream`].
    pub upstreams: Vec<WatchedUpstream>,
    /// The receivers.
    pub receivers: Vec<Receiver>,
    /// Rises with every configuration that nginx loads; says which of two workers has the newer rules.
    pub generation: u64,
}

/// The shared table, and a notification for the couriers: there may be something to send, or a deadline has changed.
pub trait Store {
    /// Runs `f` under the lock that all workers share.
    fn with<R>(&self, f: impl FnOnce(&mut Table<'_>) -> R) -> R;

    /// As [`Store::with`]; `None`: the lock could not be had within `patience`, and `f` was not run.
    fn with_patience<R>(&self, patience: Millis, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R>;

    /// The number of notifications so far.
    fn notifications(&self) -> u32;

    /// Notifies: every courier of every worker wakes.
    fn notify(&self);

    /// Waits for a notification after number `notifications`, at most for `span`; `None`: without a limit.
    fn wait(&self, notifications: u32, span: Option<Millis>);

    /// Do the workers of this table deliver at present? When the answer changes, the couriers are notified.
    fn delivers(&self, clock: &dyn Clock) -> bool;

    /// Notes that something changed that should outlive the table.
    fn note_change(&self);

    /// Counts observations that no worker will fold.
    fn count_lost(&self, count: u64);
}

/// What earlier observations said, and later ones refer to.
struct Learned {
    /// The names that peers named.
    names: NameCache,
    /// The watched upstreams, with the addresses to which nginx resolved their servers at run time.
    upstreams: Vec<WatchedUpstream>,
}

impl Learned {
    fn complete(&mut self, seen: &mut Observation) {
        for resolved in seen.resolved() {
            if let Some(watched) = self.upstreams.get_mut(usize::from(seen.upstream)) {
                watched.add(resolved);
            }
        }
        self.names.complete(seen);
    }
}

/// What a worker is made of.
pub struct Parts<S, C> {
    /// For each watched service its index among the watched upstreams, and what its requests chose first.
    pub choices: Vec<(usize, Arc<ChoiceCounter>)>,
    /// The configuration.
    pub config: Config,
    /// The shared table.
    pub store: S,
    /// The clock.
    pub clock: C,
    /// The id of this process.
    pub process: u32,
    /// Receives lines for error.log; must not block.
    pub log: Box<dyn Fn(LogLine) + Send + Sync>,
}

/// One worker process.
pub struct Worker<S, C> {
    /// The configuration.
    pub config: Config,
    /// The shared table.
    pub store: S,
    /// The clock.
    pub clock: C,
    /// The id of this process.
    pub process: u32,
    /// Receives lines for error.log; must not block.
    pub log: Box<dyn Fn(LogLine) + Send + Sync>,
    /// Wakes the observer.
    pub doorbell: Doorbell,
    /// Orders that an operator gave and that are not carried out yet.
    orders: (channel::Sender<Order>, channel::Receiver<Order>),
    /// Observations that found the channel full, since the last log line about them.
    lost: AtomicU64,
    /// Observations that were taken from the channel and are not folded yet.
    in_hand: AtomicU64,
    /// What requests of services chose first.
    choices: Vec<(usize, Arc<ChoiceCounter>)>,
    /// What observations refer to. Only one thread folds at a time.
    learned: Mutex<Learned>,
    /// The indices of this configuration in the table; empty until the worker joins the table.
    slot_map: OnceCell<SlotMap>,
    /// The event loop sends no more observations: the observer should end.
    observed: AtomicBool,
    /// The couriers should end, after the messages that may be sent at once.
    delivered: AtomicBool,
}

impl<S: Store, C: Clock> Worker<S, C> {
    /// A worker that has not joined the table yet: its threads do that, because joining takes the lock.
    pub fn new(Parts { choices, config, store, clock, process, log }: Parts<S, C>) -> Self {
        let (doorbell, slot_map) = (Doorbell::default(), OnceCell::new());
        let (observed, delivered) = (AtomicBool::new(false), AtomicBool::new(false));
        let (orders, lost, in_hand) = (channel::bounded(ORDERS), AtomicU64::new(0), AtomicU64::new(0));
        let peers = config.upstreams.iter().map(|watched| watched.peers.len() + watched.room());
        let learned = Learned { names: NameCache::new(peers), upstreams: config.upstreams.clone() };
        let learned = Mutex::new(learned);
        Self {
            config,
            store,
            clock,
            process,
            log,
            doorbell,
            orders,
            lost,
            in_hand,
            choices,
            learned,
            slot_map,
            observed,
            delivered,
        }
    }

    /// Joins the table. Returns `true` if the table has a slot for every watched upstream.
    pub fn join(&self) -> bool {
        self.slot_map().upstreams.iter().all(Option::is_some)
    }

    /// Joins the table in a worker that can start no thread, if the lock can be had within `patience`. The table then
    /// shows which upstreams should be watched.
    pub fn join_within(&self, patience: Millis) {
        if let Some(adopted) = self.store.with_patience(patience, |table| self.adopt(table)) {
            // If the worker has threads one day, they find the same indices.
            let _ = self.slot_map.set(self.adopted(adopted));
        }
    }

    fn announce(&self, alerts: &[Alert]) {
        if !alerts.is_empty() {
            crash::at("change-committed");
        }
        for alert in alerts {
            (self.log)(LogLine { level: level(alert), text: wording::log_line(alert) });
        }
        if !alerts.is_empty() {
            self.store.notify();
            self.store.note_change();
        }
    }

    fn slot_map(&self) -> &SlotMap {
        self.slot_map.get_or_init(|| self.adopted(self.store.with(|table| self.adopt(table))))
    }

    fn adopt(&self, table: &mut Table<'_>) -> (SlotMap, Vec<Alert>) {
        let Config { upstreams, receivers, generation } = &self.config;
        let env = self.env();
        let mut changes = Vec::new();
        let slot_map = table.adopt(upstreams, receivers, *generation, env.times.now, &mut changes);
        (slot_map, alerts(table, &changes, &env))
    }

    fn adopted(&self, (slot_map, alerts): (SlotMap, Vec<Alert>)) -> SlotMap {
        self.announce(&alerts);
        self.store.notify();
        self.store.note_change();
        slot_map
    }

    fn env(&self) -> Environment<'_> {
        Environment { me: self.process, clock: &self.clock, times: self.clock.times() }
    }
}

fn alerts(table: &Table<'_>, changes: &[Subject], env: &Environment<'_>) -> Vec<Alert> {
    changes.iter().filter_map(|&subject| table.alert(subject, env)).collect()
}
