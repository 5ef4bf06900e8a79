//! The last hour in steps of a minute.

use crate::shared::ring_log::Journal;
use crate::state::ending::Ending;
use crate::state::histogram::{BUCKETS, bucket, percentile};
use crate::units::Millis;

/// A step of the series, and how many of them are kept beside the one that is going on.
pub const STEP: Millis = Millis::from_secs(60);

/// See [`STEP`].
pub const STEPS: usize = 60;

/// One step of the series that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sample {
    /// Which one: its instant ÷ [`STEP`].
    pub step: u32,
    /// Requests that were not aborted.
    pub requests: u32,
    /// Those with a failed attempt.
    pub upstream_errors: u32,
    /// Those with a client error.
    pub client_errors: u32,
    /// The median of the answers' response times in milliseconds; [`Sample::NO_TIME`]: there was none.
    pub p50: u16,
    /// The 95th percentile, likewise.
    pub p95: u16,
}

impl Sample {
    /// In the place of a time.
    pub const NO_TIME: u16 = u16::MAX;
}

/// The steps that are over.
pub type Series = Journal<Sample, { STEPS + 1 }>;

/// The step that is going on.
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
    /// Begins a new step if it is time, and returns the one that is over.
    pub(super) fn begin(&mut self, now: Millis) -> Option<Sample> {
        let step = (now.0 / STEP.0) as u32;
        if step == self.step {
            return None;
        }
        let over = (self.requests > 0).then(|| self.sample());
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

    pub(super) fn sample(&self) -> Sample {
        let buckets = self.buckets.map(u64::from);
        let time = |share| percentile(&buckets, share).map_or(Sample::NO_TIME, whole);
        let Self { step, requests, upstream_errors, client_errors, .. } = *self;
        Sample { step, requests, upstream_errors, client_errors, p50: time(0.5), p95: time(0.95) }
    }
}

/// In whole milliseconds; [`percentile`] gives none that does not fit.
#[expect(clippy::cast_sign_loss, reason = "times are not negative")]
fn whole(time: f64) -> u16 {
    time as u16
}
