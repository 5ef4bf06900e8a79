//! What was seen: the evidence that no later evidence contradicts, and how fast and how often each pool answers.
//!
//! The ledger knows no rules and no state: the machine calls what fits its state, and `decide` says what it proves.

use crate::detect::failover::shares::{Share, Shares};
use crate::detect::failover::streak::Streak;
use crate::pools::set::{PoolId, PoolMap};
use crate::units::Millis;

/// Response times remembered per pool.
const TIMES: usize = 21;

/// Response times above this count as this; milliseconds.
const LONGEST_TIME: u16 = 30_000;

/// A pool that was full counts as full for this long: only some of the requests that it cannot take tell so.
const OVERFLOW: Millis = Millis::from_secs(1);

/// The latest response times of a pool, up to [`TIMES`] of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Times {
    /// Milliseconds to the header.
    millis: [u16; TIMES],
    /// Below [`TIMES`] the number that is known. From there on it goes round below twice that, as the index of the
    /// next.
    count: u32,
}

impl Times {
    fn push(&mut self, to_header: u32) {
        self.millis[self.count as usize % TIMES] = to_header.min(u32::from(LONGEST_TIME)) as u16;
        self.count = if self.count as usize >= 2 * TIMES - 1 { TIMES as u32 } else { self.count + 1 };
    }

    /// The median, of an even number the upper one; zero: none is known.
    fn median(&self) -> Millis {
        let mut millis = self.millis;
        let known = &mut millis[..(self.count as usize).min(TIMES)];
        known.sort_unstable();
        known.get(known.len() / 2).map_or(Millis::ZERO, |&median| Millis(median.into()))
    }
}

/// What was seen of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Seen {
    /// Its answers that the state's own pool has not contradicted.
    challenge: Streak,
    /// While pools share the traffic: the latest start of its answers; zero: none yet.
    latest: Millis,
    times: Times,
}

/// What was seen: fixed-size plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Ledger {
    pools: PoolMap<Seen>,
    /// Requests in a row that no pool answered.
    failures: Streak,
    shares: Shares,
    /// The latest start of an answer of the state's own pool, at least the beginning of the state.
    home: Millis,
    /// The latest start of any answer; zero: none yet.
    any: Millis,
    /// The latest start of another pool's answer; zero: none yet.
    away: Millis,
    /// The latest start of an answer at which the own pool was given up by the worker that saw it; zero: none in this
    /// state.
    given_up: Millis,
    /// The same of an answer at which the own pool had all the connections that it may have.
    full: Millis,
}

impl Ledger {
    /// Takes a changed span over which shares are judged. Counts for another span are dropped.
    pub(super) fn set_span(&mut self, span: Millis) {
        self.shares.set_span(span);
    }

    /// A state begins, with this own pool. Answers that were chosen after its last one are kept: another worker may
    /// have delivered them first.
    pub(super) fn begin(&mut self, since: Millis, own: Option<PoolId>, keeps_failures: bool) {
        self.home = own.and_then(|own| self.challenge_of(own)).map_or(since, |own| own.last().max(since));
        for (pool, seen) in self.pools.iter_mut() {
            seen.latest = Millis::ZERO;
            if own.is_some_and(|own| own != pool) {
                seen.challenge.contradict(self.home);
            } else {
                seen.challenge = Streak::default();
            }
        }
        if !keeps_failures {
            self.failures = Streak::default();
        }
        (self.given_up, self.full) = (Millis::ZERO, Millis::ZERO);
    }

    /// Counts an answer, whatever it proves.
    pub(super) fn note(&mut self, pool: PoolId, start: Millis, to_header: u32) {
        self.any = self.any.max(start);
        self.shares.count(pool, start);
        self.pools[pool].times.push(to_header);
    }

    /// The state's own pool answered.
    pub(super) fn confirm(&mut self, start: Millis) {
        self.failures.contradict(start);
        self.home = self.home.max(start);
        for seen in self.pools.values_mut() {
            seen.challenge.contradict(start);
        }
    }

    /// Another pool answered. Does that count, or has the state's own pool answered a later request?
    pub(super) fn challenge(&mut self, pool: PoolId, start: Millis) -> bool {
        self.failures.contradict(start);
        self.away = self.away.max(start);
        let counts = start >= self.home;
        if counts {
            self.pools[pool].challenge.extend(start);
        }
        counts
    }

    /// Another pool answered while the worker's nginx had given up the own pool.
    pub(super) fn note_given_up(&mut self, start: Millis) {
        self.given_up = self.given_up.max(start);
    }

    /// Another pool answered while the own pool had all the connections that it may have.
    pub(super) fn note_full(&mut self, start: Millis) {
        self.full = self.full.max(start);
    }

    /// Another pool answered what was too much for the own one: that contradicts failures and nothing else.
    pub(super) fn overflow(&mut self, start: Millis) {
        self.failures.contradict(start);
        self.away = self.away.max(start);
    }

    /// A pool answered while several share the traffic: that contradicts all others.
    pub(super) fn mix(&mut self, pool: PoolId, start: Millis) {
        self.failures.contradict(start);
        let mut is_outdone = false;
        for (other, seen) in self.pools.iter_mut() {
            if other == pool {
                seen.latest = seen.latest.max(start);
            } else {
                seen.challenge.contradict(start);
                is_outdone |= seen.latest > start;
            }
        }
        if !is_outdone {
            self.away = self.away.max(start);
            self.pools[pool].challenge.extend(start);
        }
    }

    /// A server whose pool nobody knows answered: that contradicts failures and nothing else.
    pub(super) fn note_stranger(&mut self, start: Millis) {
        self.any = self.any.max(start);
        self.failures.contradict(start);
    }

    /// No pool answered this request. Does that count, or was a later one answered?
    pub(super) fn fail(&mut self, start: Millis) -> bool {
        let counts = start >= self.any;
        if counts {
            self.failures.extend(start);
        }
        counts
    }

    /// A pool answered in an outage. From the first answer on, answers and failures are weighed.
    pub(super) fn weigh_answer(&mut self, pool: PoolId, start: Millis) {
        if !self.is_challenged() {
            self.failures = Streak::default();
        }
        self.away = self.away.max(start);
        self.pools[pool].challenge.extend(start);
    }

    /// No pool answered this request in an outage.
    pub(super) fn weigh_failure(&mut self, start: Millis) {
        self.failures.extend(start);
    }

    /// Were more requests answered than not, since the first that was?
    pub(super) fn do_answers_outweigh(&self) -> bool {
        self.pools.values().map(|seen| seen.challenge.count()).sum::<u32>() > self.failures.count()
    }

    /// Weighs from the next answer on.
    pub(super) fn weigh_from_here(&mut self) {
        for seen in self.pools.values_mut() {
            seen.challenge = Streak::default();
        }
    }

    /// The requests in a row that no pool answered.
    pub(super) fn failures(&self) -> &Streak {
        &self.failures
    }

    /// The pools with answers that the state's own pool has not contradicted.
    pub(super) fn challenges(&self) -> impl Iterator<Item = (PoolId, &Streak)> {
        let all = self.pools.iter().map(|(pool, seen)| (pool, &seen.challenge));
        all.filter(|(_, challenge)| !challenge.is_empty())
    }

    /// Such answers of this pool.
    pub(super) fn challenge_of(&self, pool: PoolId) -> Option<&Streak> {
        Some(&self.pools[pool].challenge).filter(|challenge| !challenge.is_empty())
    }

    /// Does any pool challenge the state?
    pub(super) fn is_challenged(&self) -> bool {
        self.challenges().next().is_some()
    }

    /// The latest start of another pool's answer; zero: none yet.
    pub(super) fn away(&self) -> Millis {
        self.away
    }

    /// Was the own pool given up by a worker's nginx at this time or later?
    pub(super) fn is_given_up(&self, since: Millis) -> bool {
        self.given_up != Millis::ZERO && self.given_up >= since
    }

    /// Was the own pool full shortly before this time?
    pub(super) fn is_full(&self, at: Millis) -> bool {
        self.full != Millis::ZERO && at < self.full + OVERFLOW
    }

    /// A pool's share of the answers that started in `from..=to`.
    pub(super) fn share(&self, pool: PoolId, from: Millis, to: Millis) -> Share {
        self.shares.over(pool, from, to)
    }

    /// Has this pool answered since nginx was started?
    pub(super) fn is_timed(&self, pool: PoolId) -> bool {
        self.pools[pool].times.count > 0
    }

    /// Has any pool?
    pub(super) fn is_any_timed(&self) -> bool {
        self.pools.values().any(|seen| seen.times.count > 0)
    }

    /// Twice the pool's median time to header: a fast pool's answers must not outrun a slow pool's.
    pub(super) fn slack(&self, pool: PoolId) -> Millis {
        self.pools[pool].times.median().times(2)
    }

    /// That of the slowest pool.
    pub(super) fn longest_slack(&self) -> Millis {
        let slacks = self.pools.values().map(|seen| seen.times.median().times(2));
        slacks.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: PoolId = PoolId::FIRST;
    const GREEN: PoolId = PoolId::new(1).expect("a pool");
    const RED: PoolId = PoolId::new(2).expect("a pool");

    fn challenge(ledger: &Ledger, pool: PoolId) -> Option<(u64, u32)> {
        ledger.challenge_of(pool).map(|challenge| (challenge.first().0, challenge.count()))
    }

    fn median(millis: &[u32]) -> Millis {
        let mut times = Times::default();
        for &millis in millis {
            times.push(millis);
        }
        times.median()
    }

    #[test]
    fn a_pool_takes_as_long_as_the_median_of_its_last_answers() {
        assert_eq!(median(&[]), Millis::ZERO);
        assert_eq!(median(&[5, 900, 1]), Millis(5));
        assert_eq!(median(&[1, 5, 900, 7]), Millis(7));
        let changed: Vec<u32> = [[9; 21].as_slice(), &[3; 11]].concat();
        assert_eq!((median(&changed[..31]), median(&changed)), (Millis(9), Millis(3)));
        let later: Vec<u32> = [[9; 42].as_slice(), &[3; 11]].concat();
        assert_eq!((median(&later[..52]), median(&later)), (Millis(9), Millis(3)));
        assert_eq!(median(&[4; 1000]), Millis(4));
    }

    #[test]
    fn half_a_minute_is_the_longest_response_time() {
        assert_eq!(median(&[29_999]), Millis(29_999));
        assert_eq!(median(&[u32::MAX]), Millis(30_000));
    }

    #[test]
    fn with_a_new_state_only_answers_chosen_after_its_pools_last_one_stay() {
        let mut ledger = Ledger::default();
        for (pool, start) in [(GREEN, 10), (RED, 15), (GREEN, 20), (RED, 25)] {
            ledger.challenge(pool, Millis(start));
        }
        let mut poolless = ledger;
        ledger.begin(Millis(10), Some(GREEN), true);
        assert_eq!((challenge(&ledger, GREEN), challenge(&ledger, RED)), (None, Some((25, 1))));
        assert!(!ledger.challenge(RED, Millis(19)), "the state's pool answered a later request");
        poolless.begin(Millis(10), None, true);
        assert!(!poolless.is_challenged());
    }

    #[test]
    fn while_pools_share_the_traffic_an_answer_contradicts_those_chosen_before_it() {
        let mut ledger = Ledger::default();
        ledger.mix(BLUE, Millis(10));
        ledger.mix(GREEN, Millis(20));
        assert_eq!((challenge(&ledger, BLUE), challenge(&ledger, GREEN)), (None, Some((20, 1))));
        ledger.mix(BLUE, Millis(15));
        assert_eq!((challenge(&ledger, BLUE), challenge(&ledger, GREEN)), (None, Some((20, 1))), "it came late");
        ledger.mix(BLUE, Millis(20));
        assert_eq!((challenge(&ledger, BLUE), challenge(&ledger, GREEN)), (Some((20, 1)), None), "in the same tick");
    }

    #[test]
    fn failures_outweigh_answers_only_since_the_first_answer() {
        let mut ledger = Ledger::default();
        ledger.weigh_failure(Millis(5));
        ledger.weigh_answer(GREEN, Millis(10));
        assert!(ledger.do_answers_outweigh());
        ledger.weigh_failure(Millis(11));
        assert!(!ledger.do_answers_outweigh());
        ledger.weigh_from_here();
        assert!(!ledger.is_challenged());
        ledger.weigh_answer(GREEN, Millis(12));
        assert!(ledger.do_answers_outweigh());
    }
}
