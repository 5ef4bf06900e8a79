//! The failed requests from which an incident's sums begin: counts for the last seconds in which requests failed.
//!
//! An incident is certain only some time after it began, so its first requests are counted afterwards, from these
//! seconds. A second without a failed request takes no entry: on a quiet site the entries reach hours back, under load
//! a minute.

use crate::alert::Reasons;
use crate::incident::Sums;
use crate::observation::{Observation, Verdict};
use crate::units::Millis;
use crate::window::Entry;

/// Seconds that are kept.
const SECONDS: usize = 64;

/// Failed requests that ended within this time after the first one share an entry.
const WIDTH: Millis = Millis::from_secs(1);

/// The failed requests of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Second {
    /// When the first of them ended; zero: the entry is free.
    begin: Millis,
    /// The number of the first of them among all requests of the upstream.
    number: u64,
    upstream_errors: u32,
    client_errors: u32,
    reasons: Reasons,
}

/// The last seconds with failed requests: fixed-size plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Failures {
    seconds: [Second; SECONDS],
    /// The index of the newest entry.
    newest: u32,
}

impl Default for Failures {
    fn default() -> Self {
        Self { seconds: [Second::default(); SECONDS], newest: 0 }
    }
}

impl Failures {
    /// Counts a request that ended at `now`, if it failed in any way. `number` is its number among all requests.
    pub(crate) fn push(&mut self, entry: Entry, reasons: &Reasons, number: u64, now: Millis) {
        if !entry.upstream_error && !entry.client_error {
            return;
        }
        let now = now.max(Millis(1));
        let mut index = self.newest as usize % SECONDS;
        let begin = self.seconds[index].begin;
        if begin == Millis::ZERO || now >= begin + WIDTH {
            index = (index + 1) % SECONDS;
            self.newest = index as u32;
            self.seconds[index] = Second { begin: now, number, ..Second::default() };
        }
        let second = &mut self.seconds[index];
        second.upstream_errors = second.upstream_errors.saturating_add(u32::from(entry.upstream_error));
        second.client_errors = second.client_errors.saturating_add(u32::from(entry.client_error));
        second.reasons.add(reasons);
    }

    /// The sums over all requests from the first failed one on that ended at `since` or later, or up to a second
    /// before; the number of that request, and when it ended ([`Millis::NEVER`]: there is none). `next` is the number
    /// of the next request.
    pub(crate) fn since(&self, since: Millis, next: u64) -> (Sums, u64, Millis) {
        self.sum(|second| second.begin + WIDTH > since, next)
    }

    /// The same, from the first failed request of the first second that begins with this number or a later one.
    pub(crate) fn since_number(&self, number: u64, next: u64) -> (Sums, u64, Millis) {
        self.sum(|second| second.number >= number, next)
    }

    fn sum(&self, is_counted: impl Fn(&Second) -> bool, next: u64) -> (Sums, u64, Millis) {
        let mut sums = Sums::default();
        let (mut first, mut begin) = (next, Millis::NEVER);
        for second in self.seconds.iter().filter(|second| second.begin != Millis::ZERO && is_counted(second)) {
            sums.upstream_errors = sums.upstream_errors.saturating_add(second.upstream_errors);
            sums.client_errors = sums.client_errors.saturating_add(second.client_errors);
            sums.reasons.add(&second.reasons);
            (first, begin) = (first.min(second.number), begin.min(second.begin));
        }
        sums.requests = next - first;
        (sums, first, begin)
    }
}

/// Why the attempts of a request failed.
pub(crate) fn reasons_of(seen: &Observation) -> Reasons {
    let mut reasons = Reasons::default();
    for attempt in seen.failures() {
        match attempt.verdict {
            Verdict::Ok | Verdict::Unfinished => {}
            Verdict::Rejected => reasons.rejected += 1,
            Verdict::Refused => reasons.refused += 1,
            Verdict::NoAnswer => reasons.no_answer += 1,
            Verdict::ConnectTimedOut => reasons.connect_timed_out += 1,
            Verdict::TimedOut => reasons.timed_out += 1,
            Verdict::ServerError => reasons.server_errors += 1,
            Verdict::NoLiveUpstreams => reasons.no_live_upstreams += 1,
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Attempt;

    const FAILED: Entry = Entry { upstream_error: true, client_error: true };
    const REFUSED: Reasons = Reasons {
        refused: 1,
        no_answer: 0,
        connect_timed_out: 0,
        timed_out: 0,
        server_errors: 0,
        rejected: 0,
        no_live_upstreams: 0,
    };

    #[test]
    fn what_failed_before_is_not_counted_and_good_requests_since_are() {
        let mut failures = Failures::default();
        failures.push(FAILED, &REFUSED, 10, Millis(5_000));
        failures.push(FAILED, &REFUSED, 30, Millis(60_000));
        failures.push(Entry::default(), &Reasons::default(), 31, Millis(60_100));
        failures.push(FAILED, &REFUSED, 32, Millis(60_200));
        let (sums, first, begin) = failures.since(Millis(60_100), 40);
        assert_eq!((sums.requests, sums.upstream_errors, sums.client_errors), (10, 2, 2));
        assert_eq!((sums.reasons.refused, first, begin), (2, 30, Millis(60_000)));
        assert_eq!(failures.since(Millis(6_000), 40).0, sums, "a second is over after a second");
        assert_eq!(failures.since(Millis(5_999), 40).0.upstream_errors, 3);
        assert_eq!(failures.since(Millis(90_000), 40), (Sums::default(), 40, Millis::NEVER));
        assert_eq!(failures.since_number(11, 40).0, sums);
    }

    #[test]
    fn on_a_quiet_site_the_seconds_reach_hours_back_and_the_oldest_go_first() {
        let mut failures = Failures::default();
        for hour in 0..100_u64 {
            failures.push(FAILED, &REFUSED, hour * 10, Millis::from_secs(1 + hour * 3600));
        }
        let (sums, first, _) = failures.since(Millis::ZERO, 1000);
        assert_eq!((sums.upstream_errors, first), (SECONDS as u32, 360));
    }

    #[test]
    fn a_request_counts_that_failed_at_the_upstream_or_for_the_client_alone() {
        let mut failures = Failures::default();
        let push = |failures: &mut Failures, upstream_error, client_error, number| {
            failures.push(Entry { upstream_error, client_error }, &REFUSED, number, Millis(5_000 + number));
        };
        push(&mut failures, false, false, 9);
        push(&mut failures, true, false, 10);
        push(&mut failures, false, true, 11);
        let (sums, first, _) = failures.since(Millis::ZERO, 20);
        assert_eq!((sums.requests, sums.upstream_errors, sums.client_errors, first), (10, 1, 1, 10));
    }

    #[test]
    fn what_fails_within_a_second_takes_the_place_of_one_second() {
        let mut failures = Failures::default();
        failures.push(FAILED, &REFUSED, 1, Millis(1_000));
        (0..100).for_each(|index| failures.push(FAILED, &REFUSED, 10 + index, Millis(60_000 + index)));
        assert_eq!(failures.since(Millis::ZERO, 200).0.upstream_errors, 101);
    }

    #[test]
    fn each_failed_attempt_has_its_reason() {
        let mut seen = Observation::default();
        let verdicts = [
            Verdict::Refused,
            Verdict::TimedOut,
            Verdict::TimedOut,
            Verdict::ServerError,
            Verdict::NoAnswer,
            Verdict::ConnectTimedOut,
            Verdict::Rejected,
            Verdict::NoLiveUpstreams,
            Verdict::Ok,
        ];
        for (peer, verdict) in (0..).zip(verdicts) {
            seen.push(Attempt { peer, verdict, ..Attempt::default() });
        }
        let reasons = Reasons {
            refused: 1,
            no_answer: 1,
            connect_timed_out: 1,
            timed_out: 2,
            server_errors: 1,
            rejected: 1,
            no_live_upstreams: 1,
        };
        assert_eq!(reasons_of(&seen), reasons);
    }
}
