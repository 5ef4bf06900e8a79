//! Which pool answered how much, lately: answers per pool in buckets of time, filed by the attempt's start.
//!
//! The way back to a pool is slow on purpose, since nginx probes a failed server with a single request per
//! `fail_timeout`. What proves a return is a pool's share of all answers over one such span, and these buckets hold it.

use crate::pools::set::{PoolId, PoolMap};
use crate::units::Millis;

/// Buckets kept; with [`PER_SPAN`] of them to a span, eight spans are remembered.
const BUCKETS: usize = 64;

/// Buckets that one span is divided into.
const PER_SPAN: u64 = 8;

/// The shortest span over which a return must prevail.
pub(super) const SHORTEST_SPAN: Millis = Millis::from_secs(10);

/// The longest span over which shares are judged, however slow the pools are.
pub(super) const LONGEST_SPAN: Millis = Millis::from_secs(60);

const _: () = assert!(
    SHORTEST_SPAN.0 / PER_SPAN * BUCKETS as u64 >= LONGEST_SPAN.0 + SHORTEST_SPAN.0 / PER_SPAN,
    "the buckets reach back over the longest span"
);

/// Answers per pool that started within one bucket's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Bucket {
    /// Which stretch of time this is: start ÷ width.
    epoch: u64,
    answers: PoolMap<u32>,
}

/// Answers of one pool and of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Answers of the pool.
    pub(super) of: u64,
    /// Answers of all pools.
    pub(super) all: u64,
}

impl Share {
    /// At least four fifths of the answers, and at least `least` of them.
    pub(super) fn prevails(self, least: u64) -> bool {
        self.of >= least && self.of * 5 >= self.all * 4
    }
}

/// The buckets: fixed-size plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Shares {
    width: Millis,
    buckets: [Bucket; BUCKETS],
}

impl Default for Shares {
    fn default() -> Self {
        Self::new(SHORTEST_SPAN)
    }
}

impl Shares {
    /// Nothing counted yet; `span` is what [`Shares::over`] will mostly be asked for.
    pub(super) fn new(span: Millis) -> Self {
        Self { width: Millis((span.0 / PER_SPAN).max(1)), buckets: [Bucket::default(); BUCKETS] }
    }

    /// Takes a changed span: counts of another width are dropped.
    pub(super) fn set_span(&mut self, span: Millis) {
        if self.width != Self::new(span).width {
            *self = Self::new(span);
        }
    }

    /// Counts an answer of `pool` that started at `start`. One that is older than the buckets reach is dropped.
    pub(super) fn count(&mut self, pool: PoolId, start: Millis) {
        let epoch = start.0 / self.width.0;
        let bucket = &mut self.buckets[(epoch % BUCKETS as u64) as usize];
        if bucket.epoch < epoch {
            *bucket = Bucket { epoch, ..Bucket::default() };
        }
        if bucket.epoch == epoch {
            bucket.answers[pool] = bucket.answers[pool].saturating_add(1);
        }
    }

    /// The pool's share of the answers that started in `from..=to`. A bucket that began before `from` is left out as a
    /// whole: its answers may be older than what is asked for.
    pub(super) fn over(&self, pool: PoolId, from: Millis, to: Millis) -> Share {
        let epochs = from.0.div_ceil(self.width.0)..=to.0 / self.width.0;
        let mut share = Share::default();
        for bucket in self.buckets.iter().filter(|bucket| epochs.contains(&bucket.epoch)) {
            share.of += u64::from(bucket.answers[pool]);
            share.all += bucket.answers.values().map(|&answers| u64::from(answers)).sum::<u64>();
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: PoolId = PoolId::FIRST;
    const GREEN: PoolId = PoolId::new(1).expect("a pool");

    #[test]
    fn answers_older_than_the_span_asked_for_do_not_count() {
        let mut shares = Shares::new(Millis(800));
        shares.count(BLUE, Millis(10_000));
        shares.count(GREEN, Millis(10_500));
        shares.count(GREEN, Millis(10_700));
        assert_eq!(shares.over(GREEN, Millis(10_000), Millis(10_800)), Share { of: 2, all: 3 });
        assert_eq!(shares.over(GREEN, Millis(10_400), Millis(10_800)), Share { of: 2, all: 2 });
        assert_eq!(shares.over(GREEN, Millis(10_450), Millis(10_800)), Share { of: 2, all: 2 });
        assert_eq!(shares.over(GREEN, Millis(10_501), Millis(10_800)), Share { of: 1, all: 1 });
    }

    #[test]
    fn a_bucket_that_comes_round_again_starts_empty_and_refuses_its_past() {
        let mut shares = Shares::new(Millis(800));
        shares.count(BLUE, Millis(0));
        shares.count(GREEN, Millis(6400));
        shares.count(BLUE, Millis(0));
        assert_eq!(shares.over(BLUE, Millis(0), Millis(7000)), Share { of: 0, all: 1 });
    }

    #[test]
    fn counts_for_another_span_are_dropped() {
        let mut shares = Shares::new(Millis(800));
        shares.count(BLUE, Millis(10_000));
        let counted = |shares: &Shares| shares.over(BLUE, Millis::ZERO, Millis(20_000)).of;
        shares.set_span(Millis(800));
        assert_eq!(counted(&shares), 1);
        shares.set_span(Millis(1600));
        assert_eq!(counted(&shares), 0);
    }
}
