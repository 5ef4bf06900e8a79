//! The sentences of alerts.

use super::*;
use crate::alert::{Rates, SilenceFacts};

fn pool(name: &str, address: &str) -> PoolFacts {
    PoolFacts { name: name.into(), addresses: vec![address.into()], release: b"v1".to_vec(), is_unknown: false }
}

fn rates(client_errors: u32) -> Rates {
    Rates::new(200, 5, client_errors)
}

fn alert(kind: Kind) -> Alert {
    Alert {
        id: "app/serving/7".into(),
        change: 1,
        from: Some(pool("blue", "127.0.0.1:3001")),
        to: Some(pool("green", "127.0.0.1:3002")),
        lasted: Some(Millis::from_secs(272)),
        reasons: Reasons { refused: 3, ..Reasons::default() },
        rates: rates(0),
        window_rates: rates(0),
        threshold: Some(Threshold { ratio: Ratio::from_millionths(20_000), window: 200, period: Millis::ZERO }),
        ..Alert::about(kind, Severity::Warning, b"app", 0, "")
    }
}

#[test]
fn each_kind_has_its_headline() {
    let headline = |kind| headline(&alert(kind));
    assert_eq!(headline(Kind::Failover), "Failover on \"app\": blue → green");
    assert_eq!(headline(Kind::Recovery), "Recovery on \"app\": blue → green, primary is serving traffic again");
    assert_eq!(headline(Kind::PlannedSwitch), "Planned switch on \"app\": blue → green");
    assert_eq!(headline(Kind::Down), "Outage on \"app\": no pool answers");
    assert_eq!(
        headline(Kind::ErrorRateFiring),
        "Error rate on \"app\": 5 of 200 requests failed upstream (threshold 2% of 200 requests)"
    );
    assert_eq!(
        headline(Kind::ErrorRateResolved),
        "Error rate on \"app\" is back to normal: 5 of 200 requests failed upstream"
    );
}

#[test]
fn the_log_line_says_who_why_and_how_much() {
    let rates = "3 attempts refused, upstream errors 5 of 200, client errors 0 of 200";
    let log_line = |kind| log_line(&alert(kind)).replace(rates, "...");
    let moved = "blue (127.0.0.1:3001) -> green (127.0.0.1:3002)";
    assert_eq!(log_line(Kind::Failover), format!("failover of upstream \"app\": {moved}, ..."));
    assert_eq!(
        log_line(Kind::Recovery),
        format!("recovery of upstream \"app\": {moved}, primary is serving traffic again after 4 min 32 s, ...")
    );
    assert_eq!(
        log_line(Kind::Down),
        "outage of upstream \"app\": no pool answers, last served by blue (127.0.0.1:3001), ..."
    );
    assert_eq!(
        log_line(Kind::ErrorRateFiring),
        "error rate of upstream \"app\": upstream errors above 2% of 200 requests, ..."
    );
    assert_eq!(
        log_line(Kind::ErrorRateResolved),
        "error rate of upstream \"app\": back to normal after 4 min 32 s, ..."
    );
}

#[test]
fn without_a_pool_before_or_now_the_words_stay_true() {
    let now_several = Alert { to: None, ..alert(Kind::Failover) };
    assert_eq!(headline(&now_several), "Failover on \"app\": blue → several pools");
    let from_nobody = Alert { from: None, lasted: None, ..alert(Kind::Recovery) };
    assert_eq!(headline(&from_nobody), "Recovery on \"app\": now green, primary is serving traffic again");
}

#[test]
fn the_impact_says_whether_clients_are_spared() {
    let suffering = |kind| Alert { rates: rates(1), ..alert(kind) };
    assert_eq!(
        impact(&alert(Kind::ErrorRateFiring)),
        "Clients saw no error in 200 requests since it began: hidden from clients by retries."
    );
    assert_eq!(impact(&suffering(Kind::ErrorRateFiring)), "Clients saw 1 error in 200 requests since it began.");
    assert_eq!(impact(&alert(Kind::Failover)), "Clients saw no error in 200 requests since it began.");
    assert_eq!(impact(&suffering(Kind::Down)), "Clients saw 1 error in 200 requests since it began.");
    assert_eq!(impact(&alert(Kind::Recovery)), "The incident lasted 4 min 32 s.");
}

#[test]
fn a_rate_over_clients_is_named_so() {
    let client = Alert { rate_of: RateOf::Client, ..alert(Kind::ErrorRateFiring) };
    assert!(headline(&client).contains("0 of 200 requests failed for clients"));
}

#[test]
fn a_rate_that_fell_says_how_high_it_was_and_what_is_missing() {
    let eased = |missing| {
        let easing = Easing { peak: Ratio::from_millionths(312_345), below_since_unix: 1_790_000_000_000, missing };
        Alert { easing: Some(easing), ..alert(Kind::ErrorRateFiring) }
    };
    let fell = "Error rate on \"app\": peak 31.23%, below 2% since 14:13 UTC, ";
    assert_eq!(headline(&eased(Missing::Requests(140))), format!("{fell}over after 140 more requests"));
    assert_eq!(headline(&eased(Missing::Time(Millis(8000)))), format!("{fell}over in 8 s"));
    let high = eased(Missing::Share(Ratio::from_millionths(10_000)));
    assert_eq!(headline(&high), format!("{fell}is over when it stays below 1%"));
    assert!(log_line(&high).contains("peak 31.23%, below 2%"), "{}", log_line(&high));
}

#[test]
fn the_end_of_a_silence_says_what_came_of_it() {
    let during = |name: &str, errors, changes| During {
        upstream: name.into(),
        rate: Rate { errors, requests: 200 },
        quiet: Millis(18_000),
        changes,
    };
    let of = |during| {
        let silence = SilenceFacts { ends_unix: Some(0), comment: vec![], during };
        super::during(&Alert { silence: Some(silence), ..alert(Kind::SilenceEnded) })
    };
    assert_eq!(of(vec![]), [""; 0]);
    let app = "60 of 200 requests to \"app\" failed, none for 18 s";
    let api = "0 of 200 requests to \"api\" failed, 1 change of the serving pool";
    assert_eq!(of(vec![during("app", 60, 0), during("api", 0, 1)]), [app, api]);
    let many = of(vec![during("app", 60, 0); 5]);
    assert_eq!(many, [app, app, app, "something of 2 more upstreams as well"]);
}

#[test]
fn a_change_among_many_is_in_the_log_with_their_number() {
    let flapping = Alert { flapping: true, changes: 7, ..alert(Kind::Failover) };
    assert!(log_line(&flapping).contains(", 7 changes in 10 minutes, now green (127.0.0.1:3002), "));
}

#[test]
fn what_reaches_clients_later_says_so() {
    let worse = Alert { worsened: true, rates: rates(5), ..alert(Kind::Failover) };
    assert_eq!(impact(&worse), "It reaches clients now. Clients saw 5 errors in 200 requests since it began.");
    assert!(log_line(&worse).contains(", it reaches clients now, "));
}

#[test]
fn the_runbook_opens_at_the_section_about_the_kind() {
    assert_eq!(runbook("https://wiki/runbook.md", Kind::Failover), "https://wiki/runbook.md#failover");
    assert_eq!(runbook("https://wiki/?page=7&x=1", Kind::Mixed), "https://wiki/?page=7&x=1#mixed-traffic");
    let kinds = [Kind::ErrorRateFiring, Kind::ErrorRateResolved, Kind::ErrorRateNoData];
    assert_eq!(kinds.map(|kind| runbook("https://wiki", kind)), ["https://wiki#error-rate"; 3]);
}

#[test]
fn a_runbook_with_a_fragment_of_its_own_keeps_it() {
    for url in ["https://wiki/#ours", "https://wiki/#", ""] {
        assert_eq!(runbook(url, Kind::Down), url);
    }
}

#[test]
fn a_hostile_name_pushes_no_fact_out() {
    let hostile = Alert { upstream: vec![b'\n'; 64], ..alert(Kind::Recovery) };
    assert!(headline(&hostile).ends_with(SERVING_AGAIN));
    assert!(!headline(&hostile).contains('\n'));
}

#[test]
fn shares_are_rounded_to_what_a_person_reads() {
    assert_eq!(rate(Rate { errors: 5, requests: 200 }), "5 of 200 (2.5%)");
    assert_eq!(rate(Rate { errors: 1, requests: 3 }), "1 of 3 (33.33%)");
    assert_eq!(rate(Rate { errors: 0, requests: 0 }), "0 of 0");
    assert_eq!(rate(Rate { errors: u32::MAX, requests: 1 }), "4294967295 of 1 (100%)");
}

#[test]
fn what_was_kept_back_is_said_only_when_it_matters() {
    let waited = |changes, minutes: u64| waited(&Suppressed { changes, delayed: Millis::from_secs(minutes * 60) });
    let at_once = Suppressed { changes: 1, delayed: Millis(3) };
    assert_eq!(super::waited(&at_once).as_deref(), Some("1 more change meanwhile"));
    assert_eq!(waited(0, 15), None);
    assert_eq!(waited(0, 58).as_deref(), Some("delayed 58 min"));
    assert_eq!(waited(1, 5).as_deref(), Some("while waiting 5 min: 1 more change"));
    assert_eq!(waited(3, 58).as_deref(), Some("delayed 58 min, meanwhile 3 more changes"));
}
