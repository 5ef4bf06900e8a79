//! The section of Poolwatch's own faults: workers that do not watch, and messages that are not delivered.

use super::words::counted;
use crate::status::view::StateView;
use maud::{Markup, html};

/// The section; empty: there is no fault.
pub(super) fn faults(state: &StateView) -> Markup {
    let faults: Vec<String> = not_watching(state).into_iter().chain(not_delivering(state)).collect();
    html! {
        @if !faults.is_empty() {
            section #faults .card aria-label="Poolwatch itself" {
                @for fault in faults { div.alert.warning { p.title { (fault) } } }
            }
        }
    }
}

/// Does every worker watch that should?
pub(super) fn all_watch(state: &StateView) -> bool {
    let workers = &state.module.workers;
    workers.watching >= workers.expected
}

/// A sentence for each reason.
fn not_watching(state: &StateView) -> Vec<String> {
    let workers = &state.module.workers;
    let of_all = counted(workers.expected, "worker");
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for reason in workers.not_watching.iter().map(|worker| worker.reason.as_str()) {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, workers)) => *workers += 1,
            None => reasons.push((reason, 1)),
        }
    }
    let sentence = |(reason, workers): (&str, u64)| {
        let verb = if workers == 1 { "does" } else { "do" };
        format!("{workers} of {of_all} {verb} not watch: {reason}.")
    };
    reasons.into_iter().map(sentence).collect()
}

/// `None`: messages are delivered, or there is no receiver.
fn not_delivering(state: &StateView) -> Option<String> {
    let delivery = &state.module.delivery;
    let says = !delivery.delivers && !state.receivers.is_empty();
    let reason = delivery.reason.as_deref().unwrap_or_default();
    says.then(|| format!("Messages are not delivered from here: {reason}."))
}
