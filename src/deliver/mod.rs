//! From a report to a receiver: bodies are pure functions, [`http`] is the only socket.

pub mod http;
mod resolve;
pub mod slack;

use crate::config::receiver::Endpoint;

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

/// One exchange with a receiver; [`http::Client`] over the network, a list in tests.
pub trait Post {
    /// Posts one JSON body to `endpoint`.
    ///
    /// # Errors
    /// No answer came; see [`PostError`].
    fn post(&self, endpoint: &Endpoint, body: &str) -> Result<Reply, PostError>;
}
