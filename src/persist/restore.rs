//! Brings a saved document into a table: into an empty one, or into one that has seen requests of its own.

use crate::alert::Kind;
use crate::clock::Times;
use crate::config::blocks::{BlockSet, MAX_BLOCKS};
use crate::config::upstream::Role;
use crate::detect::error_rate::ErrorRate;
use crate::detect::failover::Failover;
use crate::detect::first_choice::FirstChoice;
use crate::detect::flapping::Flapping;
use crate::detect::serving::Serving;
use crate::incident::{Incident, Key, Revision, StateCode, Sums};
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::backoff;
use crate::outbox::delivery_state::{DeliveryState, LAST_SENT, LastSent};
use crate::outbox::receiver::ReceiverState;
use crate::persist::document::{Saved, SavedAnnouncement, SavedBlock, SavedDelivery, SavedIncident, SavedUpstream};
use crate::persist::states::{States, bytes_of, name_of};
use crate::pools::directory::{Directory, Pool};
use crate::pools::peers::Peer;
use crate::pools::set::{Expected, MAX_POOLS, PoolId, PoolSet};
use crate::state::announcements::{Announcement, Silence};
use crate::state::detection::Detection;
use crate::state::setup::Setup;
use crate::state::slot::Slot;
use crate::state::table::Table;
use crate::state::table::adopt::Need;
use crate::text::{Name, Text};
use crate::units::Millis;

/// The generation of restored entries; the generation of every configuration is greater.
pub const RESTORED: u64 = 1;

impl Saved {
    /// How many upstreams are not in `watched`, and have an open incident or a due message.
    pub fn owing(&self, watched: &[Name]) -> usize {
        self.upstreams.iter().filter(|upstream| upstream.need(watched) == Need::Owing).count()
    }

    /// Fills a table that knows nothing. If it has less room than before, the upstreams in `watched` come first, and
    /// then those with an open incident or a due message.
    pub fn restore(&self, table: &mut Table<'_>, watched: &[Name], times: Times) {
        *table.due = Millis::ZERO;
        self.restore_receivers(table, times);
        let receivers = *table.receivers.live();
        let mut upstreams: Vec<&SavedUpstream> = self.upstreams.iter().collect();
        upstreams.sort_by_key(|upstream| upstream.need(watched));
        let mut free = table.slots.iter_mut().filter(|slot| slot.name.is_empty());
        for upstream in upstreams {
            let Some(known) = upstream.restored(None, &receivers, times) else { continue };
            let Some(slot) = free.next() else { return };
            known.fill(slot, upstream.name());
        }
        self.restore_announcements(table, &receivers, times);
    }

    /// Merges the document that another zone saved into the table of this zone, which writes the state file now. What
    /// receivers accepted comes from the document; the state comes from whichever of the two saw requests last.
    pub fn merge(&self, table: &mut Table<'_>, times: Times) {
        *table.due = Millis::ZERO;
        self.restore_receivers(table, times);
        let receivers = *table.receivers.live();
        for slot in table.slots.iter_mut().filter(|slot| !slot.name.is_empty() && slot.left == 0) {
            let name = slot.name;
            let Some(upstream) = self.upstreams.iter().find(|upstream| upstream.name() == name) else { continue };
            let directory = slot.setup.edit(|setup| {
                upstream.pools.iter().for_each(|pool| setup.directory.admit(&name_of(&pool.name)));
                setup.directory
            });
            let Some(known) = upstream.restored(Some(&directory), &receivers, times) else { continue };
            known.meet(slot);
        }
        self.restore_announcements(table, &receivers, times);
    }

    fn restore_receivers(&self, table: &mut Table<'_>, times: Times) {
        table.receivers.edit(|receivers| {
            for saved in &self.receivers {
                let name = name_of(&saved.name);
                let known = receivers.iter().position(|receiver| receiver.name == name);
                let free = || receivers.iter().position(|receiver| receiver.name.is_empty());
                let Some(receiver) = known.or_else(free).and_then(|index| receivers.get_mut(index)) else { continue };
                if receiver.name.is_empty() {
                    *receiver = ReceiverState { name, adopted: RESTORED, ..ReceiverState::default() };
                }
                receiver.health = saved.health;
                let longest = times.now + backoff::LONGEST_PAUSE;
                receiver.earliest = receiver.earliest.max(times.due(saved.earliest).min(longest));
            }
        });
    }

    fn restore_announcements(&self, table: &mut Table<'_>, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) {
        table.announcements.edit(|announcements| {
            for saved in &self.announcements {
                let Some(known) = saved.restored(receivers, times) else { continue };
                let own = announcements.list.get_mut(saved.index);
                // A silence that began or ended here meanwhile stays as it is.
                if let Some(own) = own.filter(|own| own.revision.number <= known.revision.number) {
                    *own = known;
                }
            }
        });
    }
}

/// A restored upstream: its pools, incidents and delivery states, with the indices of a table.
struct RestoredUpstream {
    left: bool,
    setup: Setup,
    detection: Detection,
    deliveries: [[DeliveryState; MAX_RECEIVERS]; 2],
}

impl RestoredUpstream {
    /// Puts the upstream into a free slot.
    fn fill(self, slot: &mut Slot, name: Name) {
        slot.reset(name);
        slot.setup.edit(|setup| *setup = self.setup);
        slot.detection.edit(|detection| *detection = self.detection);
        slot.deliveries.edit(|deliveries| *deliveries = self.deliveries);
        (slot.adopted, slot.left) = (RESTORED, if self.left { RESTORED } else { 0 });
    }

    /// Merges the upstream with what a slot knows of it.
    fn meet(mut self, slot: &mut Slot) {
        let own = *slot.detection.live();
        let blocks = self.setup.blocks;
        let setup = *slot.setup.live();
        self.detection.first_choice.adopt(|index| setup.block_index(blocks.get(index)?));
        let mut merged = own;
        if own.error_rate.seen() < self.detection.error_rate.seen() {
            // No request has come to this zone since, so the saved state is the newer one.
            merged = Detection { window: own.window, period: own.period, ..self.detection };
        }
        let mut deliveries = self.deliveries;
        for ((incident, theirs), deliveries) in
            merged.incidents.iter_mut().zip(self.detection.incidents).zip(&mut deliveries)
        {
            let last = incident.revision.number;
            let same =
                incident.revision.state == theirs.revision.state || (incident.revision.over && theirs.revision.over);
            if same {
                *incident = theirs;
                incident.revision.number = theirs.revision.number.max(last);
            } else {
                incident.revision.number = (theirs.revision.number + 1).max(last);
                incident.id = if theirs.revision.over { incident.revision.number } else { theirs.id };
                incident.revision.from = theirs.revision.state;
                incident.since = if last == 0 { own.failover.since() } else { incident.since };
                incident.began = if theirs.revision.over { incident.since } else { theirs.began };
            }
            let accepted = deliveries.iter_mut().filter(|delivery| same && delivery.acked == theirs.revision.number);
            accepted.for_each(|delivery| delivery.acked = incident.revision.number);
        }
        slot.setup.edit(|setup| setup.choose(merged.first_choice.chosen()));
        slot.deliveries.edit(|known| *known = deliveries);
        slot.detection.edit(|detection| *detection = merged);
    }
}

impl SavedUpstream {
    fn need(&self, watched: &[Name]) -> Need {
        let is_owing = |incident: &SavedIncident| {
            !incident.over || incident.deliveries.iter().any(|delivery| incident.is_owed(delivery))
        };
        match watched.contains(&self.name()) {
            true => Need::Watched,
            false if self.incidents.iter().any(is_owing) => Need::Owing,
            false => Need::None,
        }
    }

    /// The restored upstream, with the pool ids of `directory` or, without one, of its own. `None`: the text
    /// contradicts itself.
    fn restored(
        &self,
        directory: Option<&Directory>,
        receivers: &[ReceiverState; MAX_RECEIVERS],
        times: Times,
    ) -> Option<RestoredUpstream> {
        let own = self.directory();
        let directory = directory.unwrap_or(&own);
        // The ids of pools here, by their indices in the text.
        let pool_ids: Vec<Option<PoolId>> =
            self.pools.iter().map(|pool| directory.find(&name_of(&pool.name))).take(MAX_POOLS).collect();
        let serving = |text: &str| States::Serving.code(text, &pool_ids)?.to_serving();
        let mut detection = Detection {
            failover: Failover::resume(serving(&self.serving)?, times.instant(self.since)),
            error_rate: ErrorRate::resume(
                self.error_rate,
                times.instant(self.error_rate_since),
                times.instant(self.seen),
            ),
            flapping: Flapping::resume(self.flapping, self.changes.iter().map(|&time| times.instant(time))),
            switching: self.switching.as_deref().map_or(Some(Serving::Unknown), serving)?,
            ..Detection::default()
        };
        for (pool, index) in self.pools.iter().zip(&pool_ids) {
            if let Some(index) = *index {
                detection.releases[index] = Text::new(&bytes_of(&pool.release));
            }
        }
        let mut deliveries = [[DeliveryState::default(); MAX_RECEIVERS]; 2];
        for (key, saved) in Key::ALL.into_iter().zip(&self.incidents) {
            let states = States::of(key);
            let incident = saved.restored(states, &pool_ids, times)?;
            *detection.incidents.get_mut(key as usize)? = incident;
            *deliveries.get_mut(key as usize)? = deliveries_of(&saved.deliveries, states, &pool_ids, receivers, times)?;
        }
        let blocks = self.blocks.iter().take(MAX_BLOCKS).enumerate();
        let those = |is_it: fn(&SavedBlock) -> bool| -> BlockSet {
            blocks.clone().filter(|(_, block)| is_it(block)).map(|(index, _)| index).collect()
        };
        let (chosen, alone) = (those(|block| block.chosen), those(|block| block.alone));
        detection.first_choice = FirstChoice::resume(chosen, alone);
        let mut pools = PoolSet::EMPTY;
        for pool in &self.expected {
            let Serving::Pool(pool) = serving(pool)? else { return None };
            pools.insert(pool);
        }
        let expected = Expected::from(pools);
        Some(RestoredUpstream {
            left: self.left,
            setup: Setup { directory: own, expected, chosen, blocks: self.block_names(), ..Setup::default() },
            detection,
            deliveries,
        })
    }

    fn block_names(&self) -> [Name; MAX_BLOCKS] {
        let mut names = [Name::EMPTY; MAX_BLOCKS];
        for (name, block) in names.iter_mut().zip(&self.blocks) {
            *name = name_of(&block.name);
        }
        names
    }

    fn directory(&self) -> Directory {
        let pools = self.pools.iter().map(|pool| Pool {
            name: name_of(&pool.name),
            unnamed: pool.unnamed,
            of_block: pool.of_block,
        });
        let addresses: Vec<Vec<u8>> = self.peers.iter().map(|peer| bytes_of(&peer.address)).collect();
        let peers = |left| {
            let all = self.peers.iter().zip(&addresses).filter(move |(peer, _)| peer.left == left);
            all.map(|(peer, address)| Peer {
                address,
                pool: PoolId::new(peer.pool.into()),
                role: if peer.backup { Role::Backup } else { Role::Primary },
                certain: peer.certain,
                ..Peer::default()
            })
        };
        Directory::resume(pools, peers(false), peers(true))
    }
}

impl SavedIncident {
    fn restored(&self, states: States, pool_ids: &[Option<PoolId>], times: Times) -> Option<Incident> {
        let kind = self.kind?;
        Some(Incident {
            revision: Revision {
                number: self.revision,
                state: states.code(&self.state, pool_ids)?,
                from: states.code(&self.from, pool_ids)?,
                over: self.over,
                critical: self.critical && !self.over,
                planned: self.planned,
            },
            kind,
            change: self.change.unwrap_or(kind),
            from: States::Serving.code(&self.served, pool_ids)?.to_serving()?,
            since: times.instant(self.since),
            began: times.instant(self.began),
            // An incident that was written without this number is taken to begin with its present revision.
            id: if self.id == 0 { self.revision } else { self.id.min(self.revision) },
            critical: self.critical,
            sums: Sums {
                requests: self.requests,
                upstream_errors: self.upstream_errors,
                client_errors: self.client_errors,
                reasons: self.reasons,
            },
            // Requests are counted from 0 again.
            first_request: 0,
            first_failure: Millis::ZERO,
        })
    }
}

impl SavedAnnouncement {
    fn restored(&self, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) -> Option<Announcement> {
        let kind = self.kind?;
        let until = self.remaining.map_or(Millis::NEVER, |remaining| times.now + Millis(remaining));
        let (upstream, comment) = (name_of(&self.upstream), Text::new(&bytes_of(&self.comment)));
        Some(Announcement {
            revision: Revision {
                number: self.revision,
                state: StateCode::announcement(kind),
                over: kind == Kind::SilenceEnded,
                ..Revision::default()
            },
            deliveries: deliveries_of(&self.deliveries, States::Announcement, &[], receivers, times)?,
            kind,
            silence: Silence { id: self.id, upstream, until, comment },
            began: times.instant(self.began),
            since: times.instant(self.since),
        })
    }
}

fn deliveries_of(
    saved: &[SavedDelivery],
    states: States,
    pool_ids: &[Option<PoolId>],
    receivers: &[ReceiverState; MAX_RECEIVERS],
    times: Times,
) -> Option<[DeliveryState; MAX_RECEIVERS]> {
    let mut deliveries = [DeliveryState::default(); MAX_RECEIVERS];
    for saved in saved {
        let name = name_of(&saved.receiver);
        let index = receivers.iter().position(|receiver| receiver.name == name && !name.is_empty());
        let Some(delivery) = index.and_then(|index| deliveries.get_mut(index)) else { continue };
        (delivery.acked, delivery.acked_state) = (saved.acked, states.code(&saved.acked_state, pool_ids)?);
        delivery.acked_open = saved.is_open();
        (delivery.acked_critical, delivery.must_send_end) = (saved.acked_critical, saved.owed_end);
        (delivery.refused, delivery.plain, delivery.repair) = (saved.refused, saved.plain, u64::from(saved.repair));
        for (entry, (from, to, at)) in delivery.sent.iter_mut().zip(saved.sent.iter().take(LAST_SENT)) {
            let (from, to) = (states.code(from, pool_ids)?, states.code(to, pool_ids)?);
            *entry = LastSent { from, to, at: times.instant(*at) };
        }
    }
    Some(deliveries)
}

#[cfg(test)]
mod tests;
