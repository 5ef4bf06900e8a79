//! The card of one upstream: what serves, what is wrong, and the numbers behind it.

use maud::{Markup, html};

use super::attention::Attention;
use super::chart::charts;
use super::controls;
use super::history::deliveries;
use super::palette::Palette;
use super::timeline::timeline;
use super::words::{capitalised, counted, grouped, hash, latency, moment, reasons, share, span, state};
use crate::observation::Verdict;
use crate::pools::directory::Origin;
use crate::status::view::StateView;
use crate::status::view::deliveries::{AlertView, ChangeView};
use crate::status::view::names::Named;
use crate::status::view::pools::{PeerView, PoolView};
use crate::status::view::serving::ServingState;
use crate::status::view::traffic::TimesView;
use crate::status::view::upstream::UpstreamView;
use crate::status::view::values::Timestamp;
use crate::wording;

/// What an upstream's element is called.
pub(super) fn id(upstream: &UpstreamView) -> String {
    format!("u{:x}", hash(upstream.name.as_str()))
}

/// The whole card; a closed one shows its head alone.
pub(super) fn card(state: &StateView, upstream: &UpstreamView, is_open: bool) -> Markup {
    let palette = Palette::of(upstream.pool_names());
    let now = state.now;
    let level = Attention::of(upstream).name();
    let changes: Vec<&ChangeView> = state.history.iter().filter(|change| change.upstream == upstream.name).collect();
    html! {
        section id=(id(upstream)) class={ "card upstream " (level) " " (look(&palette, upstream)) } {
            details open[is_open] data-level=(level) {
                summary { (head(&palette, upstream, now)) }
                @for alert in &upstream.alerts { (alert_box(alert, upstream, now)) }
                (timeline(&palette, upstream, &changes, now))
                (charts(upstream, now))
                (pools(&palette, upstream, now))
                (releases(&palette, upstream, now))
                @if state.write { (controls::silence(Some(upstream.name.as_str()))) }
            }
        }
    }
}

/// The class of what serves: a pool's look, or a state's.
pub(super) fn look(palette: &Palette, upstream: &UpstreamView) -> String {
    match upstream.serving.state {
        ServingState::Pool => format!("p{}", palette.look(serving_pool(upstream))),
        other => format!("p{}", other.name()),
    }
}

/// The name of the one pool that serves; empty: none does, or several do.
fn serving_pool(upstream: &UpstreamView) -> &str {
    upstream.serving.pool.as_ref().map_or("", |pool| pool.as_str())
}

/// What serves, in large type.
fn head(palette: &Palette, upstream: &UpstreamView, now: Timestamp) -> Markup {
    html! {
        div.head {
            div.emblem aria-hidden="true" { (emblem(palette, upstream)) }
            div.facts {
                p.name { (if upstream.blocks.is_empty() { "upstream " } else { "service " }) bdi { (upstream.name) } }
                h2 {
                    @match upstream.serving.state {
                        ServingState::Pool => { bdi.serving { (serving_pool(upstream)) } " " (state(ServingState::Pool)) },
                        other => (capitalised(state(other))),
                    }
                }
                p.since {
                    @if let Some(since) = upstream.since {
                        span { "since " (moment(since, now)) ", for " (span(upstream.since_seconds.unwrap_or_default())) }
                    }
                    @if let Some(expected) = &upstream.expected_pool {
                        span { "expected: " (palette.pool(expected.as_str())) }
                    } @else {
                        span { "expected: several pools" }
                    }
                    @for block in upstream.blocks.iter().filter(|block| block.asked_first) {
                        span { "asked first: " bdi { (block.name) } }
                    }
                }
                @if let Some(impact) = impact(upstream) { p { (impact) } }
            }
            (badges(upstream))
        }
    }
}

/// Whether clients see errors; `None`: there is no traffic, or no error rate is watched.
fn impact(upstream: &UpstreamView) -> Option<String> {
    let rate = &upstream.error_rate.as_ref()?.client;
    let last = format!("in the last {}", counted(rate.requests.into(), "request"));
    match rate.errors {
        _ if rate.requests == 0 => None,
        0 => Some(format!("Clients saw no error {last}.")),
        errors => Some(format!("Clients saw {} {last}.", counted(errors.into(), "error"))),
    }
}

/// What serves, as a picture.
pub(super) fn emblem(palette: &Palette, upstream: &UpstreamView) -> Markup {
    match upstream.serving.state {
        ServingState::Pool => palette.mark(serving_pool(upstream)),
        ServingState::Mixed | ServingState::Several => {
            html! { @for pool in upstream.pool_names().take(3) { (palette.mark(pool)) } }
        }
        ServingState::Down => html! { svg.mark viewBox="0 0 16 16" { path d="m3 3 10 10M13 3 3 13" {} } },
        ServingState::Unknown => html! { svg.mark viewBox="0 0 16 16" { circle cx="8" cy="8" r="6.5" {} } },
    }
}

fn badges(upstream: &UpstreamView) -> Markup {
    let (state, level) = (upstream.serving.state, Attention::of(upstream));
    let verdict = match (state, level) {
        (ServingState::Unknown, _) => "no traffic yet",
        (ServingState::Pool, Attention::Warning) if !upstream.as_expected => "warning: not the expected pool",
        (_, Attention::Critical) => "critical: clients see errors",
        (_, Attention::Warning) => "warning",
        (_, Attention::Calm) => "as expected",
    };
    html! {
        ul.badges {
            li class=@if state != ServingState::Unknown { (level.name()) } { (verdict) }
            @if upstream.flapping { li.warning { "flapping: " (upstream.changes_10m) " changes in 10 min" } }
            @if upstream.silenced { li.silenced { "silenced" } }
        }
    }
}

fn alert_box(alert: &AlertView, upstream: &UpstreamView, now: Timestamp) -> Markup {
    let severity = alert.severity.name();
    let runbook = wording::runbook(upstream.runbook.as_deref().unwrap_or_default(), alert.kind);
    html! {
        div class={ "alert " (severity) } {
            p.title { span.level { (severity) } " " bdi { (alert.title) } }
            p.since {
                span { "since " (moment(alert.since, now)) ", for " (span(now.seconds_since(alert.since))) }
                // The directive takes only such URLs; the page must not link to anything else.
                @if runbook.starts_with("https://") || runbook.starts_with("http://") {
                    a href=(runbook) rel="noreferrer" { "Runbook" }
                }
            }
            (deliveries(&alert.deliveries))
        }
    }
}

fn pools(palette: &Palette, upstream: &UpstreamView, now: Timestamp) -> Markup {
    html! {
        @if !upstream.pools.is_empty() {
            h3 { "Pools and peers" }
            div.grid {
                @for pool in &upstream.pools { (pool_box(palette, pool, now)) }
            }
        }
    }
}

fn pool_box(palette: &Palette, pool: &PoolView, now: Timestamp) -> Markup {
    let PoolView { requests, attempts, .. } = pool;
    let why = reasons([
        (attempts.server_error, "answered 5xx"),
        (attempts.refused, "refused"),
        (attempts.no_answer, "without a usable answer"),
        (attempts.connect_timed_out, "timed out connecting"),
        (attempts.timed_out, "timed out"),
        (attempts.rejected, "answered 4xx and retried"),
    ]);
    let name = pool.name.as_str();
    html! {
        article class={ "box p" (palette.look(name)) } {
            h4 {
                (palette.pool(name))
                @if pool.serving { span.tag.now { "serves" } }
                @if pool.expected { span.tag { "expected" } }
            }
            p.soft {
                @match &pool.release {
                    Some(release) => { "release " bdi.mono { (release) } },
                    None => "no release named",
                }
                ", "
                @match pool.named_by {
                    Origin::Unknown => (wording::NOT_KNOWN),
                    named_by => { "pool by " (named_by.name()) },
                }
            }
            dl {
                (fact("attempts", &grouped(attempts.ok + attempts.failed())))
                (failures("failed", attempts.failed()))
                (fact("masked", &grouped(requests.masked_failover)))
                (failures("client errors", requests.client_error + requests.no_live_upstreams))
            }
            (times(&pool.response_seconds))
            @if !why.is_empty() { p.soft { "failed: " (why) } }
            ul.peers { @for peer in &pool.peers { (peer_line(peer, now)) } }
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

fn times(times: &TimesView) -> Markup {
    html! {
        dl {
            @for (label, time) in [("median", times.p50), ("95%", times.p95), ("99%", times.p99)] {
                (fact(label, &latency(time)))
            }
        }
    }
}

fn peer_line(peer: &PeerView, now: Timestamp) -> Markup {
    let is_bad = peer.last.as_ref().is_some_and(|last| last.result != Verdict::Ok);
    html! {
        li class=@if is_bad { "bad" } {
            span {
                bdi.mono { (peer.address) } " " span.tag { (peer.role.name()) }
                @if peer.down { " " span.tag { "down" } }
                @if let Some(other) = &peer.header_says { " " span.tag { "header says " bdi { (other) } } }
            }
            @if let Some(last) = &peer.last {
                span title=(last.at) {
                    (last.result.name().replace('_', " ")) " " (last.status) ", "
                    (span(now.seconds_since(last.at))) " ago"
                }
                span.soft { (grouped(peer.failures.into())) " of " (counted(peer.attempts.into(), "attempt")) " failed" }
            } @else {
                span.soft { "not asked yet" }
            }
        }
    }
}

fn releases(palette: &Palette, upstream: &UpstreamView, now: Timestamp) -> Markup {
    html! {
        @if !upstream.releases.is_empty() {
            h3 { "Releases" }
            div.grid {
                @for release in &upstream.releases {
                    article.box {
                        h4 { bdi.mono { (release.release) } }
                        p.soft {
                            (palette.pool(release.pool.as_ref().map_or("", |pool| pool.as_str())))
                            ", seen " (moment(release.last_seen, now))
                        }
                        dl {
                            (fact("requests", &grouped(release.requests)))
                            (failures("errors", release.errors))
                            (fact("of all", &share(release.errors, release.requests)))
                        }
                        (times(&release.response_seconds))
                    }
                }
            }
        }
    }
}
