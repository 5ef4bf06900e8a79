//! Response times in buckets, and percentiles of them.

/// Upper bounds of the buckets in milliseconds, inclusive; the last bucket, without a bound, has all longer times.
pub const BOUNDS: [u32; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// Number of buckets, with the one for longer times.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Response times in buckets; a bucket does not include the ones below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram {
    /// Number of times in each bucket; see [`BOUNDS`].
    pub buckets: [u64; BUCKETS],
    /// The sum of all times, in milliseconds.
    pub sum: u64,
}

impl Histogram {
    pub(super) fn count(&mut self, time: u32) {
        self.buckets[bucket(time)] += 1;
        self.sum += u64::from(time);
    }

    /// Adds the times of another one.
    pub(super) fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        self.sum += other.sum;
    }

    /// The number of all times.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

pub(super) fn bucket(time: u32) -> usize {
    BOUNDS.iter().position(|&bound| time <= bound).unwrap_or(BOUNDS.len())
}

/// The time in milliseconds below which `share` of the times lie, interpolated within its bucket as Prometheus does,
/// and at most the last bound. `None`: there are no times.
pub fn percentile(buckets: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    let rank = share * total as f64;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (&count, &bound) in buckets.iter().zip(&BOUNDS) {
        let (count, bound) = (count as f64, f64::from(bound));
        if count > 0.0 && below + count >= rank {
            return Some(lower + (bound - lower) * (rank - below) / count);
        }
        (below, lower) = (below + count, bound);
    }
    (total > 0).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_interpolated_and_stand_still_at_the_last_bound() {
        let mut histogram = Histogram::default();
        assert_eq!(percentile(&histogram.buckets, 0.5), None);
        (0..100).for_each(|_| histogram.count(80));
        assert_eq!(percentile(&histogram.buckets, 0.5), Some(75.0));
        assert_eq!(percentile(&histogram.buckets, 1.0), Some(100.0));
        (0..900).for_each(|_| histogram.count(60_000));
        assert_eq!(percentile(&histogram.buckets, 0.99), Some(10_000.0));
        assert_eq!((histogram.total(), histogram.sum), (1000, 100 * 80 + 900 * 60_000));
    }
}
