//! The section of the history: changes, newest first, each with what became of its messages.

use super::words::{self, moment, span};
use crate::alert::{Kind, Severity};
use crate::status::view::StateView;
use crate::status::view::deliveries::{ChangeKind, ChangeView, DeliveryResult, DeliveryView};
use crate::status::view::names::Named;
use crate::status::view::serving::{ServingState, ServingView};
use crate::status::view::values::Timestamp;
use maud::{Markup, html};

/// The number of changes that are shown at once, and of those that are shown on demand.
const SHOWN: usize = 10;
/// See [`SHOWN`].
const FOLDED: usize = 30;

/// The section.
pub(super) fn history(state: &StateView) -> Markup {
    let (changes, now) = (&state.history, state.now);
    let several = state.upstreams.len() > 1;
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
pub(super) fn what(change: &ChangeView) -> String {
    let (from, to) = (serving(&change.from), serving(&change.to));
    match change.kind {
        ChangeKind::Announced(Kind::Failover) => format!("Failover: {from} → {to}"),
        ChangeKind::Announced(Kind::Recovery) => format!("Recovery: {from} → {to}"),
        ChangeKind::Announced(Kind::PlannedSwitch) => format!("Planned switch: {from} → {to}"),
        ChangeKind::Announced(Kind::Down) => format!("Outage: {}", words::state(ServingState::Down)),
        ChangeKind::Announced(Kind::Mixed) => format!("Mixed traffic: {}", words::state(ServingState::Mixed)),
        ChangeKind::Announced(Kind::Flapping) => "Flapping".to_owned(),
        ChangeKind::Announced(Kind::ErrorRateFiring) => "Error rate too high".to_owned(),
        ChangeKind::Announced(Kind::ErrorRateResolved) => "Error rate back to normal".to_owned(),
        ChangeKind::Announced(Kind::ErrorRateNoData) => "Error rate: no traffic any more".to_owned(),
        ChangeKind::Quiet if change.from.state == ServingState::Unknown => format!("First answers: {to}"),
        ChangeKind::Quiet | ChangeKind::Announced(_) => format!("{from} → {to}"),
    }
}

/// What became of a message at each receiver.
pub(super) fn deliveries(deliveries: &[DeliveryView]) -> Markup {
    html! {
        @if !deliveries.is_empty() {
            ul.deliveries aria-label="Delivery" {
                @for DeliveryView { receiver, result } in deliveries {
                    li class=(result.name()) title=[meaning(*result)] { bdi { (receiver) } " " (result.name()) }
                }
            }
        }
    }
}

fn event(change: &ChangeView, now: Timestamp, several: bool) -> Markup {
    let severity = change.severity.name();
    html! {
        li class=(severity) {
            (moment(change.at, now))
            span.happened {
                @if change.severity != Severity::Info { span.level { (severity) } " " }
                @if several { bdi.soft { (change.upstream) } " " }
                bdi { (what(change)) }
                @if let Some(lasted) = change.lasted_seconds { span.soft { " after " (span(lasted)) } }
            }
            (deliveries(&change.deliveries))
        }
    }
}

fn serving(serving: &ServingView) -> &str {
    match serving.state {
        ServingState::Pool => serving.pool.as_ref().map_or("", |pool| pool.as_str()),
        ServingState::Down => "nobody",
        ServingState::Several | ServingState::Mixed => "several pools",
        ServingState::Unknown => "unknown",
    }
}

/// An explanation for results whose word does not say enough.
fn meaning(result: DeliveryResult) -> Option<&'static str> {
    match result {
        DeliveryResult::Pending => Some("not told yet: silenced, or too soon, or out of reach"),
        DeliveryResult::Covered => Some("a later message told of it"),
        DeliveryResult::Skipped => Some("does not want to hear when something is over"),
        DeliveryResult::Refused => Some("refused in every form"),
        DeliveryResult::Accepted => None,
    }
}
