//! The table of all watched upstreams and receivers: one window, one state and one alert per incident, however many workers.
//!
//! Upstreams and receivers are found by name, never by their index in a configuration, so that the workers of an old and a new
//! configuration may share the table while a reload is under way.

use crate::alert::{Kind, Report};
use crate::clock::Clock;
use crate::deliver::{Outcome, Receiver};
use crate::observation::Observation;
use crate::outbox::{Claim, Debt, MAX_RECEIVERS, ReceiverState, Settled, Terms};
use crate::pools::Watched;
use crate::state::slot::{Key, Slot};
use crate::state::twin::Twin;
use crate::text::Name;
use crate::units::Millis;

/// The shared state, to whoever holds the lock.
pub struct Table<'a> {
    /// The receivers' condition.
    pub receivers: &'a mut Twin<[ReceiverState; MAX_RECEIVERS]>,
    /// One place per upstream.
    pub slots: &'a mut [Slot],
}

/// Where a configuration's upstreams and receivers are in the table; `None`: there was no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// By index of the configuration's watched upstreams.
    pub upstreams: Vec<Option<usize>>,
    /// By index of the configuration's receivers.
    pub receivers: Vec<Option<usize>>,
}

/// A state that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The upstream's place.
    pub slot: usize,
    /// What changed.
    pub key: Key,
}

/// A claimed debt and all that is to be told.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The upstream's place.
    slot: usize,
    /// What it is about.
    key: Key,
    /// The receiver's place.
    receiver: usize,
    /// The lease.
    pub claim: Claim,
    /// The facts.
    pub report: Report,
}

/// Who asks, and what only the edge of the program knows.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The asking process.
    pub me: u32,
    /// Knows which processes live.
    pub clock: &'a dyn Clock,
    /// Instant.
    pub now: Millis,
    /// Wall clock, milliseconds since the epoch.
    pub wall: u64,
    /// The machine's name.
    pub host: &'a str,
}

impl Table<'_> {
    /// Takes over a configuration. Its first worker changes rules and places, all others only find them. Returns as well what
    /// ended with it: open incidents of upstreams that it does not name.
    pub fn adopt(
        &mut self,
        watched: &[Watched],
        receivers: &[Receiver],
        generation: u64,
        now: Millis,
    ) -> (Places, Vec<Changed>) {
        // Receivers first: a new upstream's debts start with every receiver in place.
        let names: Vec<Name> = receivers.iter().map(|receiver| receiver.name).collect();
        let receivers = names.iter().map(|name| self.adopt_receiver(name, &names, generation)).collect();
        let names: Vec<Name> = watched.iter().map(|watched| watched.name).collect();
        let ended = self.leave(&names, generation, now);
        let upstreams = watched.iter().map(|watched| self.adopt_upstream(watched, &names, generation, now)).collect();
        (Places { upstreams, receivers }, ended)
    }

    /// Folds a batch of observations of one configuration, and moves the detectors on.
    pub fn fold(&mut self, watched: &[Watched], places: &Places, batch: &[Observation], now: Millis) -> Vec<Changed> {
        let mut changes = Vec::new();
        let mut keys = Vec::new();
        for (index, (watched, place)) in watched.iter().zip(&places.upstreams).enumerate() {
            let mine = |seen: &&Observation| usize::from(seen.upstream) == index;
            let slot = place.and_then(|place| self.slots.get_mut(place).map(|slot| (slot, place)));
            // A newer configuration may have given the place to another upstream, or to none.
            let Some((slot, place)) = slot.filter(|(slot, _)| slot.left == 0 && slot.name == watched.name) else {
                continue;
            };
            if batch.iter().any(|seen| mine(&seen)) {
                slot.fold(watched, batch.iter().filter(mine), now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Changed { slot: place, key }));
            }
        }
        changes.extend(self.tick(now));
        changes
    }

    /// Moves all detectors on without requests.
    pub fn tick(&mut self, now: Millis) -> Vec<Changed> {
        let mut changes = Vec::new();
        let mut keys = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            slot.tick(now, &mut keys);
            changes.extend(keys.drain(..).map(|key| Changed { slot: place, key }));
        }
        changes
    }

    /// When [`Table::tick`] may have something to do.
    pub fn deadline(&self) -> Option<Millis> {
        self.slots.iter().filter_map(Slot::deadline).min()
    }

    /// The facts of a change, for error.log.
    pub fn report(&self, changed: Changed, caller: &Caller<'_>) -> Option<Report> {
        let slot = self.slots.get(changed.slot)?;
        Some(slot.report(changed.key, None, caller.now, caller.wall, caller.host))
    }

    /// Claims one debt to a receiver that may be sent now.
    pub fn claim(&mut self, receiver: usize, send_resolved: bool, caller: &Caller<'_>) -> Option<Delivery> {
        let state = *self.receivers.live().get(receiver)?;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            for key in Key::ALL {
                let Some(debt) = slot.debt(key, receiver).filter(|debt| debt.is_due(slot.truth(key))) else { continue };
                let (truth, rules) = (*slot.truth(key), slot.setup.live().rules);
                if !send_resolved && slot.is_resolution(key) {
                    slot.edit_debt(key, receiver, |debt| debt.waive(&truth));
                    continue;
                }
                let terms =
                    Terms { truth: &truth, rules: &rules, receiver: &state, clock: caller.clock, me: caller.me };
                if debt.due_at(&terms).is_none_or(|due| due > caller.now) {
                    continue;
                }
                if let Some(claim) = slot.edit_debt(key, receiver, |debt| debt.claim(&terms, caller.now)).flatten() {
                    let report = slot.report(key, Some(&claim), caller.now, caller.wall, caller.host);
                    return Some(Delivery { slot: place, key, receiver, claim, report });
                }
            }
        }
        None
    }

    /// When [`Table::claim`] may next find something, if nothing changes.
    pub fn next_delivery(&self, receiver: usize, caller: &Caller<'_>) -> Option<Millis> {
        let state = self.receivers.live().get(receiver)?;
        let due = |slot: &Slot, key| {
            let (truth, rules) = (slot.truth(key), &slot.setup.live().rules);
            slot.debt(key, receiver)?.due_at(&Terms {
                truth,
                rules,
                receiver: state,
                clock: caller.clock,
                me: caller.me,
            })
        };
        self.slots.iter().flat_map(|slot| Key::ALL.into_iter().filter_map(move |key| due(slot, key))).min()
    }

    /// The last look before the first byte; see [`Debt::may_send`].
    pub fn may_send(&mut self, delivery: &Delivery, caller: &Caller<'_>) -> bool {
        let Some(mut state) = self.receivers.live().get(delivery.receiver).copied() else { return false };
        let Some(slot) = self.slot_of(delivery) else { return false };
        let (truth, rules) = (*slot.truth(delivery.key), slot.setup.live().rules);
        let before = state;
        let terms = Terms { truth: &truth, rules: &rules, receiver: &before, clock: caller.clock, me: caller.me };
        let may_send = slot.edit_debt(delivery.key, delivery.receiver, |debt| {
            debt.may_send(&delivery.claim, &terms, &mut state, caller.now)
        });
        self.put_receiver(delivery.receiver, state);
        may_send.unwrap_or(false)
    }

    /// Books what came of an exchange, and says what is worth a line.
    pub fn settle(&mut self, delivery: &Delivery, outcome: &Outcome, now: Millis, random: u64) -> Settled {
        let Some(mut state) = self.receivers.live().get(delivery.receiver).copied() else { return Settled::default() };
        let Some(slot) = self.slot_of(delivery) else { return Settled::default() };
        let settled = slot.edit_debt(delivery.key, delivery.receiver, |debt| {
            debt.settle(&delivery.claim, outcome, &mut state, now, random)
        });
        self.put_receiver(delivery.receiver, state);
        settled.unwrap_or_default()
    }

    /// Gives back every lease of an exiting process.
    pub fn release(&mut self, owner: u32) {
        for slot in self.slots.iter_mut() {
            slot.debts.edit(|debts| debts.iter_mut().flatten().for_each(|debt| debt.release(owner)));
        }
    }

    /// The upstream that a delivery is about, unless a newer configuration gave its place away.
    fn slot_of(&mut self, delivery: &Delivery) -> Option<&mut Slot> {
        self.slots.get_mut(delivery.slot).filter(|slot| slot.name.as_bytes() == delivery.report.upstream)
    }

    fn put_receiver(&mut self, place: usize, state: ReceiverState) {
        self.receivers.edit(|receivers| {
            if let Some(receiver) = receivers.get_mut(place) {
                *receiver = state;
            }
        });
    }

    fn adopt_receiver(&mut self, name: &Name, names: &[Name], generation: u64) -> Option<usize> {
        let receivers = *self.receivers.live();
        if let Some(place) = receivers.iter().position(|receiver| receiver.name == *name) {
            let mut state = *receivers.get(place)?;
            if state.adopted < generation {
                // A reload is the operator's hand: a receiver that fails or is broken is tried again.
                state.adopted = generation;
                state.rests = Millis::ZERO;
                self.put_receiver(place, state);
            }
            return Some(place);
        }
        let place = receivers
            .iter()
            .position(|receiver| receiver.name.is_empty())
            .or_else(|| receivers.iter().position(|receiver| !names.contains(&receiver.name)))?;
        for slot in self.slots.iter_mut() {
            for key in Key::ALL {
                let truth = *slot.truth(key);
                slot.edit_debt(key, place, |debt| *debt = Debt::begin(&truth));
            }
        }
        self.put_receiver(place, ReceiverState { name: *name, adopted: generation, ..ReceiverState::default() });
        Some(place)
    }

    /// Upstreams that only older configurations name are watched no more.
    fn leave(&mut self, names: &[Name], generation: u64, now: Millis) -> Vec<Changed> {
        let (mut ended, mut keys) = (Vec::new(), Vec::new());
        let stays = |slot: &Slot| slot.name.is_empty() || slot.left != 0 || names.contains(&slot.name);
        for (place, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| !stays(slot)) {
            if slot.adopted < generation {
                slot.leave(generation, now, &mut keys);
                ended.extend(keys.drain(..).map(|key| Changed { slot: place, key }));
            }
        }
        ended
    }

    fn adopt_upstream(&mut self, watched: &Watched, names: &[Name], generation: u64, now: Millis) -> Option<usize> {
        let place = self.slots.iter().position(|slot| slot.name == watched.name).or_else(|| {
            // What left and owes nothing more is as good as free; what still owes goes last.
            let free = self.slots.iter().position(|slot| slot.name.is_empty());
            let free = free.or_else(|| self.slots.iter().position(|slot| slot.left != 0 && !self.owes(slot)));
            let place = free.or_else(|| self.slots.iter().position(|slot| !names.contains(&slot.name)))?;
            self.slots.get_mut(place)?.reset(watched.name);
            Some(place)
        })?;
        let slot = self.slots.get_mut(place)?;
        if slot.left != 0 && slot.left < generation {
            slot.rejoin();
        }
        if slot.adopted < generation {
            slot.adopt(watched, generation, now);
        }
        Some(place)
    }

    /// Is there anything that a receiver of the present should still hear of this upstream?
    fn owes(&self, slot: &Slot) -> bool {
        let receivers = self.receivers.live().iter().enumerate();
        let mut present = receivers.filter(|(_, receiver)| !receiver.name.is_empty() && receiver.adopted >= slot.left);
        let owes = |place, key| slot.debt(key, place).is_some_and(|debt| debt.is_due(slot.truth(key)));
        present.any(|(place, _)| Key::ALL.into_iter().any(|key| owes(place, key)))
    }
}

impl Slot {
    fn debt(&self, key: Key, receiver: usize) -> Option<&Debt> {
        self.debts.live().get(key as usize)?.get(receiver)
    }

    fn edit_debt<R>(&mut self, key: Key, receiver: usize, change: impl FnOnce(&mut Debt) -> R) -> Option<R> {
        self.debts.edit(|debts| Some(change(debts.get_mut(key as usize)?.get_mut(receiver)?)))
    }

    fn is_resolution(&self, key: Key) -> bool {
        matches!(self.kind(key), Kind::Recovery | Kind::ErrorRateResolved | Kind::NoLongerWatched)
    }
}
