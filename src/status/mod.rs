//! What is shown of a snapshot, and to whom: the API's JSON, Prometheus' text, a page; and what operators may ask for.
//!
//! All of it is pure: a snapshot or a request in, text or a decision out. nginx's side is in the skin.

pub mod html;
pub mod json;
pub mod order;
pub mod prometheus;
pub mod route;

use crate::detect::failover::Serving;
use crate::state::snapshot::{Snapshot, Upstream};
use crate::text::clean;

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

/// Are messages about this upstream held back now, by the configuration or by an operator?
fn is_silenced(snapshot: &Snapshot, upstream: &Upstream) -> bool {
    upstream.setup.rules.silenced || snapshot.notices.silenced_until(&upstream.name) > snapshot.facts.now
}
