//! Answers reads: from this worker's cache, or from a new copy of the zone.

use std::rc::Rc;

use nginx_sys::NGINX_VERSION;

use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
use crate::nginx::cycle;
use crate::nginx::reply::{BUSY, Reply};
use crate::nginx::zone::Zone;
use crate::persist::restore::RESTORED;
use crate::state::snapshot::{ModuleInfo, Snapshot};
use crate::state::workers::Workers;
use crate::status::cache::StatusRequest;
use crate::status::route::Route;
use crate::status::view::StateView;
use crate::status::{html, json, prometheus};

/// The answer to a read.
pub(super) fn answer(conf: &MainConf, request: StatusRequest) -> Rc<Reply> {
    let changes = conf.zone.mapped.get().map_or(0, Zone::changes);
    let answer = conf.status_cache.borrow_mut().answer(request, SystemClock.now(), changes, || state(conf), render);
    answer.unwrap_or_else(|| Rc::new(Reply::json(503, json::error(BUSY))))
}

fn render(state: &StateView, request: &StatusRequest) -> Reply {
    match request.route {
        Route::Json(part) => Reply::json(200, json::body(part, state)),
        Route::Metrics => Reply { content_type: prometheus::CONTENT_TYPE, ..Reply::json(200, prometheus::body(state)) },
        _ => {
            let page = html::page(state, &request.query);
            Reply { content_type: "text/html; charset=utf-8", policy: html::POLICY, ..Reply::json(200, page) }
        }
    }
}

/// The state now; empty if no upstream is watched. `None`: all attempts to copy the zone were disturbed by writers.
fn state(conf: &MainConf) -> Option<StateView> {
    let snapshot = match conf.zone.mapped.get() {
        Some(zone) => Snapshot::new(zone.contents()?, &conf.receivers, module_info(conf)),
        None => Snapshot::empty(module_info(conf)),
    };
    Some(StateView::new(&snapshot, false))
}

fn module_info(conf: &MainConf) -> ModuleInfo {
    let zone = conf.zone.mapped.get();
    ModuleInfo {
        times: SystemClock.times(),
        host: SystemClock.host(),
        nginx_version: NGINX_VERSION.to_string_lossy().into_owned(),
        worker_processes: cycle::configured_workers(),
        workers: zone.map_or_else(Workers::default, |zone| {
            let reports = zone.workers().of_generation(conf.zone.generation.get());
            Workers::new(cycle::serving_processes(), &reports, zone.held())
        }),
        hindrance: zone.and_then(|zone| zone.hindrance(conf.zone.file.is_some())),
        configurations: conf.zone.generation.get().saturating_sub(RESTORED),
        dropped: zone.map_or(0, Zone::dropped),
        zone_size: conf.zone.size.get() as u64,
        zone_upstreams: zone.map_or(0, |zone| zone.capacity() as u64),
    }
}
