//! What a reader gets: a copy of everything, taken at one moment, to be rendered without hurry and without a lock.

use crate::config::receiver::{PublicReceiver, Receiver};
use crate::incident::Key;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::debt::Debt;
use crate::outbox::receiver::ReceiverState;
use crate::state::counters::{Counters, Releases};
use crate::state::detection::{Detection, Setup};
use crate::state::history::History;
use crate::state::notices::Notices;
use crate::state::series::Series;
use crate::state::slot::Slot;
use crate::state::table::Table;
use crate::state::view::View;
use crate::state::workers::Workers;
use crate::text::Name;
use crate::units::Millis;

/// A copy of an upstream's committed parts.
#[derive(Clone)]
pub struct Upstream {
    pub(crate) name: Name,
    pub(crate) setup: Setup,
    pub(crate) detection: Detection,
    pub(crate) debts: [[Debt; MAX_RECEIVERS]; 2],
    pub(crate) counters: Counters,
    pub(crate) releases: Releases,
    pub(crate) history: History,
    pub(crate) series: Series,
}

/// A copy of the table.
#[derive(Clone)]
pub struct Contents {
    /// By place.
    pub(crate) receivers: [ReceiverState; MAX_RECEIVERS],
    /// Silences among them.
    pub(crate) notices: Notices,
    /// Those that are watched.
    pub(crate) upstreams: Vec<Upstream>,
}

/// What is known of the module and the machine beside the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Instant.
    pub now: Millis,
    /// Wall clock, milliseconds since the epoch.
    pub wall: u64,
    /// The machine's name.
    pub host: String,
    /// As nginx calls it.
    pub nginx_version: String,
    /// As configured.
    pub worker_processes: u64,
    /// What each worker does.
    pub workers: Workers,
    /// Why this nginx delivers nothing; `None`: it does.
    pub hindrance: Option<String>,
    /// Configurations that were loaded into the zone.
    pub configurations: u64,
    /// Observations that found the channel full.
    pub dropped: u64,
    /// Bytes of the zone.
    pub zone_size: u64,
    /// Upstreams that it has room for.
    pub zone_upstreams: u64,
}

/// A configured receiver and its condition.
#[derive(Clone, Copy)]
pub struct Listed {
    pub(crate) receiver: PublicReceiver,
    /// Where the table has it.
    pub(crate) place: usize,
    pub(crate) state: ReceiverState,
}

/// What is rendered is plain data: a receiver's URL or certificates, which are none, do not compile here.
const _: () = {
    const fn is_plain<T: Copy>() {}
    is_plain::<Listed>();
};

/// Everything, at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// What is known beside the table.
    pub facts: Facts,
    pub(crate) receivers: Vec<Listed>,
    pub(crate) notices: Notices,
    pub(crate) upstreams: Vec<Upstream>,
}

impl Snapshot {
    /// Puts together what the table and the configuration know.
    pub fn new(contents: Contents, receivers: &[Receiver], facts: Facts) -> Self {
        let Contents { receivers: states, notices, upstreams } = contents;
        let listed = receivers.iter().filter_map(|receiver| {
            // One that no worker has adopted yet has no place.
            let place = states.iter().position(|state| state.name == receiver.name)?;
            Some(Listed { receiver: receiver.public(), place, state: *states.get(place)? })
        });
        Self { facts, receivers: listed.collect(), notices, upstreams }
    }

    /// Without a table, since nothing is watched.
    pub fn empty(facts: Facts) -> Self {
        Self { facts, receivers: Vec::new(), notices: Notices::default(), upstreams: Vec::new() }
    }

    /// The upstream of this name, if it is watched.
    pub fn upstream(&self, name: &[u8]) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name.as_bytes() == name)
    }

    /// When an instant was, wall clock, milliseconds since the epoch.
    pub(crate) fn wall(&self, instant: Millis) -> u64 {
        if instant > self.facts.now {
            return self.facts.wall.saturating_add((instant - self.facts.now).0);
        }
        self.facts.wall.saturating_sub((self.facts.now - instant).0)
    }
}

impl Upstream {
    /// The parts as one value to ask.
    pub(crate) fn view(&self) -> View<'_> {
        View { name: &self.name, setup: &self.setup, detection: &self.detection, examples: &[] }
    }

    /// What is owed of a key to the receiver at a place.
    pub(crate) fn debt(&self, key: Key, receiver: usize) -> Option<&Debt> {
        self.debts.get(key as usize)?.get(receiver)
    }
}

impl Table<'_> {
    /// A copy, to whoever holds the lock.
    pub fn contents(&self) -> Contents {
        let watched = self.slots.iter().filter(|slot| slot.is_watched());
        Contents {
            receivers: *self.receivers.live(),
            notices: *self.notices.live(),
            upstreams: watched.map(Slot::copy).collect(),
        }
    }
}

impl Slot {
    fn copy(&self) -> Upstream {
        Upstream {
            name: self.name,
            setup: *self.setup.live(),
            detection: *self.detection.live(),
            debts: *self.debts.live(),
            counters: self.counters,
            releases: *self.releases.live(),
            history: self.history.clone(),
            series: self.series.clone(),
        }
    }
}
