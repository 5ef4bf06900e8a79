//! Exact error counts over the last N requests, in constant time and memory.
//!
//! Each request is two bits in a ring: *an attempt failed* and *the client got an error*. The ring is longer than the
//! largest window, so entries that are written but not yet committed never overwrite entries that the committed counts
//! cover: a worker killed in between loses its batch and nothing else.

use crate::crash;
use crate::units::Millis;

/// The largest window in requests.
pub const MAX_REQUESTS: u32 = 100_000;

/// Entries of the ring: the largest window plus 256, the room for one batch.
pub const ENTRIES: usize = MAX_REQUESTS as usize + 256;

/// Words of the ring, 32 entries each.
pub const WORDS: usize = ENTRIES / 32;

/// The bits of the ring, 24.5 KiB.
pub type Ring = [u64; WORDS];

const UPSTREAM_BIT: u64 = 0b01;
const CLIENT_BIT: u64 = 0b10;

/// One request, as the window counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// An attempt failed, even if the client got a good answer.
    pub upstream_error: bool,
    /// The client got a 5xx.
    pub client_error: bool,
}

/// The counts over the ring's last `size` entries: plain data, cheap to copy and to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Window {
    /// Requests ever counted, which is also the number of the next request.
    pub head: u64,
    /// Entries in the window, at most `size`; fewer while the window fills.
    pub requests: u32,
    /// The length of the window in requests, 1 to [`MAX_REQUESTS`].
    pub size: u32,
    /// Entries with a failed attempt.
    pub upstream_errors: u32,
    /// Entries with a client error.
    pub client_errors: u32,
}

impl Window {
    /// An empty window over `size` requests; `size` is clamped to 1 to [`MAX_REQUESTS`].
    pub fn new(size: u32) -> Self {
        Self { head: 0, requests: 0, size: size.clamp(1, MAX_REQUESTS), upstream_errors: 0, client_errors: 0 }
    }

    /// The counts of the window.
    pub fn counts(&self) -> Counts {
        let Self { requests, upstream_errors, client_errors, .. } = *self;
        Counts { requests, upstream_errors, client_errors }
    }

    /// Counts one request. A full window drops its oldest entry.
    pub fn push(&mut self, ring: &mut Ring, entry: Entry) {
        let bits = (u64::from(entry.upstream_error) * UPSTREAM_BIT) | (u64::from(entry.client_error) * CLIENT_BIT);
        let (word, shift) = bits_of(self.head);
        ring[word] = (ring[word] & !(0b11 << shift)) | (bits << shift);
        crash::at("ring-pushed");
        self.head += 1;
        self.requests += 1;
        self.upstream_errors += u32::from(entry.upstream_error);
        self.client_errors += u32::from(entry.client_error);
        self.trim(ring);
    }

    /// Empties the window. The numbers of requests go on.
    pub fn clear(&mut self) {
        (self.requests, self.upstream_errors, self.client_errors) = (0, 0, 0);
    }

    /// The counts over the requests from `number` on, but at most over the newest `most` and the newest
    /// [`MAX_REQUESTS`].
    pub fn counts_from(&self, ring: &Ring, number: u64, most: u32) -> Counts {
        let first = number.max(self.head.saturating_sub(u64::from(most.min(MAX_REQUESTS))));
        let mut counts = Counts::default();
        for index in first..self.head {
            let (word, shift) = bits_of(index);
            let bits = ring[word] >> shift;
            counts.requests += 1;
            counts.upstream_errors += u32::from(bits & UPSTREAM_BIT != 0);
            counts.client_errors += u32::from(bits & CLIENT_BIT != 0);
        }
        counts
    }

    /// Sets a new size after a reload: a smaller window drops its oldest entries, a larger one fills as requests come.
    pub fn resize(&mut self, ring: &Ring, size: u32) {
        self.size = size.clamp(1, MAX_REQUESTS);
        self.trim(ring);
    }

    fn trim(&mut self, ring: &Ring) {
        while self.requests > self.size {
            let (word, shift) = bits_of(self.head - u64::from(self.requests));
            let bits = ring[word] >> shift;
            self.upstream_errors -= u32::from(bits & UPSTREAM_BIT != 0);
            self.client_errors -= u32::from(bits & CLIENT_BIT != 0);
            self.requests -= 1;
        }
    }
}

/// Counts over the last span of time, in sixty buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Period {
    width: Millis,
    buckets: [Bucket; BUCKETS],
}

const BUCKETS: usize = 60;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Bucket {
    /// The number of the bucket's span of time: start ÷ width. With the shortest period (10 s) 32 bits last for 22
    /// years.
    epoch: u32,
    counts: Counts,
}

/// Requests and their errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// Requests.
    pub requests: u32,
    /// Requests with a failed attempt, even if the client got a good answer.
    pub upstream_errors: u32,
    /// Requests whose client got a 5xx.
    pub client_errors: u32,
}

impl Period {
    /// An empty period over `span`; zero: there is no period, and nothing is counted.
    pub fn new(span: Millis) -> Self {
        Self { width: Millis(span.0 / BUCKETS as u64), buckets: [Bucket::default(); BUCKETS] }
    }

    /// Empties all buckets.
    pub fn clear(&mut self) {
        self.buckets = [Bucket::default(); BUCKETS];
    }

    /// Sets the span. With another span all counts are dropped.
    pub fn set_span(&mut self, span: Millis) {
        if self.width != Self::new(span).width {
            *self = Self::new(span);
        }
    }

    /// Counts a request by its end, so that a request that hung for longer than the period is an error of now. A
    /// request that ended before the period does not count.
    pub fn push(&mut self, entry: Entry, end: Millis) {
        let Some(epoch) = self.epoch(end) else { return };
        let bucket = &mut self.buckets[epoch as usize % BUCKETS];
        if bucket.epoch < epoch {
            *bucket = Bucket { epoch, ..Bucket::default() };
        }
        if bucket.epoch == epoch {
            bucket.counts.requests = bucket.counts.requests.saturating_add(1);
            bucket.counts.upstream_errors += u32::from(entry.upstream_error);
            bucket.counts.client_errors += u32::from(entry.client_error);
        }
    }

    /// The counts of the period that ends now, exact to the width of a bucket; `None`: there is no period.
    pub fn counts(&self, now: Millis) -> Option<Counts> {
        let last = self.epoch(now)?;
        let mut all = Counts::default();
        for bucket in self.buckets.iter().filter(|bucket| bucket.epoch + BUCKETS as u32 > last && bucket.epoch <= last)
        {
            all.requests = all.requests.saturating_add(bucket.counts.requests);
            all.upstream_errors = all.upstream_errors.saturating_add(bucket.counts.upstream_errors);
            all.client_errors = all.client_errors.saturating_add(bucket.counts.client_errors);
        }
        Some(all)
    }

    fn epoch(&self, instant: Millis) -> Option<u32> {
        instant.0.checked_div(self.width.0).map(|epoch| epoch as u32)
    }
}

impl Default for Period {
    fn default() -> Self {
        Self::new(Millis::ZERO)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new(200)
    }
}

const fn bits_of(index: u64) -> (usize, u32) {
    let entry = (index % ENTRIES as u64) as usize;
    (entry / 32, (entry % 32) as u32 * 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring() -> Box<Ring> {
        vec![0; WORDS].into_boxed_slice().try_into().expect("the ring's length")
    }

    proptest! {
        #[test]
        fn counts_equal_a_plain_list_of_the_last_requests(
            entries in prop::collection::vec((any::<bool>(), any::<bool>()), 0..600),
            size in 1u32..300,
            resized in 1u32..300,
        ) {
            let mut ring = ring();
            let mut window = Window::new(size);
            for &(upstream_error, client_error) in &entries {
                window.push(&mut ring, Entry { upstream_error, client_error });
            }
            window.resize(&ring, resized);
            let kept = entries.len().min(size as usize).min(resized as usize);
            let last = &entries[entries.len() - kept..];
            prop_assert_eq!(window.requests as usize, kept);
            prop_assert_eq!(window.upstream_errors as usize, last.iter().filter(|entry| entry.0).count());
            prop_assert_eq!(window.client_errors as usize, last.iter().filter(|entry| entry.1).count());
        }
    }

    #[test]
    fn a_period_forgets_what_is_older_than_itself() {
        let mut period = Period::new(Millis::from_secs(60));
        let error = Entry { upstream_error: true, client_error: false };
        for second in 0..120 {
            period.push(if second < 90 { error } else { Entry::default() }, Millis::from_secs(1000 + second));
        }
        let counts = period.counts(Millis::from_secs(1119)).expect("a period");
        assert_eq!((counts.requests, counts.upstream_errors, counts.client_errors), (60, 30, 0));
        assert_eq!(period.counts(Millis::from_secs(2000)), Some(Counts::default()));
        assert_eq!(Period::default().counts(Millis(5)), None);
    }

    #[test]
    fn the_largest_window_wraps_around_the_ring_exactly() {
        let mut ring = ring();
        let mut window = Window::new(MAX_REQUESTS);
        for index in 0..3 * ENTRIES {
            window.push(&mut ring, Entry { upstream_error: index % 10 == 0, client_error: index % 100 == 0 });
        }
        assert_eq!(window.requests, MAX_REQUESTS);
        assert_eq!(window.upstream_errors, MAX_REQUESTS / 10);
        assert_eq!(window.client_errors, MAX_REQUESTS / 100);
    }

    #[test]
    fn a_batch_lost_before_its_commit_leaves_the_committed_counts_right() {
        let mut ring = ring();
        let mut committed = Window::new(MAX_REQUESTS);
        for index in 0..ENTRIES {
            committed.push(&mut ring, Entry { upstream_error: index % 2 == 0, client_error: false });
        }
        let mut lost = committed;
        for _ in 0..ENTRIES - MAX_REQUESTS as usize {
            lost.push(&mut ring, Entry { upstream_error: true, client_error: true });
        }
        committed.resize(&ring, 1000);
        assert_eq!((committed.upstream_errors, committed.client_errors), (500, 0));
    }

    #[test]
    fn requests_from_a_number_on_are_counted_by_kind_of_error_and_a_cleared_window_has_none() {
        let (mut ring, mut window) = (ring(), Window::new(10));
        for (upstream_error, client_error) in
            [(true, true), (true, false), (true, false), (false, true), (false, false)]
        {
            window.push(&mut ring, Entry { upstream_error, client_error });
        }
        let counts = |number, most| {
            let Counts { requests, upstream_errors, client_errors } = window.counts_from(&ring, number, most);
            [requests, upstream_errors, client_errors]
        };
        assert_eq!([counts(1, 10), counts(0, 2), counts(5, 10)], [[4, 2, 1], [2, 0, 1], [0, 0, 0]]);
        window.clear();
        assert_eq!((window.counts(), window.head), (Counts::default(), 5));
    }

    #[test]
    fn a_period_counts_each_kind_of_error_and_forgets_a_request_when_it_is_as_old_as_itself() {
        let mut period = Period::new(Millis::from_secs(60));
        for (upstream_error, client_error) in [(true, false), (false, true), (false, true)] {
            period.push(Entry { upstream_error, client_error }, Millis::from_secs(1000));
        }
        let counts = Counts { requests: 3, upstream_errors: 1, client_errors: 2 };
        assert_eq!(period.counts(Millis::from_secs(1059)), Some(counts));
        assert_eq!(period.counts(Millis::from_secs(1060)), Some(Counts::default()));
        period.clear();
        assert_eq!(period.counts(Millis::from_secs(1059)), Some(Counts::default()));
    }
}
