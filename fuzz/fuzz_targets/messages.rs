//! Any bytes in every foreign field of an alert: each renderer writes only what its reader accepts, and nothing that
//! the reader would obey.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ngx_http_poolwatch_module::alert::{
    Alert, During, Easing, ExampleRequest, Kind, Missing, PoolFacts, Rate, Rates, Reasons, Severity, SilenceFacts,
    Suppressed, Threshold,
};
use ngx_http_poolwatch_module::config::rules::RateOf;
use ngx_http_poolwatch_module::deliver::slack;
use ngx_http_poolwatch_module::units::{Millis, Ratio};
use ngx_http_poolwatch_module::wording;

/// Slack's rules, shared with the golden tests.
#[path = "../../tests/golden/rules.rs"]
mod rules;

/// Stands in every query, and nowhere else.
const CANARY: &str = "CANARY";

const KINDS: [Kind; 13] = [
    Kind::Failover,
    Kind::Recovery,
    Kind::PlannedSwitch,
    Kind::Down,
    Kind::Mixed,
    Kind::Flapping,
    Kind::ErrorRateFiring,
    Kind::ErrorRateResolved,
    Kind::ErrorRateNoData,
    Kind::NoLongerWatched,
    Kind::SilenceBegan,
    Kind::SilenceEnded,
    Kind::Test,
];

#[derive(Arbitrary, Debug)]
struct Pool {
    name: Vec<u8>,
    addresses: Vec<Vec<u8>>,
    release: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Request {
    method: Vec<u8>,
    path: Vec<u8>,
    status: u16,
    lists: [Vec<u8>; 3],
}

#[derive(Arbitrary, Debug)]
struct Input {
    kind: u8,
    severity: u8,
    /// Which of five optional facts are present.
    known: [bool; 5],
    upstream: Vec<u8>,
    texts: [Vec<u8>; 3],
    comment: Vec<u8>,
    pools: [Option<Pool>; 2],
    requests: Vec<Request>,
    small: [u32; 10],
    large: [u64; 6],
}

impl Input {
    fn alert(self) -> Alert {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let [has_lasted, has_threshold, has_silence, as_expected, is_linked] = self.known;
        let [refused, timed_out, server_errors, no_live_upstreams, errors, requests, others, millionths, window, times] =
            self.small;
        let [since_unix, now_unix, lasted, changes, delayed, ends] = self.large;
        let [id, host, runbook] = self.texts.each_ref().map(|bytes| text(bytes));
        let [from, to] = self.pools.map(|pool| {
            let facts =
                |Pool { name, addresses, release }| PoolFacts { name, addresses, release, is_unknown: has_threshold };
            pool.map(facts)
        });
        let example = |Request { method, path, status, lists }| {
            let [upstream_status, upstream_addr, upstream_response_time] = lists;
            let path = [&path, &b"?token="[..], CANARY.as_bytes()].concat();
            ExampleRequest { method, path, status, upstream_status, upstream_addr, upstream_response_time }
        };
        let silenced = self.upstream.clone();
        Alert {
            kind: KINDS[usize::from(self.kind) % KINDS.len()],
            severity: [Severity::Info, Severity::Warning, Severity::Critical][usize::from(self.severity) % 3],
            upstream: self.upstream,
            id,
            wanted: to.clone().filter(|_| has_lasted),
            from,
            to,
            since_unix,
            now_unix,
            lasted: has_lasted.then_some(Millis(lasted)),
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
            ended: as_expected.then_some(Severity::Critical),
            worsened: as_expected,
            flapping: as_expected,
            rates: Rates::new(requests, errors, others),
            window_rates: Rates::new(requests, others, errors),
            easing: as_expected.then_some(Easing {
                peak: Ratio::from_millionths(millionths),
                below_since_unix: since_unix,
                missing: [
                    Missing::Share(Ratio::from_millionths(errors)),
                    Missing::Requests(errors),
                    Missing::Time(Millis(delayed)),
                ][errors as usize % 3],
            }),
            threshold: has_threshold.then_some(Threshold {
                ratio: Ratio::from_millionths(millionths),
                window,
                period: Millis(ends),
            }),
            rate_of: if as_expected { RateOf::Upstream } else { RateOf::Client },
            as_expected,
            changes: times,
            examples: self.requests.into_iter().map(example).collect(),
            silence: has_silence.then(|| SilenceFacts {
                ends_unix: (ends % 2 == 0).then_some(ends),
                comment: self.comment,
                during: vec![
                    During {
                        upstream: silenced,
                        rate: Rate { errors, requests },
                        quiet: Millis(lasted),
                        changes: times
                    };
                    4
                ],
            }),
            host,
            runbook: if is_linked { format!("https://{runbook}") } else { runbook },
            suppressed: Suppressed { changes, delayed: Millis(delayed) },
        }
    }
}

fuzz_target!(|input: Input| {
    let alert = input.alert();
    let says = |text: &[u8]| text.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    let (full, plain) = (slack::body(&alert), slack::fallback(&alert));
    assert_eq!(rules::check(&full), Ok(()), "{alert:?}");
    assert!(full.contains("\"blocks\""), "fell back: {alert:?}");
    assert_eq!(rules::check(&plain), Ok(()), "{alert:?}");
    assert!(plain.is_ascii() && plain.len() < 1000, "{plain}");
    let lines = [wording::log_line(&alert), wording::headline(&alert), wording::subject(&alert)];
    for line in &lines {
        assert!(line.len() < 1500 && !line.chars().any(char::is_control), "{line}");
    }
    // The word may occur where the engine put it, but not if only the queries have it.
    let without_queries = Alert { examples: Vec::new(), ..alert.clone() };
    let elsewhere = says(format!("{:?}", without_queries).as_bytes())
        || alert.examples.iter().any(|example| {
            let path = example.path.split(|&byte| byte == b'?').next().unwrap_or_default();
            [path, &example.method, &example.upstream_status, &example.upstream_addr, &example.upstream_response_time]
                .into_iter()
                .any(says)
        });
    let shown = [full, plain].into_iter().chain(lines).any(|text| says(text.as_bytes()));
    assert!(!shown || elsewhere, "a query is shown: {alert:?}");
});
