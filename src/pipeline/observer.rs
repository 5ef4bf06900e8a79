//! The observer's loop: takes observations from the channel and folds them into the table, a batch under one lock.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crossbeam_channel as channel;

use crate::alert::Alert;
use crate::clock::Clock;

use crate::observation::Observation;
use crate::pipeline::log_line::{LogLevel, LogLine, contradiction_line};
use crate::pipeline::order::{Order, carry_out};
use crate::pipeline::{Store, Worker, alerts};
use crate::state::table::{SlotMap, Table};
use crate::units::Millis;

/// Observations that are folded under one lock, which is then held for some 50 µs.
const BATCH: usize = 128;

/// The observer's sleep between batches under traffic.
const POLL: Millis = Millis(10);

/// The least time between two log lines about lost observations.
const LOST_EVERY: Millis = Millis::from_secs(1);

/// After this many polls without an observation the observer waits for the doorbell.
const QUIET_POLLS: u32 = 10;

/// What a batch changed.
struct Folded {
    alerts: Vec<Alert>,
    /// Addresses whose header names another pool than the configuration.
    contradictions: Vec<[Vec<u8>; 4]>,
    /// Orders that could not be carried out.
    refused: Vec<Order>,
    /// When the detectors have something to do next; `None`: only after a request or an order.
    deadline: Option<Millis>,
}

impl<S: Store, C: Clock> Worker<S, C> {
    /// The observer's loop. Returns after [`Worker::stop_observing`], once the channel is empty and every loss is
    /// logged.
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
                    self.doorbell.sleep(left.map_or(POLL, |left| left.min(POLL)));
                }
            } else {
                let has_work = || !observations.is_empty() || !self.orders.1.is_empty();
                self.doorbell.wait(left, || has_work() || self.observed.load(Ordering::Acquire));
            }
        }
    }

    /// Gives the observer an order, which it carries out soon. Never waits, so the event loop may call it. Returns
    /// `false` if too many orders wait already.
    pub fn order(&self, order: Order) -> bool {
        let taken = self.orders.0.try_send(order).is_ok();
        self.doorbell.ring();
        taken
    }

    /// Notes an observation that found the channel full. Never waits, so the event loop may call it.
    pub fn note_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.store.count_lost(1);
    }

    /// Folds the observations in the channel, at most one batch. Returns how many, and when the detectors have
    /// something to do next. Waits for the lock.
    pub fn fold(&self, observations: &channel::Receiver<Observation>) -> (usize, Option<Millis>) {
        self.lose(self.in_hand.swap(0, Ordering::Relaxed), "the observer panicked");
        let slot_map = self.slot_map();
        self.fold_with(observations, slot_map, |fold| Some(self.store.with(fold))).unwrap_or_default()
    }

    /// The worker's exit, on nginx's own thread: folds what is left in the channel, or logs that it is lost if the lock
    /// cannot be had within `patience`.
    pub fn finish(&self, observations: &channel::Receiver<Observation>, patience: Millis) {
        let until = self.clock.now() + patience;
        let fold = || {
            let left = until - self.clock.now();
            self.fold_with(observations, self.slot_map.get()?, |fold| self.store.with_patience(left, fold))
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

    /// Logs that what is left will not be folded, because another process keeps the lock.
    pub fn give_up(&self, observations: &channel::Receiver<Observation>) {
        let left = observations.try_iter().count() as u64 + self.in_hand.swap(0, Ordering::Relaxed);
        self.lose(left, "the lock of the zone could not be had");
        self.say_lost();
    }

    fn fold_with(
        &self,
        observations: &channel::Receiver<Observation>,
        slot_map: &SlotMap,
        lock: impl FnOnce(&mut dyn FnMut(&mut Table<'_>) -> Folded) -> Option<Folded>,
    ) -> Option<(usize, Option<Millis>)> {
        let mut batch: Vec<_> = Vec::with_capacity(observations.len().min(BATCH));
        batch.extend(observations.try_iter().take(BATCH));
        self.in_hand.store(batch.len() as u64, Ordering::Relaxed);
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        for seen in &mut batch {
            learned.complete(seen);
        }
        // Each upstream's observations together, in their own order.
        batch.sort_by_key(|seen| seen.upstream);
        let env = self.env();
        let folded = lock(&mut |table| {
            for (upstream, counter) in &self.choices {
                if let Some(choices) = counter.take() {
                    table.choose(&learned.upstreams, slot_map, *upstream, &choices, env.times.now);
                }
            }
            let mut changes = table.fold(&learned.upstreams, slot_map, &batch, env.times.now);
            let contradictions = table.contradictions(slot_map, &batch);
            let mut refused = Vec::new();
            for order in self.orders.1.try_iter() {
                let subjects = carry_out(&order, table, env.times.now);
                if subjects.is_empty() {
                    refused.push(order);
                }
                changes.extend(subjects);
            }
            Folded { alerts: alerts(table, &changes, &env), contradictions, refused, deadline: table.deadline() }
        })?;
        self.in_hand.store(0, Ordering::Relaxed);
        self.announce(&folded.alerts);
        for contradiction in &folded.contradictions {
            (self.log)(contradiction_line(contradiction));
        }
        for order in folded.refused {
            (self.log)(LogLine { level: LogLevel::Error, text: order.is_refused() });
        }
        Some((batch.len(), folded.deadline))
    }

    /// Asks the observer to fold what is in the channel, and to end.
    pub fn stop_observing(&self) {
        self.observed.store(true, Ordering::Release);
        self.doorbell.wake();
    }

    /// Logs one line for all observations that were lost since the last one. Returns `true` if there were any.
    fn say_lost(&self) -> bool {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        self.say_unobserved(lost, "the observer could not keep up");
        lost > 0
    }

    /// Counts and logs observations that were taken from the channel and that no worker will fold.
    fn lose(&self, count: u64, why: &str) {
        self.store.count_lost(count);
        self.say_unobserved(count, why);
    }

    fn say_unobserved(&self, count: u64, why: &str) {
        if count > 0 {
            (self.log)(LogLine { level: LogLevel::Warn, text: format!("{count} requests were not observed, {why}") });
        }
    }
}
