//! One finished request as the log phase saw it: owned, one cache line, nothing to look up later.
//!
//! A request that an internal redirect sent through two upstreams makes two observations, one per upstream.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::text::{Name, Text};
use crate::units::Millis;

/// Attempts kept of one request. With more, the middle ones are left out: the first says what failed, the last what answered.
pub const MAX_ATTEMPTS: usize = 8;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Not finished (the client went away, the worker shut down): proves nothing.
    #[default]
    Unfinished,
    /// A response header below 500 came.
    Ok,
    /// The application itself answered 5xx.
    ServerError,
    /// No usable answer: refused, reset, garbage (nginx's own 502).
    Refused,
    /// nginx's own 504.
    TimedOut,
    /// nginx had no server left to ask; no peer was involved.
    NoLiveUpstreams,
}

impl Verdict {
    /// Did this attempt fail?
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Unfinished | Self::Ok)
    }
}

/// One attempt at one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Index among the upstream's configured peers; [`Attempt::UNKNOWN_PEER`]: an address that the configuration did not name.
    pub peer: u16,
    /// How it ended.
    pub verdict: Verdict,
    /// nginx's status for it, the application's or its own.
    pub status: u16,
    /// When the peer was chosen.
    pub start: Millis,
    /// Until the response header, in milliseconds; meaningless unless a header came.
    pub to_header: u32,
}

impl Attempt {
    /// The peer is not in the configuration (resolved at run time).
    pub const UNKNOWN_PEER: u16 = u16::MAX;
}

/// A request that went wrong, as an example for people. Made for failed requests only, and not for each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Example {
    /// When the log phase saw it.
    pub at: Millis,
    /// The client's final status.
    pub status: u16,
    /// The request method.
    pub method: Text<16>,
    /// The path, never the query.
    pub path: Text<120>,
    /// `$upstream_status` of this upstream's attempts.
    pub upstream_status: Text<48>,
    /// `$upstream_addr` of this upstream's attempts.
    pub upstream_addr: Text<128>,
    /// `$upstream_response_time` of this upstream's attempts.
    pub upstream_response_time: Text<64>,
}

/// What the headers of an answer named. Made anew when a peer names something else, and shared by all its answers until then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The pool; empty: none.
    pub pool: Name,
    /// The release; empty: none.
    pub release: Text<64>,
}

/// One finished request at one upstream.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Index among this worker's watched upstreams.
    pub upstream: u16,
    /// The client's final status; 0: none was sent.
    pub status: u16,
    /// The client went away before the end (499), or nginx cut it off: no evidence about the upstream.
    pub aborted: bool,
    /// The attempts in their order, 1 to [`MAX_ATTEMPTS`]. A request that went well has one, and its place is here.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// What the last attempt's response named; `None`: nothing, or see [`Observation::names_as_before`].
    pub names: Option<Arc<Names>>,
    /// It named what this peer's last response named, which [`Recall`] knows.
    pub names_as_before: bool,
    /// What more is known of some failed requests.
    pub failure: Option<Box<Failure>>,
}

/// What more is known of a failed request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failure {
    /// Peers that nginx itself will not ask for now, one bit per configured peer below 64, read from a peer table which all
    /// workers share. Zero: none, or no such table.
    pub unusable_peers: u64,
    /// Not of each.
    pub example: Option<Example>,
}

impl Observation {
    /// The attempts in their order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Adds an attempt. When all places are taken the newest replaces the last.
    pub fn push(&mut self, attempt: Attempt) {
        self.attempts.truncate(MAX_ATTEMPTS - 1);
        self.attempts.push(attempt);
    }

    /// The pool header of the last attempt's response; empty: none.
    pub fn pool(&self) -> &Name {
        self.names.as_ref().map_or(&Name::EMPTY, |names| &names.pool)
    }

    /// The release header of the last attempt's response; empty: none.
    pub fn release(&self) -> &Text<64> {
        self.names.as_ref().map_or(&Text::EMPTY, |names| &names.release)
    }

    /// See [`Failure::unusable_peers`].
    pub fn unusable_peers(&self) -> u64 {
        self.failure.as_ref().map_or(0, |failure| failure.unusable_peers)
    }

    /// Did any attempt fail, whatever the client saw?
    pub fn has_failure(&self) -> bool {
        self.failures().next().is_some()
    }

    /// The attempts that failed. One whose peer answered the next attempt is none of them: nginx asks a peer again only when a kept
    /// connection turns out to have been closed, which no peer is to blame for.
    pub fn failures(&self) -> impl Iterator<Item = &Attempt> {
        let attempts = self.attempts();
        let was_stale = |attempt: &Attempt, next: &Attempt| {
            let is_same = attempt.peer == next.peer && attempt.peer != Attempt::UNKNOWN_PEER;
            is_same && attempt.verdict == Verdict::Refused && next.verdict == Verdict::Ok
        };
        let failed = move |&(place, attempt): &(usize, &Attempt)| {
            attempt.verdict.is_failure() && !attempts.get(place + 1).is_some_and(|next| was_stale(attempt, next))
        };
        attempts.iter().enumerate().filter(failed).map(|(_, attempt)| attempt)
    }

    /// The answered attempt: the last one, if it is ok.
    pub fn answer(&self) -> Option<&Attempt> {
        self.attempts().last().filter(|attempt| attempt.verdict == Verdict::Ok)
    }
}

/// What the peers' responses named last. The event loop sends names only when they have changed, and shares nothing with the
/// observer that both would write to for each request.
#[derive(Debug)]
pub struct Recall {
    /// By upstream, and there by the peer's index, then for all others together.
    names: Vec<Vec<Option<Arc<Names>>>>,
}

impl Recall {
    /// For upstreams with so many configured peers each.
    pub fn new(peers: impl Iterator<Item = usize>) -> Self {
        Self { names: peers.map(|count| vec![None; count + 1]).collect() }
    }

    /// Fills in the names of an observation, which must come in the order in which they were sent.
    pub fn complete(&mut self, seen: &mut Observation) {
        let (Some(peers), Some(last)) = (self.names.get_mut(usize::from(seen.upstream)), seen.attempts.last()) else {
            return;
        };
        let place = usize::from(last.peer).min(peers.len() - 1);
        match peers.get_mut(place) {
            Some(known) if seen.names_as_before => seen.names.clone_from(known),
            Some(known) if seen.names.is_some() => known.clone_from(&seen.names),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_peer_named_before_are_filled_in() {
        let names = |pool: &[u8]| Some(Arc::new(Names { pool: Name::new(pool), ..Names::default() }));
        let mut recall = Recall::new([2, 1].into_iter());
        let mut complete = |upstream, peer, names, names_as_before| {
            let mut seen = Observation { upstream, names, names_as_before, ..Observation::default() };
            seen.push(Attempt { peer, ..Attempt::default() });
            recall.complete(&mut seen);
            seen.pool().as_bytes().to_vec()
        };
        assert_eq!(complete(0, 0, names(b"blue"), false), b"blue");
        assert_eq!(complete(0, 1, names(b"green"), false), b"green");
        assert_eq!(complete(1, 0, names(b"red"), false), b"red");
        assert_eq!(complete(0, 0, None, false), b"", "nothing was named");
        assert_eq!(complete(0, 0, None, true), b"blue");
        assert_eq!(complete(0, 1, None, true), b"green");
        assert_eq!(complete(1, 0, None, true), b"red");
        for stranger in [2, Attempt::UNKNOWN_PEER] {
            assert_eq!(complete(0, stranger, names(b"grey"), false), b"grey");
            assert_eq!(complete(0, stranger, None, true), b"grey");
        }
        assert_eq!(complete(9, 0, None, true), b"", "there is no such upstream");
    }

    #[test]
    fn it_fits_in_a_cache_line_with_the_stamp_that_the_channel_puts_beside_it() {
        assert!(size_of::<Observation>() <= 64 - size_of::<usize>());
    }

    #[test]
    fn a_refused_attempt_is_a_failure_unless_the_same_peer_then_answers() {
        let failures = |peers: [u16; 2], verdicts: [Verdict; 2]| {
            let mut seen = Observation::default();
            peers.into_iter().zip(verdicts).for_each(|(peer, verdict)| {
                seen.push(Attempt { peer, verdict, ..Attempt::default() });
            });
            seen.failures().count()
        };
        assert_eq!(failures([0, 0], [Verdict::Refused, Verdict::Ok]), 0, "a stale kept connection");
        assert_eq!(failures([0, 1], [Verdict::Refused, Verdict::Ok]), 1);
        assert_eq!(failures([0, 0], [Verdict::Refused, Verdict::Refused]), 2);
        assert_eq!(failures([0, 0], [Verdict::TimedOut, Verdict::Ok]), 1);
        let strangers = [Attempt::UNKNOWN_PEER; 2];
        assert_eq!(failures(strangers, [Verdict::Refused, Verdict::Ok]), 1, "who knows whether they are the same");
    }

    #[test]
    fn of_too_many_attempts_the_first_and_the_last_are_kept() {
        let mut observation = Observation::default();
        for status in 500..520 {
            observation.push(Attempt { status, ..Attempt::default() });
        }
        assert_eq!(observation.attempts().len(), MAX_ATTEMPTS);
        assert_eq!(observation.attempts().first().map(|attempt| attempt.status), Some(500));
        assert_eq!(observation.attempts().last().map(|attempt| attempt.status), Some(519));
    }
}
