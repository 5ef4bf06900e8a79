//! What may be asked for where the location has `write=on`. The script sends it: no form of another site can.

use maud::{Markup, html};

use crate::state::announcements::LONGEST_SILENCE;

/// Minutes that are offered for a silence.
const OFFERED: [u64; 5] = [15, 30, 60, 240, LONGEST];

/// Minutes of the longest.
const LONGEST: u64 = LONGEST_SILENCE.as_secs() / 60;

/// To silence an upstream; none: all of them.
pub(super) fn silence(upstream: Option<&str>) -> Markup {
    html! {
        details.control {
            summary { @if upstream.is_some() { "Silence…" } @else { "Silence all upstreams…" } }
            form data-method="POST" data-path="api/v1/silences" {
                @if let Some(upstream) = upstream { input type="hidden" name="upstream" value=(upstream); }
                label { "Minutes"
                    input type="number" name="minutes" min="1" max=(LONGEST) value="30" required list="minutes";
                }
                label.wide { "Comment"
                    input type="text" name="comment" maxlength="120" placeholder="Why?" autocomplete="off";
                }
                button { "Silence" }
                output {}
            }
        }
    }
}

/// To end a silence.
pub(super) fn end_silence(id: &str) -> Markup {
    html! {
        form data-method="DELETE" data-path={ "api/v1/silences/" (id) } {
            button aria-label={ "End silence " (id) } { "End now" }
            output {}
        }
    }
}

/// To send a test message to all receivers.
pub(super) fn test() -> Markup {
    html! {
        form data-method="POST" data-path="api/v1/test" {
            button { "Send a test message" }
            output {}
        }
    }
}

/// What the forms of all cards share.
pub(super) fn shared() -> Markup {
    html! {
        datalist #minutes { @for minutes in OFFERED { option value=(minutes) {} } }
    }
}
