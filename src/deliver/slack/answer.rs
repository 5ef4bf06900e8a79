//! What an answer from Slack means for a delivery: decided by the error code in its body, else by its status.
//!
//! The status 200 alone proves nothing: captive portals and proxies send it too. Only the body `ok`, or JSON with
//! `"ok": true`, is an acceptance.

use serde_json::Value;

use crate::deliver::{PostError, Reply};
use crate::outbox::backoff::LONGEST_PAUSE;
use crate::outbox::outcome::Outcome;
use crate::text::clean;
use crate::units::Millis;

/// Bytes of a foreign text in a line of error.log.
const QUOTED: usize = 80;

/// Bytes of the reason for a failed exchange, which may be a text of the TLS library.
const REASON: usize = 200;

/// The shortest pause that a receiver can ask for.
const SHORTEST_PAUSE: Millis = Millis::from_secs(1);

/// Slack's error codes for a payload that it does not accept.
const BAD_PAYLOAD: [&str; 8] = [
    "invalid_payload",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_attachments",
    "msg_blocks_too_long",
    "no_text",
    "too_many_attachments",
    "user_not_found",
];

/// Slack's error codes for a webhook that is gone or may not post.
const BAD_WEBHOOK: [&str; 10] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "posting_to_general_channel_denied",
    "team_disabled",
];

/// Slack's error codes for too many messages.
const RATE_LIMITED: [&str; 2] = ["rate_limited", "ratelimited"];

/// What an exchange means. Each text is a predicate for error.log, between `receiver "slack"` and `while reporting`.
pub fn classify(answer: Result<Reply, PostError>) -> Outcome {
    match answer {
        Ok(reply) => judge(&reply),
        Err(PostError::Exiting) => Outcome::CutShort,
        Err(error) => Outcome::Retry(said(&error)),
    }
}

fn judge(reply: &Reply) -> Outcome {
    let body = reply.body.trim();
    let json: Option<Value> = serde_json::from_str(body).ok();
    let field = |name: &str| json.as_ref().and_then(|json| json.get(name));
    if reply.status == 200 && (body == "ok" || field("ok").and_then(Value::as_bool) == Some(true)) {
        return Outcome::Accepted;
    }
    let code = field("error").and_then(Value::as_str).unwrap_or(body);
    let answered = answered(reply.status, code);
    let is_one_of = |codes: &[&str]| codes.contains(&code);
    match reply.status {
        429 => Outcome::RateLimited(pause(reply, field("retry_after"))),
        300..400 => Outcome::Broken(format!("answered {}, a redirect, which is never followed", reply.status)),
        408 | 425 | 500.. => Outcome::Retry(answered),
        _ if is_one_of(&RATE_LIMITED) => Outcome::RateLimited(pause(reply, field("retry_after"))),
        _ if is_one_of(&BAD_PAYLOAD) => Outcome::Rejected(answered),
        _ if is_one_of(&BAD_WEBHOOK) => Outcome::Broken(answered),
        400 | 413 => Outcome::Rejected(answered),
        401..500 => Outcome::Broken(answered),
        _ => Outcome::Retry(answered),
    }
}

/// The pause in seconds from the header, else from the body; `None`: neither has one. A date is ignored, because the
/// clocks need not agree.
fn pause(reply: &Reply, in_body: Option<&Value>) -> Option<Millis> {
    let header = reply.retry_after.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let seconds = match header {
        // Digits that do not fit in 64 bits become the largest number.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(text.parse().unwrap_or(u64::MAX)),
        _ => in_body.and_then(Value::as_u64),
    };
    seconds.map(|seconds| Millis::from_secs(seconds).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

fn answered(status: u16, code: &str) -> String {
    let quoted = clean(code.as_bytes(), QUOTED);
    if quoted.is_empty() { format!("answered {status}") } else { format!("answered {status} \"{quoted}\"") }
}

fn said(error: &PostError) -> String {
    let because = |what: &str, why: &str| format!("{what} ({})", clean(why.as_bytes(), REASON));
    match error {
        PostError::Resolve => "has a host name that does not resolve".to_owned(),
        PostError::Connect(why) => because("cannot be reached", why),
        PostError::Tls(why) => because("cannot be trusted", why),
        PostError::TimedOut => "did not answer in time".to_owned(),
        PostError::Other(why) => because("cannot be posted to", why),
        PostError::Exiting => "was not waited for".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Outcome {
        classify(Ok(Reply { status, body: body.into(), retry_after: None }))
    }

    fn limited(retry_after: Option<&str>, body: &str) -> Outcome {
        classify(Ok(Reply { status: 429, body: body.into(), retry_after: retry_after.map(str::to_owned) }))
    }

    fn pause_of(secs: u64) -> Outcome {
        Outcome::RateLimited(Some(Millis::from_secs(secs)))
    }

    #[test]
    fn only_the_word_ok_is_an_acceptance() {
        assert_eq!(answer(200, "ok"), Outcome::Accepted);
        assert_eq!(answer(200, " ok\r\n"), Outcome::Accepted);
        assert_eq!(answer(200, r#"{"ok":true}"#), Outcome::Accepted);
        assert!(matches!(answer(200, "<html>please log in</html>"), Outcome::Retry(_)));
        assert!(matches!(answer(200, ""), Outcome::Retry(_)));
        assert!(matches!(answer(204, ""), Outcome::Retry(_)));
        assert!(matches!(answer(500, "ok"), Outcome::Retry(_)));
    }

    #[test]
    fn a_200_that_names_an_error_is_that_error() {
        assert!(matches!(answer(200, "invalid_payload"), Outcome::Rejected(_)));
        assert!(matches!(answer(200, r#"{"ok":false,"error":"no_service"}"#), Outcome::Broken(_)));
        assert_eq!(answer(200, r#"{"ok":false,"error":"rate_limited","retry_after":7}"#), pause_of(7));
    }

    #[test]
    fn a_disliked_payload_is_rejected_and_a_dead_webhook_broken() {
        for code in BAD_PAYLOAD {
            assert_eq!(answer(400, code), Outcome::Rejected(format!("answered 400 \"{code}\"")));
        }
        for (code, status) in BAD_WEBHOOK.into_iter().zip([400, 401, 403, 404, 410].into_iter().cycle()) {
            assert_eq!(answer(status, code), Outcome::Broken(format!("answered {status} \"{code}\"")));
        }
        assert!(matches!(answer(400, ""), Outcome::Rejected(_)));
        assert!(matches!(answer(413, "<html>"), Outcome::Rejected(_)));
    }

    #[test]
    fn the_status_decides_where_the_body_says_nothing() {
        for status in [401, 403, 404, 405, 407, 410, 411, 414, 415, 301, 302, 303, 307, 308] {
            assert!(matches!(answer(status, "<html>"), Outcome::Broken(_)), "{status}");
        }
        for status in [0, 100, 201, 408, 425, 500, 502, 503, 504, 599, 999] {
            assert!(matches!(answer(status, "rollup_error"), Outcome::Retry(_)), "{status}");
        }
    }

    #[test]
    fn retry_after_is_clamped_and_nonsense_is_no_time_at_all() {
        assert_eq!(limited(Some("30"), ""), pause_of(30));
        assert_eq!(limited(Some(" 0 "), ""), pause_of(1));
        assert_eq!(limited(Some("86400"), ""), pause_of(900));
        assert_eq!(limited(Some("99999999999999999999999"), ""), pause_of(900));
        for nonsense in [None, Some(""), Some("-1"), Some("1.5"), Some("soon"), Some("Fri, 31 Dec 1999 23:59:59 GMT")] {
            assert_eq!(limited(nonsense, "slow down"), Outcome::RateLimited(None), "{nonsense:?}");
        }
        assert_eq!(limited(None, r#"{"retry_after":2,"ok":false,"error":"rate_limited"}"#), pause_of(2));
        assert_eq!(limited(Some("3"), r#"{"retry_after":2}"#), pause_of(3));
    }

    #[test]
    fn without_an_answer_it_is_tried_again_and_the_text_says_why() {
        let why = |error| match classify(Err(error)) {
            Outcome::Retry(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(PostError::Connect("connection refused".into())), "cannot be reached (connection refused)");
        assert_eq!(why(PostError::Tls("certificate expired".into())), "cannot be trusted (certificate expired)");
        assert_eq!(why(PostError::TimedOut), "did not answer in time");
        assert_eq!(why(PostError::Resolve), "has a host name that does not resolve");
    }

    proptest! {
        #[test]
        fn no_answer_puts_more_than_a_short_clean_line_into_the_log(status in any::<u16>(), body in any::<String>()) {
            if let Outcome::Retry(why) | Outcome::Rejected(why) | Outcome::Broken(why) = answer(status, &body) {
                prop_assert!(why.len() <= "answered 65535 \"\"".len() + QUOTED);
                prop_assert!(!why.chars().any(char::is_control));
            }
        }
    }
}
