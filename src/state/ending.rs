//! How requests and attempts end, as the counters distinguish it.

use crate::observation::{Observation, Verdict};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// The first peer that nginx asked answered.
    Served,
    /// An attempt failed, but the client got no error.
    MaskedFailover,
    /// The client got a 5xx, or an answer that is no HTTP.
    ClientError,
    /// nginx had no server left to ask.
    NoLiveUpstreams,
    /// The client went away, or nginx cut the request off.
    Aborted,
}

impl Ending {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Served, Self::MaskedFailover, Self::ClientError, Self::NoLiveUpstreams, Self::Aborted];

    /// The ending of a finished request. `failed`: one of its attempts failed.
    pub(super) fn of(seen: &Observation, failed: bool) -> Self {
        let last = seen.attempts().last().map(|attempt| attempt.verdict);
        match (seen.aborted, last) {
            (true, _) => Self::Aborted,
            (_, Some(Verdict::NoLiveUpstreams)) => Self::NoLiveUpstreams,
            _ if seen.is_client_error() => Self::ClientError,
            _ if failed => Self::MaskedFailover,
            _ => Self::Served,
        }
    }

    /// The name in the API and in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::MaskedFailover => "masked_failover",
            Self::ClientError => "client_error",
            Self::NoLiveUpstreams => "no_live_upstreams",
            Self::Aborted => "aborted",
        }
    }
}

/// The endings of an attempt that are counted, with their names. An unfinished attempt proves nothing, and without a
/// live upstream there was no attempt.
pub const RESULTS: [(Verdict, &str); 7] = [
    (Verdict::Ok, "ok"),
    (Verdict::Rejected, "rejected"),
    (Verdict::ServerError, "server_error"),
    (Verdict::Refused, "refused"),
    (Verdict::NoAnswer, "no_answer"),
    (Verdict::ConnectTimedOut, "connect_timed_out"),
    (Verdict::TimedOut, "timed_out"),
];
