//! Who is told, whether that works, and what is silenced.

use maud::{Markup, html};
use serde_json::Value;

use super::card::{fact, failures};
use super::controls;
use super::words::{count, grouped, is, list, moment, number, span, text};

/// The section of the receivers.
pub(super) fn receivers(state: &Value) -> Markup {
    html! {
        section #receivers .card aria-labelledby="receivers-title" {
            h2 #receivers-title { "Receivers" }
            @if list(state, "receivers").is_empty() {
                p.soft { "None is configured: alerts are lines in the error log." }
            }
            div.grid {
                @for receiver in list(state, "receivers") { (receiver_box(receiver, text(state, "now"))) }
            }
            @if is(state, "write") && !list(state, "receivers").is_empty() { (controls::test()) }
        }
    }
}

fn receiver_box(receiver: &Value, now: &str) -> Markup {
    let health = text(receiver, "health");
    let failed = &receiver["failed"];
    let reasons = ["unavailable", "rate_limited", "rejected", "broken"].map(|key| (key, count(failed, key)));
    let why = reasons.iter().filter(|(_, count)| *count > 0);
    let why: Vec<String> =
        why.map(|(reason, count)| format!("{} {}", grouped(*count), reason.replace('_', " "))).collect();
    html! {
        article class={ "box " (health) } {
            h4 { bdi { (text(receiver, "name")) } span class={ "tag " (health) } { (health) } }
            p.soft {
                (text(receiver, "kind")) " at " bdi { (text(receiver, "host")) }
                @if !is(receiver, "send_resolved") { ", not told when something is over" }
            }
            dl {
                (fact("accepted", &grouped(count(receiver, "sent"))))
                (fact("owed", &grouped(count(receiver, "pending"))))
                (failures("failed", reasons.iter().map(|(_, count)| count).sum()))
                @if let Some(retry) = receiver["retry_seconds"].as_f64() { (fact("rests for", &span(retry))) }
            }
            @if !why.is_empty() { p.soft { "failed: " (why.join(", ")) } }
            @if let Some(last) = receiver["last_accepted"].as_str() { p.soft { "last accepted " (moment(last, now)) } }
            @if receiver["last_error"].is_object() {
                @let error = &receiver["last_error"];
                p.error { "Last error " (moment(text(error, "at"), now)) ": " bdi { (text(error, "text")) } }
            }
        }
    }
}

/// The section of the silences; each card has a way to begin one, and this one for all.
pub(super) fn silences(state: &Value) -> Markup {
    let silences = list(state, "silences");
    let for_all = is(state, "write") && list(state, "upstreams").len() > 1;
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

fn silence_box(state: &Value, silence: &Value) -> Markup {
    html! {
        article id={ "silence" (text(silence, "id")) } .box {
            h4 { bdi { (silence["upstream"].as_str().unwrap_or("all upstreams")) } }
            p {
                "until " (moment(text(silence, "until"), text(state, "now"))) ", "
                span.soft { (span(number(silence, "remaining_seconds"))) " left" }
            }
            @if !text(silence, "comment").is_empty() { p.comment { bdi { (text(silence, "comment")) } } }
            @if is(state, "write") { (controls::end_silence(text(silence, "id"))) }
        }
    }
}
