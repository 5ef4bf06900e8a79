//! How a request and an attempt can end, as they are counted.

use crate::observation::{Observation, Verdict};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// The first choice answered.
    Served,
    /// An attempt failed, and the client saw no error.
    MaskedFailover,
    /// The client got a 5xx.
    ClientError,
    /// nginx had no server left to ask.
    NoLiveUpstreams,
    /// The client went away.
    Aborted,
}

impl Ending {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Served, Self::MaskedFailover, Self::ClientError, Self::NoLiveUpstreams, Self::Aborted];

    /// Of a finished request. `failed`: an attempt did.
    pub(super) fn of(seen: &Observation, failed: bool) -> Self {
        let last = seen.attempts().last().map(|attempt| attempt.verdict);
        match (seen.aborted, last) {
            (true, _) => Self::Aborted,
            (_, Some(Verdict::NoLiveUpstreams)) => Self::NoLiveUpstreams,
            _ if seen.status >= 500 => Self::ClientError,
            _ if failed => Self::MaskedFailover,
            _ => Self::Served,
        }
    }

    /// As the API and the metrics call it.
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

/// Endings of an attempt that are counted, with their names; an unfinished one proves nothing, and without a live upstream there
/// was none.
pub const RESULTS: [(Verdict, &str); 4] = [
    (Verdict::Ok, "ok"),
    (Verdict::ServerError, "server_error"),
    (Verdict::Refused, "refused"),
    (Verdict::TimedOut, "timed_out"),
];
