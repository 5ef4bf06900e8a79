//! How many requests and attempts, how they ended, and how long answers took.

use serde::{Deserialize, Serialize};

use super::values::{Timestamp, seconds};
use crate::observation::Verdict;
use crate::state::counters::STATUS_CLASSES;
use crate::state::ending::{Ending, RESULTS};
use crate::state::histogram::{BUCKETS, Histogram, percentile};
use crate::state::series::{STEP, STEPS, SeriesPoint};
use crate::state::snapshot::{Snapshot, Upstream};
use crate::units::Millis;

/// Requests by what became of them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RequestsView {
    pub(crate) served: u64,
    pub(crate) masked_failover: u64,
    pub(crate) client_error: u64,
    pub(crate) no_live_upstreams: u64,
    pub(crate) aborted: u64,
}

impl RequestsView {
    pub(super) fn new(counts: [u64; Ending::ALL.len()]) -> Self {
        let [served, masked_failover, client_error, no_live_upstreams, aborted] = counts;
        Self { served, masked_failover, client_error, no_live_upstreams, aborted }
    }

    /// Each ending with its count.
    pub(crate) fn by_ending(&self) -> impl Iterator<Item = (Ending, u64)> {
        let Self { served, masked_failover, client_error, no_live_upstreams, aborted } = *self;
        Ending::ALL.into_iter().zip([served, masked_failover, client_error, no_live_upstreams, aborted])
    }
}

/// Attempts by how they ended.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AttemptsView {
    pub(crate) ok: u64,
    pub(crate) rejected: u64,
    pub(crate) server_error: u64,
    pub(crate) refused: u64,
    pub(crate) no_answer: u64,
    pub(crate) connect_timed_out: u64,
    pub(crate) timed_out: u64,
}

impl AttemptsView {
    pub(super) fn new(counts: [u64; RESULTS.len()]) -> Self {
        let [ok, rejected, server_error, refused, no_answer, connect_timed_out, timed_out] = counts;
        Self { ok, rejected, server_error, refused, no_answer, connect_timed_out, timed_out }
    }

    /// Each result with its count.
    pub(crate) fn by_result(&self) -> impl Iterator<Item = (Verdict, u64)> {
        let Self { ok, rejected, server_error, refused, no_answer, connect_timed_out, timed_out } = *self;
        let counts = [ok, rejected, server_error, refused, no_answer, connect_timed_out, timed_out];
        RESULTS.iter().map(|&(verdict, _)| verdict).zip(counts)
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> u64 {
        self.by_result().filter(|(verdict, _)| verdict.is_failure()).map(|(_, count)| count).sum()
    }
}

/// Responses by the first digit of their status.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ResponsesView {
    #[serde(rename = "1xx")]
    pub(crate) informational: u64,
    #[serde(rename = "2xx")]
    pub(crate) success: u64,
    #[serde(rename = "3xx")]
    pub(crate) redirection: u64,
    #[serde(rename = "4xx")]
    pub(crate) client_error: u64,
    #[serde(rename = "5xx")]
    pub(crate) server_error: u64,
}

impl ResponsesView {
    pub(super) fn new(counts: [u64; STATUS_CLASSES]) -> Self {
        let [informational, success, redirection, client_error, server_error] = counts;
        Self { informational, success, redirection, client_error, server_error }
    }

    /// Each class with its count.
    pub(crate) fn by_class(&self) -> [(&'static str, u64); STATUS_CLASSES] {
        let Self { informational, success, redirection, client_error, server_error } = *self;
        [("1xx", informational), ("2xx", success), ("3xx", redirection), ("4xx", client_error), ("5xx", server_error)]
    }
}

/// Response times in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TimesView {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// For the metrics: see [`Histogram::buckets`].
    #[serde(skip)]
    pub(crate) buckets: [u64; BUCKETS],
}

impl TimesView {
    pub(super) fn new(histogram: &Histogram) -> Self {
        let Histogram { buckets, sum } = *histogram;
        // To the microsecond.
        let at = |share| percentile(&buckets, share).map(|time| (time * 1000.0).round() / 1_000_000.0);
        let count = buckets.iter().sum();
        Self { count, sum: seconds(Millis(sum)), p50: at(0.5), p95: at(0.95), p99: at(0.99), buckets }
    }
}

/// The last hour in steps, oldest first; the last one is going on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SeriesView {
    pub(crate) step_seconds: f64,
    pub(crate) end: Timestamp,
    pub(crate) requests: Vec<u32>,
    pub(crate) upstream_errors: Vec<u32>,
    pub(crate) client_errors: Vec<u32>,
    pub(crate) p50_seconds: Vec<Option<f64>>,
    pub(crate) p95_seconds: Vec<Option<f64>>,
}

impl SeriesView {
    pub(super) fn new(snapshot: &Snapshot, upstream: &Upstream) -> Self {
        let current = snapshot.info.times.now.0 / STEP.0;
        let first = current.saturating_sub(STEPS as u64 - 1);
        let points = points(upstream, first, current);
        let column = |value: fn(&SeriesPoint) -> u32| points.iter().map(value).collect();
        let times = |value: fn(&SeriesPoint) -> u16| {
            let time = |point| Some(value(point)).filter(|&time| time != SeriesPoint::NO_TIME);
            points.iter().map(|point| time(point).map(|time| seconds(Millis(time.into())))).collect()
        };
        Self {
            step_seconds: seconds(STEP),
            end: Timestamp::from_unix(snapshot.date(STEP.times(current + 1))),
            requests: column(|point| point.requests),
            upstream_errors: column(|point| point.upstream_errors),
            client_errors: column(|point| point.client_errors),
            p50_seconds: times(|point| point.p50),
            p95_seconds: times(|point| point.p95),
        }
    }
}

/// A point for each step from `first` to `last`, oldest first.
fn points(upstream: &Upstream, first: u64, last: u64) -> Vec<SeriesPoint> {
    let none = SeriesPoint { p50: SeriesPoint::NO_TIME, p95: SeriesPoint::NO_TIME, ..SeriesPoint::default() };
    let mut points = vec![none; (last - first + 1) as usize];
    for point in upstream.series.newest().chain([&upstream.counters.current()]).filter(|point| point.requests > 0) {
        let index = u64::from(point.step).checked_sub(first);
        if let Some(entry) = index.and_then(|index| points.get_mut(index as usize)) {
            *entry = *point;
        }
    }
    points
}
