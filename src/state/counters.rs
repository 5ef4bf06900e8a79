//! What was counted since the zone was made: requests and attempts by ending, response times, peers, releases, and the
//! last hour in steps.
//!
//! Counters are words that only rise. They have no double buffer, which would double their memory and add a copy to
//! each batch. A worker that is killed within a batch may therefore have counted a part of it, but no word is ever
//! half-written.

use crate::config::upstream::WatchedUpstream;
use crate::detect::serving::Serving;
use crate::observation::{Attempt, Observation, Verdict};
use crate::pools::directory::Directory;
use crate::pools::peers::MAX_PEERS;
use crate::pools::set::{PoolId, PoolMap};
use crate::shared::double_buffer::DoubleBuffer;
use crate::state::ending::{Ending, RESULTS};
use crate::state::histogram::{BUCKETS, Histogram, bucket};
use crate::state::lookup::ResolvedObservation;
use crate::state::series::{Current, SeriesPoint};
use crate::text::{self, Text};
use crate::units::Millis;

/// Releases that are counted one by one. A further release replaces the one that was not seen for longest.
pub const MAX_RELEASES: usize = 16;

/// Responses are counted by the first digit of their status, 1 to 5.
pub const STATUS_CLASSES: usize = 5;

/// One pool's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PoolCounts {
    /// Requests by [`Ending`]; a request counts for the pool of its last attempt.
    pub requests: [u64; Ending::ALL.len()],
    /// Attempts by index in [`RESULTS`].
    pub attempts: [u64; RESULTS.len()],
    /// Responses by the first digit of their status, less one.
    pub responses: [u64; STATUS_CLASSES],
    /// Times until the response header, of the attempts that got one.
    pub response: Histogram,
}

impl PoolCounts {
    /// Adds the counts of another pool.
    fn add(&mut self, other: &Self) {
        let PoolCounts { requests, attempts, responses, response } = other;
        self.requests.iter_mut().zip(requests).for_each(|(sum, count)| *sum += count);
        self.attempts.iter_mut().zip(attempts).for_each(|(sum, count)| *sum += count);
        self.responses.iter_mut().zip(responses).for_each(|(sum, count)| *sum += count);
        self.response.add(response);
    }
}

/// One peer's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerCounts {
    /// Finished attempts; like `failures` at most 2³² − 1.
    pub attempts: u32,
    /// Finished attempts that failed.
    pub failures: u32,
    /// When the peer's last attempt began; zero: there was none. Workers report their attempts in any order.
    pub at: Millis,
    /// nginx's status for that attempt.
    pub status: u16,
    /// The attempt's result: its index in [`RESULTS`].
    pub result: u8,
}

/// One release's counts; the release's name is in [`Releases`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ReleaseCounts {
    /// Requests whose last response named the release.
    pub requests: u64,
    /// Requests that the release answered with a 5xx.
    pub errors: u64,
    /// When the last such request was counted; zero: never.
    pub seen: Millis,
    /// See [`Histogram::sum`].
    pub sum: u64,
    /// See [`Histogram::buckets`].
    pub buckets: [u32; BUCKETS],
}

/// A release of a pool; with an empty name the entry is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Release {
    /// The name in the header, cut to 44 bytes.
    pub name: Text<44>,
    /// The pool that sent the header.
    pub pool: PoolId,
}

/// The releases that are counted.
pub type Releases = [Release; MAX_RELEASES];

/// One upstream's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Requests and attempts of each pool.
    pub pools: PoolMap<PoolCounts>,
    /// Requests and attempts of no known pool.
    pub no_pool: PoolCounts,
    /// By the peer's index in the directory.
    pub peers: [PeerCounts; MAX_PEERS],
    /// By index in the [`Releases`].
    pub releases: [ReleaseCounts; MAX_RELEASES],
    /// How often one state followed another, by [`Serving::index`]: first the state before, then the state after.
    pub changes: [[u32; Serving::COUNT]; Serving::COUNT],
    current: Current,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            pools: PoolMap::default(),
            no_pool: PoolCounts::default(),
            peers: [PeerCounts::default(); MAX_PEERS],
            releases: [ReleaseCounts::default(); MAX_RELEASES],
            changes: [[0; Serving::COUNT]; Serving::COUNT],
            current: Current::default(),
        }
    }
}

impl Counters {
    /// Counts a request and its attempts. Returns the step of the series that ended with it; `None`: none ended.
    pub(crate) fn note(
        &mut self,
        directory: &Directory,
        watched: &WatchedUpstream,
        releases: &mut DoubleBuffer<Releases>,
        resolved: &ResolvedObservation<'_>,
        now: Millis,
    ) -> Option<SeriesPoint> {
        let ResolvedObservation { seen, answered, failed, .. } = *resolved;
        let mut last = None;
        if let Some((newest, earlier)) = seen.attempts().split_last() {
            for attempt in earlier {
                let index = directory.index_of_peer(watched, attempt);
                self.note_attempt(attempt, index, index.and_then(|index| directory.pool_at(index)));
            }
            let pool = answered.or_else(|| directory.pool_at(resolved.index?));
            self.note_attempt(newest, resolved.index, pool);
            last = pool;
        }
        let ending = Ending::of(seen, failed);
        let last = last.filter(|_| ending != Ending::NoLiveUpstreams);
        self.pool_mut(last).requests[ending as usize] += 1;
        if ending == Ending::Aborted {
            return None;
        }
        let time = seen.attempts().last().and_then(Attempt::response_time);
        if let (Some(pool), Some(time), false) = (last, time, seen.release().is_empty()) {
            self.note_release(releases, pool, seen, time, now);
        }
        let over = self.current.begin(now);
        self.current.note(ending, failed, seen.answer().and(time));
        over
    }

    /// The counts of all pools and of no known pool.
    pub fn total(&self) -> PoolCounts {
        let mut total = self.no_pool;
        self.pools.values().for_each(|pool| total.add(pool));
        total
    }

    /// Moves the peers' counts from the indices in the directory before a reload to the indices after it, and the counts
    /// of a pool that nobody named and that has no servers any more to those of no known pool: the next servers that
    /// nobody knows are others.
    pub(crate) fn follow(&mut self, before: &Directory, after: &Directory) {
        let counts = self.peers;
        let mut moved = [PeerCounts::default(); MAX_PEERS];
        for (index, moved) in moved.iter_mut().enumerate() {
            let known = after.address_at(index).and_then(|address| before.index_of(address));
            *moved = known.and_then(|known| counts.get(known)).copied().unwrap_or_default();
        }
        self.peers = moved;
        for (_, counts) in self.pools.iter_mut().filter(|(id, _)| after.is_left(*id)) {
            self.no_pool.add(&std::mem::take(counts));
        }
    }

    /// The present step up to now, or the last step that had requests.
    pub fn current(&self) -> SeriesPoint {
        self.current.point()
    }

    /// Counts an attempt at the peer with this index in the directory, which is in this pool.
    fn note_attempt(&mut self, attempt: &Attempt, index: Option<usize>, pool: Option<PoolId>) {
        let Some(result) = RESULTS.iter().position(|(verdict, _)| *verdict == attempt.verdict) else { return };
        let counts = self.pool_mut(pool);
        counts.attempts[result] += 1;
        if let Some(class) = attempt.status_class() {
            counts.responses[class - 1] += 1;
        }
        if let Some(time) = attempt.response_time() {
            counts.response.count(time);
        }
        if let Some(peer) = index.and_then(|index| self.peers.get_mut(index)) {
            peer.attempts = peer.attempts.saturating_add(1);
            peer.failures = peer.failures.saturating_add(u32::from(attempt.verdict.is_failure()));
            if attempt.start >= peer.at {
                (peer.at, peer.status, peer.result) = (attempt.start, attempt.status, result as u8);
            }
        }
    }

    fn pool_mut(&mut self, pool: Option<PoolId>) -> &mut PoolCounts {
        pool.map_or(&mut self.no_pool, |pool| &mut self.pools[pool])
    }

    fn note_release(
        &mut self,
        releases: &mut DoubleBuffer<Releases>,
        pool: PoolId,
        seen: &Observation,
        time: u32,
        now: Millis,
    ) {
        let name = Text::<44>::kept(seen.release().as_bytes());
        let is_it = |known: &Release| known.pool == pool && text::is_same(known.name.as_bytes(), name);
        let index = releases.live().iter().position(is_it).unwrap_or_else(|| {
            // A free entry was never seen.
            let index = (0..MAX_RELEASES).min_by_key(|&index| self.releases[index].seen).unwrap_or_default();
            releases.edit(|releases| releases[index] = Release { name: Text::new(name), pool });
            self.releases[index] = ReleaseCounts::default();
            index
        });
        let counts = &mut self.releases[index];
        counts.requests += 1;
        counts.errors += u64::from(seen.attempts().last().is_some_and(|last| last.verdict == Verdict::ServerError));
        counts.seen = now.max(Millis(1));
        counts.sum += u64::from(time);
        let bucket = &mut counts.buckets[bucket(time)];
        *bucket = bucket.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::Rules;
    use crate::config::upstream::{ConfiguredPeer, Role};
    use crate::observation::Names;
    use crate::state::series::{STEP, Series};
    use crate::text::Name;

    const BLUE: u16 = 0;
    const GREEN: u16 = 1;

    struct Upstream {
        counters: Counters,
        releases: DoubleBuffer<Releases>,
        series: Series,
        directory: Directory,
        watched: WatchedUpstream,
        now: Millis,
    }

    impl Upstream {
        fn new() -> Self {
            let peer = |address: &str, role, pool| ConfiguredPeer {
                address: address.into(),
                role,
                pool: Some(pool),
                ..ConfiguredPeer::default()
            };
            let watched = WatchedUpstream {
                name: Name::new(b"app"),
                rules: Rules::default(),
                pools: vec![Name::new(b"blue"), Name::new(b"green")],
                peers: vec![peer("10.0.0.1:80", Role::Primary, 0), peer("10.0.0.2:80", Role::Backup, 1)],
                ..WatchedUpstream::default()
            };
            let mut directory = Directory::default();
            directory.adopt(&watched);
            let counters = Counters::default();
            let now = STEP.times(1000);
            Self { counters, releases: DoubleBuffer::default(), series: Series::empty(), directory, watched, now }
        }

        fn see(&mut self, attempts: &[(u16, Verdict)], status: u16, release: &str) {
            let names = Names { release: Text::new(release.as_bytes()), ..Names::default() };
            let mut seen = Observation { status, names: Some(names.into()), ..Observation::default() };
            for &(peer, verdict) in attempts {
                seen.push(Attempt { peer, verdict, status, start: self.now, to_header: 7 });
            }
            seen.aborted = status == 499;
            let Self { counters, releases, series, directory, watched, now } = self;
            let resolved = ResolvedObservation::new(directory, watched, &seen);
            if let Some(over) = counters.note(directory, watched, releases, &resolved, *now) {
                series.push(over);
            }
        }
    }

    #[test]
    fn each_request_ends_once_and_in_the_pool_of_its_last_attempt() {
        let mut upstream = Upstream::new();
        upstream.see(&[(BLUE, Verdict::Ok)], 200, "");
        upstream.see(&[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200, "");
        upstream.see(&[(BLUE, Verdict::TimedOut), (GREEN, Verdict::ServerError)], 500, "");
        upstream.see(&[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)], 502, "");
        upstream.see(&[(Attempt::UNKNOWN_PEER, Verdict::NoLiveUpstreams)], 502, "");
        upstream.see(&[(BLUE, Verdict::Unfinished)], 499, "");
        let [blue, green] = [0, 1].map(|pool| PoolId::new(pool).expect("a pool"));
        assert_eq!(upstream.counters.pools[blue].requests, [1, 0, 0, 0, 1]);
        assert_eq!(upstream.counters.pools[green].requests, [0, 1, 2, 0, 0]);
        assert_eq!(upstream.counters.no_pool.requests, [0, 0, 0, 1, 0]);
        assert_eq!(upstream.counters.pools[blue].attempts, [1, 0, 0, 2, 0, 0, 1]);
        assert_eq!(upstream.counters.pools[green].attempts, [1, 0, 1, 1, 0, 0, 0]);
        assert_eq!(upstream.counters.total().attempts, [2, 0, 1, 3, 0, 0, 1]);
        assert_eq!(upstream.counters.pools[green].response.total(), 2);
        let green = upstream.counters.peers[1];
        assert_eq!((green.attempts, green.failures, green.result, green.status), (3, 2, 3, 502));
    }

    #[test]
    fn an_answer_that_nginx_did_not_keep_is_an_attempt_and_a_response_of_its_own_pool() {
        let mut upstream = Upstream::new();
        upstream.see(&[(BLUE, Verdict::Rejected), (GREEN, Verdict::Ok)], 404, "");
        let [blue, green] = [0, 1].map(|pool| PoolId::new(pool).expect("a pool"));
        assert_eq!(upstream.counters.pools[blue].attempts, [0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(upstream.counters.pools[green].attempts, [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!([blue, green].map(|pool| upstream.counters.pools[pool].response.total()), [1, 1]);
        assert_eq!(upstream.counters.pools[blue].responses, [0, 0, 0, 1, 0]);
        assert_eq!(upstream.counters.total().responses, [0, 0, 0, 2, 0]);
        assert_eq!(upstream.counters.peers.map(|peer| peer.failures)[..2], [1, 0]);
        assert_eq!(upstream.counters.total().requests, [0, 1, 0, 0, 0], "a retry hid it from the client");
    }

    #[test]
    fn each_attempt_counts_however_many_there_are() {
        let mut upstream = Upstream::new();
        upstream.see(&[(BLUE, Verdict::Refused); 100], 502, "");
        assert_eq!(upstream.counters.total().attempts, [0, 0, 0, 100, 0, 0, 0]);
        assert_eq!(upstream.counters.peers[0].attempts, 100);
    }

    #[test]
    fn of_too_many_releases_the_one_unseen_for_longest_goes() {
        let mut upstream = Upstream::new();
        for release in 0..MAX_RELEASES {
            upstream.now = upstream.now + Millis(1);
            upstream.see(&[(BLUE, Verdict::Ok)], 200, &format!("v{release}"));
        }
        upstream.now = upstream.now + Millis(1);
        upstream.see(&[(BLUE, Verdict::Ok)], 200, "v0");
        upstream.see(&[(GREEN, Verdict::ServerError)], 500, "new");
        let names: Vec<_> = upstream.releases.live().iter().map(|release| release.name.as_bytes()).collect();
        assert!(!names.contains(&b"v1".as_slice()));
        assert!(names.contains(&b"v0".as_slice()));
        let index = names.iter().position(|name| *name == b"new").expect("the newest release");
        assert_eq!((upstream.counters.releases[index].requests, upstream.counters.releases[index].errors), (1, 1));
        assert_eq!(Some(upstream.releases.live()[index].pool), PoolId::new(1));
    }

    #[test]
    fn a_release_is_counted_for_each_pool_that_has_it() {
        let mut upstream = Upstream::new();
        upstream.see(&[(BLUE, Verdict::Ok)], 200, "v1");
        upstream.see(&[(GREEN, Verdict::Ok)], 200, "v1");
        assert_eq!(upstream.releases.live().iter().filter(|release| !release.name.is_empty()).count(), 2);
    }

    #[test]
    fn a_step_is_kept_when_the_next_begins() {
        let mut upstream = Upstream::new();
        upstream.see(&[(BLUE, Verdict::Ok)], 200, "");
        upstream.see(&[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200, "");
        upstream.see(&[(BLUE, Verdict::Unfinished)], 499, "");
        assert_eq!(upstream.series.newest().count(), 0);
        upstream.now = upstream.now + STEP.times(3);
        upstream.see(&[(Attempt::UNKNOWN_PEER, Verdict::NoLiveUpstreams)], 502, "");
        let over: Vec<_> = upstream.series.newest().copied().collect();
        let expected = SeriesPoint { step: 1000, requests: 2, upstream_errors: 1, client_errors: 0, p50: 7, p95: 9 };
        assert_eq!(over, [expected]);
        let SeriesPoint { step, requests, client_errors, p50, .. } = upstream.counters.current();
        assert_eq!((step, requests, client_errors, p50), (1003, 1, 1, SeriesPoint::NO_TIME));
    }

    #[test]
    fn the_counts_of_servers_that_nobody_knew_are_of_no_pool_once_they_have_left() {
        let mut upstream = Upstream::new();
        let only = |address: &str| WatchedUpstream {
            pools: vec![],
            peers: vec![ConfiguredPeer { address: address.into(), ..ConfiguredPeer::default() }],
            ..upstream.watched.clone()
        };
        let (unknown, other) = (only("10.0.0.3:80"), only("10.0.0.4:80"));
        let before = upstream.directory;
        upstream.directory.adopt(&unknown);
        upstream.counters.follow(&before, &upstream.directory);
        upstream.watched = unknown;
        upstream.see(&[(0, Verdict::Refused)], 502, "");
        let third = PoolId::new(2).expect("a pool");
        assert_eq!(upstream.counters.pools[third].attempts.iter().sum::<u64>(), 1);
        let before = upstream.directory;
        upstream.directory.adopt(&other);
        upstream.counters.follow(&before, &upstream.directory);
        assert_eq!(upstream.counters.pools[third], PoolCounts::default());
        assert_eq!(
            (upstream.counters.no_pool.attempts.iter().sum::<u64>(), upstream.counters.total().requests[2]),
            (1, 1)
        );
    }

    #[test]
    fn a_peer_keeps_its_counts_when_a_reload_moves_it() {
        let mut upstream = Upstream::new();
        upstream.see(&[(GREEN, Verdict::Ok)], 200, "");
        let before = upstream.directory;
        upstream.watched.peers.remove(0);
        upstream.directory.adopt(&upstream.watched);
        upstream.counters.follow(&before, &upstream.directory);
        assert_eq!(upstream.counters.peers[0].attempts, 1);
        assert_eq!(upstream.counters.peers[1], PeerCounts::default());
    }

    #[test]
    fn a_peers_last_result_is_of_the_attempt_that_began_last_whichever_worker_counted_it_last() {
        let mut upstream = Upstream::new();
        upstream.see(&[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200, "");
        upstream.now = upstream.now - Millis(5);
        upstream.see(&[(BLUE, Verdict::Ok)], 200, "");
        let blue = upstream.counters.peers[0];
        assert_eq!((blue.attempts, blue.failures, RESULTS[usize::from(blue.result)].1), (2, 1, "server_error"));
    }
}
