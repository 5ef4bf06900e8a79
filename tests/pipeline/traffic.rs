//! Traffic as it is, of the kinds that could make a detector lie.

use ngx_http_poolwatch_module::rules::RateOf;

use super::*;

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
    assert_told(&host, &[&["error rate"]]);
}

#[test]
fn a_period_without_traffic_is_no_data_and_no_recovery() {
    let mut host = Host::new(2, &Rules { failover: Some(Millis::from_secs(1)), ..by_period(10, RateOf::Upstream) });
    for round in 0..100 {
        host.request(round % 2, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200);
        host.run(50);
    }
    // Other things have their time meanwhile, so the rate is looked at.
    for _ in 0..40 {
        host.served_by(BLUE);
        host.run(10_000);
    }
    let titles = host.titles();
    assert!(!titles.iter().any(|title| title.contains("back to normal")), "{titles:#?}");
}

#[test]
fn a_period_tells_its_own_rates_and_severity() {
    // Of the last 200 requests far more failed than of the thousand within the period.
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
fn of_window_and_period_the_one_that_is_exceeded_is_told() {
    let rate = ErrorRateRules { window: 1000, period: Millis::from_secs(10), ..ErrorRateRules::default() };
    let mut host = Host::new(1, &Rules { error_rate: Some(rate), failover: None, ..Rules::default() });
    (0..900).for_each(|_| host.served_by(BLUE));
    host.run(20_000);
    (0..90).for_each(|_| host.served_by(BLUE));
    (0..10).for_each(|_| host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200));
    host.run(1000);
    assert_told(&host, &[&["10 of 100 requests failed upstream"]]);
}
