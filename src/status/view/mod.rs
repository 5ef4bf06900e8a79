//! What the API's documents hold, as values: `docs/api/v1.schema.json` says what they mean.

pub(super) mod deliveries;
pub(super) mod upstream;

use serde::Serialize;

use crate::calendar::rfc3339;
use crate::detect::serving::Serving;
use crate::pools::set::PoolId;
use crate::state::snapshot::{Snapshot, Upstream};
use crate::state::workers::Blind;
use crate::status::name;
use crate::text::clean;
use crate::units::Millis;

/// Bytes of a comment or an error: each may be spelled out.
const WORDS: usize = 512;

/// The version in the API's path.
const VERSION: u8 = 1;

#[derive(Serialize)]
pub(super) struct StateView {
    version: u8,
    now: String,
    host: String,
    write: bool,
    module: ModuleView,
    upstreams: Vec<upstream::UpstreamView>,
    receivers: Vec<deliveries::ReceiverView>,
    silences: Vec<deliveries::SilenceView>,
    history: Vec<deliveries::ChangeView>,
}

#[derive(Serialize)]
pub(super) struct ModuleView {
    version: &'static str,
    nginx_version: String,
    worker_processes: u64,
    workers: WorkersView,
    delivery: DeliveryView,
    configurations: u64,
    observations_dropped: u64,
    zone: ZoneView,
}

#[derive(Serialize)]
struct WorkersView {
    expected: u64,
    watching: u64,
    not_watching: Vec<BlindView>,
}

#[derive(Serialize)]
struct BlindView {
    process: Option<u32>,
    reason: String,
}

#[derive(Serialize)]
struct DeliveryView {
    delivers: bool,
    reason: Option<String>,
}

#[derive(Serialize)]
struct ZoneView {
    size_bytes: u64,
    upstreams_used: usize,
    upstreams_max: u64,
}

#[derive(Serialize)]
struct ServingView {
    state: &'static str,
    pool: Option<String>,
}

pub(super) fn state(snapshot: &Snapshot, write: bool) -> StateView {
    StateView {
        version: VERSION,
        now: rfc3339(snapshot.info.wall),
        host: clean(snapshot.info.host.as_bytes(), 255),
        write,
        module: module(snapshot),
        upstreams: upstream::upstreams(snapshot),
        receivers: deliveries::receivers(snapshot),
        silences: deliveries::silences(snapshot),
        history: deliveries::history(snapshot),
    }
}

pub(super) fn module(snapshot: &Snapshot) -> ModuleView {
    let info = &snapshot.info;
    ModuleView {
        version: env!("CARGO_PKG_VERSION"),
        nginx_version: info.nginx_version.clone(),
        worker_processes: info.worker_processes,
        workers: WorkersView {
            expected: info.workers.expected,
            watching: info.workers.watching(),
            not_watching: info.workers.blind.iter().map(blind).collect(),
        },
        delivery: DeliveryView { delivers: info.hindrance.is_none(), reason: info.hindrance.clone() },
        configurations: info.configurations,
        observations_dropped: info.dropped,
        zone: ZoneView {
            size_bytes: info.zone_size,
            upstreams_used: snapshot.upstreams.len(),
            upstreams_max: info.zone_upstreams,
        },
    }
}

fn blind(worker: &Blind) -> BlindView {
    BlindView { process: worker.process, reason: clean(worker.reason.as_bytes(), WORDS) }
}

fn serving(upstream: &Upstream, serving: Serving) -> ServingView {
    let (state, pool) = crate::status::serving(upstream, serving);
    ServingView { state, pool }
}

fn pool_name(upstream: &Upstream, pool: PoolId) -> Option<String> {
    Some(upstream.setup.directory.name(pool)).filter(|bytes| !bytes.is_empty()).map(name)
}

fn seconds(span: Millis) -> f64 {
    span.0 as f64 / 1000.0
}

fn time(snapshot: &Snapshot, instant: Millis) -> String {
    rfc3339(snapshot.wall(instant))
}

/// Of an instant that may never have been.
fn instant(snapshot: &Snapshot, instant: Millis) -> Option<String> {
    (instant > Millis::ZERO).then(|| time(snapshot, instant))
}
