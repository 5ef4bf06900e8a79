//! Upstreams: who serves, pools and their peers, releases, the error rate, and the last hour.

use std::cmp::Reverse;

use serde::Serialize;

use super::deliveries::{self, AlertView};
use super::{ServingView, WORDS, instant, pool_name, seconds, serving, time};
use crate::config::rules::{ErrorRateRules, RateOf};
use crate::config::upstream::Role;
use crate::detect::error_rate::Level;
use crate::detect::serving::Serving;
use crate::incident::Key;
use crate::pools::directory::{Origin, Peer};
use crate::pools::set::{Expected, MAX_POOLS, PoolId};
use crate::state::counters::{PeerCounts, PoolCounts, Release, ReleaseCounts};
use crate::state::ending::{Ending, RESULTS};
use crate::state::histogram::{BUCKETS, Histogram, percentile};
use crate::state::series::{STEP, STEPS, Sample};
use crate::state::snapshot::{Snapshot, Upstream};
use crate::status::{is_silenced, name};
use crate::text::clean;
use crate::units::{Millis, Ratio};

#[derive(Serialize)]
pub(in crate::status) struct UpstreamView {
    name: String,
    serving: ServingView,
    since: Option<String>,
    since_seconds: Option<f64>,
    expected_pool: Option<String>,
    as_expected: bool,
    flapping: bool,
    changes_10m: u32,
    silenced: bool,
    runbook: Option<String>,
    requests: RequestsView,
    pools: Vec<PoolView>,
    releases: Vec<ReleaseView>,
    error_rate: Option<ErrorRateView>,
    alerts: Vec<AlertView>,
    series: SeriesView,
}

#[derive(Serialize)]
struct RequestsView {
    served: u64,
    masked_failover: u64,
    client_error: u64,
    no_live_upstreams: u64,
    aborted: u64,
}

#[derive(Serialize)]
struct AttemptsView {
    ok: u64,
    server_error: u64,
    refused: u64,
    timed_out: u64,
}

#[derive(Serialize)]
struct PoolView {
    name: String,
    named_by: &'static str,
    expected: bool,
    serving: bool,
    release: Option<String>,
    requests: RequestsView,
    attempts: AttemptsView,
    response_seconds: TimesView,
    peers: Vec<PeerView>,
}

#[derive(Serialize)]
struct TimesView {
    count: u64,
    sum: f64,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Serialize)]
struct PeerView {
    address: String,
    role: &'static str,
    pool_from: &'static str,
    last: Option<LastView>,
    attempts: u32,
    failures: u32,
}

#[derive(Serialize)]
struct LastView {
    result: &'static str,
    status: u16,
    at: String,
}

#[derive(Serialize)]
struct ReleaseView {
    release: String,
    pool: Option<String>,
    requests: u64,
    errors: u64,
    response_seconds: TimesView,
    last_seen: String,
}

#[derive(Serialize)]
struct ErrorRateView {
    level: &'static str,
    since: Option<String>,
    of: &'static str,
    threshold: f64,
    resolve: f64,
    window_requests: Option<u32>,
    period_seconds: Option<f64>,
    upstream: RateView,
    client: RateView,
}

#[derive(Serialize)]
struct RateView {
    errors: u32,
    requests: u32,
    ratio: Option<f64>,
}

#[derive(Serialize)]
struct SeriesView {
    step_seconds: f64,
    end: String,
    requests: Vec<u32>,
    upstream_errors: Vec<u32>,
    client_errors: Vec<u32>,
    p50_seconds: Vec<Option<f64>>,
    p95_seconds: Vec<Option<f64>>,
}

pub(in crate::status) fn upstreams(snapshot: &Snapshot) -> Vec<UpstreamView> {
    snapshot.upstreams.iter().map(|upstream| upstream_view(snapshot, upstream)).collect()
}

fn upstream_view(snapshot: &Snapshot, upstream: &Upstream) -> UpstreamView {
    let now = snapshot.info.now;
    let view = upstream.view();
    let failover = &upstream.detection.failover;
    let since = Some(failover.since()).filter(|_| failover.serving() != Serving::Unknown);
    let runbook = &upstream.setup.rules.runbook;
    UpstreamView {
        name: name(upstream.name.as_bytes()),
        serving: serving(upstream, failover.serving()),
        since: since.map(|since| time(snapshot, since)),
        since_seconds: since.map(|since| seconds(now - since)),
        expected_pool: match upstream.setup.expected {
            Expected::Pool(pool) => pool_name(upstream, pool),
            Expected::Several(_) => None,
        },
        as_expected: view.serves_expected_pool(),
        flapping: upstream.detection.flapping.is_on(),
        changes_10m: upstream.detection.flapping.changes(now),
        silenced: is_silenced(snapshot, upstream),
        runbook: (!runbook.is_empty()).then(|| clean(runbook.as_bytes(), WORDS)),
        requests: requests(&upstream.counters.requests()),
        pools: pools(snapshot, upstream),
        releases: releases(snapshot, upstream),
        error_rate: upstream.setup.rules.error_rate.map(|rules| error_rate(snapshot, upstream, &rules)),
        alerts: Key::ALL.into_iter().filter_map(|key| deliveries::alert(snapshot, upstream, key)).collect(),
        series: series(snapshot, upstream),
    }
}

fn pools(snapshot: &Snapshot, upstream: &Upstream) -> Vec<PoolView> {
    let directory = &upstream.setup.directory;
    let ids = (0..MAX_POOLS as PoolId).filter(|&id| !directory.name(id).is_empty());
    let pool = |id: PoolId| {
        let counts = upstream.counters.pools[usize::from(id)];
        let release = upstream.detection.releases.get(usize::from(id)).filter(|release| !release.is_empty());
        PoolView {
            name: name(directory.name(id)),
            named_by: origin(directory.named_by(id)),
            expected: upstream.setup.expected.includes(id),
            serving: upstream.view().is_serving(id),
            release: release.map(|release| name(release.as_bytes())),
            requests: requests(&counts.requests),
            attempts: attempts(&counts),
            response_seconds: histogram(&counts.response),
            peers: directory
                .peers()
                .zip(&upstream.counters.peers)
                .filter(|(peer, _)| peer.pool == id)
                .map(|(peer, counts)| peer_view(snapshot, upstream, peer, counts))
                .collect(),
        }
    };
    ids.map(pool).collect()
}

fn peer_view(snapshot: &Snapshot, upstream: &Upstream, peer: &Peer, counts: &PeerCounts) -> PeerView {
    let last = RESULTS.get(usize::from(counts.result)).filter(|_| counts.attempts > 0);
    PeerView {
        address: name(peer.address.as_bytes()),
        role: match peer.role {
            Role::Primary => "primary",
            Role::Backup => "backup",
        },
        pool_from: origin(upstream.setup.directory.origin_of(peer)),
        last: last.map(|&(_, result)| LastView { result, status: counts.status, at: time(snapshot, counts.at) }),
        attempts: counts.attempts,
        failures: counts.failures,
    }
}

fn releases(snapshot: &Snapshot, upstream: &Upstream) -> Vec<ReleaseView> {
    let mut all: Vec<(&Release, &ReleaseCounts)> = upstream.releases.iter().zip(&upstream.counters.releases).collect();
    all.retain(|(release, counts)| !release.name.is_empty() && counts.seen > Millis::ZERO);
    all.sort_by_key(|(_, counts)| Reverse(counts.seen));
    let view = |(release, counts): &(&Release, &ReleaseCounts)| ReleaseView {
        release: name(release.name.as_bytes()),
        pool: pool_name(upstream, release.pool),
        requests: counts.requests,
        errors: counts.errors,
        response_seconds: times(&counts.buckets.map(u64::from), counts.sum),
        last_seen: time(snapshot, counts.seen),
    };
    all.iter().map(view).collect()
}

fn error_rate(snapshot: &Snapshot, upstream: &Upstream, rules: &ErrorRateRules) -> ErrorRateView {
    let machine = &upstream.detection.error_rate;
    let counts = upstream.view().counts(snapshot.info.now);
    let rate = |errors: u32| RateView {
        errors,
        requests: counts.requests,
        ratio: (counts.requests > 0).then(|| f64::from(errors) / f64::from(counts.requests)),
    };
    ErrorRateView {
        level: match machine.level() {
            Level::Ok => "ok",
            Level::Firing => "firing",
            Level::NoData => "no_data",
        },
        since: instant(snapshot, machine.since()),
        of: match rules.of {
            RateOf::Upstream => "upstream",
            RateOf::Client => "client",
        },
        threshold: ratio(rules.threshold),
        resolve: ratio(rules.resolve),
        window_requests: (rules.window > 0).then_some(rules.window),
        period_seconds: (rules.period > Millis::ZERO).then(|| seconds(rules.period)),
        upstream: rate(counts.upstream_errors),
        client: rate(counts.client_errors),
    }
}

fn series(snapshot: &Snapshot, upstream: &Upstream) -> SeriesView {
    let current = snapshot.info.now.0 / STEP.0;
    let first = current.saturating_sub(STEPS as u64 - 1);
    let samples: Vec<Sample> = samples(upstream, first, current);
    let column = |value: fn(&Sample) -> u32| samples.iter().map(value).collect();
    let times = |value: fn(&Sample) -> u16| {
        let time = |sample| Some(value(sample)).filter(|&time| time != Sample::NO_TIME);
        samples.iter().map(|sample| time(sample).map(|time| f64::from(time) / 1000.0)).collect()
    };
    SeriesView {
        step_seconds: seconds(STEP),
        end: time(snapshot, STEP.times(current + 1)),
        requests: column(|sample| sample.requests),
        upstream_errors: column(|sample| sample.upstream_errors),
        client_errors: column(|sample| sample.client_errors),
        p50_seconds: times(|sample| sample.p50),
        p95_seconds: times(|sample| sample.p95),
    }
}

/// A sample of each step from `first` to `last`, oldest first.
fn samples(upstream: &Upstream, first: u64, last: u64) -> Vec<Sample> {
    let none = Sample { p50: Sample::NO_TIME, p95: Sample::NO_TIME, ..Sample::default() };
    let mut samples = vec![none; (last - first + 1) as usize];
    for sample in upstream.series.newest().chain([&upstream.counters.current()]).filter(|sample| sample.requests > 0) {
        let place = u64::from(sample.step).checked_sub(first);
        if let Some(place) = place.and_then(|place| samples.get_mut(place as usize)) {
            *place = *sample;
        }
    }
    samples
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Configuration => "configuration",
        Origin::Header => "header",
        Origin::Role => "role",
    }
}

fn requests(counts: &[u64; Ending::ALL.len()]) -> RequestsView {
    let [served, masked_failover, client_error, no_live_upstreams, aborted] = *counts;
    RequestsView { served, masked_failover, client_error, no_live_upstreams, aborted }
}

fn attempts(counts: &PoolCounts) -> AttemptsView {
    let [ok, server_error, refused, timed_out] = counts.attempts;
    AttemptsView { ok, server_error, refused, timed_out }
}

fn histogram(histogram: &Histogram) -> TimesView {
    times(&histogram.buckets, histogram.sum)
}

fn times(buckets: &[u64; BUCKETS], sum: u64) -> TimesView {
    let at = |share| percentile(buckets, share).map(|time| (time * 1000.0).round() / 1_000_000.0);
    TimesView { count: buckets.iter().sum(), sum: seconds(Millis(sum)), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

fn ratio(ratio: Ratio) -> f64 {
    f64::from(ratio.millionths()) / 1_000_000.0
}
