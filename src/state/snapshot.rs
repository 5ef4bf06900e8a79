//! A copy of everything, taken at one moment, from which readers render without a lock.

use crate::clock::Times;
use crate::config::receiver::{PublicReceiver, Receiver};
use crate::incident::Key;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::delivery_state::DeliveryState;
use crate::outbox::receiver::ReceiverState;
use crate::state::announcements::Announcements;
use crate::state::counters::{Counters, Releases};
use crate::state::detection::Detection;
use crate::state::history::History;
use crate::state::series::Series;
use crate::state::setup::Setup;
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
    pub(crate) deliveries: [[DeliveryState; MAX_RECEIVERS]; 2],
    pub(crate) counters: Counters,
    pub(crate) releases: Releases,
    pub(crate) history: History,
    pub(crate) series: Series,
}

/// A copy of the table.
#[derive(Clone)]
pub struct Contents {
    /// By the receivers' indices.
    pub(crate) receivers: [ReceiverState; MAX_RECEIVERS],
    /// All announcements, silences among them.
    pub(crate) announcements: Announcements,
    /// The upstreams that are watched.
    pub(crate) upstreams: Vec<Upstream>,
}

/// Facts about the module and the machine that are not in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The moment of the copy.
    pub times: Times,
    /// The machine's name.
    pub host: String,
    /// nginx's version, as nginx writes it.
    pub nginx_version: String,
    /// The number of worker processes, as configured.
    pub worker_processes: u64,
    /// Which workers watch, and which do not.
    pub workers: Workers,
    /// Why this nginx delivers no messages; `None`: it delivers.
    pub hindrance: Option<String>,
    /// Configurations that were loaded into the zone since it was made.
    pub configurations: u64,
    /// Observations that were lost, for example because the channel was full.
    pub dropped: u64,
    /// The size of the zone in bytes.
    pub zone_size: u64,
    /// Upstreams for which the zone has room.
    pub zone_upstreams: u64,
}

/// A configured receiver and its state.
#[derive(Clone, Copy)]
pub struct ReceiverStatus {
    pub(crate) receiver: PublicReceiver,
    /// The receiver's index in the table.
    pub(crate) index: usize,
    pub(crate) state: ReceiverState,
}

/// Rendered data must be plain (`Copy`): a receiver's URL or certificates are not, and would not compile here.
const _: () = {
    const fn is_plain<T: Copy>() {}
    is_plain::<ReceiverStatus>();
};

/// Everything at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// What is known besides the table.
    pub info: ModuleInfo,
    pub(crate) receivers: Vec<ReceiverStatus>,
    pub(crate) announcements: Announcements,
    pub(crate) upstreams: Vec<Upstream>,
}

impl Snapshot {
    /// The snapshot of a table and a configuration. A receiver that no worker has adopted yet is left out.
    pub fn new(contents: Contents, receivers: &[Receiver], info: ModuleInfo) -> Self {
        let Contents { receivers: states, announcements, upstreams } = contents;
        let configured = receivers.iter().filter_map(|receiver| {
            // A receiver that no worker has adopted yet is not in the table.
            let index = states.iter().position(|state| state.name == receiver.name)?;
            Some(ReceiverStatus { receiver: receiver.public(), index, state: *states.get(index)? })
        });
        Self { info, receivers: configured.collect(), announcements, upstreams }
    }

    /// The snapshot without a table, when nothing is watched.
    pub fn empty(info: ModuleInfo) -> Self {
        Self { info, receivers: Vec::new(), announcements: Announcements::default(), upstreams: Vec::new() }
    }

    /// The upstream of this name; `None`: it is not watched.
    pub fn upstream(&self, name: &[u8]) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name.as_bytes() == name)
    }

    /// Are messages about this upstream held back now, by the configuration or by an operator?
    pub(crate) fn is_silenced(&self, upstream: &Upstream) -> bool {
        upstream.setup.rules.silenced || self.announcements.silenced_until(&upstream.name) > self.info.times.now
    }

    /// The date of an instant, milliseconds since the epoch; 0: never.
    pub(crate) fn date(&self, instant: Millis) -> u64 {
        self.info.times.date(instant)
    }
}

impl Upstream {
    /// The parts of the copy as one value.
    pub(crate) fn view(&self) -> View<'_> {
        View { name: &self.name, setup: &self.setup, detection: &self.detection, examples: &[] }
    }

    /// The delivery state of a key for the receiver with this index.
    pub(crate) fn delivery(&self, key: Key, receiver: usize) -> Option<&DeliveryState> {
        self.deliveries.get(key as usize)?.get(receiver)
    }
}

impl Table<'_> {
    /// A copy of the table, for a caller that holds the lock.
    pub fn contents(&self) -> Contents {
        let watched = self.slots.iter().filter(|slot| slot.is_watched());
        Contents {
            receivers: *self.receivers.live(),
            announcements: *self.announcements.live(),
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
            deliveries: *self.deliveries.live(),
            counters: self.counters,
            releases: *self.releases.live(),
            history: self.history.clone(),
            series: self.series.clone(),
        }
    }
}
