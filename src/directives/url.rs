//! URLs, checked by the parser of the HTTP client that will use them.

use std::net::{Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

/// The longest URL, in bytes.
const MAX_LENGTH: usize = 2048;

/// An `http` or `https` URL with a host, and without a user: neither a password nor a second credential belongs there.
pub(super) fn read(text: &[u8]) -> Option<Uri> {
    read_with_user(text).filter(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')))
}

/// As [`read`], but `user:password@` may stand before the host.
pub(super) fn read_with_user(text: &[u8]) -> Option<Uri> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_LENGTH)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    let after_user = uri.authority()?.as_str().rsplit('@').next()?;
    let port_is_fine = after_user == host || uri.port_u16().is_some_and(|port| port != 0);
    (matches!(uri.scheme_str(), Some("http" | "https")) && port_is_fine).then_some(uri)
}

/// Does a credential in this URL cross a network unencrypted?
pub(super) fn is_in_clear_text(uri: &Uri) -> bool {
    uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || ipv6.is_some_and(|host| host.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_webhooks_are_taken() {
        for text in [
            "https://hooks.slack.com/services/T0/B0/x",
            "HTTPS://hooks.slack.com",
            "http://127.0.0.1:8080/hook?a=b&c=%20#part",
            "http://[::1]:8080/",
        ] {
            assert!(read(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let long = format!("https://host/{}", "x".repeat(MAX_LENGTH));
        for text in [
            "",
            "hooks.slack.com/services",
            "https://",
            "https:///path",
            "https://:443/",
            "ftp://host/",
            "file:///etc/passwd",
            "https://user@host/",
            "https://user:password@host/",
            "https://host:0/",
            "https://host:65536/",
            "https://8:999998/",
            "https://host:/",
            "https://host:80x/",
            "https://ho st/",
            "https://host/a b",
            "https://host/a\nb",
            "https://host/\u{e9}",
            "https://host/<!channel>",
            &long,
        ] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
        assert!(read(b"https://host/\xff").is_none());
    }

    #[test]
    fn a_proxy_may_want_a_password() {
        assert!(read_with_user(b"http://user:password@proxy:3128").is_some());
        assert!(read_with_user(b"http://host:x@host").is_some());
        assert!(read_with_user(b"socks5://proxy:1080").is_none());
    }

    #[test]
    fn http_is_in_clear_text_unless_it_stays_on_the_machine() {
        let judged = |text: &str| read(text.as_bytes()).map(|uri| is_in_clear_text(&uri));
        for text in ["http://example.com/", "http://10.0.0.1/", "http://[2001:db8::1]/", "http://localhost.example/"] {
            assert_eq!(judged(text), Some(true), "{text}");
        }
        for text in ["https://example.com/", "http://LocalHost/", "http://127.1.2.3:80/", "http://[::1]/"] {
            assert_eq!(judged(text), Some(false), "{text}");
        }
    }
}
