//! Alerts whose every foreign byte is an attacker's.

use ngx_http_poolwatch_module::alert::{
    Alert, During, Easing, ExampleRequest, Kind, Missing, PoolFacts, Rate, Rates, Reasons, Severity, SilenceFacts,
    Suppressed, Threshold,
};
use ngx_http_poolwatch_module::config::rules::RateOf;
use ngx_http_poolwatch_module::deliver::slack;
use ngx_http_poolwatch_module::units::{Millis, Ratio};
use ngx_http_poolwatch_module::wording;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::rules;

/// Stands in every query, and nowhere else.
const CANARY: &str = "CANARY";

/// Texts that have done harm elsewhere, put between random bytes.
const NASTY: [&str; 17] = [
    "<!channel>",
    "<!here|x>",
    "<@U012AB3CD>",
    "<https://evil.example|bank>",
    "&lt;!here&gt;",
    "&",
    "```",
    "`",
    "*bold*",
    "\u{202e}gpj",
    "\u{200b}",
    "\u{34f}\u{3164}",
    "\u{2028}",
    "\n\n",
    "\x1b[31m",
    "\"}],\"text\":\"",
    "\\u003c!here\\u003e",
];

fn foreign() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..40),
        proptest::sample::select(&NASTY[..]).prop_map(|text| text.as_bytes().to_vec()),
        any::<String>().prop_map(String::into_bytes),
        Just(vec![b'<'; 300]),
    ];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    foreign().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn pool() -> impl Strategy<Value = Option<PoolFacts>> {
    let facts = (foreign(), vec(foreign(), 0..9), foreign(), any::<bool>());
    let facts =
        facts.prop_map(|(name, addresses, release, is_unknown)| PoolFacts { name, addresses, release, is_unknown });
    proptest::option::of(facts)
}

fn example() -> impl Strategy<Value = ExampleRequest> {
    let path = foreign().prop_map(|path| [&path, &b"?token="[..], CANARY.as_bytes()].concat());
    (foreign(), path, any::<u16>(), foreign(), foreign(), foreign()).prop_map(
        |(method, path, status, upstream_status, upstream_addr, upstream_response_time)| ExampleRequest {
            method,
            path,
            status,
            upstream_status,
            upstream_addr,
            upstream_response_time,
        },
    )
}

fn kind() -> impl Strategy<Value = (Kind, Severity, RateOf)> {
    let kinds = [
        Kind::Failover,
        Kind::Recovery,
        Kind::PlannedSwitch,
        Kind::Down,
        Kind::ErrorRateFiring,
        Kind::ErrorRateResolved,
        Kind::ErrorRateNoData,
        Kind::Mixed,
        Kind::Flapping,
        Kind::NoLongerWatched,
        Kind::SilenceBegan,
        Kind::SilenceEnded,
        Kind::Test,
    ];
    let severities = [Severity::Info, Severity::Warning, Severity::Critical];
    let rates = [RateOf::Upstream, RateOf::Client];
    (
        proptest::sample::select(kinds.to_vec()),
        proptest::sample::select(severities.to_vec()),
        proptest::sample::select(rates.to_vec()),
    )
}

/// Random numbers of any size.
fn numbers() -> impl Strategy<Value = ([u32; 9], [u64; 5])> {
    (any::<[u32; 9]>(), any::<[u64; 5]>())
}

fn alert() -> impl Strategy<Value = Alert> {
    let runbook = prop_oneof![text(), text().prop_map(|rest| format!("https://{rest}"))];
    let texts = (foreign(), text(), text(), runbook, foreign());
    (kind(), texts, pool(), pool(), vec(example(), 0..5), numbers(), any::<bool>()).prop_map(
        |(
            (kind, severity, rate_of),
            (upstream, id, host, runbook, comment),
            from,
            to,
            examples,
            (small, large),
            known,
        )| {
            let [refused, timed_out, server_errors, no_live_upstreams, errors, requests, others, millionths, window] =
                small;
            let silenced = upstream.clone();
            let [since_unix, now_unix, lasted, changes, delayed] = large;
            // Each field, without `..`: the compiler asks for a value of a new one.
            Alert {
                kind,
                severity,
                upstream,
                id,
                wanted: to.clone().filter(|_| known),
                from,
                to,
                since_unix,
                now_unix,
                lasted: known.then_some(Millis(lasted)),
                reasons: Reasons {
                    refused,
                    no_answer: refused,
                    connect_timed_out: timed_out,
                    timed_out,
                    server_errors,
                    rejected: server_errors,
                    no_live_upstreams,
                },
                change: changes,
                ended: known.then_some(Severity::Critical),
                worsened: known,
                flapping: known,
                rates: Rates::new(requests, errors, others),
                window_rates: Rates::new(requests, others, errors),
                easing: known.then_some(Easing {
                    peak: Ratio::from_millionths(millionths),
                    below_since_unix: since_unix,
                    missing: [
                        Missing::Share(Ratio::from_millionths(errors)),
                        Missing::Requests(errors),
                        Missing::Time(Millis(delayed)),
                    ][errors as usize % 3],
                }),
                as_expected: known,
                changes: window,
                threshold: known.then_some(Threshold {
                    ratio: Ratio::from_millionths(millionths),
                    window,
                    period: Millis(millionths.into()),
                }),
                rate_of,
                examples,
                silence: known.then(|| SilenceFacts {
                    ends_unix: (window > 0).then_some(delayed),
                    comment,
                    during: vec![
                        During {
                            upstream: silenced,
                            rate: Rate { errors, requests },
                            quiet: Millis(lasted),
                            changes: window
                        };
                        4
                    ],
                }),
                host,
                runbook,
                suppressed: Suppressed { changes, delayed: Millis(delayed) },
            }
        },
    )
}

proptest! {
    #[test]
    fn invariant_22_any_alert_is_a_message_that_slack_takes_and_that_harms_nobody(alert in alert()) {
        let body = slack::body(&alert);
        prop_assert_eq!(rules::check(&body), Ok(()));
        prop_assert!(body.contains("blocks"), "fell back");
        prop_assert!(!body.contains(CANARY));
    }

    #[test]
    fn any_alert_has_a_plain_form_in_ascii_below_1000_bytes(alert in alert()) {
        let plain = slack::fallback(&alert);
        prop_assert!(plain.is_ascii() && plain.len() < 1000, "{} bytes: {plain}", plain.len());
        prop_assert_eq!(rules::check(&plain), Ok(()));
        prop_assert!(!plain.contains(CANARY));
    }

    #[test]
    fn any_alert_is_one_clean_bounded_line_of_error_log(alert in alert()) {
        // nginx cuts its log lines at 2048 bytes.
        for line in [wording::log_line(&alert), wording::headline(&alert), wording::subject(&alert)] {
            prop_assert!(line.len() < 1500, "{} bytes", line.len());
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
