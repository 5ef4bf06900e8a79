//! The sections of receivers, with the health of each, and of silences.

use super::card::{fact, failures};
use super::controls;
use super::words::{grouped, moment, reasons, span};
use crate::status::view::StateView;
use crate::status::view::names::Named;
use crate::status::view::receivers::{ReceiverView, SilenceView};
use crate::status::view::values::Timestamp;
use maud::{Markup, html};

/// The section of the receivers.
pub(super) fn receivers(state: &StateView) -> Markup {
    html! {
        section #receivers .card aria-labelledby="receivers-title" {
            h2 #receivers-title { "Receivers" }
            @if state.receivers.is_empty() {
                p.soft { "None is configured: alerts are lines in the error log." }
            }
            div.grid {
                @for receiver in &state.receivers { (receiver_box(receiver, state.now)) }
            }
            @if state.write && !state.receivers.is_empty() { (controls::test()) }
        }
    }
}

fn receiver_box(receiver: &ReceiverView, now: Timestamp) -> Markup {
    let health = receiver.health.name();
    let failed = receiver.failed.by_reason();
    let why = reasons(failed.map(|(reason, count)| (count, reason.replace('_', " "))));
    html! {
        article class={ "box " (health) } {
            h4 { bdi { (receiver.name) } span class={ "tag " (health) } { (health) } }
            p.soft {
                (receiver.kind) " at " bdi { (receiver.host) }
                @if !receiver.send_resolved { ", not told when something is over" }
            }
            dl {
                (fact("accepted", &grouped(receiver.sent)))
                (fact("owed", &grouped(receiver.pending as u64)))
                (failures("failed", failed.iter().map(|(_, count)| count).sum()))
                @if let Some(retry) = receiver.retry_seconds { (fact("rests for", &span(retry))) }
            }
            @if !why.is_empty() { p.soft { "failed: " (why) } }
            @if let Some(last) = receiver.last_accepted { p.soft { "last accepted " (moment(last, now)) } }
            @if let Some(error) = &receiver.last_error {
                p.error { "Last error " (moment(error.at, now)) ": " bdi { (error.text) } }
            }
        }
    }
}

/// The section of the silences; each card has a way to begin one, and this one for all.
pub(super) fn silences(state: &StateView) -> Markup {
    let silences = &state.silences;
    let for_all = state.write && state.upstreams.len() > 1;
    html! {
        @if !silences.is_empty() || for_all {
            section #silences .card aria-labelledby="silences-title" {
                h2 #silences-title { "Silences" }
                @if silences.is_empty() { p.soft { "There is none." } }
                div.grid { @for silence in silences { (silence_box(state, silence)) } }
                @if for_all { (controls::silence(None)) }
            }
        }
    }
}

fn silence_box(state: &StateView, silence: &SilenceView) -> Markup {
    html! {
        article id={ "silence" (silence.id) } .box {
            h4 { bdi { (silence.upstream.as_ref().map_or("all upstreams", |name| name.as_str())) } }
            p {
                "until " (moment(silence.until, state.now)) ", "
                span.soft { (span(silence.remaining_seconds)) " left" }
            }
            @if !silence.comment.is_empty() { p.comment { bdi { (silence.comment) } } }
            @if state.write { (controls::end_silence(&silence.id)) }
        }
    }
}
