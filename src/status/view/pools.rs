//! The pools of an upstream with their peers, and the releases that answered.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::serving;
use super::traffic::{AttemptsView, RequestsView, ResponsesView, TimesView};
use super::values::{ForeignName, Timestamp, name, words};
use crate::config::upstream::Role;
use crate::observation::Verdict;
use crate::pools::directory::Origin;
use crate::pools::peers::Peer;
use crate::pools::set::PoolId;
use crate::state::counters::{PeerCounts, PoolCounts, Release, ReleaseCounts};
use crate::state::ending::RESULTS;
use crate::state::histogram::Histogram;
use crate::state::snapshot::{Snapshot, Upstream};
use crate::units::Millis;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PoolView {
    pub(crate) name: ForeignName,
    pub(crate) named_by: Origin,
    pub(crate) expected: bool,
    pub(crate) serving: bool,
    pub(crate) release: Option<String>,
    pub(crate) requests: RequestsView,
    pub(crate) attempts: AttemptsView,
    pub(crate) responses: ResponsesView,
    pub(crate) response_seconds: TimesView,
    pub(crate) peers: Vec<PeerView>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeerView {
    pub(crate) address: String,
    pub(crate) role: Role,
    pub(crate) down: bool,
    pub(crate) pool_from: Origin,
    pub(crate) header_says: Option<ForeignName>,
    pub(crate) last: Option<LastView>,
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
}

/// A peer's last attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LastView {
    pub(crate) result: Verdict,
    pub(crate) status: u16,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReleaseView {
    pub(crate) release: ForeignName,
    pub(crate) pool: Option<ForeignName>,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) response_seconds: TimesView,
    pub(crate) last_seen: Timestamp,
    /// For the metrics: its place among the releases, which stays while new ones come.
    #[serde(skip)]
    pub(crate) index: usize,
}

/// The pools that have a name, in the order in which they were named.
pub(super) fn pools(snapshot: &Snapshot, upstream: &Upstream) -> Vec<PoolView> {
    ids(upstream).map(|id| pool(snapshot, upstream, id)).collect()
}

/// See [`pools`]. A pool without a name of its own that has neither servers nor counts any more is left out.
pub(super) fn ids(upstream: &Upstream) -> impl Iterator<Item = PoolId> {
    let directory = &upstream.setup.directory;
    let is_used = |id| {
        upstream.view().is_serving(id)
            || upstream.setup.expected.includes(id)
            || upstream.counters.pools[id] != PoolCounts::default()
    };
    PoolId::all().filter(move |&id| !directory.name(id).is_empty() && (!directory.is_left(id) || is_used(id)))
}

fn pool(snapshot: &Snapshot, upstream: &Upstream, id: PoolId) -> PoolView {
    let directory = &upstream.setup.directory;
    let counts = &upstream.counters.pools[id];
    let release = Some(&upstream.detection.releases[id]).filter(|release| !release.is_empty());
    let peers = directory.indexed_peers().filter(|(_, peer)| peer.pool == Some(id));
    let peers = peers.filter_map(|(index, peer)| Some((peer, upstream.counters.peers.get(index)?)));
    PoolView {
        name: serving::pool(upstream, id),
        named_by: directory.named_by(id),
        expected: upstream.setup.expected.includes(id),
        serving: upstream.view().is_serving(id),
        release: release.map(|release| name(release.as_bytes())),
        requests: RequestsView::new(counts.requests),
        attempts: AttemptsView::new(counts.attempts),
        responses: ResponsesView::new(counts.responses),
        response_seconds: TimesView::new(&counts.response),
        peers: peers.map(|(peer, counts)| self::peer(snapshot, upstream, &peer, counts)).collect(),
    }
}

fn peer(snapshot: &Snapshot, upstream: &Upstream, peer: &Peer<'_>, counts: &PeerCounts) -> PeerView {
    let last = RESULTS.get(usize::from(counts.result)).filter(|_| counts.attempts > 0);
    let at = || Timestamp::from_unix(snapshot.date(counts.at));
    PeerView {
        address: words(peer.address),
        role: peer.role,
        down: peer.is_down,
        pool_from: upstream.setup.directory.origin_of(peer),
        header_says: peer.claimed.map(|id| serving::pool(upstream, id)),
        last: last.map(|&(result, _)| LastView { result, status: counts.status, at: at() }),
        attempts: counts.attempts,
        failures: counts.failures,
    }
}

/// The releases that answered, the one that was seen last first.
pub(super) fn releases(snapshot: &Snapshot, upstream: &Upstream) -> Vec<ReleaseView> {
    let known = upstream.releases.iter().zip(&upstream.counters.releases).enumerate();
    let mut all: Vec<(usize, (&Release, &ReleaseCounts))> = known.collect();
    all.retain(|(_, (release, counts))| !release.name.is_empty() && counts.seen > Millis::ZERO);
    all.sort_by_key(|(_, (_, counts))| Reverse(counts.seen));
    let view = |(index, (release, counts)): (usize, (&Release, &ReleaseCounts))| ReleaseView {
        release: ForeignName::new(release.name.as_bytes()),
        pool: Some(serving::pool(upstream, release.pool)).filter(|pool| !pool.as_str().is_empty()),
        requests: counts.requests,
        errors: counts.errors,
        response_seconds: TimesView::new(&Histogram { buckets: counts.buckets.map(u64::from), sum: counts.sum }),
        last_seen: Timestamp::from_unix(snapshot.date(counts.seen)),
        index,
    };
    all.into_iter().map(view).collect()
}
