//! The whole pipeline over a table in a box: workers that share it, a clock that moves only when the test moves it, a
//! list as the network.

#![expect(clippy::disallowed_methods, reason = "a variable asks for new golden files")]

mod faults;
#[path = "../golden/file.rs"]
mod golden;
mod held_back;
mod host;
mod restart;
mod service;
mod shown;
mod traffic;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;
use host::*;
use ngx_http_poolwatch_module::clock::Clock;
use ngx_http_poolwatch_module::config::receiver::{Endpoint, Receiver};
use ngx_http_poolwatch_module::config::rules::{ErrorRateRules, Rules};
use ngx_http_poolwatch_module::config::upstream::{ConfiguredPeer, Role, WatchedUpstream};
use ngx_http_poolwatch_module::deliver::{Post, PostError, Reply};
use ngx_http_poolwatch_module::detect::serving::Serving;
use ngx_http_poolwatch_module::observation::{Attempt, Names, Observation, Verdict};
use ngx_http_poolwatch_module::outbox::MAX_RECEIVERS;
use ngx_http_poolwatch_module::pipeline::Store;
use ngx_http_poolwatch_module::pipeline::log_line::LogLevel;
use ngx_http_poolwatch_module::pipeline::order::Order;
use ngx_http_poolwatch_module::state::announcements::Silence;
use ngx_http_poolwatch_module::state::slot::Slot;
use ngx_http_poolwatch_module::text::{Name, Text};
use ngx_http_poolwatch_module::units::Millis;
use serde_json::Value;

/// Asserts that these are the messages so far: one for each item, with all of the item's words in its title.
#[track_caller]
fn assert_sent(host: &Host, expected: &[&[&str]]) {
    let titles = host.titles();
    assert_eq!(titles.len(), expected.len(), "{titles:#?}");
    for (title, words) in titles.iter().zip(expected) {
        for word in *words {
            assert!(title.to_lowercase().contains(&word.to_lowercase()), "no \"{word}\" in {titles:#?}");
        }
    }
}

#[test]
fn four_workers_send_one_failover_and_one_recovery() {
    let mut host = Host::new(4, &Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() });
    for worker in 0..4 {
        host.request(worker, &[(BLUE, Verdict::Ok)], 200);
    }
    host.run(1000);
    assert_sent(&host, &[]);
    for round in 0..200 {
        host.request(round % 4, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
        host.run(10);
    }
    host.run(1500);
    // Masked errors also make the upstream's error rate fire. It needs no confirmation, so its message is first here.
    assert_sent(&host, &[&["error rate"], &["failover", "blue", "green"]]);
    for round in 0..300 {
        host.request(round % 4, &[(BLUE, Verdict::Ok)], 200);
        host.run(100);
    }
    let titles = host.titles();
    assert_eq!(titles.iter().filter(|title| title.contains("serving traffic again")).count(), 1, "{titles:#?}");
}

#[test]
fn a_masked_error_of_a_healthy_primary_is_sent_to_nobody() {
    let mut host = Host::new(2, &Rules { error_rate: None, ..Rules::default() });
    for round in 0..500 {
        host.request(round % 2, &[(BLUE, Verdict::Ok)], 200);
        host.run(1);
        if round % 20 == 0 {
            host.request(round % 2, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200);
            host.run(1);
        }
    }
    host.served_by(BLUE);
    host.run(10_000);
    assert_sent(&host, &[]);
}

#[test]
fn the_way_back_is_sent_within_the_cooldown() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.served_by(BLUE);
    host.run(100);
    host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
    host.run(2000);
    for _ in 0..200 {
        host.served_by(BLUE);
        host.run(200);
    }
    assert_sent(&host, &[&["failover"], &["primary is serving traffic again"]]);
}

#[test]
fn an_outage_is_sent_and_its_end() {
    let mut host = Host::new(2, &Rules::default());
    host.served_by(BLUE);
    host.run(100);
    for round in 0..20 {
        host.request(round % 2, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)], 502);
        host.run(50);
    }
    host.run(3000);
    assert_sent(&host, &[&["no pool answers", "20 errors in 20 requests"]]);
    for _ in 0..500 {
        host.served_by(BLUE);
        host.run(100);
    }
    // An outage is one message, and its end is one more: its error rate is part of it.
    assert_sent(&host, &[&["no pool answers"], &["serving traffic again"]]);
}

#[test]
fn a_reload_in_the_middle_of_an_incident_repeats_nothing_and_forgets_nothing() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(2, &rules);
    host.served_by(BLUE);
    host.run(100);
    host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
    host.run(2000);
    host.load(3, &rules);
    host.served_by(GREEN);
    host.run(60_000);
    assert_sent(&host, &[&["failover"]]);
    for _ in 0..200 {
        host.served_by(BLUE);
        host.run(200);
    }
    assert_sent(&host, &[&["failover"], &["serving traffic again"]]);
}

#[test]
fn silence_only_delays() {
    let silenced = Rules { error_rate: None, silenced: true, ..Rules::default() };
    let mut host = Host::new(1, &silenced);
    host.served_by(BLUE);
    host.run(100);
    host.served_by(GREEN);
    host.run(60_000);
    assert_sent(&host, &[&["silence", "held back"]]);
    assert_eq!(host.lines_with("failover"), 1, "the failover is in error.log all the same");
    host.load(1, &Rules { silenced: false, ..silenced });
    host.run(3000);
    assert_sent(&host, &[&["silence", "held back"], &["silence", "over"], &["failover", "blue", "green"]]);
}

fn silence(host: &Host, id: u64, upstream: &str, seconds: u64) -> Order {
    let until = host.time.now() + Millis::from_secs(seconds);
    Order::Silence(Box::new(Silence {
        id,
        upstream: Name::new(upstream.as_bytes()),
        until,
        comment: Text::new(b"deploy"),
    }))
}

#[test]
fn a_silence_ends_by_itself_without_a_request_and_what_is_true_is_sent_then() {
    let mut host = Host::new(2, &Rules { error_rate: None, ..Rules::default() });
    host.served_by(BLUE);
    host.run(100);
    host.order(silence(&host, 1, "app", 1800));
    host.run(100);
    assert_sent(&host, &[&["silence", "app", "held back"]]);
    host.served_by(GREEN);
    host.run(1_799_000);
    assert_sent(&host, &[&["silence"]]);
    host.run(3000);
    assert_sent(&host, &[&["silence"], &["silence", "app", "over"], &["failover", "blue", "green"]]);
}

#[test]
fn what_came_and_went_during_a_silence_is_part_of_its_end() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.served_by(BLUE);
    host.run(100);
    host.order(silence(&host, 1, "", 600));
    host.served_by(GREEN);
    host.run(2000);
    for _ in 0..100 {
        host.served_by(BLUE);
        host.run(200);
    }
    host.order(Order::EndSilence(1));
    host.run(3000);
    assert_sent(&host, &[&["silence", "all upstreams"], &["silence", "over"]]);
    let last = host.slack.bodies.lock().expect("no panic").last().map(Value::to_string).unwrap_or_default();
    assert!(last.contains("0 of 100 requests to \\\"app\\\" failed, 2 changes of the serving pool"), "{last}");
}

#[test]
fn a_silence_of_one_upstream_is_none_of_another() {
    let mut host = Host::new(1, &Rules { error_rate: None, ..Rules::default() });
    host.order(silence(&host, 1, "api", 600));
    host.served_by(BLUE);
    host.run(100);
    host.served_by(GREEN);
    host.run(3000);
    assert_sent(&host, &[&["silence", "api"], &["failover"]]);
}

#[test]
fn a_silence_outlives_a_reload() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.served_by(BLUE);
    host.order(silence(&host, 1, "app", 600));
    host.run(100);
    host.load(2, &rules);
    host.served_by(GREEN);
    host.run(590_000);
    assert_sent(&host, &[&["silence"]]);
    host.run(20_000);
    assert_sent(&host, &[&["silence"], &["silence", "over"], &["failover"]]);
}

#[test]
fn a_test_message_goes_out_whatever_is_silenced() {
    let mut host = Host::new(1, &Rules { silenced: true, ..Rules::default() });
    host.run(1000);
    host.order(Order::Test);
    host.run(2000);
    assert_sent(&host, &[&["silence", "poolwatch_silence"], &["test message"]]);
    host.order(Order::Test);
    host.run(2000);
    assert_eq!(host.titles().len(), 3);
}

#[test]
fn a_silence_too_many_is_refused_and_the_log_says_so() {
    let mut host = Host::new(1, &Rules::default());
    for id in 1..=9 {
        host.order(silence(&host, id, "app", 60));
    }
    host.run(100);
    assert_eq!(host.lines_with("silence 9 did not begin"), 1);
}

#[test]
fn a_receiver_that_fails_is_sent_the_message_later_and_is_logged_once() {
    let mut host = Host::new(2, &Rules { error_rate: None, ..Rules::default() });
    host.served_by(BLUE);
    host.run(100);
    host.slack.status.store(503, Ordering::Relaxed);
    host.served_by(GREEN);
    host.run(300_000);
    assert_sent(&host, &[]);
    assert_eq!(host.log.lock().expect("no panic").len(), 2, "one line for the failover, one for the receiver");
    host.slack.status.store(200, Ordering::Relaxed);
    host.run(61_000);
    assert_sent(&host, &[&["failover", "blue", "green"]]);
}

#[test]
fn a_changed_expected_pool_is_a_planned_switch_and_no_failover() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.served_by(BLUE);
    host.served_by(BLUE);
    host.run(1000);
    host.load(1, &Rules { active: Name::new(b"green"), ..rules });
    host.run(100);
    host.served_by(GREEN);
    host.run(5000);
    assert_sent(&host, &[&["planned switch", "green"]]);
}

#[test]
fn an_upstream_that_is_removed_in_an_incident_is_announced_as_no_longer_watched_once() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let other = || WatchedUpstream { name: Name::new(b"other"), ..upstream(&rules) };
    let mut host = Host::new(2, &rules);
    host.served_by(BLUE);
    host.run(100);
    host.served_by(GREEN);
    host.run(5000);
    host.configure(2, &[other()]);
    host.run(600_000);
    host.configure(2, &[other()]);
    host.run(600_000);
    assert_sent(&host, &[&["failover", "blue", "green"], &["\"app\" is no longer watched"]]);
    let log = host.log.lock().expect("no panic").iter().filter(|line| line.text.contains("no longer")).count();
    assert_eq!(log, 1, "the first worker of the configuration says so");
}

#[test]
fn an_upstream_that_comes_back_starts_again_and_its_numbers_go_on() {
    let rules = Rules { error_rate: None, cooldown: Millis::ZERO, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.served_by(BLUE);
    host.run(100);
    host.served_by(GREEN);
    host.run(5000);
    host.configure(1, &[]);
    host.run(5000);
    host.load(1, &rules);
    host.served_by(BLUE);
    host.run(5000);
    assert_eq!(host.titles().len(), 2, "the expected pool serves, which is no news: {:?}", host.titles());
    host.served_by(GREEN);
    host.run(5000);
    assert_sent(&host, &[&["failover"], &["no longer watched"], &["failover", "blue", "green"]]);
    let third = host.slack.bodies.lock().expect("no panic")[2].to_string();
    assert!(third.contains("app/serving/3"), "{third}");
}

#[test]
fn an_upstream_that_is_removed_in_peace_leaves_in_silence_and_old_workers_do_not_bring_it_back() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.served_by(BLUE);
    host.run(5000);
    let old = std::mem::take(&mut host.workers);
    // As many other upstreams as there are slots: one of them takes the slot of the removed upstream.
    let others = (0..4).map(|index| format!("other-{index}"));
    let others: Vec<WatchedUpstream> =
        others.map(|name| WatchedUpstream { name: Name::new(name.as_bytes()), ..upstream(&rules) }).collect();
    host.configure(1, &others);
    let new = std::mem::replace(&mut host.workers, old);
    host.served_by(GREEN);
    host.run(5000);
    host.workers = new;
    host.run(5000);
    assert_sent(&host, &[]);
    let slots = &host.shared.0.lock().expect("no panic").slots;
    assert!(slots.iter().all(|slot| slot.serving() == Serving::Unknown), "an old worker wrote into another's place");
}

#[test]
fn traffic_that_ends_in_an_outage_is_no_data_and_no_recovery() {
    let mut host = Host::new(2, &Rules { failover: None, ..Rules::default() });
    for round in 0..10 {
        host.request(round % 2, &[(BLUE, Verdict::ServerError)], 500);
        host.run(100);
    }
    host.run(3_600_000);
    assert_sent(&host, &[&["error rate"], &["no traffic"]]);
}

#[test]
fn a_canary_by_configuration_never_alarms() {
    // Both servers are primary: nine of ten requests go to blue.
    let mut watched = upstream(&Rules::default());
    for peer in &mut watched.peers {
        peer.role = Role::Primary;
    }
    let mut host = Host::new(2, &Rules::default());
    host.configure(2, &[watched]);
    for round in 0..2000 {
        host.request(round % 2, &[(if round % 10 == 0 { GREEN } else { BLUE }, Verdict::Ok)], 200);
        host.run(20);
    }
    host.run(60_000);
    assert_sent(&host, &[]);
}

#[test]
fn a_primary_that_fails_half_of_its_requests_is_mixed_once() {
    let mut host = Host::new(4, &Rules { error_rate: None, ..Rules::default() });
    for round in 0..2000 {
        let masked = [(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)];
        host.request(round % 4, if round % 2 == 0 { &masked } else { &[(BLUE, Verdict::Ok)] }, 200);
        host.run(20);
    }
    assert_sent(&host, &[&["mixed traffic"]]);
}

#[test]
fn a_planned_switch_that_no_traffic_follows_is_a_failover() {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(1, &rules);
    host.served_by(BLUE);
    host.run(1000);
    host.load(1, &Rules { active: Name::new(b"green"), ..rules });
    host.run(100);
    host.served_by(BLUE);
    // The detector does not know yet how slow green is.
    host.run(9000);
    assert_sent(&host, &[]);
    host.run(1000);
    assert_sent(&host, &[&["failover", "green", "blue"]]);
}

// Invariants, by the numbers of docs/invariants.md. Each is tried on a wrong variant as well.

/// 11: no sequence of operations changes the memory that the zone needs.
fn memory_is_constant(grows: bool) -> bool {
    let rules = Rules { error_rate: None, ..Rules::default() };
    let mut host = Host::new(2, &rules);
    let entries = |host: &Host| host.shared.0.lock().expect("no panic").slots.len();
    let before = entries(&host);
    for round in 0..20 {
        let names = (0..=round % 6).map(|index| format!("upstream-{index}-of-{}", round / 3));
        let upstreams: Vec<WatchedUpstream> =
            names.map(|name| WatchedUpstream { name: Name::new(name.as_bytes()), ..upstream(&rules) }).collect();
        if grows && upstreams.len() > entries(&host) {
            host.shared.0.lock().expect("no panic").slots.push(Slot::empty());
        }
        host.configure(2, &upstreams);
        for _ in 0..20 {
            host.request(round % 2, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
        }
        host.run(2000);
    }
    entries(&host) == before
}

#[test]
fn invariant_11_memory_is_constant() {
    assert!(memory_is_constant(false));
    assert!(!memory_is_constant(true));
}

/// The titles after random traffic; `place` chooses the worker that sees each request, if any does.
fn sent_by(workers: u32, seed: u64, place: impl Fn(usize) -> Option<usize>) -> Vec<String> {
    let rules = Rules { error_rate: None, fail_timeout: Millis::from_secs(2), ..Rules::default() };
    let mut host = Host::new(workers, &rules);
    let mut random = seed;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    let mut index = 0;
    for _ in 0..8 {
        let kind = below(5);
        for _ in 0..20 + below(200) {
            let attempts: &[_] = match if kind == 4 { below(4) } else { kind } {
                0 => &[(BLUE, Verdict::Ok)],
                1 => &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)],
                2 => &[(GREEN, Verdict::Ok)],
                _ => &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)],
            };
            if let Some(worker) = place(index) {
                host.request(worker, attempts, 200);
            }
            index += 1;
            host.run(10 * below(20));
        }
    }
    host.run(60_000);
    // The counts in a message depend on which worker came first; the rest of its title does not.
    host.titles().iter().map(|title| title.split(". ").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn invariant_15_which_worker_saw_a_request_is_no_matter() {
    let worker_of = |index: usize| index.wrapping_mul(0x9e37_79b9) >> 7 & 3;
    let alone = |seed| sent_by(1, seed, |_| Some(0));
    assert!((0..40).all(|seed| sent_by(4, seed, |index| Some(worker_of(index))) == alone(seed)));
    // Each worker by itself, as with a log watcher in each of them.
    let apart = |seed| -> Vec<String> {
        (0..4).flat_map(|worker| sent_by(1, seed, |index| (worker_of(index) == worker).then_some(0))).collect()
    };
    assert!(!(0..40).all(|seed| apart(seed) == alone(seed)));
}

/// 17: an incident's revision number counts all changes so far, over reloads and under any traffic.
fn numbers_count_changes(seed: u64, forgets: bool) -> bool {
    let rules = Rules { error_rate: None, cooldown: Millis::ZERO, ..Rules::default() };
    let mut host = Host::new(2, &rules);
    let mut random = seed;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    for _ in 0..12 {
        let kind = below(4);
        for _ in 0..5 + below(100) {
            let worker = below(2) as usize;
            match kind {
                0 => host.request(worker, &[(BLUE, Verdict::Ok)], 200),
                1 => host.request(worker, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200),
                2 => host.request(worker, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Refused)], 502),
                _ => {}
            }
            host.run(200);
        }
        if below(3) == 0 {
            if forgets {
                host.shared.0.lock().expect("no panic").slots.fill_with(Slot::empty);
            }
            host.load(2, &rules);
        }
    }
    host.run(10_000);
    let changes = host.log.lock().expect("no panic").iter().filter(|line| line.level != LogLevel::Info).count();
    let document = host.document();
    let newest =
        document["history"].as_array().and_then(|history| history.iter().find(|change| !change["id"].is_null()));
    let last = newest.and_then(|change| {
        let number: u64 = change["id"].as_str()?.strip_prefix("app/serving/")?.parse().ok()?;
        Some(number + change["change"].as_u64()? - 1)
    });
    last.unwrap_or(0) == changes as u64
}

#[test]
fn invariant_17_the_number_rises_by_one_with_every_change() {
    assert!((0..40).all(|seed| numbers_count_changes(seed, false)));
    assert!(!(0..40).all(|seed| numbers_count_changes(seed, true)));
}

/// 21: every observation that was sent to the observer was folded, or is reported as lost.
fn nothing_vanishes(notes_losses: bool) -> bool {
    const SENT: u64 = 5000;
    let rate = ErrorRateRules { window: 10_000, ..ErrorRateRules::default() };
    let mut host = Host::new(1, &Rules { error_rate: Some(rate), failover: None, ..Rules::default() });
    let (small, channel) = bounded(64);
    for round in 0..SENT {
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
        let (worker, _, unbounded) = &host.workers[0];
        if small.try_send(unbounded.recv().expect("just sent")).is_err() && notes_losses {
            worker.note_lost();
        }
        if round % 100 == 0 {
            worker.fold(&channel);
        }
    }
    let (worker, ..) = &host.workers[0];
    worker.stop_observing();
    worker.observe(&channel);
    host.run(0);
    let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let log = host.log.lock().expect("no panic");
    let lost: u64 = log.iter().filter(|line| line.text.contains("not observed")).map(|line| number(&line.text)).sum();
    // All folded requests had failed, and the alert says how many they were.
    let message = host.slack.bodies.lock().expect("no panic")[0].to_string();
    let folded = number(message.split_once("*Upstream errors*\\n").expect("the alert's facts").1);
    folded + lost == SENT && lost > 0
}

#[test]
fn invariant_21_nothing_vanishes() {
    assert!(nothing_vanishes(true));
    assert!(!nothing_vanishes(false));
}
