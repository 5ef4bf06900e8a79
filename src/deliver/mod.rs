//! From a report to a receiver: bodies are pure functions, [`http`] is the only socket.

pub mod backoff;
pub mod http;
mod resolve;
pub mod slack;
pub mod tally;

use std::fmt;

use crate::text::Name;
use crate::units::Millis;

/// A `poolwatch_receiver` of the configuration.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// `name=`, else the type's name; the zone keeps a receiver's debts under it over reloads.
    pub name: Name,
    /// What speaks at the other end.
    pub kind: ReceiverKind,
    /// Where.
    pub endpoint: Endpoint,
    /// `send_resolved=`: also tell when it is over. Off: recoveries and resolved rates are settled unsent.
    pub send_resolved: bool,
}

/// What speaks at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// A Slack incoming webhook.
    Slack,
}

impl ReceiverKind {
    /// As `poolwatch_receiver` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
        }
    }
}

/// Where and how to post. The URL is a credential: `Debug` and `Display` show its host and last four characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://` or `https://`, complete.
    pub url: String,
    /// `timeout=`: for the whole exchange, name resolution included.
    pub timeout: Millis,
    /// `ca_file=`: PEM text of the only roots to trust; empty: the built-in roots.
    pub ca_pem: Vec<u8>,
    /// `proxy=`; empty: none (the environment is never asked).
    pub proxy: String,
}

impl Endpoint {
    /// The URL's host and port, the part that is no secret.
    pub fn host(&self) -> &str {
        let host = self.url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(""));
        host.rsplit('@').next().unwrap_or("")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host();
        let mut tail: Vec<char> = self.url.chars().rev().take(4).collect();
        tail.reverse();
        write!(f, "{host}/...{}", tail.into_iter().collect::<String>())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status line's code.
    pub status: u16,
    /// The body, at most 4 KiB of it; invalid UTF-8 replaced.
    pub body: String,
    /// The `Retry-After` header, as sent.
    pub retry_after: Option<String>,
}

/// Why nothing came back. Never holds the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostError {
    /// The name did not resolve.
    Resolve,
    /// No connection: refused, unreachable, reset.
    Connect(String),
    /// No trust: expired, wrong name, unknown authority, no TLS spoken.
    Tls(String),
    /// The time was over; whether it arrived is unknown.
    TimedOut,
    /// This worker exits and waited no longer; whether it arrived is unknown.
    Exiting,
    /// Anything else, in own words.
    Other(String),
}

/// What an exchange means for the debt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Accepted,
    /// Nobody may send to this receiver for that long (already clamped); `None`: it did not say how long.
    RateLimited(Option<Millis>),
    /// May be better later: try again with back-off.
    Retry(String),
    /// The exiting worker broke it off. That says nothing of the receiver, so the next worker tries at once.
    CutShort,
    /// The receiver dislikes the payload: the same bytes are never sent again, the plain fallback may be.
    Rejected(String),
    /// The receiver is gone or refuses us: keep the debt, probe slowly.
    Broken(String),
}

/// One exchange with a receiver; [`http::Client`] over the network, a list in tests.
pub trait Post {
    /// Posts one JSON body to `endpoint`.
    ///
    /// # Errors
    /// No answer came; see [`PostError`].
    fn post(&self, endpoint: &Endpoint, body: &str) -> Result<Reply, PostError>;
}
