//! From an alert to a receiver: message bodies are pure functions, and only [`http`] opens a socket.

pub mod http;
mod resolve;
pub mod slack;

use crate::config::receiver::Endpoint;

/// A receiver's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status line's code.
    pub status: u16,
    /// The body, at most its first 4 KiB; invalid UTF-8 is replaced.
    pub body: String,
    /// The `Retry-After` header, cleaned, at most 64 bytes; `None`: none was sent.
    pub retry_after: Option<String>,
}

/// Why no answer came. Never holds the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostError {
    /// The host name did not resolve.
    Resolve,
    /// No connection: refused, unreachable, reset. The text says why.
    Connect(String),
    /// The peer cannot be trusted: certificate expired, wrong name, unknown authority, or no TLS. The text says why.
    Tls(String),
    /// The timeout passed; whether the message arrived is unknown.
    TimedOut,
    /// This worker exits and waited no longer; whether the message arrived is unknown.
    Exiting,
    /// Any other error, in Poolwatch's words.
    Other(String),
}

/// One exchange with a receiver: over the network ([`http::Client`]), or with a list in tests.
pub trait Post {
    /// Posts one JSON body to `endpoint`, within the endpoint's timeout.
    ///
    /// # Errors
    /// No answer came; see [`PostError`].
    fn post(&self, endpoint: &Endpoint, body: &str) -> Result<Reply, PostError>;
}
