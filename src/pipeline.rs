//! The two loops of a worker process: the observer folds what requests saw, the courier delivers what is owed.
//!
//! Both run on threads of their own, so nothing here is ever waited for by nginx's event loop. They meet in the shared table
//! and nowhere else: any worker's courier delivers what any worker's observer found.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel as channel;
use once_cell::sync::OnceCell;

use crate::alert::{Report, Severity};
use crate::clock::Clock;
use crate::config::receiver::Receiver;
use crate::config::upstream::Watched;
use crate::crash;
use crate::deliver::{Post, slack};
use crate::gate::Gate;
use crate::observation::{Observation, Recall};
use crate::outbox::debt::Settled;
use crate::outbox::outcome::Outcome;
use crate::state::notices::{MAX_SILENCES, Silence};
use crate::state::table::{Caller, Delivery, Places, Subject, Table};
use crate::units::Millis;
use crate::wording;

/// Observations folded under one lock: some 50 µs of it.
const BATCH: usize = 128;

/// The observer's sleep between batches under traffic.
const POLL: Millis = Millis(10);

/// Orders that may wait.
const ORDERS: usize = 16;

/// Lines about lost observations come at most this often.
const LOST_EVERY: Millis = Millis::from_secs(1);

/// So many polls without an observation, and the observer parks.
const QUIET_POLLS: u32 = 10;

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

/// What an operator asks for at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hold messages back for a while.
    Silence(Box<Silence>),
    /// Hold them back no longer: the silence of this number is over.
    EndSilence(u64),
    /// Send a test message to every receiver.
    Test,
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

/// How a line in error.log is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Poolwatch itself is at fault.
    Alert,
    /// Clients suffer, and that it is over.
    Critical,
    /// Traffic moved or requests fail, and that it is over; a message was not delivered.
    Error,
    /// Requests were not observed.
    Warn,
    /// The operator's own acts.
    Notice,
    /// For the curious.
    Info,
}

/// A line for error.log, written by the event loop: nginx's log is not for threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its text, safe and on one line.
    pub text: String,
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

/// What came of a batch.
struct Folded {
    reports: Vec<Report>,
    /// Orders that cannot be carried out.
    refused: Vec<Order>,
    /// When the detectors have something to do next.
    deadline: Option<Millis>,
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

    /// The observer's loop. Returns after [`Worker::stop_observing`], with the channel empty and every loss told.
    pub fn observe(&self, observations: &channel::Receiver<Observation>) {
        let mut quiet = 0;
        let mut said = Millis::ZERO;
        loop {
            let stopping = self.observed.load(Ordering::Acquire);
            let (folded, deadline) = self.fold(observations);
            match (folded, stopping) {
                (0, true) => {
                    self.say_lost();
                    return;
                }
                (0, false) => quiet += 1,
                _ => quiet = 0,
            }
            let now = self.clock.now();
            if now >= said + LOST_EVERY && self.say_lost() {
                said = now;
            }
            let left = deadline.map(|due| due - now);
            if quiet < QUIET_POLLS {
                if folded < BATCH && !stopping {
                    self.gate.sleep(left.map_or(POLL, |left| left.min(POLL)));
                }
            } else {
                let has_work = || !observations.is_empty() || !self.orders.1.is_empty();
                self.gate.park(left, || has_work() || self.observed.load(Ordering::Acquire));
            }
        }
    }

    /// Has the observer do something, soon. Never waits, so the event loop may call it. `false`: too many orders wait.
    pub fn order(&self, order: Order) -> bool {
        let taken = self.orders.0.try_send(order).is_ok();
        self.gate.knock();
        taken
    }

    /// Notes an observation that found the channel full. Never waits, so the event loop may call it.
    pub fn note_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.store.count_lost(1);
    }

    /// Folds what is in the channel, at most a batch. Returns how many, and when the detectors have something to do next.
    pub fn fold(&self, observations: &channel::Receiver<Observation>) -> (usize, Option<Millis>) {
        self.lose(self.in_hand.swap(0, Ordering::Relaxed), "the observer panicked");
        let places = self.places();
        self.fold_with(observations, places, |fold| Some(self.store.with(fold))).unwrap_or_default()
    }

    /// The end, on nginx's own thread: folds what is left in the channel, or says that it is lost when that takes longer than `patience`.
    pub fn finish(&self, observations: &channel::Receiver<Observation>, patience: Millis) {
        let until = self.clock.now() + patience;
        let fold = || {
            let left = until - self.clock.now();
            self.fold_with(observations, self.places.get()?, |fold| self.store.with_patience(left, fold))
        };
        loop {
            match fold() {
                Some((0, _)) => break,
                Some(_) => {}
                None => return self.give_up(observations),
            }
        }
        self.say_lost();
    }

    /// What is left will not be folded: another process has the lock and keeps it.
    pub fn give_up(&self, observations: &channel::Receiver<Observation>) {
        let left = observations.try_iter().count() as u64 + self.in_hand.swap(0, Ordering::Relaxed);
        self.lose(left, "the lock of the zone could not be had");
        self.say_lost();
    }

    fn fold_with(
        &self,
        observations: &channel::Receiver<Observation>,
        places: &Places,
        lock: impl FnOnce(&mut dyn FnMut(&mut Table<'_>) -> Folded) -> Option<Folded>,
    ) -> Option<(usize, Option<Millis>)> {
        let mut batch: Vec<_> = Vec::with_capacity(observations.len().min(BATCH));
        batch.extend(observations.try_iter().take(BATCH));
        self.in_hand.store(batch.len() as u64, Ordering::Relaxed);
        let mut recall = self.recall.lock().unwrap_or_else(PoisonError::into_inner);
        for seen in &mut batch {
            recall.complete(seen);
        }
        drop(recall);
        // Each upstream's in one piece, and in their order.
        batch.sort_by_key(|seen| seen.upstream);
        let caller = self.caller();
        let folded = lock(&mut |table| {
            let mut changes = table.fold(&self.config.upstreams, places, &batch, caller.now);
            let mut refused = Vec::new();
            for order in self.orders.1.try_iter() {
                let subjects = carry_out(&order, table, caller.now);
                if subjects.is_empty() {
                    refused.push(order);
                }
                changes.extend(subjects);
            }
            Folded { reports: reports(table, &changes, &caller), refused, deadline: table.deadline() }
        })?;
        self.in_hand.store(0, Ordering::Relaxed);
        self.announce(&folded.reports);
        for order in folded.refused {
            (self.log)(Line { level: Level::Error, text: order.is_refused() });
        }
        Some((batch.len(), folded.deadline))
    }

    /// The courier's loop for one receiver. Returns after [`Worker::stop_delivering`], once nothing more may go at once, and when the
    /// workers of a newer configuration deliver.
    pub fn deliver(&self, index: usize, post: &impl Post) {
        let Some(receiver) = self.config.receivers.get(index) else { return };
        let Some(place) = self.places().receivers.get(index).copied().flatten() else { return };
        loop {
            let rings = self.store.rings();
            let stopping = self.delivered.load(Ordering::Acquire);
            let caller = self.caller();
            let our_turn = self.store.delivers(&self.clock);
            let (reports, delivery, due, outdated) = self.store.with(|table| {
                let changes = table.tick(caller.now);
                let outdated = table.is_outdated(self.config.generation);
                let may = our_turn && !outdated;
                let delivery = may.then(|| table.claim(place, receiver.send_resolved, &caller)).flatten();
                let next = our_turn.then(|| table.next_delivery(place, &caller)).flatten();
                let due = [table.deadline(), next].into_iter().flatten().min();
                (reports(table, &changes, &caller), delivery, due, outdated)
            });
            self.announce(&reports);
            match delivery {
                Some(delivery) => self.send(receiver, &delivery, post),
                None if stopping || outdated => return,
                None => self.store.listen(rings, due.map(|due| due - self.clock.now())),
            }
        }
    }

    /// Asks the observer to fold what there is, and to end.
    pub fn stop_observing(&self) {
        self.observed.store(true, Ordering::Release);
        self.gate.wake();
    }

    /// Asks the couriers to end. To be asked after the observer has: what it found last may still be told.
    pub fn stop_delivering(&self) {
        self.delivered.store(true, Ordering::Release);
        self.store.ring();
    }

    fn send(&self, receiver: &Receiver, delivery: &Delivery, post: &impl Post) {
        crash::at("message-claimed");
        if !self.store.with(|table| table.may_send(delivery, &self.caller())) {
            return;
        }
        crash::at("message-allowed");
        let body = if delivery.claim.plain { slack::fallback(&delivery.report) } else { slack::body(&delivery.report) };
        let outcome = slack::classify(post.post(&receiver.endpoint, &body));
        crash::at("message-posted");
        let now = self.clock.now();
        let settled = self.store.with(|table| table.settle(delivery, &outcome, now, random()));
        crash::at("message-settled");
        self.store.note_change();
        if let Some(line) = delivery_line(receiver, &delivery.report, &outcome, settled) {
            (self.log)(line);
        }
    }

    /// One line for all that was lost since the last one.
    fn say_lost(&self) -> bool {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        self.say_unobserved(lost, "the observer could not keep up");
        lost > 0
    }

    /// Counts observations that were taken from the channel and that nobody will fold.
    fn lose(&self, count: u64, why: &str) {
        self.store.count_lost(count);
        self.say_unobserved(count, why);
    }

    fn say_unobserved(&self, count: u64, why: &str) {
        if count > 0 {
            (self.log)(Line { level: Level::Warn, text: format!("{count} requests were not observed, {why}") });
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

impl Order {
    /// It was asked for when it could not be done any more.
    fn is_refused(&self) -> String {
        match self {
            Self::Silence(silence) => {
                format!("silence {} did not begin, there are {MAX_SILENCES} already", silence.id)
            }
            Self::EndSilence(id) => format!("silence {id} is over already"),
            Self::Test => "no test message was sent".to_owned(),
        }
    }
}

/// What that changed; nothing: it cannot be done.
fn carry_out(order: &Order, table: &mut Table<'_>, now: Millis) -> Vec<Subject> {
    match order {
        Order::Silence(silence) => table.begin_silence(**silence, now),
        Order::EndSilence(id) => table.end_silence(*id, now),
        Order::Test => vec![table.test(now)],
    }
}

/// Alerts are seen with nginx's own default level, and the way back wherever the alert was.
fn level(report: &Report) -> Level {
    match report.ended.unwrap_or(report.severity) {
        Severity::Critical => Level::Critical,
        Severity::Warning => Level::Error,
        Severity::Info => Level::Notice,
    }
}

fn reports(table: &Table<'_>, changes: &[Subject], caller: &Caller<'_>) -> Vec<Report> {
    changes.iter().filter_map(|&subject| table.report(subject, caller)).collect()
}

/// One line per change of a receiver's health and per message that will never be heard, none per attempt.
fn delivery_line(receiver: &Receiver, report: &Report, outcome: &Outcome, settled: Settled) -> Option<Line> {
    let name = String::from_utf8_lossy(receiver.name.as_bytes()).into_owned();
    let doing = format!("while reporting {}", wording::log_line(report));
    let line = |level, text| Some(Line { level, text });
    match outcome {
        Outcome::Accepted if settled.health_changed => {
            line(Level::Notice, format!("receiver \"{name}\" accepts messages again {doing}"))
        }
        Outcome::Accepted => line(Level::Info, format!("receiver \"{name}\" accepted message {}", report.message_id())),
        Outcome::Retry(why) if settled.health_changed => {
            line(Level::Error, format!("receiver \"{name}\" {why} {doing}, will be retried"))
        }
        Outcome::RateLimited(_) if settled.health_changed => {
            line(Level::Error, format!("receiver \"{name}\" asks for a pause {doing}, will be retried"))
        }
        Outcome::Broken(why) if settled.health_changed => {
            line(Level::Error, format!("receiver \"{name}\" {why} {doing}, will be probed every 15 minutes"))
        }
        Outcome::Rejected(why) if settled.refused => {
            line(Level::Error, format!("receiver \"{name}\" {why} {doing}, giving this message up"))
        }
        _ => None,
    }
}

/// Spreads the workers' retries; not a secret.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
