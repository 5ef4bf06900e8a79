//! What is shown: documents and metrics of a table that a pipeline filled.
//!
//! `UPDATE_GOLDEN=1 cargo test --test pipeline` writes the files; read the difference before you commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ngx_http_poolwatch_module::state::snapshot::{ModuleInfo, Snapshot};
use ngx_http_poolwatch_module::state::workers::{Condition, Workers};
use ngx_http_poolwatch_module::status::json::{Part, body};
use ngx_http_poolwatch_module::status::view::StateView;
use ngx_http_poolwatch_module::status::{html, prometheus, variables};
use proptest::prelude::*;

use super::*;
use crate::golden::expected;

impl Host {
    fn snapshot(&self) -> Snapshot {
        let info = ModuleInfo {
            times: self.time.times(),
            host: "web1".into(),
            nginx_version: "1.22.1".into(),
            worker_processes: self.workers.len() as u64,
            workers: Workers::new(2, &[(100, Condition::NoThread(11)), (101, Condition::Watching)], None),
            hindrance: Some("another nginx keeps the state file and delivers, process 99".into()),
            configurations: self.generation,
            dropped: 3,
            zone_size: 1_048_576,
            zone_upstreams: 4,
        };
        Snapshot::new(self.shared.with(|table| table.contents()), &self.receivers, info)
    }

    /// The view for a page that accepts commands.
    fn state(&self) -> StateView {
        StateView::new(&self.snapshot(), true)
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&body(Part::State, &self.state())).expect("JSON")
    }

    /// What each receiver accepted of each change, newest first: `failover slack=accepted`.
    fn deliveries(&self) -> Vec<String> {
        let line = |change: &Value| {
            let delivery = |to: &Value| format!(" {}={}", text(&to["receiver"]), text(&to["result"]));
            let deliveries = change["deliveries"].as_array().expect("an array").iter().map(delivery);
            text(&change["kind"]).to_owned() + &deliveries.collect::<String>()
        };
        self.document()["history"].as_array().expect("an array").iter().map(line).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// A failover with errors, a silence, and a second receiver that does not answer.
fn incident() -> Host {
    let mut host = Host::new(2, &Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() });
    let endpoint = Endpoint {
        url: "https://user:pass@ops.example:8443?token=secret".into(),
        ca_pem: b"secret".to_vec(),
        proxy: "http://user:pass@proxy".into(),
        ..receiver().endpoint
    };
    host.receivers.push(Receiver { name: Name::new(b"ops"), send_resolved: false, endpoint, ..receiver() });
    host.load(2, &Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() });
    for round in 0..300 {
        host.request(round % 2, &[(BLUE, Verdict::Ok)], 200);
        host.run(500);
    }
    for round in 0..30 {
        host.request(round % 2, &[(BLUE, Verdict::TimedOut), (GREEN, Verdict::Ok)], 200);
        host.run(100);
    }
    host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::ServerError)], 500);
    let mut gone = Observation { status: 499, aborted: true, ..Observation::default() };
    gone.push(Attempt { peer: GREEN, start: host.time.now(), ..Attempt::default() });
    host.send(1, gone);
    host.order(silence(&host, 7, "app", 1800));
    host.run(1500);
    host
}

#[test]
fn the_state_is_as_in_its_golden_file() {
    let document = incident().document();
    let pretty = format!("{document:#}\n");
    let golden: Value = serde_json::from_str(&expected("status/state.json", &pretty)).expect("JSON");
    assert_eq!(document, golden, "is now\n{pretty}");
}

#[test]
fn metrics_are_as_in_their_golden_file() {
    let metrics = prometheus::body(&incident().state());
    assert_eq!(metrics, expected("status/metrics.txt", &metrics));
}

#[test]
fn parts_are_members_of_the_state() {
    let host = incident();
    let state = host.document();
    let parts = [Part::Upstreams, Part::Receivers, Part::Silences, Part::History, Part::Module];
    for (part, name) in parts.into_iter().zip(["upstreams", "receivers", "silences", "history", "module"]) {
        let alone: Value = serde_json::from_str(&body(part, &host.state())).expect("JSON");
        assert_eq!(alone, state[name], "{name}");
    }
}

#[test]
fn no_secret_is_shown() {
    let state = incident().state();
    for text in [body(Part::State, &state), prometheus::body(&state), html::page(&state, "")] {
        assert!(!text.contains("secret") && !text.contains("pass") && !text.contains("services"), "{text}");
    }
    assert!(body(Part::Receivers, &state).contains("ops.example:8443"));
}

#[test]
fn a_change_within_the_cooldown_is_covered_by_the_message_that_comes_later() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    let mut back_and_forth = |peer: u16| {
        for _ in 0..200 {
            host.served_by(peer);
            host.run(200);
        }
    };
    [BLUE, GREEN, BLUE].into_iter().for_each(&mut back_and_forth);
    assert_eq!(host.deliveries(), ["recovery slack=accepted", "failover slack=accepted", "untold"]);
    host.served_by(GREEN);
    host.run(2000);
    assert_eq!(host.deliveries()[0], "failover slack=pending");
    for _ in 0..200 {
        host.served_by(BLUE);
        host.run(200);
    }
    for _ in 0..200 {
        host.served_by(GREEN);
        host.run(200);
    }
    host.run(400_000);
    assert_eq!(host.deliveries()[0], "failover slack=accepted");
    assert_eq!(host.deliveries()[2], "failover slack=covered");
}

#[test]
fn a_receiver_that_wants_no_recoveries_and_one_that_came_later_differ() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.receivers = vec![Receiver { send_resolved: false, ..receiver() }];
    host.load(1, &rules);
    host.served_by(BLUE);
    host.run(100);
    host.served_by(GREEN);
    host.run(2000);
    for _ in 0..200 {
        host.served_by(BLUE);
        host.run(200);
    }
    host.receivers.push(Receiver { name: Name::new(b"late"), ..receiver() });
    host.load(1, &rules);
    assert_eq!(host.deliveries(), ["recovery slack=waived", "failover slack=accepted", "untold"]);
}

#[test]
fn variables_say_who_serves_and_how_often_it_fails() {
    let snapshot = incident().snapshot();
    let upstream = snapshot.upstream(b"app").expect("it is watched");
    assert_eq!((variables::state(upstream), variables::pool(upstream)), ("pool", Some("green".to_owned())));
    assert_eq!(variables::release(upstream).as_deref(), Some("v1.2.3"));
    assert_eq!(variables::error_rate(upstream, snapshot.info.times.now).as_deref(), Some("0.1550"));
}

#[test]
fn of_pools_that_serve_together_no_single_release_is_shown() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    let mut both = upstream(&rules);
    both.pools = ["blue", "green"].map(|name| Name::new(name.as_bytes())).to_vec();
    both.peers = ["127.0.0.1:3001", "127.0.0.1:3002"]
        .iter()
        .zip(0..)
        .map(|(address, pool)| ConfiguredPeer {
            address: (*address).into(),
            pool: Some(pool),
            ..ConfiguredPeer::default()
        })
        .collect();
    host.configure(1, &[both]);
    for _ in 0..20 {
        host.served_by(BLUE);
        host.served_by(GREEN);
        host.run(100);
    }
    let snapshot = host.snapshot();
    let upstream = snapshot.upstream(b"app").expect("it is watched");
    assert_eq!((variables::state(upstream), variables::pool(upstream)), ("several", None));
    assert_eq!(variables::release(upstream), None);
}

/// The most series that the table in docs/status.md may promise: 8 pools, 16 releases.
#[test]
fn the_number_of_series_is_bounded_as_the_documents_say() {
    let mut host = Host::new(1, &Rules::default());
    let count = |host: &Host, of: &str| series(&host.state()).keys().filter(|series| series.contains(of)).count();
    host.answer(BLUE, b"blue", b"v1");
    host.answer(GREEN, b"green", b"v2");
    host.run(2000);
    let usual = count(&host, "upstream=");
    for number in 0..30 {
        host.answer(BLUE, format!("pool{number}").as_bytes(), format!("v{number}").as_bytes());
        host.run(100);
    }
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/status.md");
    let page = fs::read_to_string(page).expect("docs/status.md");
    let (most, receiver) = (count(&host, "upstream="), count(&host, "receiver="));
    let all = series(&host.state()).len();
    let said = format!(
        "{usual} series an upstream with two pools and two releases, {most} at most with 8 and 16, {receiver} a receiver and {} beside",
        all - most - receiver
    );
    assert!(
        page.split_whitespace().collect::<Vec<_>>().join(" ").contains(&said),
        "docs/status.md does not say: {said}"
    );
}

/// Is this a line of the text format: a name, labels in quotes, a number?
fn is_sample(line: &str) -> bool {
    let (series, value) = line.rsplit_once(' ').unwrap_or_default();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut inside = false;
    let mut escaped = false;
    for letter in labels.chars() {
        match letter {
            '"' if !escaped => inside = !inside,
            '\\' if inside && !escaped => {
                escaped = true;
                continue;
            }
            _ if letter.is_control() => return false,
            _ => {}
        }
        escaped = false;
    }
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_:".contains(&byte));
    is_name(name) && labels.ends_with('}') && !inside && value.parse::<f64>().is_ok()
}

impl Host {
    /// Sends an answer that names its pool and its release.
    fn answer(&mut self, peer: u16, pool: &[u8], release: &[u8]) {
        let names = Names { pool: Name::new(pool), release: Text::new(release) };
        let mut seen = Observation { status: 200, names: Some(names.into()), ..Observation::default() };
        seen.push(Attempt { peer, verdict: Verdict::Ok, status: 200, start: self.time.now(), to_header: 1 });
        self.send(0, seen);
    }
}

/// The metrics: each series with its value.
fn series(state: &StateView) -> BTreeMap<String, f64> {
    let metrics = prometheus::body(state);
    let examples = metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    examples.map(|(series, value)| (series.to_owned(), value.parse().expect("a number"))).collect()
}

/// The labels of a series whose values are the names of pools, releases or states: `pool="green"`.
fn names(series: &str) -> Vec<&str> {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    let is_name = |label: &&str| ["pool=", "release=", "from=", "to="].iter().any(|key| label.starts_with(key));
    labels.split(',').filter(is_name).collect()
}

/// A new series has a name that was unknown before, or its value is 0. If all pools are known (`is_known`), only a new
/// release brings new series, and no series disappears.
fn check_births(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, is_known: bool) {
    let known: BTreeSet<&str> = before.keys().flat_map(|series| names(series)).collect();
    for (series, &value) in after.iter().filter(|(series, _)| !before.contains_key(*series)) {
        let mut new = names(series).into_iter().filter(|name| !known.contains(name));
        let may_come =
            if is_known { new.any(|name| name.starts_with("release=")) } else { new.count() > 0 || value == 0.0 };
        assert!(may_come, "{series} is born with {value}");
    }
    let gone = before.keys().find(|series| is_known && !after.contains_key(*series));
    assert_eq!(gone, None, "is gone");
}

/// Documents are JSON, and each series of the metrics occurs once.
fn check(state: &StateView) {
    serde_json::from_str::<Value>(&body(Part::State, state)).expect("JSON");
    let metrics = prometheus::body(state);
    let mut seen = BTreeSet::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(is_sample(line), "{line}");
        let series = line.rsplit_once(' ').unwrap_or_default().0;
        assert!(seen.insert(series), "twice: {series}");
    }
}

/// Checks the documents while two servers in turn answer with these names of pool and release.
fn check_names(names: &[(Vec<u8>, Vec<u8>)]) {
    let mut host = Host::new(1, &Rules::default());
    for (round, (pool, release)) in names.iter().enumerate() {
        host.answer(if round % 2 == 0 { BLUE } else { GREEN }, pool, release);
        host.run(2000);
        check(&host.state());
    }
}

#[test]
fn names_that_look_alike_once_they_are_spelled_out_are_two() {
    let byte_and_letters = [b"\xff".to_vec(), b"\\xff".to_vec()];
    check_names(&byte_and_letters.clone().map(|pool| (pool, b"v1".to_vec())));
    check_names(&byte_and_letters.map(|release| (b"blue".to_vec(), release)));
}

#[test]
fn a_pool_may_be_called_like_a_role() {
    let called = |names: [&str; 2]| check_names(&names.map(|name| (name.as_bytes().to_vec(), b"v1".to_vec())));
    called(["backup", "primary"]);
    called(["backup", "green"]);
    called(["blue", "primary"]);
}

#[test]
fn a_pool_may_be_called_like_a_state() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    for (peer, pool) in [(BLUE, "blue"), (GREEN, "down"), (BLUE, "blue")] {
        for _ in 0..200 {
            host.answer(peer, pool.as_bytes(), b"");
            host.run(200);
        }
    }
    for _ in 0..5 {
        host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)], 502);
        host.run(500);
    }
    let state = host.state();
    assert!(prometheus::body(&state).contains(r#"failovers_total{upstream="app",from="blue",to="down"} 2"#));
    check(&state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_series_of_a_known_name_is_born_or_goes(
        is_configured in any::<bool>(),
        events in prop::collection::vec((0_u8..8, 1_usize..40, 0_u64..400), 1..25),
    ) {
        let mut host = Host::new(1, &Rules::default());
        host.receivers.push(Receiver { name: Name::new(b"ops"), ..receiver() });
        if is_configured {
            let mut watched = upstream(&Rules::default());
            watched.pools = [b"blue", b"down"].map(|name| Name::new(name)).to_vec();
            watched.peers[0].pool = Some(0);
            watched.peers[1].pool = Some(1);
            host.configure(1, &[watched]);
        } else {
            host.load(1, &Rules::default());
        }
        let mut before = series(&host.state());
        for (event, times, pause) in events {
            for _ in 0..times {
                match event {
                    0 => host.answer(BLUE, b"blue", b"v1"),
                    1 => host.answer(GREEN, b"green", b"v2"),
                    2 => host.request(0, &[(BLUE, Verdict::TimedOut), (GREEN, Verdict::Ok)], 200),
                    3 => host.request(0, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Refused)], 502),
                    4 => host.request(0, &[(Attempt::UNKNOWN_PEER, Verdict::NoLiveUpstreams)], 502),
                    5 => host.request(0, &[(BLUE, Verdict::Unfinished)], 499),
                    6 => host.request(0, &[(Attempt::UNKNOWN_PEER, Verdict::Refused)], 502),
                    _ => {
                        let status = if pause % 2 == 0 { 200 } else { 503 };
                        host.slack.status.store(status, std::sync::atomic::Ordering::Relaxed);
                    }
                }
                host.run(pause);
            }
            let after = series(&host.state());
            check_births(&before, &after, is_configured);
            before = after;
        }
    }

    #[test]
    fn whatever_servers_call_themselves_is_shown_safely(
        names in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 1..5),
    ) {
        check_names(&names);
    }
}
