//! Saves a table as a document.

use crate::clock::Times;
use crate::config::upstream::Role;
use crate::detect::serving::Serving;
use crate::incident::{Incident, Key, StateCode};
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::delivery_state::DeliveryState;
use crate::outbox::receiver::ReceiverState;
use crate::persist::document::{
    Saved, SavedAnnouncement, SavedBlock, SavedDelivery, SavedIncident, SavedPeer, SavedPool, SavedReceiver,
    SavedUpstream,
};
use crate::persist::states::{States, text_of};
use crate::pools::peers::Peer;
use crate::state::announcements::{Announcement, Silence};
use crate::state::setup::Setup;
use crate::state::slot::Slot;
use crate::state::table::Table;
use crate::text::Name;
use crate::units::Millis;

impl Saved {
    /// Copies a table. `zone` is the number of its zone.
    pub fn of(table: &Table<'_>, zone: u64, times: Times) -> Self {
        let receivers = table.receivers.live();
        let named = receivers.iter().filter(|receiver| !receiver.name.is_empty());
        let slots = table.slots.iter().filter(|slot| !slot.name.is_empty());
        let announcements = table
            .announcements
            .live()
            .list
            .iter()
            .enumerate()
            .filter(|(_, announcement)| announcement.revision.number > 0);
        Self {
            zone,
            receivers: named.map(|receiver| SavedReceiver::of(receiver, times)).collect(),
            upstreams: slots.map(|slot| SavedUpstream::of(slot, receivers, times)).collect(),
            announcements: announcements
                .map(|(index, announcement)| SavedAnnouncement::of(index, announcement, receivers, times))
                .collect(),
        }
    }
}

impl SavedReceiver {
    fn of(receiver: &ReceiverState, times: Times) -> Self {
        let name = text_of(receiver.name.as_bytes());
        let waits = receiver.earliest > times.now;
        Self { name, health: receiver.health, earliest: if waits { times.date(receiver.earliest) } else { 0 } }
    }
}

impl SavedUpstream {
    fn of(slot: &Slot, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) -> Self {
        let (Setup { directory, expected, blocks, .. }, detection) = (slot.setup.live(), slot.detection.live());
        let pools =
            directory.pools().map(|(id, pool)| (pool, &detection.releases[id])).map(|(pool, release)| SavedPool {
                name: text_of(pool.name.as_bytes()),
                unnamed: pool.unnamed,
                of_block: pool.of_block,
                release: text_of(release.as_bytes()),
            });
        let saved_peer = |(peer, left): (Peer<'_>, bool)| {
            Some(SavedPeer {
                address: text_of(peer.address),
                pool: peer.pool?.index() as u8,
                backup: peer.role == Role::Backup,
                certain: peer.certain,
                left,
            })
        };
        let remembered = directory.remembered_peers().map(|peer| (peer, true));
        let peers = directory.peers().map(|peer| (peer, peer.is_resolved)).chain(remembered).filter_map(saved_peer);
        let incidents = Key::ALL.into_iter().zip(&detection.incidents).zip(slot.deliveries.live());
        let serving = |serving: Serving| States::Serving.name(StateCode::serving(serving));
        let choice = &detection.first_choice;
        let block = |(index, name): (usize, &Name)| SavedBlock {
            name: text_of(name.as_bytes()),
            chosen: choice.chosen().contains(index),
            alone: choice.alone().contains(index),
        };
        let changes = detection.flapping.times().map(|time| times.date(time));
        Self {
            name: text_of(slot.name.as_bytes()),
            left: slot.left != 0,
            pools: pools.collect(),
            peers: peers.collect(),
            expected: expected.pools().iter().map(|pool| serving(Serving::Pool(pool))).collect(),
            blocks: blocks.iter().enumerate().take_while(|(_, name)| !name.is_empty()).map(block).collect(),
            switching: (detection.switching != Serving::Unknown).then(|| serving(detection.switching)),
            serving: serving(detection.failover.serving()),
            since: times.date(detection.failover.since()),
            seen: times.date(detection.error_rate.seen()),
            error_rate: detection.error_rate.level(),
            error_rate_since: times.date(detection.error_rate.since()),
            flapping: detection.flapping.is_on(),
            changes: changes.collect(),
            incidents: incidents
                .map(|((key, incident), deliveries)| SavedIncident::of(key, incident, deliveries, receivers, times))
                .collect(),
        }
    }
}

impl SavedIncident {
    fn of(
        key: Key,
        incident: &Incident,
        deliveries: &[DeliveryState; MAX_RECEIVERS],
        receivers: &[ReceiverState; MAX_RECEIVERS],
        times: Times,
    ) -> Self {
        let states = States::of(key);
        Self {
            revision: incident.revision.number,
            kind: Some(incident.kind),
            state: states.name(incident.revision.state),
            from: states.name(incident.revision.from),
            over: incident.revision.over,
            served: States::Serving.name(StateCode::serving(incident.from)),
            since: times.date(incident.since),
            began: times.date(incident.began),
            id: incident.id,
            planned: incident.revision.planned,
            critical: incident.critical,
            change: (incident.change != incident.kind).then_some(incident.change),
            requests: incident.sums.requests,
            upstream_errors: incident.sums.upstream_errors,
            client_errors: incident.sums.client_errors,
            reasons: incident.sums.reasons,
            deliveries: saved_deliveries(deliveries, states, receivers, times),
        }
    }
}

impl SavedAnnouncement {
    fn of(index: usize, announcement: &Announcement, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) -> Self {
        let Silence { id, upstream, until, comment } = announcement.silence;
        Self {
            index,
            revision: announcement.revision.number,
            kind: Some(announcement.kind),
            id,
            upstream: text_of(upstream.as_bytes()),
            comment: text_of(comment.as_bytes()),
            remaining: (until != Millis::NEVER).then_some((until - times.now).0),
            began: times.date(announcement.began),
            since: times.date(announcement.since),
            deliveries: saved_deliveries(&announcement.deliveries, States::Announcement, receivers, times),
        }
    }
}

fn saved_deliveries(
    deliveries: &[DeliveryState; MAX_RECEIVERS],
    states: States,
    receivers: &[ReceiverState; MAX_RECEIVERS],
    times: Times,
) -> Vec<SavedDelivery> {
    let named = deliveries.iter().zip(receivers).filter(|(_, receiver)| !receiver.name.is_empty());
    let sent = |delivery: &DeliveryState| {
        let sent = delivery.sent.iter().filter(|sent| sent.at != Millis::ZERO);
        sent.map(|sent| (states.name(sent.from), states.name(sent.to), times.date(sent.at))).collect()
    };
    named
        .map(|(delivery, receiver)| SavedDelivery {
            receiver: text_of(receiver.name.as_bytes()),
            acked: delivery.acked,
            acked_state: states.name(delivery.acked_state),
            acked_open: Some(delivery.acked_open),
            acked_critical: delivery.acked_critical,
            owed_end: delivery.must_send_end,
            refused: delivery.refused,
            plain: delivery.plain,
            repair: delivery.repair > 0,
            sent: sent(delivery),
        })
        .collect()
}
