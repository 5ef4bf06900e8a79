//! Metrics in Prometheus' text format 0.0.4. Names and labels are an interface: alert rules and dashboards are written with them.
//!
//! Prometheus sees a counter rise only from a value that it has read: what can be counted is there at zero before it
//! happens. Only a new pool or release brings series that have counted something already.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::view::StateView;
use super::view::names::Named;
use super::view::pools::{PoolView, ReleaseView};
use super::view::serving::{ServingState, ServingView};
use super::view::traffic::{AttemptsView, RequestsView};
use super::view::upstream::UpstreamView;
use crate::config::rules::RateOf;
use crate::outbox::receiver::Health;
use crate::state::histogram::BOUNDS;

/// What the text is sent as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole body.
pub fn body(state: &StateView) -> String {
    let mut page = Page::default();
    traffic(&mut page, &state.upstreams);
    serving(&mut page, &state.upstreams);
    error_rates(&mut page, &state.upstreams);
    alerts(&mut page, &state.upstreams);
    receivers(&mut page, state);
    module(&mut page, state);
    page.text
}

fn traffic(page: &mut Page, upstreams: &[UpstreamView]) {
    let text = "Requests by what became of them; the pool is that of the last attempt, empty: none is known.";
    page.family("poolwatch_requests_total", "counter", text);
    for (upstream, pool, requests, _) in endings(upstreams) {
        for (ending, count) in requests.by_ending() {
            page.sample("", &[("upstream", upstream), ("pool", pool), ("result", ending.name())], count);
        }
    }
    let text = "Attempts at servers of the upstream by how they ended.";
    page.family("poolwatch_attempts_total", "counter", text);
    for (upstream, pool, _, attempts) in endings(upstreams) {
        for (result, count) in attempts.by_result() {
            page.sample("", &[("upstream", upstream), ("pool", pool), ("result", result.name())], count);
        }
    }
    page.family(
        "poolwatch_responses_total",
        "counter",
        "Responses of servers of the upstream by class of their status.",
    );
    for upstream in upstreams {
        let known = upstream.pools.iter().map(|pool| (pool.name.label(), &pool.responses));
        for (pool, responses) in known.chain([("", &upstream.metrics.unknown_pool_responses)]) {
            for (class, count) in responses.by_class() {
                page.sample("", &[("upstream", upstream.name.label()), ("pool", pool), ("class", class)], count);
            }
        }
    }
    let text = "Time until the response header, of attempts that got one.";
    page.family("poolwatch_upstream_response_seconds", "histogram", text);
    for (upstream, pool) in pools(upstreams) {
        let (upstream, times) = (("upstream", upstream.name.label()), &pool.response_seconds);
        let pool = ("pool", pool.name.label());
        let bounds = BOUNDS.iter().map(|&bound| (f64::from(bound) / 1000.0).to_string()).chain(["+Inf".to_owned()]);
        let mut below = 0;
        for (bound, count) in bounds.zip(times.buckets) {
            below += count;
            page.sample("_bucket", &[upstream, pool, ("le", &bound)], below);
        }
        page.sample("_sum", &[upstream, pool], times.sum);
        page.sample("_count", &[upstream, pool], below);
    }
    let text =
        "Requests whose last response named the release; of at most 16 releases, the one unseen for longest goes.";
    page.family("poolwatch_release_requests_total", "counter", text);
    releases(page, upstreams, |release| release.requests);
    page.family("poolwatch_release_errors_total", "counter", "Those of them that the release answered with a 5xx.");
    releases(page, upstreams, |release| release.errors);
}

fn releases(page: &mut Page, upstreams: &[UpstreamView], value: fn(&ReleaseView) -> u64) {
    for upstream in upstreams {
        let mut releases: Vec<&ReleaseView> = upstream.releases.iter().collect();
        releases.sort_by_key(|release| release.index);
        for release in releases {
            let pool = release.pool.as_ref().map_or("", |pool| pool.label());
            let labels = [("upstream", upstream.name.label()), ("pool", pool), ("release", release.release.label())];
            page.sample("", &labels, value(release));
        }
    }
}

fn serving(page: &mut Page, upstreams: &[UpstreamView]) {
    page.family(
        "poolwatch_active_pool",
        "gauge",
        "1: this pool serves. None does while the upstream is mixed or down.",
    );
    each_pool(page, upstreams, |pool| pool.serving);
    page.family("poolwatch_expected_pool", "gauge", "1: this pool should serve.");
    each_pool(page, upstreams, |pool| pool.expected);
    page.family("poolwatch_upstream_state", "gauge", "1: the upstream is in this state.");
    for upstream in upstreams {
        for &state in ServingState::ALL {
            let labels = [("upstream", upstream.name.label()), ("state", state.name())];
            page.sample("", &labels, u64::from(state == upstream.serving.state));
        }
    }
    page.family("poolwatch_changes_total", "counter", "Changes of the state, whatever the pools are called by now.");
    each_upstream(page, upstreams, |upstream| {
        upstream.metrics.changes.iter().flatten().copied().map(u64::from).sum::<u64>()
    });
    let text =
        "Moves of the traffic from one pool to another, the way back among them; also from and to mixed and down.";
    page.family("poolwatch_failovers_total", "counter", text);
    for upstream in upstreams {
        for ([from, to], count) in moves(upstream) {
            page.sample("", &[("upstream", upstream.name.label()), ("from", from), ("to", to)], count);
        }
    }
}

/// How often one state followed another, by their names; also what never happened.
fn moves(upstream: &UpstreamView) -> BTreeMap<[&str; 2], u64> {
    let metrics = &upstream.metrics;
    // A pool may be named like a state.
    let mut moves = BTreeMap::new();
    for (from, (to, to_view)) in metrics.states.iter().flat_map(|from| metrics.states.iter().map(move |to| (from, to)))
    {
        let (from, from_view) = from;
        // Pools that serve together are one state.
        let is_move = from != to && ![from_view, to_view].iter().all(|view| view.state == ServingState::Several);
        if is_move {
            let count = metrics.changes.get(from.index()).and_then(|row| row.get(to.index())).copied();
            *moves.entry([state_label(from_view), state_label(to_view)]).or_default() +=
                u64::from(count.unwrap_or_default());
        }
    }
    moves
}

/// The pool's name, or the state's.
fn state_label(serving: &ServingView) -> &str {
    serving.pool.as_ref().map_or(serving.state.name(), |pool| pool.label())
}

fn error_rates(page: &mut Page, upstreams: &[UpstreamView]) {
    let text = "Share of failed requests in the window that is watched; of=upstream counts those that a retry saved.";
    page.family("poolwatch_error_ratio", "gauge", text);
    for upstream in upstreams {
        for of in [RateOf::Upstream, RateOf::Client] {
            let ratio = upstream.metrics.counts.ratio(of).unwrap_or_default();
            page.sample("", &[("upstream", upstream.name.label()), ("of", of.name())], ratio);
        }
    }
    page.family("poolwatch_error_ratio_threshold", "gauge", "Above it the error rate fires.");
    for upstream in upstreams {
        if let Some(rate) = &upstream.error_rate {
            page.sample("", &[("upstream", upstream.name.label())], rate.threshold);
        }
    }
}

fn alerts(page: &mut Page, upstreams: &[UpstreamView]) {
    page.family("poolwatch_alerts_firing", "gauge", "1: there is an open alert about this.");
    for upstream in upstreams {
        let metrics = &upstream.metrics;
        for (alert, fires) in [("serving", metrics.is_serving_firing), ("error_rate", metrics.is_rate_firing)] {
            page.sample("", &[("upstream", upstream.name.label()), ("alert", alert)], u64::from(fires));
        }
    }
    page.family("poolwatch_silenced", "gauge", "1: messages about the upstream are held back.");
    each_upstream(page, upstreams, |upstream| u64::from(upstream.silenced));
}

fn receivers(page: &mut Page, state: &StateView) {
    page.family("poolwatch_notifications_total", "counter", "Messages that the receiver accepted.");
    for receiver in &state.receivers {
        page.sample("", &[("receiver", receiver.name.label())], receiver.sent);
    }
    page.family("poolwatch_notifications_failed_total", "counter", "Deliveries that failed, each attempt.");
    for receiver in &state.receivers {
        for (reason, count) in receiver.failed.by_reason() {
            page.sample("", &[("receiver", receiver.name.label()), ("reason", reason)], count);
        }
    }
    page.family("poolwatch_receiver_up", "gauge", "1: the last delivery was accepted, or there was none.");
    for receiver in &state.receivers {
        page.sample("", &[("receiver", receiver.name.label())], u64::from(receiver.health == Health::Up));
    }
}

fn module(page: &mut Page, state: &StateView) {
    let module = &state.module;
    page.family("poolwatch_observations_dropped_total", "counter", "Requests that were not observed.");
    page.sample("", &[], module.observations_dropped);
    page.family("poolwatch_workers", "gauge", "Worker processes that should watch the requests they serve.");
    page.sample("", &[], module.workers.expected);
    page.family("poolwatch_workers_watching", "gauge", "Those of them that do.");
    page.sample("", &[], module.workers.watching);
    page.family(
        "poolwatch_delivers",
        "gauge",
        "1: this nginx delivers messages, 0: another one does, which keeps the state file.",
    );
    page.sample("", &[], u64::from(module.delivery.delivers));
    page.family("poolwatch_zone_size_bytes", "gauge", "Size of the shared memory zone.");
    page.sample("", &[], module.zone.size_bytes);
    page.family("poolwatch_zone_upstreams", "gauge", "Upstreams that are watched.");
    page.sample("", &[], module.zone.upstreams_used);
    page.family("poolwatch_zone_upstreams_max", "gauge", "Upstreams that the zone has room for.");
    page.sample("", &[], module.zone.upstreams_max);
    page.family("poolwatch_build_info", "gauge", "Versions, in the labels.");
    let labels = [("version", module.version.as_str()), ("nginx_version", module.nginx_version.as_str())];
    page.sample("", &labels, 1);
}

fn each_upstream(page: &mut Page, upstreams: &[UpstreamView], value: fn(&UpstreamView) -> u64) {
    for upstream in upstreams {
        page.sample("", &[("upstream", upstream.name.label())], value(upstream));
    }
}

fn each_pool(page: &mut Page, upstreams: &[UpstreamView], value: fn(&PoolView) -> bool) {
    for (upstream, pool) in pools(upstreams) {
        let labels = [("upstream", upstream.name.label()), ("pool", pool.name.label())];
        page.sample("", &labels, u64::from(value(pool)));
    }
}

fn pools(upstreams: &[UpstreamView]) -> impl Iterator<Item = (&UpstreamView, &PoolView)> {
    upstreams.iter().flat_map(|upstream| upstream.pools.iter().map(move |pool| (upstream, pool)))
}

/// The labels of upstream and pool with the pool's requests and attempts; at the end of each upstream those of no pool.
fn endings(upstreams: &[UpstreamView]) -> impl Iterator<Item = (&str, &str, &RequestsView, &AttemptsView)> {
    upstreams.iter().flat_map(|upstream| {
        let name = upstream.name.label();
        let unknown = ("", &upstream.metrics.unknown_pool_requests, &upstream.metrics.unknown_pool_attempts);
        let known = upstream.pools.iter().map(|pool| (pool.name.label(), &pool.requests, &pool.attempts));
        known.chain([unknown]).map(move |(pool, requests, attempts)| (name, pool, requests, attempts))
    })
}

/// The text as it grows.
#[derive(Default)]
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    /// Begins a family of samples. Writing to a String cannot fail.
    fn family(&mut self, family: &'static str, kind: &str, help: &str) {
        self.family = family;
        let _ = write!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}\n");
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.family);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// As label values are escaped; line feeds are spelled out already.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\\', r"\\").replace('"', "\\\""))
}
