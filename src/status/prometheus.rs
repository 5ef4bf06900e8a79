//! Metrics in Prometheus' text format 0.0.4. Names and labels are an interface: alert rules and dashboards are written with them.
//!
//! Prometheus sees a counter rise only from a value that it has read: what can be counted is there at zero before it happens. Only a
//! pool or a release that nobody had heard of brings series with it that have counted something already.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::detect::error_rate::Level;
use crate::detect::serving::Serving;
use crate::incident::Key;
use crate::outbox::receiver::Health;
use crate::outbox::tally::REASONS;
use crate::pools::set::{MAX_POOLS, PoolId};
use crate::state::counters::{PoolCounts, ReleaseCounts};
use crate::state::ending::{Ending, RESULTS};
use crate::state::histogram::BOUNDS;
use crate::state::snapshot::{Snapshot, Upstream};
use crate::status::{NAME, STATES, is_silenced, serving as serving_of};
use crate::text::clean;

/// What the text is sent as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole body.
pub fn body(snapshot: &Snapshot) -> String {
    let mut page = Page::default();
    traffic(&mut page, snapshot);
    serving(&mut page, snapshot);
    error_rates(&mut page, snapshot);
    alerts(&mut page, snapshot);
    receivers(&mut page, snapshot);
    module(&mut page, snapshot);
    page.text
}

fn traffic(page: &mut Page, snapshot: &Snapshot) {
    let text = "Requests by what became of them; the pool is that of the last attempt, empty: none is known.";
    page.family("poolwatch_requests_total", "counter", text);
    for (upstream, pool, counts) in pools(snapshot, true) {
        for (ending, count) in Ending::ALL.iter().zip(counts.requests) {
            page.sample("", &[("upstream", &upstream), ("pool", &pool), ("result", ending.name())], count);
        }
    }
    let text = "Attempts at servers of the upstream by how they ended.";
    page.family("poolwatch_attempts_total", "counter", text);
    for (upstream, pool, counts) in pools(snapshot, true) {
        for ((_, result), count) in RESULTS.iter().zip(counts.attempts) {
            page.sample("", &[("upstream", &upstream), ("pool", &pool), ("result", result)], count);
        }
    }
    let text = "Time until the response header, of attempts that got one.";
    page.family("poolwatch_upstream_response_seconds", "histogram", text);
    for (upstream, pool, counts) in pools(snapshot, false) {
        let labels = [("upstream", upstream.as_str()), ("pool", pool.as_str())];
        let mut below = 0;
        for (bound, count) in
            BOUNDS.iter().map(|&bound| seconds(bound.into())).chain(["+Inf".to_owned()]).zip(counts.response.buckets)
        {
            below += count;
            page.sample("_bucket", &[labels[0], labels[1], ("le", &bound)], below);
        }
        page.sample("_sum", &labels, seconds(counts.response.sum));
        page.sample("_count", &labels, below);
    }
    let text =
        "Requests whose last response named the release; of at most 16 releases, the one unseen for longest goes.";
    page.family("poolwatch_release_requests_total", "counter", text);
    releases(page, snapshot, |counts| counts.requests);
    page.family("poolwatch_release_errors_total", "counter", "Those of them that the release answered with a 5xx.");
    releases(page, snapshot, |counts| counts.errors);
}

fn releases(page: &mut Page, snapshot: &Snapshot, value: fn(&ReleaseCounts) -> u64) {
    for upstream in &snapshot.upstreams {
        let known = upstream.releases.iter().zip(&upstream.counters.releases);
        for (release, counts) in known.filter(|(release, _)| !release.name.is_empty()) {
            let pool = label(upstream.setup.directory.name(release.pool));
            let release = label(release.name.as_bytes());
            let upstream = label(upstream.name.as_bytes());
            page.sample("", &[("upstream", &upstream), ("pool", &pool), ("release", &release)], value(counts));
        }
    }
}

fn serving(page: &mut Page, snapshot: &Snapshot) {
    page.family(
        "poolwatch_active_pool",
        "gauge",
        "1: this pool serves. None does while the upstream is mixed or down.",
    );
    each_pool(page, snapshot, |upstream, id| upstream.view().is_serving(id));
    page.family("poolwatch_expected_pool", "gauge", "1: this pool should serve.");
    each_pool(page, snapshot, |upstream, id| upstream.setup.expected.includes(id));
    page.family("poolwatch_upstream_state", "gauge", "1: the upstream is in this state.");
    for upstream in &snapshot.upstreams {
        let name = label(upstream.name.as_bytes());
        let (state, _) = serving_of(upstream, upstream.detection.failover.serving());
        for text in STATES {
            page.sample("", &[("upstream", &name), ("state", text)], u64::from(text == state));
        }
    }
    page.family("poolwatch_changes_total", "counter", "Changes of the state, whatever the pools are called by now.");
    for upstream in &snapshot.upstreams {
        let changes: u64 = upstream.counters.changes.iter().flatten().copied().map(u64::from).sum();
        page.sample("", &[("upstream", &label(upstream.name.as_bytes()))], changes);
    }
    let text =
        "Moves of the traffic from one pool to another, the way back among them; also from and to mixed and down.";
    page.family("poolwatch_failovers_total", "counter", text);
    for upstream in &snapshot.upstreams {
        let name = label(upstream.name.as_bytes());
        let states = ids(upstream).map(Serving::Pool).chain([Serving::Mixed, Serving::Down]);
        let states: Vec<_> = states.map(|state| (state, state_name(upstream, state))).collect();
        for ([from, to], count) in moves(upstream, &states) {
            page.sample("", &[("upstream", &name), ("from", from), ("to", to)], count);
        }
    }
}

/// How often one of these states followed another, by their names; also what never happened.
fn moves<'a>(upstream: &Upstream, states: &'a [(Serving, String)]) -> BTreeMap<[&'a str; 2], u64> {
    // A pool may be named like a state.
    let mut moves = BTreeMap::new();
    for ((from, from_name), (to, to_name)) in states.iter().flat_map(|from| states.iter().map(move |to| (from, to))) {
        // Pools that serve together are one state.
        let is_move = from != to && ![from, to].iter().all(|&&state| upstream.view().is_several(state));
        if is_move {
            let count = upstream.counters.changes[from.index()][to.index()];
            *moves.entry([from_name.as_str(), to_name.as_str()]).or_default() += u64::from(count);
        }
    }
    moves
}

fn error_rates(page: &mut Page, snapshot: &Snapshot) {
    let text = "Share of failed requests in the window that is watched; of=upstream counts those that a retry saved.";
    page.family("poolwatch_error_ratio", "gauge", text);
    for upstream in &snapshot.upstreams {
        let counts = upstream.view().counts(snapshot.info.now);
        let name = label(upstream.name.as_bytes());
        for (of, errors) in [("upstream", counts.upstream_errors), ("client", counts.client_errors)] {
            let ratio = if counts.requests == 0 { 0.0 } else { f64::from(errors) / f64::from(counts.requests) };
            page.sample("", &[("upstream", &name), ("of", of)], ratio);
        }
    }
    page.family("poolwatch_error_ratio_threshold", "gauge", "Above it the error rate fires.");
    for upstream in &snapshot.upstreams {
        if let Some(rules) = upstream.setup.rules.error_rate {
            let threshold = f64::from(rules.threshold.millionths()) / 1_000_000.0;
            page.sample("", &[("upstream", &label(upstream.name.as_bytes()))], threshold);
        }
    }
}

fn alerts(page: &mut Page, snapshot: &Snapshot) {
    page.family("poolwatch_alerts_firing", "gauge", "1: there is an open alert about this.");
    for upstream in &snapshot.upstreams {
        let name = label(upstream.name.as_bytes());
        let rate = upstream.detection.error_rate.level() == Level::Firing;
        let serving = !upstream.view().incident(Key::Serving).truth.over;
        for (alert, fires) in [("serving", serving), ("error_rate", rate)] {
            page.sample("", &[("upstream", &name), ("alert", alert)], u64::from(fires));
        }
    }
    page.family("poolwatch_silenced", "gauge", "1: messages about the upstream are held back.");
    for upstream in &snapshot.upstreams {
        let silenced = is_silenced(snapshot, upstream);
        page.sample("", &[("upstream", &label(upstream.name.as_bytes()))], u64::from(silenced));
    }
}

fn receivers(page: &mut Page, snapshot: &Snapshot) {
    let named = || snapshot.receivers.iter().map(|listed| (label(listed.state.name.as_bytes()), &listed.state));
    page.family("poolwatch_notifications_total", "counter", "Messages that the receiver accepted.");
    for (receiver, state) in named() {
        page.sample("", &[("receiver", &receiver)], state.tally.sent);
    }
    page.family("poolwatch_notifications_failed_total", "counter", "Deliveries that failed, each attempt.");
    for (receiver, state) in named() {
        for (reason, count) in REASONS.iter().zip(state.tally.failed) {
            page.sample("", &[("receiver", &receiver), ("reason", reason)], count);
        }
    }
    page.family("poolwatch_receiver_up", "gauge", "1: the last delivery was accepted, or there was none.");
    for (receiver, state) in named() {
        page.sample("", &[("receiver", &receiver)], u64::from(state.health == Health::Up));
    }
}

fn module(page: &mut Page, snapshot: &Snapshot) {
    let info = &snapshot.info;
    page.family("poolwatch_observations_dropped_total", "counter", "Requests that were not observed.");
    page.sample("", &[], info.dropped);
    page.family("poolwatch_workers", "gauge", "Worker processes that should watch the requests they serve.");
    page.sample("", &[], info.workers.expected);
    page.family("poolwatch_workers_watching", "gauge", "Those of them that do.");
    page.sample("", &[], info.workers.watching());
    page.family(
        "poolwatch_delivers",
        "gauge",
        "1: this nginx delivers messages, 0: another one does, which keeps the state file.",
    );
    page.sample("", &[], u64::from(info.hindrance.is_none()));
    page.family("poolwatch_zone_size_bytes", "gauge", "Size of the shared memory zone.");
    page.sample("", &[], info.zone_size);
    page.family("poolwatch_zone_upstreams", "gauge", "Upstreams that are watched.");
    page.sample("", &[], snapshot.upstreams.len() as u64);
    page.family("poolwatch_zone_upstreams_max", "gauge", "Upstreams that the zone has room for.");
    page.sample("", &[], info.zone_upstreams);
    page.family("poolwatch_build_info", "gauge", "Versions, in the labels.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("nginx_version", info.nginx_version.as_str())];
    page.sample("", &labels, 1_u64);
}

fn each_pool(page: &mut Page, snapshot: &Snapshot, value: fn(&Upstream, PoolId) -> bool) {
    for upstream in &snapshot.upstreams {
        let name = label(upstream.name.as_bytes());
        for id in ids(upstream) {
            let pool = label(upstream.setup.directory.name(id));
            page.sample("", &[("upstream", &name), ("pool", &pool)], u64::from(value(upstream, id)));
        }
    }
}

/// Upstream, pool, and the pool's counts; at the end of each upstream those of no pool, if they are wanted.
fn pools(snapshot: &Snapshot, with_none: bool) -> impl Iterator<Item = (String, String, &PoolCounts)> {
    snapshot.upstreams.iter().flat_map(move |upstream| {
        let known =
            ids(upstream).map(|id| (upstream.setup.directory.name(id), &upstream.counters.pools[usize::from(id)]));
        let none = &upstream.counters.pools[MAX_POOLS];
        known
            .chain(with_none.then_some((&b""[..], none)))
            .map(|(pool, counts)| (label(upstream.name.as_bytes()), label(pool), counts))
    })
}

fn ids(upstream: &Upstream) -> impl Iterator<Item = PoolId> {
    (0..MAX_POOLS as PoolId).filter(|&id| !upstream.setup.directory.name(id).is_empty())
}

/// The pool's name, or the state's.
fn state_name(upstream: &Upstream, serving: Serving) -> String {
    match serving {
        Serving::Pool(id) if !upstream.view().is_several(serving) => label(upstream.setup.directory.name(id)),
        _ => serving_of(upstream, serving).0.to_owned(),
    }
}

/// A foreign name such that two different ones never become the same series: what looks spelled out already is spelled too.
fn label(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.split(|&byte| byte == b'\\').map(|part| clean(part, NAME)).collect();
    parts.join(r"\x5c")
}

/// Of milliseconds, with the digits that it needs.
fn seconds(millis: u64) -> String {
    (millis as f64 / 1000.0).to_string()
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

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
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
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}
