//! Requests, errors and response times of the last hour, in steps of a minute.

use crate::shared::ring_log::RingLog;
use crate::state::ending::Ending;
use crate::state::histogram::{BUCKETS, bucket, percentile};
use crate::units::Millis;

/// The length of a step.
pub const STEP: Millis = Millis::from_secs(60);

/// How many past steps are kept besides the present one.
pub const STEPS: usize = 60;

/// One past step of the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SeriesPoint {
    /// The number of the step: its instant ÷ [`STEP`].
    pub step: u32,
    /// Requests that were not aborted.
    pub requests: u32,
    /// Requests with a failed attempt.
    pub upstream_errors: u32,
    /// Requests whose client got a 5xx.
    pub client_errors: u32,
    /// The median of the response times of good answers, in milliseconds; [`SeriesPoint::NO_TIME`]: there were none.
    pub p50: u16,
    /// The 95th percentile of the same times.
    pub p95: u16,
}

impl SeriesPoint {
    /// Stands for a response time that does not exist.
    pub const NO_TIME: u16 = u16::MAX;
}

/// The past steps. A step without requests has no entry.
pub type Series = RingLog<SeriesPoint, { STEPS + 1 }>;

/// The present step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Current {
    step: u32,
    requests: u32,
    upstream_errors: u32,
    client_errors: u32,
    buckets: [u32; BUCKETS],
}

impl Current {
    /// Begins a new step if `now` is in one. Returns the step that ended with that; `None`: none ended, or it had no
    /// requests.
    pub(super) fn begin(&mut self, now: Millis) -> Option<SeriesPoint> {
        let step = (now.0 / STEP.0) as u32;
        if step == self.step {
            return None;
        }
        let over = (self.requests > 0).then(|| self.point());
        *self = Self { step, ..Self::default() };
        over
    }

    pub(super) fn note(&mut self, ending: Ending, has_failure: bool, time: Option<u32>) {
        self.requests = self.requests.saturating_add(1);
        let is_error = matches!(ending, Ending::ClientError | Ending::NoLiveUpstreams);
        self.client_errors = self.client_errors.saturating_add(u32::from(is_error));
        self.upstream_errors = self.upstream_errors.saturating_add(u32::from(has_failure));
        if let Some(time) = time {
            self.buckets[bucket(time)] += 1;
        }
    }

    pub(super) fn point(&self) -> SeriesPoint {
        let buckets = self.buckets.map(u64::from);
        let time = |share| percentile(&buckets, share).map_or(SeriesPoint::NO_TIME, whole);
        let Self { step, requests, upstream_errors, client_errors, .. } = *self;
        SeriesPoint { step, requests, upstream_errors, client_errors, p50: time(0.5), p95: time(0.95) }
    }
}

/// In whole milliseconds, rounded down; every result of [`percentile`] fits.
#[expect(clippy::cast_sign_loss, reason = "times are not negative")]
fn whole(time: f64) -> u16 {
    time as u16
}
