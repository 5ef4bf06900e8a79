//! What is shown of a snapshot, and to whom: the API's JSON, Prometheus' text, a page; and what operators may ask for.
//!
//! All of it is pure: a snapshot or a request in, text or a decision out. nginx's side is in the skin.

pub mod cache;
pub mod command;
pub mod html;
pub mod json;
pub mod prometheus;
pub mod route;
mod view;

use crate::config::rules::RateOf;
use crate::detect::serving::Serving;
use crate::state::snapshot::{Snapshot, Upstream};
use crate::text::clean;
use crate::units::Millis;

/// Bytes of a foreign name: each of its at most 64 bytes may be spelled out.
const NAME: usize = 256;

/// A foreign name as anyone may read it.
fn name(bytes: &[u8]) -> String {
    clean(bytes, NAME)
}

/// The states of an upstream, as the API and the metrics call them.
const STATES: [&str; 5] = ["unknown", "pool", "several", "mixed", "down"];

/// The state of an upstream, and the one pool that serves in it.
fn serving(upstream: &Upstream, serving: Serving) -> (&'static str, Option<String>) {
    let [unknown, pool, several, mixed, down] = STATES;
    match serving {
        _ if upstream.view().is_several(serving) => (several, None),
        Serving::Unknown => (unknown, None),
        Serving::Pool(id) => (pool, Some(name(upstream.setup.directory.name(id)))),
        Serving::Mixed => (mixed, None),
        Serving::Down => (down, None),
    }
}

/// The state, for a variable.
pub fn state(upstream: &Upstream) -> &'static str {
    serving(upstream, upstream.detection.failover.serving()).0
}

/// The pool that serves; `None`: none, or several.
pub fn pool(upstream: &Upstream) -> Option<String> {
    serving(upstream, upstream.detection.failover.serving()).1
}

/// The release that the pool which serves named last.
pub fn release(upstream: &Upstream) -> Option<String> {
    let Serving::Pool(id) = upstream.detection.failover.serving() else { return None };
    let is_alone = !upstream.view().is_several(Serving::Pool(id));
    let release = upstream.detection.releases.get(usize::from(id)).filter(|release| is_alone && !release.is_empty());
    release.map(|release| name(release.as_bytes()))
}

/// The error rate that is watched, as a ratio: `0.0250`. `None`: none is, or there were no requests.
pub fn error_rate(upstream: &Upstream, now: Millis) -> Option<String> {
    let rules = upstream.setup.rules.error_rate?;
    let counts = upstream.view().counts(now);
    let errors = match rules.of {
        RateOf::Upstream => counts.upstream_errors,
        RateOf::Client => counts.client_errors,
    };
    (counts.requests > 0).then(|| format!("{:.4}", f64::from(errors) / f64::from(counts.requests)))
}

/// Are messages about this upstream held back now, by the configuration or by an operator?
fn is_silenced(snapshot: &Snapshot, upstream: &Upstream) -> bool {
    upstream.setup.rules.silenced || snapshot.notices.silenced_until(&upstream.name) > snapshot.info.now
}
