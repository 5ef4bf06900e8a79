//! Where messages are sent: the receivers of the configuration.

use std::fmt;

use crate::text::{Name, Text};
use crate::units::Millis;

/// A `poolwatch_receiver` of the configuration.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// `name=`, else the type's name; over a reload the zone keeps a receiver's delivery states under this name.
    pub name: Name,
    /// Which service receives the messages.
    pub kind: ReceiverKind,
    /// Where to send the messages, and how.
    pub endpoint: Endpoint,
    /// `send_resolved=`: also send the end of an incident. `false`: recoveries and resolved error rates are settled
    /// without being sent.
    pub send_resolved: bool,
}

impl Receiver {
    /// The receiver without its confidential parts.
    pub fn public(&self) -> PublicReceiver {
        PublicReceiver {
            name: self.name,
            kind: self.kind,
            host: Text::new(self.endpoint.host().as_bytes()),
            send_resolved: self.send_resolved,
        }
    }
}

/// The part of a receiver that anybody may know: plain data that has no room for a URL, a proxy's password or a
/// certificate.
#[derive(Clone, Copy, Debug)]
pub struct PublicReceiver {
    /// As [`Receiver::name`].
    pub name: Name,
    /// As [`Receiver::kind`].
    pub kind: ReceiverKind,
    /// As [`Endpoint::host`]: a name of at most 253 bytes, a colon, and at most five digits.
    pub host: Text<260>,
    /// As [`Receiver::send_resolved`].
    pub send_resolved: bool,
}

/// Which service receives the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// A Slack incoming webhook.
    Slack,
}

impl ReceiverKind {
    /// The type as `poolwatch_receiver` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
        }
    }
}

/// Where and how to post. The URL is a credential: `Debug` and `Display` show only its host and its last four
/// characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The complete URL, with `http://` or `https://`.
    pub url: String,
    /// `timeout=`: for the whole exchange, including name resolution.
    pub timeout: Millis,
    /// `ca_file=`: PEM text of the only roots to trust; empty: the built-in roots.
    pub ca_pem: Vec<u8>,
    /// `proxy=`; empty: no proxy. The environment is never read.
    pub proxy: String,
}

impl Endpoint {
    /// The URL's host and port, which are not secret; empty: the URL has no `://`.
    pub fn host(&self) -> &str {
        // A credential may follow the host directly: `https://host?token=...` is a valid URL too.
        let authority = self.url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
        authority.and_then(|authority| authority.rsplit('@').next()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_endpoint_only_its_host_and_the_end_of_its_url_are_shown() {
        for (url, host) in [
            ("https://hooks.slack.com/services/T0/B0/secret1234", "hooks.slack.com"),
            ("https://ops.example:8443/secret1234", "ops.example:8443"),
            ("https://ops.example?token=secret1234", "ops.example"),
            ("https://ops.example:8443#secret1234", "ops.example:8443"),
            ("https://user:secret@ops.example/secret1234", "ops.example"),
            ("http://[::1]:9000/secret1234", "[::1]:9000"),
        ] {
            let endpoint = Endpoint {
                url: url.to_owned(),
                timeout: Millis::from_secs(10),
                ca_pem: b"secret".to_vec(),
                proxy: "http://user:secret@proxy".to_owned(),
            };
            assert_eq!(endpoint.host(), host);
            assert_eq!(endpoint.to_string(), format!("{host}/...1234"));
            let receiver =
                Receiver { name: Name::new(b"ops"), kind: ReceiverKind::Slack, endpoint, send_resolved: true };
            assert_eq!(receiver.public().host.as_bytes(), host.as_bytes());
            assert!(!format!("{:?} {receiver:?}", receiver.public()).contains("secret"), "{url}");
        }
    }
}
