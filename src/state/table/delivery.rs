//! What the table still has to send: claims, the final check before a message is sent, and the outcome.

use crate::alert::{Alert, Kind};
use crate::clock::Clock;
use crate::incident::{Key, Revision};
use crate::outbox::delivery_state::{Claim, DeliveryState, SendConditions, Settled};
use crate::outbox::outcome::Outcome;
use crate::outbox::receiver::ReceiverState;
use crate::state::history::Receipt;
use crate::state::table::{Environment, Subject, Table};
use crate::text::Name;
use crate::units::Millis;

/// A claimed delivery with the facts of its message.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// The subject, and its name: its slot may be given to another upstream, its index to another silence.
    subject: Subject,
    name: Vec<u8>,
    /// The receiver's index, and its name: the index may be given to another receiver.
    receiver: usize,
    to: Name,
    /// The lease.
    pub claim: Claim,
    /// The facts of the message.
    pub alert: Alert,
}

impl Table<'_> {
    /// Claims one message to a receiver that may be sent now: the one that has been ready for longest; `None`: none
    /// may. Skips messages that the receiver does not want.
    pub fn claim(&mut self, receiver: usize, send_resolved: bool, env: &Environment<'_>) -> Option<ClaimedDelivery> {
        let to = self.receivers.live().get(receiver)?.name;
        let mut first: Option<(Millis, Subject, SendConditions<'_>)> = None;
        for subject in self.subjects() {
            let Some((revision, delivery)) =
                self.delivery(subject, receiver).filter(|(revision, delivery)| delivery.is_due(revision))
            else {
                continue;
            };
            if (!send_resolved && self.is_resolution(subject)) || self.is_said_already(subject, receiver) {
                self.edit_delivery(subject, receiver, |delivery| delivery.skip(&revision));
                self.note_receipt(subject, &revision, receiver, Receipt::Skipped);
                continue;
            }
            let Some(conditions) = self.conditions(subject, receiver, revision, env) else { continue };
            if delivery.waits_for_receiver(&conditions, env.times.now) {
                self.edit_delivery(subject, receiver, DeliveryState::require_end);
                continue;
            }
            if delivery.due_at(&conditions).is_none_or(|due| due > env.times.now) {
                continue;
            }
            let Some(ready) = delivery.ready_at(&conditions) else { continue };
            if first.is_none_or(|(earliest, ..)| ready < earliest) {
                first = Some((ready, subject, conditions));
            }
        }
        let (_, subject, conditions) = first?;
        let claim =
            self.edit_delivery(subject, receiver, |delivery| delivery.claim(&conditions, env.times.now)).flatten()?;
        let host = &env.clock.host();
        let alert = match subject {
            Subject::Incident(slot, key) => self.slots.get(slot)?.view().message(key, &claim, env.times, host),
            Subject::Announcement(index) => self.announcement_alert(index, Some(&claim), env)?,
        };
        Some(ClaimedDelivery { subject, name: self.name_of(subject)?, receiver, to, claim, alert })
    }

    /// When [`Table::claim`] may next find a message, if nothing changes; `None`: none is due.
    pub fn next_delivery(&self, receiver: usize, env: &Environment<'_>) -> Option<Millis> {
        let due = |subject| {
            let (revision, delivery) = self.delivery(subject, receiver)?;
            delivery.due_at(&self.conditions(subject, receiver, revision, env)?)
        };
        self.subjects().filter_map(due).min()
    }

    /// The final check before the first byte; see [`DeliveryState::may_send`].
    pub fn may_send(&mut self, claimed: &ClaimedDelivery, env: &Environment<'_>) -> bool {
        if !self.is_there(claimed) {
            return false;
        }
        let ClaimedDelivery { subject, receiver, claim, .. } = claimed;
        let Some((revision, _)) = self.delivery(*subject, *receiver) else { return false };
        let Some(conditions) = self.conditions(*subject, *receiver, revision, env) else { return false };
        let mut state = conditions.receiver;
        let may_send = self.edit_delivery(*subject, *receiver, |delivery| {
            delivery.may_send(claim, &conditions, &mut state, env.times.now)
        });
        self.put_receiver(*receiver, &state);
        may_send.unwrap_or(false)
    }

    /// Notes the outcome of an exchange. Returns what error.log should report.
    pub fn settle(&mut self, claimed: &ClaimedDelivery, outcome: &Outcome, now: Millis, random: u64) -> Settled {
        let ClaimedDelivery { subject, receiver, to, claim, .. } = claimed;
        let state = self.receivers.live().get(*receiver).copied();
        let Some(mut state) = state.filter(|state| state.name == *to) else { return Settled::default() };
        if !self.is_there(claimed) {
            let health_changed = state.note(outcome, now, random);
            self.put_receiver(*receiver, &state);
            return Settled { health_changed, refused: false };
        }
        state.tally.note(outcome, now);
        let settled = self
            .edit_delivery(*subject, *receiver, |delivery| delivery.settle(claim, outcome, &mut state, now, random));
        let settled = settled.unwrap_or_default();
        match outcome {
            Outcome::Accepted => self.note_receipt(*subject, &claim.revision, *receiver, Receipt::Accepted),
            _ if settled.refused => self.note_receipt(*subject, &claim.revision, *receiver, Receipt::Refused),
            _ => {}
        }
        self.put_receiver(*receiver, &state);
        settled
    }

    /// May any message be on its way?
    pub fn is_sending(&self, clock: &dyn Clock, now: Millis) -> bool {
        let incidents = self.slots.iter().flat_map(|slot| slot.deliveries.live().iter().flatten());
        let announcements = self.announcements.live().list.iter().flat_map(|announcement| &announcement.deliveries);
        incidents.chain(announcements).any(|delivery| delivery.is_leased(clock, now))
    }

    /// Gives back every lease of an exiting process.
    pub fn release(&mut self, owner: u32) {
        for slot in self.slots.iter_mut() {
            slot.deliveries
                .edit(|deliveries| deliveries.iter_mut().flatten().for_each(|delivery| delivery.release(owner)));
        }
        self.announcements.edit(|announcements| {
            announcements
                .list
                .iter_mut()
                .flat_map(|announcement| &mut announcement.deliveries)
                .for_each(|delivery| delivery.release(owner));
        });
    }

    /// Every subject. If several are ready at the same time, the earlier one in this order is sent first.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> + use<> {
        let announcements = (0..self.announcements.live().list.len()).map(Subject::Announcement);
        announcements.chain((0..self.slots.len()).flat_map(|slot| Key::ALL.map(|key| Subject::Incident(slot, key))))
    }

    pub(super) fn delivery(&self, subject: Subject, receiver: usize) -> Option<(Revision, &DeliveryState)> {
        match subject {
            Subject::Incident(slot, key) => {
                let slot = self.slots.get(slot)?;
                Some((*slot.revision(key), slot.deliveries.live().get(key as usize)?.get(receiver)?))
            }
            Subject::Announcement(index) => {
                let announcement = self.announcements.live().list.get(index)?;
                Some((announcement.revision, announcement.deliveries.get(receiver)?))
            }
        }
    }

    pub(super) fn edit_delivery<R>(
        &mut self,
        subject: Subject,
        receiver: usize,
        change: impl FnOnce(&mut DeliveryState) -> R,
    ) -> Option<R> {
        match subject {
            Subject::Incident(slot, key) => {
                let slot = self.slots.get_mut(slot)?;
                slot.deliveries.edit(|deliveries| Some(change(deliveries.get_mut(key as usize)?.get_mut(receiver)?)))
            }
            Subject::Announcement(index) => self
                .announcements
                .edit(|announcements| Some(change(announcements.list.get_mut(index)?.deliveries.get_mut(receiver)?))),
        }
    }

    /// Is a message about this upstream still due to a receiver that is configured at present?
    pub(super) fn owes(&self, slot: usize) -> bool {
        let left = self.slots.get(slot).map_or(0, |slot| slot.left);
        let receivers = self.receivers.live().iter().enumerate();
        let mut present = receivers.filter(|(_, receiver)| !receiver.name.is_empty() && receiver.adopted >= left);
        let owes = |receiver, key| {
            self.delivery(Subject::Incident(slot, key), receiver)
                .is_some_and(|(revision, delivery)| delivery.is_due(&revision))
        };
        present.any(|(receiver, _)| Key::ALL.into_iter().any(|key| owes(receiver, key)))
    }

    /// Does another message say the same? That an upstream is no longer watched is sent once: a receiver that is sent
    /// it for the serving pool's incident is not sent it for the error rate's.
    fn is_said_already(&self, subject: Subject, receiver: usize) -> bool {
        let Subject::Incident(slot, Key::ErrorRate) = subject else { return false };
        let has_left = |key| self.slots.get(slot).is_some_and(|slot| slot.kind(key) == Kind::NoLongerWatched);
        let serving = self.delivery(Subject::Incident(slot, Key::Serving), receiver);
        let tells = |(revision, delivery): (Revision, &DeliveryState)| {
            delivery.is_due(&revision) || delivery.acked == revision.number
        };
        has_left(Key::ErrorRate) && has_left(Key::Serving) && serving.is_some_and(tells)
    }

    /// What delays a message about this subject. Announcements wait for nothing but the receiver.
    fn conditions<'a>(
        &self,
        subject: Subject,
        receiver: usize,
        revision: Revision,
        env: &Environment<'a>,
    ) -> Option<SendConditions<'a>> {
        let (cooldown, silenced) = match subject {
            Subject::Announcement(_) => (Millis::ZERO, Millis::ZERO),
            Subject::Incident(slot, key) => {
                let slot = self.slots.get(slot)?;
                let rules = &slot.setup.live().rules;
                let silenced = self.announcements.live().silenced_until(&slot.name).max(slot.covered_until(key));
                (rules.cooldown, if rules.silenced { Millis::NEVER } else { silenced })
            }
        };
        let receiver = *self.receivers.live().get(receiver)?;
        Some(SendConditions { revision, cooldown, silenced, receiver, clock: env.clock, me: env.me })
    }

    fn is_resolution(&self, subject: Subject) -> bool {
        let Subject::Incident(slot, key) = subject else { return false };
        let kind = self.slots.get(slot).map(|slot| slot.kind(key));
        matches!(kind, Some(Kind::Recovery | Kind::ErrorRateResolved | Kind::NoLongerWatched))
    }

    /// Are the subject and the receiver of a delivery still at their indices? A newer configuration, or a new silence,
    /// may have taken an index.
    fn is_there(&self, claimed: &ClaimedDelivery) -> bool {
        if self.receivers.live().get(claimed.receiver).is_none_or(|receiver| receiver.name != claimed.to) {
            return false;
        }
        self.name_of(claimed.subject).as_deref() == Some(claimed.name.as_slice())
    }

    /// The name that tells a subject from an earlier or a later one at the same index.
    fn name_of(&self, subject: Subject) -> Option<Vec<u8>> {
        match subject {
            Subject::Incident(slot, _) => Some(self.slots.get(slot)?.name.as_bytes().to_vec()),
            Subject::Announcement(index) => Some(self.announcements.live().list.get(index)?.id().into_bytes()),
        }
    }

    /// Notes the outcome in the history, which announcements do not have.
    fn note_receipt(&mut self, subject: Subject, revision: &Revision, receiver: usize, receipt: Receipt) {
        let Subject::Incident(slot, key) = subject else { return };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.history.note(key, revision.number, receiver, receipt);
        }
    }

    pub(super) fn put_receiver(&mut self, index: usize, state: &ReceiverState) {
        self.receivers.edit(|receivers| {
            if let Some(receiver) = receivers.get_mut(index) {
                *receiver = *state;
            }
        });
    }
}

#[cfg(test)]
mod tests;
