//! The table of all watched upstreams and receivers: one window, one state and one alert per incident, however many workers.
//!
//! Upstreams and receivers are found by name, never by their index in a configuration, so that the workers of an old and a new
//! configuration may share the table while a reload is under way.

use std::mem;

use crate::alert::{Kind, Report};
use crate::clock::Clock;
use crate::config::receiver::Receiver;
use crate::config::upstream::Watched;
use crate::incident::Truth;
use crate::observation::Observation;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::debt::{Claim, Debt, Settled, Terms};
use crate::outbox::outcome::Outcome;
use crate::outbox::receiver::ReceiverState;
use crate::state::history::Heard;
use crate::state::notices::{Notices, Silence};
use crate::state::slot::{Key, Slot};
use crate::state::twin::Twin;
use crate::text::Name;
use crate::units::Millis;

/// The shared state, to whoever holds the lock.
pub struct Table<'a> {
    /// The receivers' condition.
    pub receivers: &'a mut Twin<[ReceiverState; MAX_RECEIVERS]>,
    /// Silences and test messages.
    pub notices: &'a mut Twin<Notices>,
    /// No upstream's detectors have anything to do before this. Zero while nobody knows, so that whoever is killed on the way to
    /// knowing leaves the next one to look at each of them.
    pub due: &'a mut Millis,
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
    /// The configuration's number.
    pub generation: u64,
}

/// What an upstream's place is to a configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It watches the upstream.
    Watched,
    /// It does not, and something is still to be told of it.
    Owing,
    /// Nobody would miss it.
    None,
}

/// What there is to tell: the place of its truth and its debts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An upstream's place, and what about it.
    Incident(usize, Key),
    /// A place among the [`Notices`].
    Notice(usize),
}

/// A claimed debt and all that is to be told.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What it is about, and its name: the place may be given to another.
    subject: Subject,
    name: Vec<u8>,
    /// The receiver's place, and its name: the place may be given to another.
    receiver: usize,
    to: Name,
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
    /// Knows which processes live, and the machine's name.
    pub clock: &'a dyn Clock,
    /// Instant.
    pub now: Millis,
    /// Wall clock, milliseconds since the epoch.
    pub wall: u64,
}

impl Table<'_> {
    /// Takes over a configuration. Its first worker changes rules and places, all others only find them.
    /// What that changes goes to `changes`.
    pub fn adopt(
        &mut self,
        watched: &[Watched],
        receivers: &[Receiver],
        generation: u64,
        now: Millis,
        changes: &mut Vec<Subject>,
    ) -> Places {
        *self.due = Millis::ZERO;
        // Receivers first: a new upstream's debts start with every receiver in place.
        let names: Vec<Name> = receivers.iter().map(|receiver| receiver.name).collect();
        let receivers = names.iter().map(|name| self.adopt_receiver(name, &names, generation)).collect();
        let names: Vec<Name> = watched.iter().map(|watched| watched.name).collect();
        self.leave(&names, generation, now, changes);
        let newest = self.slots.iter().map(|slot| slot.adopted).max().unwrap_or_default();
        let upstreams = watched.iter().map(|watched| self.adopt_upstream(watched, &names, generation, now)).collect();
        if generation > newest {
            let silenced = watched.iter().any(|watched| watched.rules.silenced);
            let notice = self.notices.edit(|notices| notices.configure(silenced, now));
            changes.extend(notice.map(Subject::Notice));
        }
        self.follow_silences(now, changes);
        Places { upstreams, receivers, generation }
    }

    /// Folds a batch of observations of one configuration, and moves the detectors on. What an upstream's part of it costs depends
    /// on nothing but its length, if the batch is ordered by upstream.
    pub fn fold(&mut self, watched: &[Watched], places: &Places, batch: &[Observation], now: Millis) -> Vec<Subject> {
        let mut changes = Vec::new();
        let mut keys = Vec::new();
        let mut due = mem::take(self.due);
        for part in batch.chunk_by(|seen, next| seen.upstream == next.upstream) {
            let index = part.first().map_or(usize::MAX, |seen| usize::from(seen.upstream));
            let Some((watched, place)) = watched.get(index).zip(places.upstreams.get(index).copied().flatten()) else {
                continue;
            };
            // A newer configuration may have given the place to another upstream, or to none.
            let slot = self.slots.get_mut(place).filter(|slot| slot.left == 0 && slot.name == watched.name);
            if let Some(slot) = slot {
                slot.fold(watched, places.generation, part, now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Subject::Incident(place, key)));
                due = due.min(slot.deadline().unwrap_or(Millis::NEVER));
            }
        }
        *self.due = due;
        changes.extend(self.tick(now));
        changes
    }

    /// Moves all detectors on without requests, and ends silences whose time is over.
    pub fn tick(&mut self, now: Millis) -> Vec<Subject> {
        let mut changes = Vec::new();
        if *self.due <= now {
            *self.due = Millis::ZERO;
            let mut keys = Vec::new();
            for (place, slot) in self.slots.iter_mut().enumerate() {
                slot.tick(now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Subject::Incident(place, key)));
            }
            *self.due = self.slots.iter().filter_map(Slot::deadline).min().unwrap_or(Millis::NEVER);
        }
        if self.notices.live().deadline().is_some_and(|due| due <= now) {
            while self.notices.live().deadline().is_some_and(|due| due <= now) {
                changes.extend(self.notices.edit(|notices| notices.tick(now)).map(Subject::Notice));
            }
            self.follow_silences(now, &mut changes);
        }
        changes
    }

    /// Has each upstream know whether its messages are held back.
    fn follow_silences(&mut self, now: Millis, changes: &mut Vec<Subject>) {
        let mut keys = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_watched()) {
            let is_silenced = slot.setup.live().rules.silenced || self.notices.live().silenced_until(&slot.name) > now;
            slot.follow_silence(is_silenced, now, &mut keys);
            changes.extend(keys.drain(..).map(|key| Subject::Incident(place, key)));
        }
    }

    /// The upstreams, by how much a configuration that watches those in `watched` needs their places: its own, then others of which
    /// something is still to be told, then the rest.
    pub fn by_need(&self, watched: &[Name]) -> Vec<&Slot> {
        let places =
            (0..self.slots.len()).filter(|&place| self.slots.get(place).is_some_and(|slot| !slot.name.is_empty()));
        let mut places: Vec<usize> = places.collect();
        places.sort_by_key(|&place| self.need(place, watched));
        places.into_iter().filter_map(|place| self.slots.get(place)).collect()
    }

    /// How many upstreams are not in `watched`, and something is still to be told of them.
    pub fn owing(&self, watched: &[Name]) -> usize {
        (0..self.slots.len()).filter(|&place| self.need(place, watched) == Need::Owing).count()
    }

    fn need(&self, place: usize, watched: &[Name]) -> Need {
        let Some(slot) = self.slots.get(place) else { return Need::None };
        let is_open = || slot.detection.live().incidents.iter().any(|incident| !incident.truth.over);
        match slot.name.is_empty() {
            false if watched.contains(&slot.name) => Need::Watched,
            false if is_open() || self.owes(place) => Need::Owing,
            _ => Need::None,
        }
    }

    /// When [`Table::tick`] may have something to do.
    pub fn deadline(&self) -> Option<Millis> {
        Some(*self.due).filter(|&due| due != Millis::NEVER).into_iter().chain(self.notices.live().deadline()).min()
    }

    /// Begins a silence. Returns what that changes; nothing: there is no place for another.
    pub fn begin_silence(&mut self, silence: Silence, now: Millis) -> Vec<Subject> {
        let began = self.notices.edit(|notices| notices.begin(silence, now));
        self.note_silence(began, now)
    }

    /// Ends a silence before its time. Returns what that changes; nothing: it is over already.
    pub fn end_silence(&mut self, id: u64, now: Millis) -> Vec<Subject> {
        let ended = self.notices.edit(|notices| notices.end(id, now));
        self.note_silence(ended, now)
    }

    fn note_silence(&mut self, notice: Option<usize>, now: Millis) -> Vec<Subject> {
        let mut changes: Vec<Subject> = notice.map(Subject::Notice).into_iter().collect();
        self.follow_silences(now, &mut changes);
        changes
    }

    /// Has a test message sent to every receiver.
    pub fn test(&mut self, now: Millis) -> Subject {
        Subject::Notice(self.notices.edit(|notices| notices.test(now)))
    }

    /// The facts of a change, for error.log.
    pub fn report(&self, subject: Subject, caller: &Caller<'_>) -> Option<Report> {
        let Caller { now, wall, clock, .. } = *caller;
        let host = &clock.host();
        match subject {
            Subject::Incident(slot, key) => Some(self.slots.get(slot)?.view().change(key, now, wall, host)),
            Subject::Notice(place) => self.notice_report(place, None, caller),
        }
    }

    /// Has a newer configuration been loaded? Then the workers of this one, on their way out, leave telling to those of the newer,
    /// who know where to.
    pub fn is_outdated(&self, generation: u64) -> bool {
        let receivers = self.receivers.live().iter().map(|receiver| receiver.adopted);
        receivers
            .chain(self.slots.iter().flat_map(|slot| [slot.adopted, slot.left]))
            .any(|adopted| adopted > generation)
    }

    /// Claims one debt to a receiver that may be sent now: the one that has been ready for longest.
    pub fn claim(&mut self, receiver: usize, send_resolved: bool, caller: &Caller<'_>) -> Option<Delivery> {
        let to = self.receivers.live().get(receiver)?.name;
        let mut first: Option<(Millis, Subject, Terms<'_>)> = None;
        for subject in self.subjects() {
            let Some((truth, debt)) = self.owed(subject, receiver).filter(|(truth, debt)| debt.is_due(truth)) else {
                continue;
            };
            if (!send_resolved && self.is_resolution(subject)) || self.is_said_already(subject, receiver) {
                self.edit_debt(subject, receiver, |debt| debt.waive(&truth));
                self.note_heard(subject, &truth, receiver, Heard::Waived);
                continue;
            }
            let Some(terms) = self.terms(subject, receiver, truth, caller) else { continue };
            if debt.waits_for_receiver(&terms, caller.now) {
                self.edit_debt(subject, receiver, Debt::owe_end);
                continue;
            }
            if debt.due_at(&terms).is_none_or(|due| due > caller.now) {
                continue;
            }
            let Some(ready) = debt.ready_at(&terms) else { continue };
            if first.is_none_or(|(earliest, ..)| ready < earliest) {
                first = Some((ready, subject, terms));
            }
        }
        let (_, subject, terms) = first?;
        let claim = self.edit_debt(subject, receiver, |debt| debt.claim(&terms, caller.now)).flatten()?;
        let Caller { now, wall, clock, .. } = *caller;
        let host = &clock.host();
        let report = match subject {
            Subject::Incident(slot, key) => self.slots.get(slot)?.view().message(key, &claim, now, wall, host),
            Subject::Notice(place) => self.notice_report(place, Some(&claim), caller)?,
        };
        Some(Delivery { subject, name: self.name_of(subject)?, receiver, to, claim, report })
    }

    /// When [`Table::claim`] may next find something, if nothing changes.
    pub fn next_delivery(&self, receiver: usize, caller: &Caller<'_>) -> Option<Millis> {
        let due = |subject| {
            let (truth, debt) = self.owed(subject, receiver)?;
            debt.due_at(&self.terms(subject, receiver, truth, caller)?)
        };
        self.subjects().filter_map(due).min()
    }

    /// The last look before the first byte; see [`Debt::may_send`].
    pub fn may_send(&mut self, delivery: &Delivery, caller: &Caller<'_>) -> bool {
        if !self.is_there(delivery) {
            return false;
        }
        let Delivery { subject, receiver, claim, .. } = delivery;
        let Some((truth, _)) = self.owed(*subject, *receiver) else { return false };
        let Some(terms) = self.terms(*subject, *receiver, truth, caller) else { return false };
        let mut state = terms.receiver;
        let may_send = self.edit_debt(*subject, *receiver, |debt| debt.may_send(claim, &terms, &mut state, caller.now));
        self.put_receiver(*receiver, &state);
        may_send.unwrap_or(false)
    }

    /// Books what came of an exchange, and says what is worth a line.
    pub fn settle(&mut self, delivery: &Delivery, outcome: &Outcome, now: Millis, random: u64) -> Settled {
        let Delivery { subject, receiver, to, claim, .. } = delivery;
        let state = self.receivers.live().get(*receiver).copied();
        let Some(mut state) = state.filter(|state| state.name == *to) else { return Settled::default() };
        if !self.is_there(delivery) {
            let health_changed = state.note(outcome, now, random);
            self.put_receiver(*receiver, &state);
            return Settled { health_changed, refused: false };
        }
        state.tally.note(outcome, now);
        let settled = self.edit_debt(*subject, *receiver, |debt| debt.settle(claim, outcome, &mut state, now, random));
        let settled = settled.unwrap_or_default();
        match outcome {
            Outcome::Accepted => self.note_heard(*subject, &claim.truth, *receiver, Heard::Accepted),
            _ if settled.refused => self.note_heard(*subject, &claim.truth, *receiver, Heard::Refused),
            _ => {}
        }
        self.put_receiver(*receiver, &state);
        settled
    }

    /// May any message be on its way?
    pub fn is_sending(&self, clock: &dyn Clock, now: Millis) -> bool {
        let incidents = self.slots.iter().flat_map(|slot| slot.debts.live().iter().flatten());
        let notices = self.notices.live().list.iter().flat_map(|notice| &notice.debts);
        incidents.chain(notices).any(|debt| debt.is_leased(clock, now))
    }

    /// Gives back every lease of an exiting process.
    pub fn release(&mut self, owner: u32) {
        for slot in self.slots.iter_mut() {
            slot.debts.edit(|debts| debts.iter_mut().flatten().for_each(|debt| debt.release(owner)));
        }
        self.notices.edit(|notices| {
            notices.list.iter_mut().flat_map(|notice| &mut notice.debts).for_each(|debt| debt.release(owner));
        });
    }

    /// Everything that can be told, in the order in which it is when several are due at once.
    fn subjects(&self) -> impl Iterator<Item = Subject> + use<> {
        let notices = (0..self.notices.live().list.len()).map(Subject::Notice);
        notices.chain((0..self.slots.len()).flat_map(|slot| Key::ALL.map(|key| Subject::Incident(slot, key))))
    }

    fn owed(&self, subject: Subject, receiver: usize) -> Option<(Truth, &Debt)> {
        match subject {
            Subject::Incident(slot, key) => {
                let slot = self.slots.get(slot)?;
                Some((*slot.truth(key), slot.debts.live().get(key as usize)?.get(receiver)?))
            }
            Subject::Notice(place) => {
                let notice = self.notices.live().list.get(place)?;
                Some((notice.truth, notice.debts.get(receiver)?))
            }
        }
    }

    fn edit_debt<R>(&mut self, subject: Subject, receiver: usize, change: impl FnOnce(&mut Debt) -> R) -> Option<R> {
        match subject {
            Subject::Incident(slot, key) => {
                let slot = self.slots.get_mut(slot)?;
                slot.debts.edit(|debts| Some(change(debts.get_mut(key as usize)?.get_mut(receiver)?)))
            }
            Subject::Notice(place) => {
                self.notices.edit(|notices| Some(change(notices.list.get_mut(place)?.debts.get_mut(receiver)?)))
            }
        }
    }

    /// An upstream that leaves is told once: who hears it of the serving pool's incident does not hear it of the error rate's.
    fn is_said_already(&self, subject: Subject, receiver: usize) -> bool {
        let Subject::Incident(slot, Key::ErrorRate) = subject else { return false };
        let has_left = |key| self.slots.get(slot).is_some_and(|slot| slot.kind(key) == Kind::NoLongerWatched);
        let serving = self.owed(Subject::Incident(slot, Key::Serving), receiver);
        let tells = |(truth, debt): (Truth, &Debt)| debt.is_due(&truth) || debt.acked == truth.generation;
        has_left(Key::ErrorRate) && has_left(Key::Serving) && serving.is_some_and(tells)
    }

    /// What delays a message about this subject. Notices wait for nothing but the receiver.
    fn terms<'a>(&self, subject: Subject, receiver: usize, truth: Truth, caller: &Caller<'a>) -> Option<Terms<'a>> {
        let (cooldown, silenced) = match subject {
            Subject::Notice(_) => (Millis::ZERO, Millis::ZERO),
            Subject::Incident(slot, key) => {
                let slot = self.slots.get(slot)?;
                let rules = &slot.setup.live().rules;
                let silenced = self.notices.live().silenced_until(&slot.name).max(slot.covered_until(key));
                (rules.cooldown, if rules.silenced { Millis::NEVER } else { silenced })
            }
        };
        let receiver = *self.receivers.live().get(receiver)?;
        Some(Terms { truth, cooldown, silenced, receiver, clock: caller.clock, me: caller.me })
    }

    fn is_resolution(&self, subject: Subject) -> bool {
        let Subject::Incident(slot, key) = subject else { return false };
        let kind = self.slots.get(slot).map(|slot| slot.kind(key));
        matches!(kind, Some(Kind::Recovery | Kind::ErrorRateResolved | Kind::NoLongerWatched))
    }

    fn notice_report(&self, place: usize, claim: Option<&Claim>, caller: &Caller<'_>) -> Option<Report> {
        let Caller { now, wall, clock, .. } = *caller;
        let host = &clock.host();
        let notice = self.notices.live().list.get(place)?;
        let mut report = notice.report(claim, now, wall, host);
        if let Some(silence) = report.silence.as_mut().filter(|_| report.kind == Kind::SilenceEnded) {
            let watched = self.slots.iter().filter(|slot| slot.is_watched());
            silence.during = watched.filter_map(|slot| slot.during(notice.ended_at())).collect();
        }
        Some(report)
    }

    /// Is what a delivery is about, and who it is for, still in its place? A newer configuration, or a new silence, may have taken it.
    fn is_there(&self, delivery: &Delivery) -> bool {
        if self.receivers.live().get(delivery.receiver).is_none_or(|receiver| receiver.name != delivery.to) {
            return false;
        }
        self.name_of(delivery.subject).as_deref() == Some(delivery.name.as_slice())
    }

    /// Tells what is in a place from what was or will be there.
    fn name_of(&self, subject: Subject) -> Option<Vec<u8>> {
        match subject {
            Subject::Incident(slot, _) => Some(self.slots.get(slot)?.name.as_bytes().to_vec()),
            Subject::Notice(place) => Some(self.notices.live().list.get(place)?.id().into_bytes()),
        }
    }

    /// For the history; of notices there is none.
    fn note_heard(&mut self, subject: Subject, truth: &Truth, receiver: usize, heard: Heard) {
        let Subject::Incident(slot, key) = subject else { return };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.history.note(key, truth.generation, receiver, heard);
        }
    }

    fn put_receiver(&mut self, place: usize, state: &ReceiverState) {
        self.receivers.edit(|receivers| {
            if let Some(receiver) = receivers.get_mut(place) {
                *receiver = *state;
            }
        });
    }

    fn adopt_receiver(&mut self, name: &Name, names: &[Name], generation: u64) -> Option<usize> {
        let receivers = *self.receivers.live();
        if let Some(place) = receivers.iter().position(|receiver| receiver.name == *name) {
            let mut state = *receivers.get(place)?;
            state.adopt(generation);
            self.put_receiver(place, &state);
            return Some(place);
        }
        let place = receivers
            .iter()
            .position(|receiver| receiver.name.is_empty())
            .or_else(|| receivers.iter().position(|receiver| !names.contains(&receiver.name)))?;
        for subject in self.subjects() {
            if let Some((truth, _)) = self.owed(subject, place) {
                self.edit_debt(subject, place, |debt| *debt = Debt::begin(&truth));
            }
        }
        self.slots.iter_mut().for_each(|slot| slot.history.welcome(place));
        self.put_receiver(place, &ReceiverState { name: *name, adopted: generation, ..ReceiverState::default() });
        Some(place)
    }

    /// Upstreams that only older configurations name are watched no more.
    fn leave(&mut self, names: &[Name], generation: u64, now: Millis, changes: &mut Vec<Subject>) {
        let mut keys = Vec::new();
        let stays = |slot: &Slot| slot.name.is_empty() || slot.left != 0 || names.contains(&slot.name);
        for (place, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| !stays(slot)) {
            if slot.adopted < generation {
                slot.leave(generation, now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Subject::Incident(place, key)));
            }
        }
    }

    fn adopt_upstream(&mut self, watched: &Watched, names: &[Name], generation: u64, now: Millis) -> Option<usize> {
        let place = self.slots.iter().position(|slot| slot.name == watched.name).or_else(|| {
            // What left and owes nothing more is as good as free; what still owes goes last.
            let free = self.slots.iter().position(|slot| slot.name.is_empty());
            let free = free.or_else(|| (0..self.slots.len()).find(|&place| self.has_left(place) && !self.owes(place)));
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

    fn has_left(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.left != 0)
    }

    /// Is there anything that a receiver of the present should still hear of this upstream?
    fn owes(&self, slot: usize) -> bool {
        let left = self.slots.get(slot).map_or(0, |slot| slot.left);
        let receivers = self.receivers.live().iter().enumerate();
        let mut present = receivers.filter(|(_, receiver)| !receiver.name.is_empty() && receiver.adopted >= left);
        let owes = |receiver, key| {
            self.owed(Subject::Incident(slot, key), receiver).is_some_and(|(truth, debt)| debt.is_due(&truth))
        };
        present.any(|(receiver, _)| Key::ALL.into_iter().any(|key| owes(receiver, key)))
    }
}
