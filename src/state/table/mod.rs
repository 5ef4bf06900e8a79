//! The table of all watched upstreams and receivers: one window, one state and one alert per incident, however many workers.
//!
//! Upstreams and receivers are found by name, never by their index in a configuration, so that the workers of an old and a new
//! configuration may share the table while a reload is under way.

pub(crate) mod adopt;
pub mod delivery;

use std::mem;

use crate::alert::{Kind, Report};
use crate::clock::Clock;
use crate::config::upstream::Watched;
use crate::incident::Key;
use crate::observation::Observation;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::debt::Claim;
use crate::outbox::receiver::ReceiverState;
use crate::shared::double_buffer::Twin;
use crate::state::notices::{Notices, Silence};
use crate::state::slot::Slot;
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

/// What there is to tell: the place of its truth and its debts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An upstream's place, and what about it.
    Incident(usize, Key),
    /// A place among the [`Notices`].
    Notice(usize),
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
}
