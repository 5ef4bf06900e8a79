//! What people read: each kind of alert against a golden file, and hostile alerts against Slack's rules.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the files; read the difference before you commit it. Slack's Block
//! Kit Builder shows what a message looks like.

#![expect(clippy::disallowed_methods, reason = "a variable asks for new golden files")]

mod file;
mod hostile;
mod rules;

use std::fmt::Write;

use ngx_http_poolwatch_module::alert::{
    Alert, During, Easing, ExampleRequest, Kind, Missing, PoolFacts, Rate, Rates, Reasons, Severity, SilenceFacts,
    Suppressed, Threshold,
};
use ngx_http_poolwatch_module::config::rules::RateOf;
use ngx_http_poolwatch_module::deliver::slack;
use ngx_http_poolwatch_module::units::{Millis, Ratio};
use ngx_http_poolwatch_module::wording;
use serde_json::Value;

use crate::file::expected;

/// 2026-11-23T13:48:23Z.
const BEGAN: u64 = 1_795_441_703_000;

fn blue() -> PoolFacts {
    PoolFacts {
        name: b"blue".to_vec(),
        addresses: vec![b"172.18.0.3:3000".to_vec()],
        release: b"v1.4.2".to_vec(),
        is_unknown: false,
    }
}

fn green() -> PoolFacts {
    PoolFacts {
        name: b"green".to_vec(),
        addresses: vec![b"172.18.0.4:3000".to_vec()],
        release: b"v1.5.0-rc.1".to_vec(),
        is_unknown: false,
    }
}

/// Servers whose pool nobody knows yet; they have the name of their role.
fn unknown() -> PoolFacts {
    PoolFacts {
        name: b"primary".to_vec(),
        addresses: vec![b"172.18.0.5:3000".to_vec()],
        is_unknown: true,
        ..PoolFacts::default()
    }
}

fn masked() -> ExampleRequest {
    ExampleRequest {
        method: b"GET".to_vec(),
        path: b"/checkout/42?\xe2\x80\xa6".to_vec(),
        status: 200,
        upstream_status: b"502, 200".to_vec(),
        upstream_addr: b"172.18.0.3:3000, 172.18.0.4:3000".to_vec(),
        upstream_response_time: b"0.001, 0.012".to_vec(),
    }
}

fn failed() -> ExampleRequest {
    ExampleRequest { status: 502, upstream_status: b"502, 502".to_vec(), method: b"POST".to_vec(), ..masked() }
}

/// A failover a moment ago; the other cases are written as differences from it.
fn failover() -> Alert {
    Alert {
        id: "app/serving/7".to_owned(),
        from: Some(blue()),
        to: Some(green()),
        now_unix: BEGAN + 300,
        reasons: Reasons { refused: 3, ..Reasons::default() },
        change: 1,
        rates: Rates::new(61, 3, 0),
        window_rates: Rates::new(200, 3, 0),
        threshold: Some(Threshold { ratio: Ratio::from_millionths(20_000), window: 200, period: Millis::ZERO }),
        examples: vec![masked(), masked()],
        runbook: "https://git.example.org/ops/runbook.md#failover".to_owned(),
        ..Alert::about(Kind::Failover, Severity::Warning, b"app", BEGAN, "web1.example.org")
    }
}

fn silence(kind: Kind) -> Alert {
    let rate = Rate { errors: 60, requests: 200 };
    let app = During { upstream: b"app".to_vec(), rate, quiet: Millis::from_secs(18), changes: 2 };
    let during = if kind == Kind::SilenceEnded { vec![app] } else { vec![] };
    Alert {
        id: "silence/3".to_owned(),
        change: if kind == Kind::SilenceBegan { 1 } else { 2 },
        lasted: (kind == Kind::SilenceEnded).then_some(Millis::from_secs(1800)),
        silence: Some(SilenceFacts { ends_unix: Some(BEGAN + 1_800_000), comment: b"deploy of v1.5".to_vec(), during }),
        ..Alert::about(kind, Severity::Info, b"app", BEGAN, "web1.example.org")
    }
}

/// Every kind, and the states whose texts differ.
#[expect(clippy::too_many_lines, reason = "a list, one entry per file")]
fn cases() -> Vec<(&'static str, Alert)> {
    let recovery = Alert {
        kind: Kind::Recovery,
        severity: Severity::Info,
        change: 2,
        ended: Some(Severity::Warning),
        from: Some(green()),
        to: Some(blue()),
        lasted: Some(Millis::from_secs(272)),
        examples: vec![],
        ..failover()
    };
    let down = Alert {
        kind: Kind::Down,
        severity: Severity::Critical,
        to: None,
        reasons: Reasons { refused: 12, timed_out: 1, no_live_upstreams: 9, ..Reasons::default() },
        rates: Rates::new(22, 22, 19),
        window_rates: Rates::new(200, 22, 19),
        examples: vec![failed(), failed(), masked()],
        ..failover()
    };
    let firing = Alert {
        kind: Kind::ErrorRateFiring,
        id: "app/error-rate/3".to_owned(),
        from: None,
        reasons: Reasons { server_errors: 5, ..Reasons::default() },
        rates: Rates::new(200, 5, 0),
        window_rates: Rates::new(200, 5, 0),
        ..failover()
    };
    vec![
        ("failover", failover()),
        ("recovery", recovery.clone()),
        (
            "planned_switch",
            Alert {
                kind: Kind::PlannedSwitch,
                severity: Severity::Info,
                reasons: Reasons::default(),
                rates: Rates::default(),
                examples: vec![],
                ..failover()
            },
        ),
        // A reload gave the traffic to servers that are dead: to blue's, and to some that nobody knows.
        ("down_after_a_switch", Alert { from: Some(green()), wanted: Some(blue()), ..down.clone() }),
        ("down_and_not_known", Alert { wanted: Some(unknown()), ..down.clone() }),
        ("down", down),
        ("failover_to_a_pool_that_is_not_known", Alert { to: Some(unknown()), ..failover() }),
        ("error_rate_hidden_from_clients", firing.clone()),
        (
            "error_rate_that_fell",
            Alert {
                change: 2,
                rates: Rates::new(980, 61, 0),
                window_rates: Rates::new(200, 0, 0),
                easing: Some(Easing {
                    peak: Ratio::from_millionths(310_000),
                    below_since_unix: BEGAN + 120_000,
                    missing: Missing::Requests(140),
                }),
                now_unix: BEGAN + 300_000,
                ..firing.clone()
            },
        ),
        (
            "failover_that_reaches_clients",
            Alert {
                severity: Severity::Critical,
                worsened: true,
                change: 2,
                rates: Rates::new(300, 61, 9),
                ..failover()
            },
        ),
        (
            "error_rate_of_clients",
            Alert {
                severity: Severity::Critical,
                rates: Rates::new(187, 5, 5),
                window_rates: Rates::new(187, 5, 5),
                rate_of: RateOf::Client,
                examples: vec![failed()],
                ..firing.clone()
            },
        ),
        (
            "error_rate_resolved",
            Alert {
                kind: Kind::ErrorRateResolved,
                severity: Severity::Info,
                lasted: Some(Millis::from_secs(11_040)),
                change: 2,
                ended: Some(Severity::Warning),
                rates: Rates::new(4_200, 61, 0),
                window_rates: Rates::new(200, 1, 0),
                examples: vec![],
                ..firing
            },
        ),
        (
            "primary_degraded",
            Alert {
                kind: Kind::ErrorRateFiring,
                id: "app/error-rate/5".to_owned(),
                from: None,
                to: Some(blue()),
                as_expected: true,
                threshold: Some(Threshold {
                    ratio: Ratio::from_millionths(20_000),
                    window: 0,
                    period: Millis::from_secs(60),
                }),
                rates: Rates::new(1200, 40, 0),
                window_rates: Rates::new(1200, 40, 0),
                ..failover()
            },
        ),
        (
            "no_data",
            Alert {
                kind: Kind::ErrorRateNoData,
                id: "app/error-rate/4".to_owned(),
                from: None,
                examples: vec![],
                ..failover()
            },
        ),
        ("silence_began", silence(Kind::SilenceBegan)),
        ("silence_ended", silence(Kind::SilenceEnded)),
        (
            "silenced_by_the_configuration",
            Alert {
                upstream: vec![],
                id: "silence/configuration".to_owned(),
                silence: Some(SilenceFacts::default()),
                ..silence(Kind::SilenceBegan)
            },
        ),
        (
            "test",
            Alert { id: "test".to_owned(), ..Alert::about(Kind::Test, Severity::Info, b"", BEGAN, "web1.example.org") },
        ),
        ("mixed", Alert { kind: Kind::Mixed, to: None, change: 2, ..failover() }),
        (
            "flapping",
            Alert { kind: Kind::Flapping, flapping: true, changes: 7, change: 6, examples: vec![], ..failover() },
        ),
        (
            "no_longer_watched",
            Alert {
                kind: Kind::NoLongerWatched,
                severity: Severity::Info,
                change: 3,
                ended: Some(Severity::Warning),
                examples: vec![],
                ..recovery.clone()
            },
        ),
        (
            "recovery_told_late",
            Alert {
                now_unix: BEGAN + 3_480_000,
                suppressed: Suppressed { changes: 3, delayed: Millis::from_secs(3480) },
                ..recovery
            },
        ),
        (
            "little_known",
            Alert {
                from: None,
                to: None,
                reasons: Reasons::default(),
                rates: Rates::default(),
                window_rates: Rates::default(),
                threshold: None,
                examples: vec![],
                runbook: String::new(),
                ..failover()
            },
        ),
    ]
}

#[test]
fn slack_shows_each_kind_as_in_its_golden_file() {
    for (name, alert) in cases() {
        let body: Value = serde_json::from_str(&slack::body(&alert)).expect("JSON");
        let pretty = format!("{body:#}\n");
        let golden: Value = serde_json::from_str(&expected(&format!("slack/{name}.json"), &pretty)).expect("JSON");
        assert_eq!(body, golden, "{name}: is now\n{pretty}");
    }
}

#[test]
fn error_log_and_the_plain_message_say_each_kind_as_in_the_golden_file() {
    let mut words = String::new();
    for (name, alert) in cases() {
        let plain: Value = serde_json::from_str(&slack::fallback(&alert)).expect("JSON");
        let (title, line) = (wording::headline(&alert), wording::log_line(&alert));
        let plain = plain["text"].as_str().expect("a text");
        write!(words, "{name}\n  title: {title}\n  log:   {line}\n  plain: {plain}\n\n").expect("memory");
    }
    assert_eq!(words, expected("words.txt", &words));
}

#[test]
fn realistic_messages_keep_slacks_rules() {
    for (name, alert) in cases() {
        rules::check(&slack::body(&alert)).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}
