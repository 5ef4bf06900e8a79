//! The API's documents as JSON: `docs/api/v1.schema.json` says what they mean.

use serde::Serialize;
use serde_json::Value;

use crate::state::snapshot::Snapshot;
use crate::status::view::{self, deliveries, upstream};

/// A document, or a member of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    State,
    /// `upstreams`
    Upstreams,
    /// `receivers`
    Receivers,
    /// `silences`
    Silences,
    /// `history`
    History,
    /// `module`
    Module,
}

/// The body of a part. `write`: the location takes writes.
pub fn body(part: Part, snapshot: &Snapshot, write: bool) -> String {
    let text = match part {
        Part::State => serde_json::to_string(&view::state(snapshot, write)),
        Part::Upstreams => serde_json::to_string(&upstream::upstreams(snapshot)),
        Part::Receivers => serde_json::to_string(&deliveries::receivers(snapshot)),
        Part::Silences => serde_json::to_string(&deliveries::silences(snapshot)),
        Part::History => serde_json::to_string(&deliveries::history(snapshot)),
        Part::Module => serde_json::to_string(&view::module(snapshot)),
    };
    // No map with keys that are not strings, so it cannot fail.
    text.unwrap_or_default()
}

/// [`Part::State`] as a value, for the page.
pub fn document(snapshot: &Snapshot, write: bool) -> Value {
    // As above.
    serde_json::to_value(view::state(snapshot, write)).unwrap_or_default()
}

/// The body of an answer that is an error.
pub fn error(text: &str) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
    }
    serde_json::to_string(&Error { error: text }).unwrap_or_default()
}

/// The body of an answer to a write; a test has no id.
pub fn accepted(id: Option<u64>) -> String {
    #[derive(Serialize)]
    struct Accepted {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    }
    serde_json::to_string(&Accepted { id: id.map(|id| id.to_string()) }).unwrap_or_default()
}
