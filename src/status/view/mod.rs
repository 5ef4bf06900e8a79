//! The whole state at one moment, as values. JSON is their serialisation, and the page and the metrics are drawn from
//! them, so all three say the same.
//!
//! `docs/api/v1.schema.json` says what each member means. Members that only the metrics need are not serialised.

pub(crate) mod deliveries;
pub(crate) mod names;
pub(crate) mod pools;
pub(crate) mod receivers;
pub(crate) mod serving;
pub(crate) mod traffic;
pub(crate) mod upstream;
pub(crate) mod values;

use serde::{Deserialize, Serialize};

use crate::state::snapshot::Snapshot;
use crate::state::workers::Blind;
use crate::text::clean;
use deliveries::ChangeView;
use receivers::{ReceiverView, SilenceView};
use upstream::UpstreamView;
use values::{Timestamp, words};

/// The version in the API's path.
const VERSION: u8 = 1;

/// The longest text of the machine's name in bytes.
const HOST: usize = 255;

/// Everything, as the document `api/v1/state` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateView {
    pub(crate) version: u8,
    pub(crate) now: Timestamp,
    pub(crate) host: String,
    pub(crate) write: bool,
    pub(crate) module: ModuleView,
    pub(crate) upstreams: Vec<UpstreamView>,
    pub(crate) receivers: Vec<ReceiverView>,
    pub(crate) silences: Vec<SilenceView>,
    pub(crate) history: Vec<ChangeView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModuleView {
    pub(crate) version: String,
    pub(crate) nginx_version: String,
    pub(crate) worker_processes: u64,
    pub(crate) workers: WorkersView,
    pub(crate) delivery: DeliversView,
    pub(crate) configurations: u64,
    pub(crate) observations_dropped: u64,
    pub(crate) zone: ZoneView,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkersView {
    pub(crate) expected: u64,
    pub(crate) watching: u64,
    pub(crate) not_watching: Vec<BlindView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlindView {
    pub(crate) process: Option<u32>,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliversView {
    pub(crate) delivers: bool,
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ZoneView {
    pub(crate) size_bytes: u64,
    pub(crate) upstreams_used: usize,
    pub(crate) upstreams_max: u64,
}

impl StateView {
    /// Of a copy of the state. `write`: the location takes writes.
    pub fn new(snapshot: &Snapshot, write: bool) -> Self {
        Self {
            version: VERSION,
            now: Timestamp::from_unix(snapshot.info.times.wall),
            host: clean(snapshot.info.host.as_bytes(), HOST),
            write,
            module: ModuleView::new(snapshot),
            upstreams: snapshot.upstreams.iter().map(|upstream| UpstreamView::new(snapshot, upstream)).collect(),
            receivers: receivers::receivers(snapshot),
            silences: receivers::silences(snapshot),
            history: deliveries::history(snapshot),
        }
    }
}

impl ModuleView {
    fn new(snapshot: &Snapshot) -> Self {
        let info = &snapshot.info;
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nginx_version: info.nginx_version.clone(),
            worker_processes: info.worker_processes,
            workers: WorkersView {
                expected: info.workers.expected,
                watching: info.workers.watching(),
                not_watching: info.workers.blind.iter().map(BlindView::new).collect(),
            },
            delivery: DeliversView { delivers: info.hindrance.is_none(), reason: info.hindrance.clone() },
            configurations: info.configurations,
            observations_dropped: info.dropped,
            zone: ZoneView {
                size_bytes: info.zone_size,
                upstreams_used: snapshot.upstreams.len(),
                upstreams_max: info.zone_upstreams,
            },
        }
    }
}

impl BlindView {
    fn new(worker: &Blind) -> Self {
        Self { process: worker.process, reason: words(worker.reason.as_bytes()) }
    }
}
