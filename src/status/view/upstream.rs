//! An upstream: what serves, its error rate, its open alerts, its pools and releases, and the last hour.

use serde::{Deserialize, Serialize};

use super::deliveries::{self, AlertView};
use super::pools::{self, PoolView, ReleaseView};
use super::serving::{self, ServingView};
use super::traffic::{AttemptsView, RequestsView, ResponsesView, SeriesView};
use super::values::{ForeignName, Timestamp, ratio, seconds, words};
use crate::config::rules::{ErrorRateRules, RateOf};
use crate::detect::error_rate::RateState;
use crate::detect::serving::Serving;
use crate::incident::Key;
use crate::pools::set::Expected;
use crate::state::snapshot::{Snapshot, Upstream};
use crate::text::Name;
use crate::units::Millis;
use crate::window::Counts;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UpstreamView {
    pub(crate) name: ForeignName,
    pub(crate) blocks: Vec<BlockView>,
    pub(crate) serving: ServingView,
    pub(crate) since: Option<Timestamp>,
    pub(crate) since_seconds: Option<f64>,
    pub(crate) expected_pool: Option<ForeignName>,
    pub(crate) as_expected: bool,
    pub(crate) flapping: bool,
    pub(crate) changes_10m: u32,
    pub(crate) silenced: bool,
    pub(crate) runbook: Option<String>,
    pub(crate) requests: RequestsView,
    pub(crate) attempts: AttemptsView,
    pub(crate) responses: ResponsesView,
    pub(crate) pools: Vec<PoolView>,
    pub(crate) releases: Vec<ReleaseView>,
    pub(crate) error_rate: Option<ErrorRateView>,
    pub(crate) alerts: Vec<AlertView>,
    pub(crate) series: SeriesView,
    #[serde(skip)]
    pub(crate) metrics: MetricsView,
}

/// A block of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BlockView {
    pub(crate) name: ForeignName,
    pub(crate) asked_first: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ErrorRateView {
    pub(crate) level: RateState,
    pub(crate) since: Option<Timestamp>,
    pub(crate) of: RateOf,
    pub(crate) threshold: f64,
    pub(crate) resolve: f64,
    pub(crate) window_requests: Option<u32>,
    pub(crate) period_seconds: Option<f64>,
    pub(crate) upstream: RateView,
    pub(crate) client: RateView,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RateView {
    pub(crate) errors: u32,
    pub(crate) requests: u32,
    pub(crate) ratio: Option<f64>,
}

/// What the metrics show of an upstream beside its document.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetricsView {
    /// Requests whose last attempt was at no pool that is known.
    pub(crate) unknown_pool_requests: RequestsView,
    /// Attempts at no pool that is known.
    pub(crate) unknown_pool_attempts: AttemptsView,
    /// Their responses.
    pub(crate) unknown_pool_responses: ResponsesView,
    /// The states that traffic moves between: each pool, mixed and down.
    pub(crate) states: Vec<(Serving, ServingView)>,
    /// How often one state followed another, by [`Serving::index`].
    pub(crate) changes: [[u32; Serving::COUNT]; Serving::COUNT],
    /// Requests and their errors, whether the error rate is watched or not.
    pub(crate) counts: Counts,
    /// Is the error rate too high?
    pub(crate) is_rate_firing: bool,
    /// Is there an open alert about what serves?
    pub(crate) is_serving_firing: bool,
}

impl UpstreamView {
    pub(super) fn new(snapshot: &Snapshot, upstream: &Upstream) -> Self {
        let now = snapshot.info.times.now;
        let view = upstream.view();
        let failover = &upstream.detection.failover;
        let since = Some(failover.since()).filter(|_| failover.serving() != Serving::Unknown);
        let runbook = &upstream.setup.rules.runbook;
        let counts = view.counts(now);
        let total = upstream.counters.total();
        Self {
            name: ForeignName::new(upstream.name.as_bytes()),
            blocks: blocks(upstream),
            serving: ServingView::now(upstream),
            since: since.map(|since| Timestamp::from_unix(snapshot.date(since))),
            since_seconds: since.map(|since| seconds(now - since)),
            expected_pool: match upstream.setup.expected {
                Expected::Pool(id) => Some(serving::pool(upstream, id)).filter(|pool| !pool.as_str().is_empty()),
                Expected::Several(_) => None,
            },
            as_expected: view.serves_expected_pool(),
            flapping: upstream.detection.flapping.is_on(),
            changes_10m: upstream.detection.flapping.changes(now),
            silenced: snapshot.is_silenced(upstream),
            runbook: (!runbook.is_empty()).then(|| words(runbook.as_bytes())),
            requests: RequestsView::new(total.requests),
            attempts: AttemptsView::new(total.attempts),
            responses: ResponsesView::new(total.responses),
            pools: pools::pools(snapshot, upstream),
            releases: pools::releases(snapshot, upstream),
            error_rate: upstream.setup.rules.error_rate.map(|rules| error_rate(snapshot, upstream, &rules, &counts)),
            alerts: Key::ALL.into_iter().filter_map(|key| deliveries::alert(snapshot, upstream, key)).collect(),
            series: SeriesView::new(snapshot, upstream),
            metrics: metrics(upstream, counts),
        }
    }

    /// The names of the pools.
    pub(crate) fn pool_names(&self) -> impl Iterator<Item = &str> {
        self.pools.iter().map(|pool| pool.name.as_str())
    }
}

fn blocks(upstream: &Upstream) -> Vec<BlockView> {
    let setup = &upstream.setup;
    let named = setup.blocks.iter().enumerate().take_while(|(_, name)| !name.is_empty());
    let view = |(index, name): (usize, &Name)| BlockView {
        name: ForeignName::new(name.as_bytes()),
        asked_first: setup.chosen.contains(index),
    };
    named.map(view).collect()
}

fn error_rate(snapshot: &Snapshot, upstream: &Upstream, rules: &ErrorRateRules, counts: &Counts) -> ErrorRateView {
    let machine = &upstream.detection.error_rate;
    let rate = |of| RateView { errors: counts.errors(of), requests: counts.requests, ratio: counts.ratio(of) };
    let since = Some(machine.since()).filter(|&since| since > Millis::ZERO);
    ErrorRateView {
        level: machine.level(),
        since: since.map(|since| Timestamp::from_unix(snapshot.date(since))),
        of: rules.of,
        threshold: ratio(rules.threshold),
        resolve: ratio(rules.resolve),
        window_requests: (rules.window > 0).then_some(rules.window),
        period_seconds: (rules.period > Millis::ZERO).then(|| seconds(rules.period)),
        upstream: rate(RateOf::Upstream),
        client: rate(RateOf::Client),
    }
}

fn metrics(upstream: &Upstream, counts: Counts) -> MetricsView {
    let unknown = &upstream.counters.no_pool;
    let states = pools::ids(upstream).map(Serving::Pool).chain([Serving::Mixed, Serving::Down]);
    MetricsView {
        unknown_pool_requests: RequestsView::new(unknown.requests),
        unknown_pool_attempts: AttemptsView::new(unknown.attempts),
        unknown_pool_responses: ResponsesView::new(unknown.responses),
        states: states.map(|state| (state, ServingView::new(upstream, state))).collect(),
        changes: upstream.counters.changes,
        counts,
        is_rate_firing: upstream.detection.error_rate.level() == RateState::Firing,
        is_serving_firing: !upstream.view().incident(Key::Serving).revision.over,
    }
}
