//! The courier's loop, one for each receiver: claims a message that is due, sends it, and notes the outcome.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering;

use crate::clock::Clock;
use crate::config::receiver::Receiver;
use crate::crash;
use crate::deliver::{Post, slack};
use crate::pipeline::log_line::delivery_line;
use crate::pipeline::{Store, Worker, alerts};
use crate::state::table::delivery::ClaimedDelivery;

impl<S: Store, C: Clock> Worker<S, C> {
    /// The courier's loop for one receiver. Returns after [`Worker::stop_delivering`], once no message may be sent at
    /// once, and when the workers of a newer configuration deliver.
    pub fn deliver(&self, index: usize, post: &impl Post) {
        let Some(receiver) = self.config.receivers.get(index) else { return };
        let Some(receiver_index) = self.slot_map().receivers.get(index).copied().flatten() else { return };
        loop {
            let notifications = self.store.notifications();
            let stopping = self.delivered.load(Ordering::Acquire);
            let env = self.env();
            let our_turn = self.store.delivers(&self.clock);
            let (alerts, claimed, due, outdated) = self.store.with(|table| {
                let changes = table.tick(env.times.now);
                let outdated = table.is_outdated(self.config.generation);
                let may = our_turn && !outdated;
                let claimed = may.then(|| table.claim(receiver_index, receiver.send_resolved, &env)).flatten();
                let next = our_turn.then(|| table.next_delivery(receiver_index, &env)).flatten();
                let due = [table.deadline(), next].into_iter().flatten().min();
                (alerts(table, &changes, &env), claimed, due, outdated)
            });
            self.announce(&alerts);
            match claimed {
                Some(claimed) => self.send(receiver, &claimed, post),
                None if stopping || outdated => return,
                None => self.store.wait(notifications, due.map(|due| due - self.clock.now())),
            }
        }
    }

    /// Asks the couriers to end. Call it after the observer has ended, so that what the observer found last is still
    /// sent.
    pub fn stop_delivering(&self) {
        self.delivered.store(true, Ordering::Release);
        self.store.notify();
    }

    fn send(&self, receiver: &Receiver, claimed: &ClaimedDelivery, post: &impl Post) {
        crash::at("message-claimed");
        if !self.store.with(|table| table.may_send(claimed, &self.env())) {
            return;
        }
        crash::at("message-allowed");
        let body = if claimed.claim.plain { slack::fallback(&claimed.alert) } else { slack::body(&claimed.alert) };
        let outcome = slack::classify(post.post(&receiver.endpoint, &body));
        crash::at("message-posted");
        let now = self.clock.now();
        let settled = self.store.with(|table| table.settle(claimed, &outcome, now, random()));
        crash::at("message-settled");
        self.store.note_change();
        if let Some(line) = delivery_line(receiver, &claimed.alert, &outcome, settled) {
            (self.log)(line);
        }
    }
}

/// Spreads the workers' retries; it need not be secret.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
