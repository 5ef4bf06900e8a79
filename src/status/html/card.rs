//! One upstream: who serves, what is wrong, and what that is known from.

use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::chart::charts;
use super::controls;
use super::history::deliveries;
use super::palette::Palette;
use super::timeline::timeline;
use super::words::{between, count, counted, grouped, hash, is, latency, list, moment, number, share, span, text};
use crate::alert::Kind;
use crate::wording;

/// How much somebody has to look at an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Clients see errors.
    Critical,
    /// The reserve is used, or it is not clear who serves.
    Warning,
    /// All is as it should be, as far as anyone knows.
    Calm,
}

impl Level {
    /// The loudest of what is wrong.
    pub(super) fn of(upstream: &Value) -> Self {
        let alerts = list(upstream, "alerts").iter().map(|alert| match text(alert, "severity") {
            "critical" => Self::Critical,
            "warning" => Self::Warning,
            _ => Self::Calm,
        });
        let state = match state(upstream) {
            "down" => Self::Critical,
            "unknown" => Self::Calm,
            _ if is(upstream, "as_expected") && !is(upstream, "flapping") => Self::Calm,
            _ => Self::Warning,
        };
        alerts.chain([state]).min().unwrap_or(state)
    }

    /// As a class.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Calm => "calm",
        }
    }
}

/// What an upstream's element is called.
pub(super) fn id(upstream: &Value) -> String {
    format!("u{:x}", hash(text(upstream, "name")))
}

/// The whole card. What is not open shows its head until somebody wants more.
pub(super) fn card(state: &Value, upstream: &Value, is_open: bool) -> Markup {
    let palette = Palette::of(upstream);
    let now = text(state, "now");
    let level = Level::of(upstream);
    let of_it = |change: &&Value| text(change, "upstream") == text(upstream, "name");
    let changes: Vec<&Value> = list(state, "history").iter().filter(of_it).collect();
    html! {
        section id=(id(upstream)) class={ "card upstream " (level.name()) " " (look(&palette, upstream)) } {
            details open[is_open] data-level=(level.name()) {
                summary { (head(&palette, upstream, now)) }
                @for alert in list(upstream, "alerts") { (alert_box(alert, upstream, now)) }
                (timeline(&palette, upstream, &changes, now))
                (charts(upstream, now))
                (pools(&palette, upstream, now))
                (releases(&palette, upstream, now))
                @if is(state, "write") { (controls::silence(Some(text(upstream, "name")))) }
            }
        }
    }
}

/// The class of what serves: a pool's look, or a state's.
pub(super) fn look(palette: &Palette, upstream: &Value) -> String {
    match state(upstream) {
        "pool" => format!("p{}", palette.look(text(&upstream["serving"], "pool"))),
        other => format!("p{other}"),
    }
}

/// Who serves, large.
fn head(palette: &Palette, upstream: &Value, now: &str) -> Markup {
    let pool = text(&upstream["serving"], "pool");
    html! {
        div.head {
            div.emblem aria-hidden="true" { (emblem(palette, upstream)) }
            div.facts {
                p.name { "upstream " bdi { (text(upstream, "name")) } }
                h2 {
                    @match state(upstream) {
                        "pool" => { bdi.serving { (pool) } " serves" },
                        "several" => "Several pools serve",
                        "mixed" => "No pool prevails",
                        "down" => "No pool answers",
                        _ => "No answer seen yet",
                    }
                }
                p.since {
                    @if let Some(since) = upstream["since"].as_str() {
                        span { "since " (moment(since, now)) ", for " (span(number(upstream, "since_seconds"))) }
                    }
                    @if let Some(expected) = upstream["expected_pool"].as_str() {
                        span { "expected: " (palette.pool(expected)) }
                    } @else {
                        span { "expected: several pools" }
                    }
                }
                @if let Some(impact) = impact(upstream) { p { (impact) } }
            }
            (badges(upstream))
        }
    }
}

/// What clients notice; without traffic or a rate nobody knows.
fn impact(upstream: &Value) -> Option<String> {
    let rate = upstream["error_rate"].get("client")?;
    let requests = count(rate, "requests");
    let last = format!("in the last {}", counted(requests, "request"));
    match count(rate, "errors") {
        _ if requests == 0 => None,
        0 => Some(format!("Clients saw no error {last}.")),
        errors => Some(format!("Clients saw {} {last}.", counted(errors, "error"))),
    }
}

/// What serves, as a picture.
pub(super) fn emblem(palette: &Palette, upstream: &Value) -> Markup {
    match state(upstream) {
        "pool" => palette.mark(text(&upstream["serving"], "pool")),
        "mixed" | "several" => {
            html! { @for pool in list(upstream, "pools").iter().take(3) { (palette.mark(text(pool, "name"))) } }
        }
        "down" => html! { svg.mark viewBox="0 0 16 16" { path d="m3 3 10 10M13 3 3 13" {} } },
        _ => html! { svg.mark viewBox="0 0 16 16" { circle cx="8" cy="8" r="6.5" {} } },
    }
}

fn badges(upstream: &Value) -> Markup {
    let level = Level::of(upstream);
    let verdict = match (state(upstream), level) {
        ("unknown", _) => "no traffic yet",
        ("pool", Level::Warning) if !is(upstream, "as_expected") => "warning: not the expected pool",
        (_, Level::Critical) => "critical: clients see errors",
        (_, Level::Warning) => "warning",
        (_, Level::Calm) => "as expected",
    };
    html! {
        ul.badges {
            li class=@if state(upstream) != "unknown" { (level.name()) } { (verdict) }
            @if is(upstream, "flapping") {
                li.warning { "flapping: " (count(upstream, "changes_10m")) " changes in 10 min" }
            }
            @if is(upstream, "silenced") { li.silenced { "silenced" } }
        }
    }
}

fn alert_box(alert: &Value, upstream: &Value, now: &str) -> Markup {
    let since = text(alert, "since");
    let kind = Kind::deserialize(&alert["kind"]);
    let runbook = text(upstream, "runbook");
    let runbook = kind.map_or_else(|_| runbook.to_owned(), |kind| wording::runbook(runbook, kind));
    html! {
        div class={ "alert " (text(alert, "severity")) } {
            p.title { span.level { (text(alert, "severity")) } " " bdi { (text(alert, "title")) } }
            p.since {
                span { "since " (moment(since, now)) ", for " (span(between(since, now))) }
                // The directive takes nothing else; a page must not.
                @if runbook.starts_with("https://") || runbook.starts_with("http://") {
                    a href=(runbook) rel="noreferrer" { "Runbook" }
                }
            }
            (deliveries(list(alert, "deliveries")))
        }
    }
}

fn pools(palette: &Palette, upstream: &Value, now: &str) -> Markup {
    html! {
        @if !list(upstream, "pools").is_empty() {
            h3 { "Pools and peers" }
            div.grid {
                @for pool in list(upstream, "pools") { (pool_box(palette, pool, now)) }
            }
        }
    }
}

fn pool_box(palette: &Palette, pool: &Value, now: &str) -> Markup {
    let name = text(pool, "name");
    let (requests, attempts) = (&pool["requests"], &pool["attempts"]);
    let reasons = [("server_error", "answered 5xx"), ("refused", "refused"), ("timed_out", "timed out")];
    let failed: u64 = reasons.iter().map(|(key, _)| count(attempts, key)).sum();
    let why = reasons.map(|(key, label)| (count(attempts, key), label)).into_iter().filter(|(count, _)| *count > 0);
    let why: Vec<String> = why.map(|(count, label)| format!("{} {label}", grouped(count))).collect();
    html! {
        article class={ "box p" (palette.look(name)) } {
            h4 {
                (palette.pool(name))
                @if is(pool, "serving") { span.tag.now { "serves" } }
                @if is(pool, "expected") { span.tag { "expected" } }
            }
            p.soft {
                @match pool["release"].as_str() {
                    Some(release) => { "release " bdi.mono { (release) } },
                    None => "no release named",
                }
                ", pool by " (text(pool, "named_by"))
            }
            dl {
                (fact("attempts", &grouped(count(attempts, "ok") + failed)))
                (failures("failed", failed))
                (fact("masked", &grouped(count(requests, "masked_failover"))))
                (failures("client errors", count(requests, "client_error") + count(requests, "no_live_upstreams")))
            }
            (times(&pool["response_seconds"]))
            @if !why.is_empty() { p.soft { "failed: " (why.join(", ")) } }
            ul.peers { @for peer in list(pool, "peers") { (peer_line(peer, now)) } }
        }
    }
}

/// A number and what it counts.
pub(super) fn fact(label: &str, number: &str) -> Markup {
    html! { div { dt { (label) } dd { (number) } } }
}

/// A number that should be zero.
pub(super) fn failures(label: &str, count: u64) -> Markup {
    html! { div { dt { (label) } dd class=@if count > 0 { "bad" } { (grouped(count)) } } }
}

fn times(times: &Value) -> Markup {
    html! {
        dl {
            @for (label, key) in [("median", "p50"), ("95%", "p95"), ("99%", "p99")] {
                (fact(label, &latency(times[key].as_f64())))
            }
        }
    }
}

fn peer_line(peer: &Value, now: &str) -> Markup {
    let last = &peer["last"];
    let (attempts, failures) = (count(peer, "attempts"), count(peer, "failures"));
    let is_ok = text(last, "result") == "ok";
    html! {
        li class=@if last.is_object() && !is_ok { "bad" } {
            span { bdi.mono { (text(peer, "address")) } " " span.tag { (text(peer, "role")) } }
            @if last.is_object() {
                span title=(text(last, "at")) {
                    (text(last, "result").replace('_', " ")) " " (count(last, "status")) ", "
                    (span(between(text(last, "at"), now))) " ago"
                }
                span.soft { (grouped(failures)) " of " (counted(attempts, "attempt")) " failed" }
            } @else {
                span.soft { "not asked yet" }
            }
        }
    }
}

fn releases(palette: &Palette, upstream: &Value, now: &str) -> Markup {
    html! {
        @if !list(upstream, "releases").is_empty() {
            h3 { "Releases" }
            div.grid {
                @for release in list(upstream, "releases") {
                    @let (requests, errors) = (count(release, "requests"), count(release, "errors"));
                    article.box {
                        h4 { bdi.mono { (text(release, "release")) } }
                        p.soft {
                            (palette.pool(text(release, "pool"))) ", seen " (moment(text(release, "last_seen"), now))
                        }
                        dl {
                            (fact("requests", &grouped(requests)))
                            (failures("errors", errors))
                            (fact("of all", &share(errors, requests)))
                        }
                        (times(&release["response_seconds"]))
                    }
                }
            }
        }
    }
}

/// What state it is in: `pool`, `several`, `mixed`, `down`, `unknown`.
pub(super) fn state(upstream: &Value) -> &str {
    text(&upstream["serving"], "state")
}
