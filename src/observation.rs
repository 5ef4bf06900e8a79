//! One finished request as nginx's log phase saw it: owned data, one cache line, nothing to look up later.
//!
//! A request that an internal redirect sent through two upstreams makes two observations, one per upstream; through two
//! blocks of one service it makes one.

pub mod peer_set;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::observation::peer_set::PeerSet;
use crate::text::{Name, Text};
use crate::units::Millis;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Not finished: the client went away, or the worker shut down. Proves nothing about the peer.
    #[default]
    Unfinished,
    /// A response header with a status below 500 arrived, and nginx kept the response.
    Ok,
    /// A status below 500 arrived, but nginx asked another peer (`proxy_next_upstream http_403 http_404 http_429`).
    Rejected,
    /// The application itself answered 5xx.
    ServerError,
    /// No connection stood: refused, or unreachable.
    Refused,
    /// A connection stood, but no usable answer came: closed early, a header that is invalid or too big, or TLS failed.
    NoAnswer,
    /// No connection stood in time (nginx's own 504).
    ConnectTimedOut,
    /// A connection stood, but no response header came in time (nginx's own 504).
    TimedOut,
    /// nginx had no server left to ask, so no peer was involved.
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
    /// Index among the upstream's configured peers; [`Attempt::UNKNOWN_PEER`]: the address is not in the configuration.
    pub peer: u16,
    /// How it ended.
    pub verdict: Verdict,
    /// The response's final status, or one that nginx made (502, 504).
    pub status: u16,
    /// When nginx chose the peer.
    pub start: Millis,
    /// Milliseconds until the response header; meaningless unless a header arrived.
    pub to_header: u32,
}

impl Attempt {
    /// The address is not in the configuration (nginx resolved it at run time).
    pub const UNKNOWN_PEER: u16 = u16::MAX;

    /// Milliseconds until the response header; `None`: none came.
    pub fn response_time(&self) -> Option<u32> {
        matches!(self.verdict, Verdict::Ok | Verdict::Rejected | Verdict::ServerError).then_some(self.to_header)
    }

    /// The first digit of the response's status, 1 to 5; `None`: no response came.
    pub fn status_class(&self) -> Option<usize> {
        self.response_time()?;
        Some(usize::from(self.status / 100)).filter(|class| (1..=5).contains(class))
    }
}

/// A failed request, as an example for people. A text that is too long ends with an ellipsis. The event loop makes one only of some failed requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Example {
    /// When the log phase saw the request.
    pub at: Millis,
    /// The client's final status.
    pub status: u16,
    /// The request method.
    pub method: Text<16>,
    /// The path, never the query.
    pub path: Text<120>,
    /// `$upstream_status` of the attempts at this upstream.
    pub upstream_status: Text<48>,
    /// `$upstream_addr` of the attempts at this upstream; two of the longest sockets fit.
    pub upstream_addr: Text<232>,
    /// `$upstream_response_time` of the attempts at this upstream, in seconds with three decimals, as nginx writes it.
    pub upstream_response_time: Text<80>,
}

/// The names in the headers of an answer. A new value is made when a peer's headers change; all answers of that peer
/// share the value until then.
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
    /// What became of the request: the response's status if the last attempt was answered, else the client's final
    /// status; 0: nginx sent none.
    pub status: u16,
    /// Of a service: the index of the block that the request was sent to first.
    pub block: u8,
    /// The client went away before the end (499), or nginx cut the request off: no evidence about the upstream.
    pub aborted: bool,
    /// The attempts in their order, at least one. A request that went well has one attempt, which needs no allocation.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// What the last attempt's response named; `None`: no names, or the same as before, see
    /// [`Observation::names_as_before`].
    pub names: Option<Arc<Names>>,
    /// The response named what this peer's last response named. [`NameCache`] knows those names.
    pub names_as_before: bool,
    /// More about a request that did not go the usual way; `None`: it went well, or nothing more is known.
    pub details: Option<Box<Details>>,
}

/// An address to which nginx resolved a server at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The index that it has from now on in [`Attempt::peer`].
    pub peer: u16,
    /// The index of the server's name among the configured peers.
    pub server: u16,
    /// The address as nginx writes it.
    pub address: Box<[u8]>,
}

/// More about a request that did not go the usual way.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// What nginx's own table of peers said.
    pub marks: Marks,
    /// The request as an example; `None`: it did not fail, or the event loop made no example of it.
    pub example: Option<Example>,
    /// Addresses that the event loop found first in this request.
    pub resolved: Vec<Resolved>,
}

/// Which peers nginx does not ask at present, by its own table of peers. Empty: it asks all, or its balancer keeps no
/// such table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// Peers that failed too often, or are `down`.
    pub unusable: PeerSet,
    /// Peers that have all the connections that they may have (`max_conns`).
    pub full: PeerSet,
    /// All workers share the table (`zone`); `false`: it is the worker's own.
    pub is_shared: bool,
}

impl Marks {
    /// Does nginx ask each peer?
    pub fn are_empty(&self) -> bool {
        self.unusable.is_empty() && self.full.is_empty()
    }
}

impl Observation {
    /// The attempts in their order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Adds an attempt.
    pub fn push(&mut self, attempt: Attempt) {
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

    /// What nginx's own table of peers said, if it was read.
    pub fn marks(&self) -> Marks {
        self.details.as_ref().map_or_else(Marks::default, |details| details.marks)
    }

    /// Did the client get an error? An answer without a status is one: nginx passes it on as it came, if it is no HTTP.
    pub fn is_client_error(&self) -> bool {
        let has_failed = || self.attempts().last().is_some_and(|last| last.verdict.is_failure());
        self.status >= 500 || (self.status < 100 && !self.aborted && has_failed())
    }

    /// See [`Details::resolved`].
    pub fn resolved(&self) -> &[Resolved] {
        self.details.as_ref().map_or(&[], |details| &details.resolved)
    }

    /// Did any attempt fail, even if the client got a good answer?
    pub fn has_failure(&self) -> bool {
        self.failures().next().is_some()
    }

    /// The attempts that failed. One without an answer whose peer then answered the next attempt is left out: nginx asks
    /// the same peer again only when a kept connection turns out to be closed, and no peer is to blame for that.
    pub fn failures(&self) -> impl Iterator<Item = &Attempt> {
        let attempts = self.attempts();
        let was_stale = |attempt: &Attempt, next: &Attempt| {
            let is_same = attempt.peer == next.peer && attempt.peer != Attempt::UNKNOWN_PEER;
            is_same && matches!(attempt.verdict, Verdict::Refused | Verdict::NoAnswer) && next.verdict == Verdict::Ok
        };
        let failed = move |&(index, attempt): &(usize, &Attempt)| {
            attempt.verdict.is_failure() && !attempts.get(index + 1).is_some_and(|next| was_stale(attempt, next))
        };
        attempts.iter().enumerate().filter(failed).map(|(_, attempt)| attempt)
    }

    /// The attempt that was answered: the last one, if it is ok.
    pub fn answer(&self) -> Option<&Attempt> {
        self.attempts().last().filter(|attempt| attempt.verdict == Verdict::Ok)
    }
}

/// The names in the last response of each peer. The event loop sends names only when they have changed, so that it and
/// the observer share no memory that both write for each request. For that, the event loop remembers in src/nginx what
/// it sent for each peer.
#[derive(Debug)]
pub struct NameCache {
    /// By upstream; then by the peer's index, with one more element for all peers that are not configured.
    names: Vec<Vec<Option<Arc<Names>>>>,
}

impl NameCache {
    /// For upstreams with these numbers of configured peers.
    pub fn new(peers: impl Iterator<Item = usize>) -> Self {
        Self { names: peers.map(|count| vec![None; count + 1]).collect() }
    }

    /// Fills in the names of an observation. Observations must come in the order in which they were sent.
    pub fn complete(&mut self, seen: &mut Observation) {
        let (Some(peers), Some(last)) = (self.names.get_mut(usize::from(seen.upstream)), seen.attempts.last()) else {
            return;
        };
        let index = usize::from(last.peer).min(peers.len() - 1);
        match peers.get_mut(index) {
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
        let mut name_cache = NameCache::new([2, 1].into_iter());
        let mut complete = |upstream, peer, names, names_as_before| {
            let mut seen = Observation { upstream, names, names_as_before, ..Observation::default() };
            seen.push(Attempt { peer, ..Attempt::default() });
            name_cache.complete(&mut seen);
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
    fn an_observation_and_the_stamp_of_the_channel_fit_in_a_cache_line() {
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
    fn an_answer_that_is_no_http_is_an_error_of_the_client() {
        let is_error = |status, verdict, aborted| {
            let mut seen = Observation { status, aborted, ..Observation::default() };
            seen.push(Attempt { verdict, ..Attempt::default() });
            seen.is_client_error()
        };
        assert!(is_error(502, Verdict::Refused, false) && is_error(500, Verdict::ServerError, false));
        assert!(is_error(0, Verdict::NoAnswer, false) && is_error(9, Verdict::NoAnswer, false));
        assert!(!is_error(0, Verdict::NoAnswer, true) && !is_error(0, Verdict::Unfinished, false));
        assert!(!is_error(200, Verdict::NoAnswer, false) && !is_error(404, Verdict::Ok, false));
    }
}
