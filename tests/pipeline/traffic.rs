//! Traffic as it occurs: canaries, upstreams without a backup, servers resolved at run time, stale kept connections,
//! switches under load. Each of these could deceive a detector.

use ngx_http_poolwatch_module::config::rules::RateOf;
use ngx_http_poolwatch_module::observation::{Details, Marks};

use super::*;

/// A third server.
const RED: u16 = 2;

fn peer(address: &str, role: Role) -> ConfiguredPeer {
    ConfiguredPeer { address: address.into(), role, ..ConfiguredPeer::default() }
}

fn of_peers(rules: &Rules, peers: &[(&str, Role)]) -> WatchedUpstream {
    WatchedUpstream { peers: peers.iter().map(|&(address, role)| peer(address, role)).collect(), ..upstream(rules) }
}

const ADDRESSES: [&str; 3] = ["127.0.0.1:3001", "127.0.0.1:3002", "127.0.0.1:3003"];

/// An answer of the first server that names this pool.
fn blue_as(pool: &[u8], host: &Host) -> Observation {
    let names = Names { pool: Name::new(pool), ..Names::default() };
    let mut seen = Observation { status: 200, names: Some(names.into()), ..Observation::default() };
    seen.push(Attempt { peer: BLUE, verdict: Verdict::Ok, status: 200, start: host.time.now(), to_header: 1 });
    seen
}

/// Blue and green serve together; red is their backup.
fn canary_with_a_backup(rules: &Rules) -> WatchedUpstream {
    let [blue, green, red] = ADDRESSES;
    of_peers(rules, &[(blue, Role::Primary), (green, Role::Primary), (red, Role::Backup)])
}

fn only_failover() -> Rules {
    Rules { error_rate: None, fail_timeout: Millis::from_secs(2), ..Rules::default() }
}

#[test]
fn a_canary_is_no_news_whichever_pool_answers_first() {
    for first in [BLUE, GREEN] {
        let mut host = Host::new(2, &only_failover());
        host.configure(2, &[canary_with_a_backup(&only_failover())]);
        (0..20).for_each(|_| host.served_by(first));
        host.run(5000);
        for round in 0..2000 {
            host.served_by(if round % 10 == 0 { GREEN } else { BLUE });
            host.run(20);
        }
        assert_sent(&host, &[]);
    }
}

#[test]
fn a_canary_that_falls_back_on_its_backup_is_sent_and_its_return() {
    let mut host = Host::new(2, &only_failover());
    host.configure(2, &[canary_with_a_backup(&only_failover())]);
    for round in 0..200 {
        host.served_by(if round % 10 == 0 { GREEN } else { BLUE });
        host.run(20);
    }
    for round in 0..200 {
        host.request(round % 2, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused), (RED, Verdict::Ok)], 200);
        host.run(20);
    }
    assert_sent(&host, &[&["failover", "now red"]]);
    for round in 0..2000 {
        host.served_by(if round % 10 == 0 { GREEN } else { BLUE });
        host.run(20);
    }
    assert_sent(&host, &[&["failover"], &["red → several pools", "serving traffic again"]]);
}

#[test]
fn two_backups_that_share_the_traffic_are_mixed_and_the_primary_comes_back() {
    let [blue, green, red] = ADDRESSES;
    let peers = [(blue, Role::Primary), (green, Role::Backup), (red, Role::Backup)];
    let mut host = Host::new(2, &only_failover());
    host.configure(2, &[of_peers(&only_failover(), &peers)]);
    host.served_by(BLUE);
    host.run(1000);
    for round in 0..2000 {
        let backup = if round % 2 == 0 { GREEN } else { RED };
        host.request(round % 2, &[(BLUE, Verdict::Refused), (backup, Verdict::Ok)], 200);
        host.run(20);
    }
    assert_sent(&host, &[&["failover", "blue → green"], &["mixed traffic"]]);
    for _ in 0..2000 {
        host.served_by(BLUE);
        host.run(20);
    }
    assert_sent(&host, &[&["failover"], &["mixed traffic"], &["serving traffic again"]]);
}

#[test]
fn of_an_upstream_of_one_pool_only_outages_are_sent() {
    let mut host = Host::new(2, &only_failover());
    host.configure(2, &[of_peers(&only_failover(), &[(ADDRESSES[0], Role::Primary), (ADDRESSES[1], Role::Primary)])]);
    // No header distinguishes the two servers, so they are one pool.
    for round in 0..500 {
        let mut seen = Observation { status: 200, ..Observation::default() };
        let failed =
            Attempt { peer: BLUE, verdict: Verdict::Refused, status: 502, start: host.time.now(), to_header: 0 };
        if round % 5 == 0 {
            seen.push(failed);
        }
        seen.push(Attempt { peer: GREEN, verdict: Verdict::Ok, status: 200, start: host.time.now(), to_header: 1 });
        host.send(0, seen);
        host.run(20);
    }
    assert_sent(&host, &[]);
    for _ in 0..10 {
        host.request(1, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)], 502);
        host.run(500);
    }
    assert_sent(&host, &[&["outage"]]);
}

#[test]
fn an_answer_that_nginx_did_not_keep_is_a_failed_attempt_of_its_own_pool() {
    // `proxy_next_upstream http_429`: blue begins to limit, and nginx asks green.
    let mut host = Host::new(2, &only_failover());
    host.served_by(BLUE);
    for round in 0..40 {
        host.run(500);
        host.request(round % 2, &[(BLUE, Verdict::Rejected), (GREEN, Verdict::Ok)], 200);
    }
    host.run(60_000);
    assert_sent(&host, &[&["failover"]]);
    let body = host.slack.bodies.lock().unwrap()[0].to_string();
    assert!(body.contains("attempts answered 4xx and retried"), "{body}");
}

#[test]
fn what_an_answer_led_to_is_no_outage_of_who_answered() {
    let mut host = Host::new(2, &only_failover());
    host.served_by(BLUE);
    for round in 0..20 {
        host.run(500);
        host.request(round % 2, &[(BLUE, Verdict::Ok), (GREEN, Verdict::Refused)], 502);
    }
    host.run(60_000);
    assert_sent(&host, &[]);
}

#[test]
fn an_upstream_is_exhausted_when_nginx_refuses_to_ask_any_of_its_servers() {
    for (unusable, sent) in [(&[0][..], &[][..]), (&[1], &[]), (&[0, 1], &[&["outage"][..]])] {
        let mut host = Host::new(2, &only_failover());
        host.served_by(BLUE);
        host.run(1000);
        let marks = Marks { unusable: unusable.iter().copied().collect(), is_shared: true, ..Marks::default() };
        let details = Some(Box::new(Details { marks, ..Details::default() }));
        let mut seen = Observation { status: 502, details, ..Observation::default() };
        let (peer, start) = (Attempt::UNKNOWN_PEER, host.time.now());
        seen.push(Attempt { peer, verdict: Verdict::NoLiveUpstreams, status: 502, start, to_header: 0 });
        host.send(0, seen);
        host.run(60_000);
        assert_sent(&host, sent);
    }
}

#[test]
fn a_planned_switch_says_from_where_to_where_in_peace_and_in_an_incident() {
    for broken in [false, true] {
        let mut host = Host::new(2, &only_failover());
        host.served_by(BLUE);
        host.run(1000);
        if broken {
            host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
            host.run(5000);
        }
        host.load(2, &Rules { active: Name::new(b"green"), ..only_failover() });
        host.served_by(GREEN);
        host.run(5000);
        let switch: &[&str] =
            if broken { &["planned switch", "now green"] } else { &["planned switch", "blue → green"] };
        let sent: &[&[&str]] = if broken { &[&["failover"], switch] } else { &[switch] };
        assert_sent(&host, sent);
    }
}

#[test]
fn a_server_that_gives_itself_another_name_is_a_switch_and_no_recovery() {
    let mut host = Host::new(2, &only_failover());
    host.served_by(BLUE);
    host.run(1000);
    for _ in 0..1000 {
        host.send(0, blue_as(b"blue-2", &host));
        host.run(20);
    }
    assert_sent(&host, &[&["planned switch", "blue → blue-2"]]);
}

#[test]
fn what_an_old_worker_still_serves_after_a_switch_is_no_failover() {
    let mut host = Host::new(1, &only_failover());
    host.served_by(BLUE);
    host.run(1000);
    let (old, sender, channel) = host.workers.remove(0);
    host.load(1, &Rules { active: Name::new(b"green"), ..only_failover() });
    host.run(50);
    // nginx's old workers accept requests for another moment.
    sender.send(blue_as(b"blue", &host)).expect("the channel is open");
    old.fold(&channel);
    host.run(15_000);
    assert_sent(&host, &[]);
    host.served_by(GREEN);
    host.run(1000);
    assert_sent(&host, &[&["planned switch", "blue → green"]]);
}

#[test]
fn answers_of_unknown_servers_speak_against_an_outage() {
    let mut host = Host::new(2, &only_failover());
    host.served_by(BLUE);
    host.run(1000);
    for round in 0..500 {
        let (verdict, status) = if round % 10 == 0 { (Verdict::Refused, 502) } else { (Verdict::Ok, 200) };
        let mut seen = Observation { status, ..Observation::default() };
        seen.push(Attempt { peer: Attempt::UNKNOWN_PEER, verdict, status, start: host.time.now(), to_header: 1 });
        host.send(0, seen);
        host.run(100);
    }
    assert_sent(&host, &[]);
}

#[test]
fn a_stale_kept_connection_is_no_error_of_the_server_that_then_answers() {
    let rate = ErrorRateRules { window: 10, ..ErrorRateRules::default() };
    let mut host = Host::new(1, &Rules { error_rate: Some(rate), ..Rules::default() });
    host.configure(
        1,
        &[of_peers(&Rules { error_rate: Some(rate), ..Rules::default() }, &[(ADDRESSES[0], Role::Primary)])],
    );
    for _ in 0..20 {
        host.request(0, &[(BLUE, Verdict::Refused), (BLUE, Verdict::Ok)], 200);
        host.run(60_000);
    }
    assert_sent(&host, &[]);
}

fn by_period(seconds: u64, of: RateOf) -> Rules {
    let rate = ErrorRateRules { window: 0, period: Millis::from_secs(seconds), of, ..ErrorRateRules::default() };
    Rules { error_rate: Some(rate), failover: None, ..Rules::default() }
}

#[test]
fn requests_that_hang_for_longer_than_the_period_count_when_they_end() {
    let mut host = Host::new(1, &by_period(30, RateOf::Upstream));
    for _ in 0..300 {
        let start = host.time.now() - Millis::from_secs(60);
        let mut seen = Observation { status: 504, ..Observation::default() };
        seen.push(Attempt { peer: BLUE, verdict: Verdict::TimedOut, status: 504, start, to_header: 0 });
        host.send(0, seen);
        host.run(100);
    }
    assert_sent(&host, &[&["error rate"]]);
}

#[test]
fn a_period_without_traffic_is_no_data_and_no_recovery() {
    let mut host = Host::new(2, &Rules { failover: Some(Millis::from_secs(1)), ..by_period(10, RateOf::Upstream) });
    for round in 0..100 {
        host.request(round % 2, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200);
        host.run(50);
    }
    // Time passes for other reasons meanwhile, so the detectors tick.
    for _ in 0..40 {
        host.served_by(BLUE);
        host.run(10_000);
    }
    let titles = host.titles();
    assert!(!titles.iter().any(|title| title.contains("back to normal")), "{titles:#?}");
}

#[test]
fn the_alert_of_a_period_has_its_own_rates_and_severity() {
    // Among the last 200 requests a far larger share failed than among the thousand of the period.
    for (seen_by_clients, severity, rate) in
        [(15, "*Warning.*", "15 of 1000 (1.5%)"), (30, "*Critical.*", "30 of 1000 (3%)")]
    {
        let mut host = Host::new(1, &by_period(60, RateOf::Upstream));
        (0..800).for_each(|_| host.served_by(BLUE));
        host.run(1000);
        for index in (0..200).rev() {
            let attempts: &[_] = match index {
                _ if index < seen_by_clients => &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)],
                0..60 => &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)],
                _ => &[(BLUE, Verdict::Ok)],
            };
            host.request(0, attempts, if index < seen_by_clients { 502 } else { 200 });
        }
        host.run(1000);
        let body = host.slack.bodies.lock().expect("no panic")[0].to_string();
        for fact in [severity, "60 of 1000 (6%)", rate] {
            assert!(body.contains(fact), "no {fact} in {body}");
        }
    }
}

#[test]
fn of_window_and_period_the_one_that_is_exceeded_is_named() {
    let rate = ErrorRateRules { window: 1000, period: Millis::from_secs(10), ..ErrorRateRules::default() };
    let mut host = Host::new(1, &Rules { error_rate: Some(rate), failover: None, ..Rules::default() });
    (0..900).for_each(|_| host.served_by(BLUE));
    host.run(20_000);
    (0..90).for_each(|_| host.served_by(BLUE));
    (0..10).for_each(|_| host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200));
    host.run(1000);
    assert_sent(&host, &[&["10 of 100 requests failed upstream"]]);
}

#[test]
fn d24_errors_of_the_old_pool_do_not_keep_an_alert_after_the_failover() {
    let mut host = Host::new(2, &Rules { failover: None, ..Rules::default() });
    for round in 0..20 {
        host.request(round % 2, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
        host.run(50);
    }
    // Green answers alone. The errors leave the window, and the rate must then stay low for another window.
    for _ in 0..400 {
        host.served_by(GREEN);
        host.run(50);
    }
    assert_sent(&host, &[&["error rate"], &["back to normal"]]);
}

#[test]
fn servers_that_are_resolved_at_run_time_fail_over_by_their_headers() {
    let peers = [("app_blue:80", Role::Primary), ("app_green:80", Role::Backup)];
    let mut host = Host::new(2, &only_failover());
    host.configure(2, &[of_peers(&only_failover(), &peers)]);
    let strange = |host: &mut Host, pool: &[u8], verdicts: &[Verdict]| {
        let names = Names { pool: Name::new(pool), ..Names::default() };
        let mut seen = Observation { status: 200, names: Some(names.into()), ..Observation::default() };
        for &verdict in verdicts {
            let start = host.time.now();
            seen.push(Attempt { peer: Attempt::UNKNOWN_PEER, verdict, status: 200, start, to_header: 1 });
        }
        host.send(0, seen);
        host.run(100);
    };
    (0..20).for_each(|_| strange(&mut host, b"blue", &[Verdict::Ok]));
    assert_sent(&host, &[]);
    (0..20).for_each(|_| strange(&mut host, b"green", &[Verdict::Refused, Verdict::Ok]));
    assert_sent(&host, &[&["failover", "blue → green"]]);
    (0..20).for_each(|_| strange(&mut host, b"", &[Verdict::Refused, Verdict::Refused]));
    assert_sent(&host, &[&["failover"], &["outage"]]);
    // Without a header nobody knows which pool answers, but one does.
    (0..20).for_each(|_| strange(&mut host, b"", &[Verdict::Ok]));
    assert_sent(&host, &[&["failover"], &["outage"], &["serving traffic again"]]);
}
