//! The table of all watched upstreams and receivers. However many workers there are, each upstream has one window and
//! one state, and each incident one alert.
//!
//! Upstreams and receivers are found by name, never by their index in a configuration, so that workers of an old and a
//! new configuration can share the table during a reload.

pub(crate) mod adopt;
pub mod delivery;
#[cfg(test)]
pub(crate) mod fixture;

use std::mem;

use crate::alert::{Alert, Kind};
use crate::clock::{Clock, Times};
use crate::config::blocks::Choices;
use crate::config::upstream::WatchedUpstream;
use crate::incident::Key;
use crate::observation::Observation;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::delivery_state::Claim;
use crate::outbox::receiver::ReceiverState;
use crate::shared::double_buffer::DoubleBuffer;
use crate::state::announcements::{Announcements, Silence};
use crate::state::slot::Slot;
use crate::units::Millis;

/// The shared state, for a caller that holds the lock.
pub struct Table<'a> {
    /// The receivers' states.
    pub receivers: &'a mut DoubleBuffer<[ReceiverState; MAX_RECEIVERS]>,
    /// Announcements: silences and test messages.
    pub announcements: &'a mut DoubleBuffer<Announcements>,
    /// No upstream's detectors have anything to do before this instant; [`Millis::NEVER`]: only requests change
    /// anything. Reset to zero while it is recomputed: if that worker dies, the next one checks every upstream.
    pub due: &'a mut Millis,
    /// One slot per upstream.
    pub slots: &'a mut [Slot],
}

/// The indices of a configuration's upstreams and receivers in the table; `None`: the table had no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMap {
    /// By index of the configuration's watched upstreams.
    pub upstreams: Vec<Option<usize>>,
    /// By index of the configuration's receivers.
    pub receivers: Vec<Option<usize>>,
    /// The configuration's generation.
    pub generation: u64,
}

/// What a message can be about: the index of its revision and its delivery states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An upstream's slot, and the incident key.
    Incident(usize, Key),
    /// An index among the announcements in [`Announcements`].
    Announcement(usize),
}

/// Which process uses the table, and when.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The id of this process.
    pub me: u32,
    /// Knows which processes are alive, and the machine's name.
    pub clock: &'a dyn Clock,
    /// The present moment.
    pub times: Times,
}

impl Table<'_> {
    /// Folds a batch of one configuration's observations, and lets the detectors act on time. Returns what changed. A
    /// batch that is ordered by upstream needs one edit per upstream.
    pub fn fold(
        &mut self,
        watched: &[WatchedUpstream],
        slot_map: &SlotMap,
        batch: &[Observation],
        now: Millis,
    ) -> Vec<Subject> {
        let mut changes = Vec::new();
        let mut keys = Vec::new();
        let mut due = mem::take(self.due);
        for part in batch.chunk_by(|seen, next| seen.upstream == next.upstream) {
            let index = part.first().map_or(usize::MAX, |seen| usize::from(seen.upstream));
            let Some((watched, slot_index)) = watched.get(index).zip(slot_map.upstreams.get(index).copied().flatten())
            else {
                continue;
            };
            // A newer configuration may have given the slot to another upstream, or no longer watch the upstream.
            let slot = self.slots.get_mut(slot_index).filter(|slot| slot.left == 0 && slot.name == watched.name);
            if let Some(slot) = slot {
                slot.fold(watched, slot_map.generation, part, now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Subject::Incident(index, key)));
                due = due.min(slot.deadline().unwrap_or(Millis::NEVER));
            }
        }
        *self.due = due;
        changes.extend(self.tick(now));
        changes
    }

    /// What the headers in a batch that was folded contradict: for each address the name of the upstream, the address, the
    /// name of its pool by the configuration, and that in its header.
    pub fn contradictions(&mut self, slot_map: &SlotMap, batch: &[Observation]) -> Vec<[Vec<u8>; 4]> {
        let mut all = Vec::new();
        for part in batch.chunk_by(|seen, next| seen.upstream == next.upstream) {
            let index = part.first().and_then(|seen| *slot_map.upstreams.get(usize::from(seen.upstream))?);
            let slot = index.and_then(|index| self.slots.get_mut(index));
            let Some(slot) = slot.filter(|slot| slot.setup.live().directory.is_contradicted()) else { continue };
            let name = slot.name.as_bytes().to_vec();
            let found = slot.setup.edit(|setup| setup.directory.contradictions());
            all.extend(found.into_iter().map(|[address, own, other]| [name.clone(), address, own, other]));
        }
        all
    }

    /// Counts requests of a service by the block that they were sent to first. `upstream`: the service's index in the
    /// configuration.
    pub fn choose(
        &mut self,
        watched: &[WatchedUpstream],
        slot_map: &SlotMap,
        upstream: usize,
        choices: &Choices,
        now: Millis,
    ) {
        let Some((watched, index)) = watched.get(upstream).zip(slot_map.upstreams.get(upstream).copied().flatten())
        else {
            return;
        };
        let mut due = mem::take(self.due);
        let slot = self.slots.get_mut(index).filter(|slot| slot.left == 0 && slot.name == watched.name);
        if let Some(slot) = slot {
            slot.choose(slot_map.generation, choices, now);
            due = due.min(slot.deadline().unwrap_or(Millis::NEVER));
        }
        *self.due = due;
    }

    /// Lets all detectors act on time alone, and ends silences whose time is over. Returns what changed.
    pub fn tick(&mut self, now: Millis) -> Vec<Subject> {
        let mut changes = Vec::new();
        if *self.due <= now {
            *self.due = Millis::ZERO;
            let mut keys = Vec::new();
            for (index, slot) in self.slots.iter_mut().enumerate() {
                slot.tick(now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Subject::Incident(index, key)));
            }
            *self.due = self.slots.iter().filter_map(Slot::deadline).min().unwrap_or(Millis::NEVER);
        }
        if self.announcements.live().deadline().is_some_and(|due| due <= now) {
            while self.announcements.live().deadline().is_some_and(|due| due <= now) {
                changes.extend(
                    self.announcements.edit(|announcements| announcements.tick(now)).map(Subject::Announcement),
                );
            }
            self.follow_silences(now, &mut changes);
        }
        changes
    }

    /// Tells each upstream's slot whether its messages are held back.
    fn follow_silences(&mut self, now: Millis, changes: &mut Vec<Subject>) {
        let mut keys = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_watched()) {
            let is_silenced =
                slot.setup.live().rules.silenced || self.announcements.live().silenced_until(&slot.name) > now;
            slot.follow_silence(is_silenced, now, &mut keys);
            changes.extend(keys.drain(..).map(|key| Subject::Incident(index, key)));
        }
    }

    /// When [`Table::tick`] may have something to do; `None`: only requests or orders change anything.
    pub fn deadline(&self) -> Option<Millis> {
        Some(*self.due)
            .filter(|&due| due != Millis::NEVER)
            .into_iter()
            .chain(self.announcements.live().deadline())
            .min()
    }

    /// Begins a silence. Returns what that changes; nothing: [`crate::state::announcements::MAX_SILENCES`] silences hold
    /// already.
    pub fn begin_silence(&mut self, silence: Silence, now: Millis) -> Vec<Subject> {
        let began = self.announcements.edit(|announcements| announcements.begin(silence, now));
        self.note_silence(began, now)
    }

    /// Ends a silence before its time. Returns what that changes; nothing: the silence is over already.
    pub fn end_silence(&mut self, id: u64, now: Millis) -> Vec<Subject> {
        let ended = self.announcements.edit(|announcements| announcements.end(id, now));
        self.note_silence(ended, now)
    }

    fn note_silence(&mut self, announcement: Option<usize>, now: Millis) -> Vec<Subject> {
        let mut changes: Vec<Subject> = announcement.map(Subject::Announcement).into_iter().collect();
        self.follow_silences(now, &mut changes);
        changes
    }

    /// Asks for a test message to every receiver.
    pub fn test(&mut self, now: Millis) -> Subject {
        Subject::Announcement(self.announcements.edit(|announcements| announcements.test(now)))
    }

    /// The facts of a change, for error.log; `None`: there is no such subject.
    pub fn alert(&self, subject: Subject, env: &Environment<'_>) -> Option<Alert> {
        let host = &env.clock.host();
        match subject {
            Subject::Incident(slot, key) => Some(self.slots.get(slot)?.view().change(key, env.times, host)),
            Subject::Announcement(index) => self.announcement_alert(index, None, env),
        }
    }

    /// Has a newer configuration been loaded than that of this generation? Then workers of this one, which are exiting,
    /// leave delivery to the workers of the newer one, which know the new receivers.
    pub fn is_outdated(&self, generation: u64) -> bool {
        let receivers = self.receivers.live().iter().map(|receiver| receiver.adopted);
        receivers
            .chain(self.slots.iter().flat_map(|slot| [slot.adopted, slot.left]))
            .any(|adopted| adopted > generation)
    }

    fn announcement_alert(&self, index: usize, claim: Option<&Claim>, env: &Environment<'_>) -> Option<Alert> {
        let host = &env.clock.host();
        let announcement = self.announcements.live().list.get(index)?;
        let mut alert = announcement.alert(claim, env.times, host);
        if let Some(silence) = alert.silence.as_mut().filter(|_| alert.kind == Kind::SilenceEnded) {
            let watched = self.slots.iter().filter(|slot| slot.is_watched());
            silence.during = watched.filter_map(|slot| slot.during(announcement.ended_at())).collect();
        }
        Some(alert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::table::fixture::Contents;

    #[test]
    fn a_table_has_a_deadline_unless_only_requests_change_anything() {
        let mut contents = Contents::new(1);
        let table = contents.table();
        let due = [Millis(7), Millis::NEVER].map(|due| {
            *table.due = due;
            table.deadline()
        });
        assert_eq!(due, [Some(Millis(7)), None]);
    }
}
