//! The requests of operators: the body of a write becomes a silence or a test, or an error that says why not.

use serde::Deserialize;

use crate::state::announcements::{LONGEST_SILENCE, Silence};
use crate::text::{Name, Text, clean};
use crate::units::Millis;

/// The longest body that is read, in bytes.
pub const LONGEST_BODY: usize = 4096;

/// The longest comment, in bytes.
const COMMENT: usize = 120;

/// Why a write is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// The answer's status.
    pub status: u16,
    /// The answer's words: lower case, without a full stop.
    pub text: String,
}

impl RequestError {
    /// An answer with this status and these words.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

/// The headers of a write that say where it comes from and what its body is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `X-Poolwatch`, which a page of another site cannot send unasked.
    own: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// Picks them from all headers of a request, which are names and values.
    ///
    /// # Errors
    /// One of them stands twice. A proxy may read the first one only, and we the last.
    pub fn read(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, RequestError> {
        let mut read = Self::default();
        for (name, value) in headers {
            let Self { own, origin, host, content_type } = &mut read;
            let places = [("X-Poolwatch", own), ("Origin", origin), ("Host", host), ("Content-Type", content_type)];
            let known = places.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
            let Some((known, index)) = known else { continue };
            if index.replace(value).is_some() {
                return Err(RequestError::new(400, format!("duplicate header \"{known}\"")));
            }
        }
        Ok(read)
    }

    /// Refuses a write that a page of another site may have made. A write is taken if its origin is this host, or if it has our
    /// header and no origin.
    ///
    /// # Errors
    /// It comes from another site, or does not say where from.
    pub fn check_source(&self) -> Result<(), RequestError> {
        let refused = Err(RequestError::new(403, "cross-site request refused, send the header X-Poolwatch"));
        match (self.origin, self.host) {
            (Some(origin), Some(host)) if is_of(origin, host) => Ok(()),
            (None, _) if self.own.is_some() => Ok(()),
            _ => refused,
        }
    }

    /// Refuses a body whose media type is not JSON.
    ///
    /// # Errors
    /// It has another media type, or none.
    pub fn check_type(&self) -> Result<(), RequestError> {
        let media = self.content_type.unwrap_or_default().split(|&byte| byte == b';').next().unwrap_or_default();
        if media.trim_ascii().eq_ignore_ascii_case(b"application/json") {
            return Ok(());
        }
        Err(RequestError::new(415, "the body must be application/json"))
    }
}

/// `http://HOST` or `https://HOST`
fn is_of(origin: &[u8], host: &[u8]) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// The answer to a body of more than [`LONGEST_BODY`] bytes.
pub fn too_long() -> RequestError {
    RequestError::new(413, format!("the body is longer than {LONGEST_BODY} bytes"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SilenceRequest {
    #[serde(default)]
    upstream: Option<String>,
    duration: Duration,
    #[serde(default)]
    comment: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Duration {
    Seconds(f64),
    Text(String),
}

/// `POST api/v1/silences`: reads the silence that is asked for. `is_watched`: is there an upstream of this name?
///
/// # Errors
/// The body is not what the schema says, or no upstream of its name is watched.
pub fn silence(body: &[u8], id: u64, now: Millis, is_watched: impl Fn(&[u8]) -> bool) -> Result<Silence, RequestError> {
    let request: SilenceRequest = read(body)?;
    let duration = request.duration.read().filter(|&span| span > Millis::ZERO && span <= LONGEST_SILENCE);
    let Some(duration) = duration else {
        return Err(RequestError::new(400, "invalid \"duration\", it must be more than nothing and at most 24h"));
    };
    if request.comment.len() > COMMENT {
        return Err(RequestError::new(400, format!("\"comment\" is too long, at most {COMMENT} bytes are possible")));
    }
    let upstream = request.upstream.unwrap_or_default();
    if !upstream.is_empty() && !is_watched(upstream.as_bytes()) {
        return Err(RequestError::new(404, format!("unknown upstream \"{}\"", clean(upstream.as_bytes(), 64))));
    }
    Ok(Silence {
        id,
        upstream: Name::new(upstream.as_bytes()),
        until: now + duration,
        comment: Text::new(request.comment.as_bytes()),
    })
}

/// `POST api/v1/test`: an empty object, or nothing.
///
/// # Errors
/// The body asks for more.
pub fn test(body: &[u8]) -> Result<(), RequestError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct TestRequest {}
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    read::<TestRequest>(body).map(drop)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RequestError> {
    // serde's own words name the member and the place, and quote what is not known.
    serde_json::from_slice(body).map_err(|error| RequestError::new(400, clean(error.to_string().as_bytes(), 200)))
}

impl Duration {
    fn read(&self) -> Option<Millis> {
        match self {
            Self::Text(text) => Millis::parse(text.as_bytes()),
            Self::Seconds(seconds) => span(*seconds),
        }
    }
}

#[expect(clippy::cast_sign_loss, reason = "not negative, and bounded before")]
fn span(seconds: f64) -> Option<Millis> {
    let millis = seconds * 1000.0;
    (millis >= 0.0 && millis <= LONGEST_SILENCE.0 as f64).then_some(Millis(millis as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn asked(body: &str) -> Result<Silence, RequestError> {
        silence(body.as_bytes(), 7, NOW, |name| name == b"app")
    }

    fn status(body: &str) -> Option<u16> {
        asked(body).err().map(|error| error.status)
    }

    #[test]
    fn a_silence_is_read_with_its_duration_in_either_form() {
        let silence = asked(r#"{"upstream": "app", "duration": "30m", "comment": "blue's disk"}"#).expect("valid");
        assert_eq!((silence.id, silence.until), (7, NOW + Millis::from_secs(1800)));
        assert_eq!((silence.upstream.as_bytes(), silence.comment.as_bytes()), (&b"app"[..], &b"blue's disk"[..]));
        assert_eq!(
            asked(r#"{"upstream": "app", "duration": 1.5}"#).map(|silence| silence.until),
            Ok(NOW + Millis(1500))
        );
        assert_eq!(asked(r#"{"duration": "24h"}"#).map(|silence| silence.upstream), Ok(Name::EMPTY));
    }

    #[test]
    fn what_is_asked_wrongly_is_refused_with_a_reason() {
        for duration in ["0", "-1", "86400.001", "1e300", r#""0""#, r#""25h""#, r#""soon""#, "null", "true"] {
            assert_eq!(status(&format!(r#"{{"upstream": "app", "duration": {duration}}}"#)), Some(400), "{duration}");
        }
        for body in ["", "[]", "{}", "nonsense", r#"{"duration": 1, "x": 1}"#, r#"{"duration": 1, "duration": 1}"#] {
            assert_eq!(status(body), Some(400), "{body}");
        }
        assert_eq!(status(&format!(r#"{{"duration": 1, "comment": "{}"}}"#, "x".repeat(121))), Some(400));
        assert_eq!(status(r#"{"duration": 1, "upstream": "nobody"}"#), Some(404));
    }

    #[test]
    fn a_test_asks_for_nothing() {
        assert_eq!(test(b""), Ok(()));
        assert_eq!(test(b" {} "), Ok(()));
        assert!(test(b"[1]").is_err());
        assert!(test(b"{\"x\": 1}").is_err());
    }

    fn headers<'a>(headers: &[(&'a str, &'a str)]) -> Result<Headers<'a>, u16> {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Headers::read(headers).map_err(|error| error.status)
    }

    #[test]
    fn another_sites_page_cannot_write() {
        let check = |own: Option<&str>, origin: Option<&str>| {
            let own = own.map(|value| ("X-Poolwatch", value));
            let origin = origin.map(|value| ("origin", value));
            let all: Vec<_> = own.into_iter().chain(origin).chain([("Host", "web1:8080"), ("Accept", "*/*")]).collect();
            headers(&all).and_then(|headers| headers.check_source().map_err(|error| error.status))
        };
        assert_eq!(check(Some("1"), None), Ok(()));
        assert_eq!(check(None, Some("http://web1:8080")), Ok(()));
        assert_eq!(check(None, Some("https://WEB1:8080")), Ok(()));
        assert_eq!(check(None, None), Err(403));
        assert_eq!(check(None, Some("http://evil.example")), Err(403));
        assert_eq!(check(Some("1"), Some("http://evil.example")), Err(403));
        assert_eq!(check(Some("1"), Some("null")), Err(403));
        assert_eq!(check(None, Some("http://web1:8080.evil.example")), Err(403));
        assert_eq!(check(None, Some("http://web1:8080, http://evil.example")), Err(403));
    }

    #[test]
    fn a_header_that_stands_twice_is_refused_whatever_the_two_say() {
        for name in ["X-Poolwatch", "Origin", "Host", "Content-Type"] {
            let lower = name.to_lowercase();
            for other in ["a", "b"] {
                let twice = [(name, "a"), ("Accept", "a"), (&lower, other)];
                assert_eq!(headers(&twice).map(drop), Err(400), "{name}");
            }
        }
        assert!(headers(&[("Accept", "a"), ("Accept", "b"), ("X-Origin", "a"), ("Origin", "a")]).is_ok());
    }

    #[test]
    fn only_json_is_read() {
        let check = |all: &[(&'static str, &'static str)]| {
            headers(all).and_then(|headers| headers.check_type().map_err(|error| error.status))
        };
        assert_eq!(check(&[("Content-Type", "application/json")]), Ok(()));
        assert_eq!(check(&[("content-type", "Application/JSON; charset=utf-8")]), Ok(()));
        assert_eq!(check(&[]), Err(415));
        for other in ["text/plain", "application/jsonx", ""] {
            assert_eq!(check(&[("Content-Type", other)]), Err(415));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_a_reader_panic(body in any::<Vec<u8>>()) {
            for error in [silence(&body, 1, NOW, |_| true).err(), test(&body).err()].into_iter().flatten() {
                prop_assert!(error.status == 400 && error.text.len() <= 256);
            }
        }
    }
}
