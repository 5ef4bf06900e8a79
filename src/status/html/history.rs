//! What happened, newest first, and who heard of it.

use maud::{Markup, html};
use serde_json::Value;

use super::words::{list, moment, span, text};

/// Changes that are shown at once, and on demand.
const SHOWN: usize = 10;
/// See [`SHOWN`].
const FOLDED: usize = 30;

/// The section.
pub(super) fn history(state: &Value) -> Markup {
    let changes = list(state, "history");
    let now = text(state, "now");
    let several = list(state, "upstreams").len() > 1;
    let (shown, folded) = changes.split_at(changes.len().min(SHOWN));
    html! {
        section #history .card aria-labelledby="history-title" {
            h2 #history-title { "History" }
            @if changes.is_empty() { p.soft { "No change has been seen yet." } }
            ol.events { @for change in shown { (event(change, now, several)) } }
            @if !folded.is_empty() {
                details #older {
                    summary { "Older" }
                    ol.events { @for change in folded.iter().take(FOLDED) { (event(change, now, several)) } }
                    @if folded.len() > FOLDED { p.soft { "More by " a href="api/v1/history" { "api/v1/history" } "." } }
                }
            }
        }
    }
}

/// What a change is, in a few words: `Failover: blue → green`.
pub(super) fn what(change: &Value) -> String {
    let (from, to) = (serving(&change["from"]), serving(&change["to"]));
    match text(change, "kind") {
        "failover" => format!("Failover: {from} → {to}"),
        "recovery" => format!("Recovery: {from} → {to}"),
        "planned_switch" => format!("Planned switch: {from} → {to}"),
        "down" => "Outage: no pool answers".to_owned(),
        "mixed" => "Mixed traffic: no pool prevails".to_owned(),
        "flapping" => "Flapping".to_owned(),
        "error_rate_firing" => "Error rate too high".to_owned(),
        "error_rate_resolved" => "Error rate back to normal".to_owned(),
        "error_rate_no_data" => "Error rate: no traffic any more".to_owned(),
        "untold" if text(&change["from"], "state") == "unknown" => format!("First answers: {to}"),
        _ => format!("{from} → {to}"),
    }
}

/// What each receiver heard.
pub(super) fn deliveries(told: &[Value]) -> Markup {
    html! {
        @if !told.is_empty() {
            ul.told aria-label="Delivery" {
                @for delivery in told {
                    @let result = text(delivery, "result");
                    li class=(result) title=[meaning(result)] { bdi { (text(delivery, "receiver")) } " " (result) }
                }
            }
        }
    }
}

fn event(change: &Value, now: &str, several: bool) -> Markup {
    let severity = text(change, "severity");
    html! {
        li class=(severity) {
            (moment(text(change, "at"), now))
            span.happened {
                @if severity != "info" { span.level { (severity) } " " }
                @if several { bdi.soft { (text(change, "upstream")) } " " }
                bdi { (what(change)) }
                @if let Some(lasted) = change["lasted_seconds"].as_f64() { span.soft { " after " (span(lasted)) } }
            }
            (deliveries(list(change, "deliveries")))
        }
    }
}

fn serving(serving: &Value) -> &str {
    match text(serving, "state") {
        "pool" => text(serving, "pool"),
        "down" => "nobody",
        "several" | "mixed" => "several pools",
        _ => "unknown",
    }
}

/// What is not plain from the word.
fn meaning(result: &str) -> Option<&'static str> {
    match result {
        "pending" => Some("not told yet: silenced, or too soon, or out of reach"),
        "covered" => Some("a later message told of it"),
        "waived" => Some("does not want to hear when something is over"),
        "refused" => Some("refused in every form"),
        _ => None,
    }
}
