//! How a configuration's upstreams and receivers get their entries in the table, and lose them.

use crate::config::receiver::Receiver;
use crate::config::upstream::WatchedUpstream;
use crate::outbox::delivery_state::DeliveryState;
use crate::outbox::receiver::ReceiverState;
use crate::state::slot::Slot;
use crate::state::table::{SlotMap, Subject, Table};
use crate::text::Name;
use crate::units::Millis;

/// How much a configuration needs the slot of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The configuration watches the upstream.
    Watched,
    /// The configuration does not watch the upstream, but an incident of it is open or a message is due.
    Owing,
    /// Nothing is lost with the slot.
    None,
}

impl Table<'_> {
    /// Applies a configuration. Its first worker changes rules and entries; all others only find them. What changes is
    /// appended to `changes`.
    pub fn adopt(
        &mut self,
        watched: &[WatchedUpstream],
        receivers: &[Receiver],
        generation: u64,
        now: Millis,
        changes: &mut Vec<Subject>,
    ) -> SlotMap {
        *self.due = Millis::ZERO;
        // Receivers come first, so that a new upstream's delivery states begin with every receiver present.
        let names: Vec<Name> = receivers.iter().map(|receiver| receiver.name).collect();
        let receivers = names.iter().map(|name| self.adopt_receiver(name, &names, generation)).collect();
        let names: Vec<Name> = watched.iter().map(|watched| watched.name).collect();
        self.leave(&names, generation, now, changes);
        let newest = self.slots.iter().map(|slot| slot.adopted).max().unwrap_or_default();
        let upstreams = watched.iter().map(|watched| self.adopt_upstream(watched, &names, generation, now)).collect();
        if generation > newest {
            let silenced = watched.iter().any(|watched| watched.rules.silenced);
            let announcement = self.announcements.edit(|announcements| announcements.configure(silenced, now));
            changes.extend(announcement.map(Subject::Announcement));
        }
        self.follow_silences(now, changes);
        SlotMap { upstreams, receivers, generation }
    }

    /// The upstreams in the order in which a configuration that watches those in `watched` needs their slots: its own,
    /// then others with an open incident or a due message, then the rest.
    pub fn by_need(&self, watched: &[Name]) -> Vec<&Slot> {
        let used =
            (0..self.slots.len()).filter(|&index| self.slots.get(index).is_some_and(|slot| !slot.name.is_empty()));
        let mut used: Vec<usize> = used.collect();
        used.sort_by_key(|&index| self.need(index, watched));
        used.into_iter().filter_map(|index| self.slots.get(index)).collect()
    }

    /// How many upstreams are not in `watched`, and have an open incident or a due message.
    pub fn owing(&self, watched: &[Name]) -> usize {
        (0..self.slots.len()).filter(|&index| self.need(index, watched) == Need::Owing).count()
    }

    fn need(&self, index: usize, watched: &[Name]) -> Need {
        let Some(slot) = self.slots.get(index) else { return Need::None };
        let is_open = || slot.detection.live().incidents.iter().any(|incident| !incident.revision.over);
        match slot.name.is_empty() {
            false if watched.contains(&slot.name) => Need::Watched,
            false if is_open() || self.owes(index) => Need::Owing,
            _ => Need::None,
        }
    }

    fn adopt_receiver(&mut self, name: &Name, names: &[Name], generation: u64) -> Option<usize> {
        let receivers = *self.receivers.live();
        if let Some(index) = receivers.iter().position(|receiver| receiver.name == *name) {
            let mut state = *receivers.get(index)?;
            state.adopt(generation);
            self.put_receiver(index, &state);
            return Some(index);
        }
        let index = receivers
            .iter()
            .position(|receiver| receiver.name.is_empty())
            .or_else(|| receivers.iter().position(|receiver| !names.contains(&receiver.name)))?;
        for subject in self.subjects() {
            if let Some((revision, _)) = self.delivery(subject, index) {
                self.edit_delivery(subject, index, |delivery| *delivery = DeliveryState::begin(&revision));
            }
        }
        self.slots.iter_mut().for_each(|slot| slot.history.welcome(index));
        self.put_receiver(index, &ReceiverState { name: *name, adopted: generation, ..ReceiverState::default() });
        Some(index)
    }

    /// Notes which upstreams are no longer watched, because only older configurations name them.
    fn leave(&mut self, names: &[Name], generation: u64, now: Millis, changes: &mut Vec<Subject>) {
        let mut keys = Vec::new();
        let stays = |slot: &Slot| slot.name.is_empty() || slot.left != 0 || names.contains(&slot.name);
        for (index, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| !stays(slot)) {
            if slot.adopted < generation {
                slot.leave(generation, now, &mut keys);
                changes.extend(keys.drain(..).map(|key| Subject::Incident(index, key)));
            }
        }
    }

    fn adopt_upstream(
        &mut self,
        watched: &WatchedUpstream,
        names: &[Name],
        generation: u64,
        now: Millis,
    ) -> Option<usize> {
        let index = self.slots.iter().position(|slot| slot.name == watched.name).or_else(|| {
            // A slot that was left and has no due message is as good as free; one with a due message is taken last.
            let free = self.slots.iter().position(|slot| slot.name.is_empty());
            let free = free.or_else(|| (0..self.slots.len()).find(|&index| self.has_left(index) && !self.owes(index)));
            let index = free.or_else(|| self.slots.iter().position(|slot| !names.contains(&slot.name)))?;
            self.slots.get_mut(index)?.reset(watched.name);
            Some(index)
        })?;
        let slot = self.slots.get_mut(index)?;
        if slot.left != 0 && slot.left < generation {
            slot.rejoin();
        }
        if slot.adopted < generation {
            slot.adopt(watched, generation, now);
        }
        Some(index)
    }

    fn has_left(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.left != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::receiver::{Endpoint, ReceiverKind};
    use crate::incident::{Key, Revision, StateCode};
    use crate::outbox::MAX_RECEIVERS;
    use crate::state::table::fixture::Contents;

    const NOW: Millis = Millis(50_000);
    const OPEN: Revision = Revision {
        number: 4,
        state: StateCode::new(1),
        from: StateCode::new(0),
        over: false,
        critical: false,
        planned: false,
    };

    fn watched(name: &[u8]) -> WatchedUpstream {
        WatchedUpstream { name: Name::new(name), ..WatchedUpstream::default() }
    }

    fn receiver(number: usize) -> Receiver {
        let endpoint = Endpoint {
            url: "http://127.0.0.1/".into(),
            timeout: Millis::from_secs(1),
            proxy: String::new(),
            ca_pem: vec![],
        };
        let name = Name::new(format!("receiver {number}").as_bytes());
        Receiver { name, kind: ReceiverKind::Slack, send_resolved: true, endpoint }
    }

    #[test]
    fn a_new_upstream_takes_the_place_of_one_of_which_nothing_is_owed() {
        let mut contents = Contents::new(2);
        let mut table = contents.table();
        table.adopt(&[watched(b"owing"), watched(b"done")], &[receiver(0)], 1, NOW, &mut vec![]);
        table.slots[0].detection.edit(|detection| detection.incidents[Key::Serving as usize].revision = OPEN);
        // The receiver knows of the incident, so it is owed its end.
        table.slots[0].deliveries.edit(|deliveries| deliveries[Key::Serving as usize][0].skip(&OPEN));
        table.adopt(&[], &[receiver(0)], 2, NOW, &mut vec![]);
        let mut slot_map = table.adopt(&[watched(b"new")], &[receiver(0)], 3, NOW, &mut vec![]);
        assert_eq!(slot_map.upstreams, [Some(1)]);
        // There is no other place left.
        slot_map = table.adopt(&[watched(b"new"), watched(b"newer")], &[receiver(0)], 4, NOW, &mut vec![]);
        assert_eq!(slot_map.upstreams, [Some(1), Some(0)]);
    }

    #[test]
    fn a_receiver_in_the_place_of_another_owes_nothing_of_what_that_one_owed() {
        let mut contents = Contents::new(1);
        let mut table = contents.table();
        let old: Vec<_> = (0..MAX_RECEIVERS).map(receiver).collect();
        table.adopt(&[watched(b"app")], &old, 1, NOW, &mut vec![]);
        table.slots[0].detection.edit(|detection| detection.incidents[Key::Serving as usize].revision = OPEN);
        table.slots[0].deliveries.edit(|deliveries| deliveries[Key::Serving as usize][0].repair = 7);
        table.announcements.edit(|announcements| announcements.list[0].revision.number = 3);
        let slot_map = table.adopt(&[watched(b"app")], &[receiver(99)], 2, NOW, &mut vec![]);
        assert_eq!(slot_map.receivers, [Some(0)]);
        assert_eq!(table.slots[0].deliveries.live()[Key::Serving as usize][0], DeliveryState::begin(&OPEN));
        let announcement = table.announcements.live().list[0];
        assert_eq!(announcement.deliveries[0], DeliveryState::begin(&announcement.revision));
    }

    #[test]
    fn a_new_receiver_is_of_the_configuration_that_names_it() {
        let mut contents = Contents::new(1);
        let mut table = contents.table();
        table.adopt(&[], &[receiver(0)], 5, NOW, &mut vec![]);
        assert_eq!(table.receivers.live()[0].adopted, 5);
        assert_eq!([4, 5].map(|generation| table.is_outdated(generation)), [true, false]);
    }

    #[test]
    fn watched_upstreams_need_their_places_before_those_with_an_open_incident_and_those_before_the_rest() {
        let mut contents = Contents::new(4);
        let mut table = contents.table();
        let names = [b"done".as_slice(), b"open", b"app"];
        table.adopt(&names.map(watched), &[receiver(0)], 1, NOW, &mut vec![]);
        table.slots[1].detection.edit(|detection| detection.incidents[Key::Serving as usize].revision = OPEN);
        let watched = [Name::new(b"app")];
        let needed: Vec<_> = table.by_need(&watched).into_iter().map(|slot| slot.name.as_bytes()).collect();
        assert_eq!(needed, [b"app".as_slice(), b"open", b"done"]);
        assert_eq!((table.owing(&watched), table.owing(&[])), (1, 1));
    }
}
