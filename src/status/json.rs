//! The API's documents as JSON: `docs/api/v1.schema.json` says what they mean.

use serde::Serialize;

use crate::status::view::StateView;

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

/// The body of a part.
pub fn body(part: Part, state: &StateView) -> String {
    match part {
        Part::State => text(state),
        Part::Upstreams => text(&state.upstreams),
        Part::Receivers => text(&state.receivers),
        Part::Silences => text(&state.silences),
        Part::History => text(&state.history),
        Part::Module => text(&state.module),
    }
}

/// The body of an answer that is an error.
pub fn error(text: &str) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
    }
    self::text(&Error { error: text })
}

/// The body of an answer to a write; a test has no id.
pub fn accepted(id: Option<u64>) -> String {
    #[derive(Serialize)]
    struct Accepted {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    }
    text(&Accepted { id: id.map(|id| id.to_string()) })
}

/// No map has keys that are not strings, so it cannot fail.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
