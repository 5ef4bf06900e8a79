//! No change is left out and none is sent twice: flapping, planned switches, outages and their error rates, silences,
//! the counts in an incident's messages, and its name.

use super::*;

/// A cooldown of a day: every repetition is held back.
fn at_once() -> Rules {
    Rules { error_rate: None, cooldown: Millis::ZERO, ..Rules::default() }
}

fn green() -> Name {
    Name::new(b"green")
}

impl Host {
    /// Requests that blue answers, for this many seconds.
    fn blue_for(&mut self, seconds: u64) {
        for _ in 0..5 * seconds {
            self.served_by(BLUE);
            self.run(200);
        }
    }

    /// The same, but blue refuses and green answers.
    fn green_for(&mut self, seconds: u64) {
        for _ in 0..5 * seconds {
            self.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
            self.run(200);
        }
    }

    fn nobody_for(&mut self, seconds: u64) {
        for _ in 0..5 * seconds {
            self.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)], 502);
            self.run(200);
        }
    }

    /// Makes six changes of the serving pool.
    fn flap(&mut self) {
        for _ in 0..3 {
            self.blue_for(20);
            self.green_for(3);
        }
        self.blue_for(20);
    }

    /// A message as it was sent.
    fn body(&self, index: usize) -> String {
        self.slack.bodies.lock().expect("no panic")[index].to_string()
    }

    fn count(&self, words: &str) -> usize {
        self.titles().iter().filter(|title| title.contains(words)).count()
    }
}

#[test]
fn an_outage_while_flapping_is_sent_at_once_and_so_is_its_end() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.flap();
    assert_eq!(host.count("Flapping"), 1, "{:#?}", host.titles());
    let before = host.titles().len();
    let lines = host.log.lock().expect("no panic").len();
    host.nobody_for(3);
    let titles = host.titles();
    assert_eq!(titles.len(), before + 1, "{titles:#?}");
    assert!(titles[before].contains("no pool answers"), "{titles:#?}");
    host.blue_for(5);
    let titles = host.titles();
    assert_eq!(titles.len(), before + 2, "{titles:#?}");
    assert!(titles[before + 1].contains("serving traffic again"), "{titles:#?}");
    assert!(titles[before + 1].contains("The serving pool changes again and again."), "{titles:#?}");
    // The same again, within the cooldown of the first.
    host.nobody_for(3);
    host.blue_for(3);
    assert_eq!(host.titles().len(), before + 2, "a repetition waits, and is over before it may go");
    let log = host.log.lock().expect("no panic");
    let count = |words: &str| log[lines..].iter().filter(|line| line.text.contains(words)).count();
    assert_eq!((count("outage of"), count("recovery of")), (2, 2), "each change is a line all the same");
}

#[test]
fn an_outage_that_is_repeated_while_flapping_is_sent_when_its_cooldown_ends_if_it_is_still_true() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.flap();
    host.nobody_for(3);
    host.blue_for(3);
    host.nobody_for(320);
    let titles = host.titles();
    assert!(titles.last().is_some_and(|title| title.contains("no pool answers")), "{titles:#?}");
    assert_eq!(host.count("no pool answers"), 2, "{titles:#?}");
}

#[test]
fn while_flapping_a_message_follows_when_the_named_pool_no_longer_serves() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.flap();
    let begun = host.titles().len();
    assert!(host.titles()[begun - 1].contains("Serves now: blue"), "{:#?}", host.titles());
    host.green_for(3);
    host.blue_for(20);
    host.run(400_000);
    assert_eq!(host.titles().len(), begun, "blue serves, as the last message said: {:#?}", host.titles());
    host.green_for(3);
    let titles = host.titles();
    assert_eq!(titles.len(), begun + 1, "{titles:#?}");
    assert!(titles[begun].contains("Serves now: green"), "{titles:#?}");
    host.blue_for(20);
    host.run(3_600_000);
    let titles = host.titles();
    assert_eq!(titles.len(), begun + 2, "{titles:#?}");
    assert!(titles[begun + 1].contains("serving traffic again"), "its end, before the cooldown is over: {titles:#?}");
}

#[test]
fn each_change_while_flapping_is_in_the_history() {
    let mut host = Host::new(1, &at_once());
    host.flap();
    host.green_for(3);
    let document = host.document();
    let kinds: Vec<&str> =
        document["history"].as_array().expect("an array").iter().filter_map(|change| change["kind"].as_str()).collect();
    assert_eq!(kinds[..4], ["failover", "recovery", "failover", "recovery"], "{kinds:?}");
    assert_eq!(document["upstreams"][0]["flapping"], true);
}

#[test]
fn each_of_many_planned_switches_is_sent_at_once_and_none_is_flapping() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    // What someone does who evaluates Poolwatch: first a failover and a recovery.
    host.blue_for(5);
    host.green_for(3);
    host.blue_for(20);
    assert_sent(&host, &[&["failover"], &["recovery"]]);
    for round in 0..8 {
        let (active, peer) = if round % 2 == 0 { (green(), GREEN) } else { (Name::new(b"blue"), BLUE) };
        host.load(1, &Rules { active, ..rules });
        host.served_by(peer);
        host.run(2000);
        let titles = host.titles();
        assert_eq!(titles.len(), 3 + round, "{titles:#?}");
        assert!(titles[2 + round].contains("Planned switch"), "{titles:#?}");
        let body = host.body(2 + round);
        assert!(!body.contains("Reason"), "nothing failed in it: {body}");
    }
    host.nobody_for(3);
    assert!(host.titles().last().is_some_and(|title| title.contains("no pool answers")), "{:#?}", host.titles());
}

#[test]
fn a_planned_switch_while_flapping_is_sent() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.flap();
    host.load(1, &Rules { active: green(), ..rules });
    host.served_by(GREEN);
    host.run(2000);
    let titles = host.titles();
    assert!(titles.last().is_some_and(|title| title.contains("Planned switch")), "{titles:#?}");
    let body = host.body(titles.len() - 1);
    assert!(!body.contains("Reason"), "what failed before is no reason of it: {body}");
}

#[test]
fn an_outage_and_its_error_rate_are_one_message_and_one_end() {
    let mut host = Host::new(2, &Rules::default());
    host.blue_for(60);
    host.nobody_for(3);
    host.blue_for(120);
    assert_sent(&host, &[&["no pool answers"], &["serving traffic again"]]);
    let first = host.body(0);
    assert!(first.contains("*Client errors*"), "the outage says how many errors: {first}");
    let document = host.document();
    assert_eq!(document["upstreams"][0]["alerts"], serde_json::json!([]));
    assert_eq!(document["upstreams"][0]["error_rate"]["level"], "ok");
}

#[test]
fn errors_that_go_on_after_an_outage_are_sent() {
    let mut host = Host::new(1, &Rules::default());
    host.blue_for(60);
    host.nobody_for(3);
    for _ in 0..50 {
        host.blue_for(1);
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
        host.run(200);
    }
    let titles = host.titles();
    assert_eq!(host.count("no pool answers"), 1, "{titles:#?}");
    assert_eq!(host.count("Error rate"), 1, "{titles:#?}");
}

#[test]
fn an_error_rate_that_was_sent_before_the_outage_goes_on_after_it() {
    let mut host = Host::new(1, &Rules::default());
    for _ in 0..100 {
        host.served_by(BLUE);
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
        host.run(400);
    }
    assert_sent(&host, &[&["error rate"]]);
    host.nobody_for(3);
    for _ in 0..50 {
        host.blue_for(1);
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
        host.run(200);
    }
    assert_sent(&host, &[&["error rate"], &["no pool answers"], &["serving traffic again"]]);
}

#[test]
fn one_incident_has_one_name_from_its_first_message_to_its_last() {
    let mut host = Host::new(1, &at_once());
    host.blue_for(5);
    host.green_for(5);
    host.nobody_for(3);
    host.green_for(5);
    host.blue_for(30);
    assert_sent(&host, &[&["failover"], &["no pool answers"], &["failover"], &["recovery"]]);
    for index in 0..4 {
        let body = host.body(index);
        assert!(body.contains(&format!("incident `app/serving/1`  ·  change {}", index + 1)), "{body}");
    }
    host.green_for(5);
    let next = host.body(4);
    assert!(next.contains("incident `app/serving/5`  ·  change 1"), "{next}");
}

#[test]
fn a_failover_soon_after_an_outage_counts_its_own_errors_alone() {
    let mut host = Host::new(1, &at_once());
    host.blue_for(5);
    host.nobody_for(12);
    host.blue_for(14);
    host.green_for(3);
    assert_sent(&host, &[&["no pool answers"], &["recovery"], &["failover", "no error"]]);
    let body = host.body(2);
    assert!(body.contains("*Warning.*") && !body.contains("502 from"), "{body}");
    let newest = host.document()["history"][0].clone();
    assert_eq!((newest["kind"].as_str(), newest["severity"].as_str()), (Some("failover"), Some("warning")));
}

#[test]
fn a_blip_of_minutes_ago_is_no_reason_of_todays_failover() {
    let mut host = Host::new(1, &at_once());
    host.blue_for(5);
    host.request(0, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200);
    host.blue_for(5);
    host.green_for(3);
    assert_sent(&host, &[&["failover"]]);
    let body = host.body(0);
    assert!(body.contains("refused") && !body.contains("5xx"), "{body}");
}

#[test]
fn a_failover_that_reaches_clients_later_is_sent_again_as_critical_at_once() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.blue_for(20);
    host.green_for(5);
    for _ in 0..10 {
        host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::ServerError)], 500);
        host.request(0, &[(GREEN, Verdict::Ok)], 200);
        host.run(200);
    }
    assert_sent(&host, &[&["⚠️", "failover"], &["🚨", "failover", "reaches clients now"]]);
    host.green_for(60);
    assert_eq!(host.titles().len(), 2);
}

#[test]
fn a_rate_that_fell_says_so_instead_of_no_errors() {
    let mut host = Host::new(1, &Rules { failover: None, ..Rules::default() });
    for _ in 0..10 {
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
        host.run(10);
    }
    for _ in 0..260 {
        host.served_by(BLUE);
        host.run(10);
    }
    let title = host.document()["upstreams"][0]["alerts"][0]["title"].clone();
    let title = title.as_str().expect("it is not over yet");
    assert!(title.contains("peak 100%, below 2% since ") && title.contains(" more requests"), "{title}");
}

#[test]
fn a_deploy_done_right_within_a_silence_ends_in_no_alarm() {
    let mut host = Host::new(1, &Rules::default());
    host.blue_for(60);
    host.order(silence(&host, 1, "app", 3600));
    host.run(1000);
    host.nobody_for(3);
    for _ in 0..20 {
        host.served_by(BLUE);
        host.run(130);
    }
    host.order(Order::EndSilence(1));
    host.run(1000);
    host.blue_for(120);
    assert_sent(&host, &[&["silence", "held back"], &["silence", "over"]]);
    let over = host.body(1);
    assert!(over.contains("15 of 35 requests to \\\"app\\\" failed, none for "), "{over}");
    assert_eq!(host.document()["upstreams"][0]["alerts"], serde_json::json!([]));
}

#[test]
fn what_is_still_true_at_the_end_of_a_silence_is_sent() {
    let mut host = Host::new(1, &Rules::default());
    host.blue_for(60);
    host.order(silence(&host, 1, "app", 3600));
    host.run(1000);
    host.nobody_for(3);
    host.order(Order::EndSilence(1));
    host.run(1000);
    assert_sent(&host, &[&["silence", "held back"], &["silence", "over"], &["no pool answers"]]);
}

#[test]
fn errors_that_go_on_after_a_silence_are_sent() {
    let mut host = Host::new(1, &Rules { failover: None, ..Rules::default() });
    host.order(silence(&host, 1, "app", 3600));
    let errors = |host: &mut Host| {
        for _ in 0..10 {
            host.request(0, &[(BLUE, Verdict::ServerError)], 500);
            host.run(100);
        }
    };
    errors(&mut host);
    host.order(Order::EndSilence(1));
    host.run(1000);
    errors(&mut host);
    assert_sent(&host, &[&["silence", "held back"], &["silence", "over"], &["error rate"]]);
}

#[test]
fn the_end_of_what_was_sent_before_a_silence_is_sent_after_it() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.blue_for(5);
    host.green_for(3);
    host.order(silence(&host, 1, "app", 3600));
    host.run(1000);
    host.blue_for(30);
    host.order(Order::EndSilence(1));
    host.run(2000);
    assert_sent(&host, &[&["failover"], &["silence"], &["silence", "over"], &["recovery"]]);
}

#[test]
fn an_incident_that_a_cooldown_held_back_to_its_end_is_not_sent() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.blue_for(5);
    for _ in 0..2 {
        host.nobody_for(3);
        host.blue_for(10);
    }
    host.run(600_000);
    assert_sent(&host, &[&["no pool answers"], &["serving traffic again"]]);
    let document = host.document();
    assert_eq!(document["receivers"][0]["pending"], 0, "nothing is owed");
    assert_eq!(document["history"][0]["deliveries"][0]["result"], "covered");
}

#[test]
fn what_came_and_went_while_a_receiver_was_gone_is_sent_when_it_is_back() {
    for status in [503, 404, 429] {
        let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
        host.blue_for(5);
        host.slack.status.store(status, Ordering::Relaxed);
        // The second incident begins and ends before the next attempt.
        for _ in 0..2 {
            host.nobody_for(3);
            host.blue_for(3);
        }
        host.slack.status.store(200, Ordering::Relaxed);
        host.run(3_600_000);
        assert_sent(&host, &[&["serving traffic again"]]);
        assert!(host.body(0).contains("3 more changes"), "{}", host.body(0));
    }
}

#[test]
fn an_upstream_that_leaves_with_two_open_incidents_is_sent_once() {
    let rules = Rules { cooldown: Millis::ZERO, ..Rules::default() };
    let other = WatchedUpstream { name: Name::new(b"other"), ..upstream(&rules) };
    let mut host = Host::new(1, &rules);
    for _ in 0..100 {
        host.request(0, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200);
        host.run(200);
    }
    assert_eq!(host.titles().len(), 2, "a failover and an error rate: {:#?}", host.titles());
    host.configure(1, &[other]);
    host.run(600_000);
    assert_eq!(host.count("no longer watched"), 1, "{:#?}", host.titles());
    assert_eq!(host.lines_with("no longer watched"), 1);
}

#[test]
fn no_traffic_ends_an_error_rate_and_a_good_request_raises_no_alarm() {
    let mut host = Host::new(1, &Rules { failover: None, ..Rules::default() });
    host.blue_for(10);
    for _ in 0..50 {
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
        host.run(100);
    }
    host.run(620_000);
    assert_sent(&host, &[&["error rate"], &["no traffic"]]);
    for _ in 0..12 {
        host.blue_for(1);
        host.run(1_800_000);
    }
    assert_eq!(host.titles().len(), 2, "{:#?}", host.titles());
}

#[test]
fn severity_decides_the_level_and_the_way_back_is_as_visible() {
    let mut host = Host::new(1, &at_once());
    host.blue_for(5);
    host.green_for(3);
    host.blue_for(30);
    host.nobody_for(3);
    host.blue_for(3);
    host.load(1, &Rules { active: green(), ..at_once() });
    host.served_by(GREEN);
    host.run(1000);
    let log = host.log.lock().expect("no panic");
    let level = |words: &str, nth: usize| {
        log.iter().filter(|line| line.text.starts_with(words)).nth(nth).map(|line| line.level)
    };
    assert_eq!(level("failover of", 0), Some(LogLevel::Error));
    assert_eq!(level("recovery of", 0), Some(LogLevel::Error));
    assert_eq!(level("outage of", 0), Some(LogLevel::Critical));
    assert_eq!(level("recovery of", 1), Some(LogLevel::Critical));
    assert_eq!(level("planned switch of", 0), Some(LogLevel::Notice));
}
