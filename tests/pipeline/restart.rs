//! What outlives nginx as text: a restart, an upgrade with two process trees, and texts that no module wrote.

use proptest::prelude::*;

use super::*;
use ngx_http_poolwatch_module::persist::document::Saved;
use ngx_http_poolwatch_module::persist::record::UPSTREAM;
use ngx_http_poolwatch_module::pools::peers::{ADDRESS_BYTES, MAX_PEERS};

fn quiet() -> Rules {
    Rules { error_rate: None, ..Rules::default() }
}

impl Host {
    pub(crate) fn saved(&self) -> Saved {
        self.shared.with(|table| Saved::of(table, 1, self.time.times()))
    }

    /// Another zone, empty except for what the text restores.
    pub(crate) fn restored(&self, text: &str) -> Shared {
        let shared = Shared::empty();
        if let Some(saved) = Saved::from_text(text) {
            shared.with(|table| saved.restore(table, &[Name::new(b"app")], self.time.times()));
        }
        shared
    }

    /// nginx ends, and starts again `millis` milliseconds later.
    fn restart(&mut self, rules: &Rules, millis: u64) {
        let text = self.saved().to_text();
        self.workers.clear();
        self.time.0.fetch_add(millis, Ordering::Relaxed);
        self.shared = self.restored(&text);
        self.load(2, rules);
    }

    /// A process tree of its own beside this one, with the same receiver.
    fn upgraded(&self, rules: &Rules) -> Self {
        let text = self.saved().to_text();
        let (time, slack, log) = (self.time.clone(), self.slack.clone(), Arc::default());
        let (shared, receivers, generation) = (self.restored(&text), self.receivers.clone(), self.generation);
        let choices = Arc::default();
        let mut other = Self { shared, time, slack, workers: vec![], log, receivers, generation, choices };
        other.load(2, rules);
        other
    }

    /// This tree takes the state file over, which the other tree has written.
    fn take_over(&self, other: &Self) {
        let saved = Saved::from_text(&other.saved().to_text()).expect("its own text");
        self.shared.with(|table| saved.merge(table, self.time.times()));
    }
}

fn failed_over() -> Host {
    let mut host = Host::new(2, &quiet());
    host.served_by(BLUE);
    host.run(100);
    host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
    host.run(2000);
    assert_sent(&host, &[&["failover", "blue", "green"]]);
    host
}

#[test]
fn a_restart_in_an_incident_repeats_nothing_and_the_end_is_sent_with_the_whole_duration() {
    let mut host = failed_over();
    host.restart(&quiet(), 5000);
    for _ in 0..100 {
        host.served_by(GREEN);
        host.run(200);
    }
    assert_sent(&host, &[&["failover"]]);
    for _ in 0..100 {
        host.served_by(BLUE);
        host.run(200);
    }
    assert_sent(&host, &[&["failover"], &["recovery", "green", "blue"]]);
    let recovery = host.slack.bodies.lock().expect("no panic")[1].to_string();
    assert!(recovery.contains("app/serving/1`  ·  change 2"), "{recovery}");
    assert!(recovery.contains("The incident lasted 27 s"), "{recovery}");
}

#[test]
fn what_could_not_be_sent_before_a_restart_is_sent_after_it() {
    let mut host = Host::new(2, &quiet());
    host.served_by(BLUE);
    host.run(100);
    host.slack.status.store(503, Ordering::Relaxed);
    host.served_by(GREEN);
    host.run(5000);
    assert_sent(&host, &[]);
    host.restart(&quiet(), 1000);
    host.slack.status.store(200, Ordering::Relaxed);
    host.run(61_000);
    assert_sent(&host, &[&["failover", "blue", "green"]]);
}

#[test]
fn what_changed_while_nginx_was_down_is_sent_by_the_first_traffic() {
    let mut host = Host::new(2, &quiet());
    host.served_by(BLUE);
    host.run(5000);
    host.restart(&quiet(), 60_000);
    host.served_by(GREEN);
    host.run(2000);
    assert_sent(&host, &[&["failover", "blue", "green"]]);
}

#[test]
fn a_changed_expected_pool_is_a_planned_switch_over_a_restart_too() {
    let mut host = Host::new(2, &quiet());
    host.served_by(BLUE);
    host.served_by(GREEN);
    host.served_by(BLUE);
    host.run(5000);
    host.restart(&Rules { active: Name::new(b"green"), ..quiet() }, 1000);
    host.served_by(GREEN);
    host.run(5000);
    assert_sent(&host, &[&["planned switch", "green"]]);
}

#[test]
fn an_error_rate_that_was_firing_fires_on_and_resolves_by_new_requests() {
    let rules = Rules { failover: None, ..Rules::default() };
    let mut host = Host::new(2, &rules);
    for _ in 0..10 {
        host.request(0, &[(BLUE, Verdict::ServerError)], 500);
    }
    host.run(1000);
    assert_sent(&host, &[&["error rate"]]);
    host.restart(&rules, 1000);
    host.run(5000);
    assert_sent(&host, &[&["error rate"]]);
    for _ in 0..250 {
        host.served_by(BLUE);
        host.run(100);
    }
    assert_sent(&host, &[&["error rate"], &["back to normal"]]);
}

#[test]
fn a_silence_ends_at_its_time_whatever_was_restarted_meanwhile() {
    let mut host = Host::new(2, &quiet());
    host.served_by(BLUE);
    host.order(silence(&host, 7, "app", 60));
    host.run(1000);
    assert_sent(&host, &[&["silence"]]);
    host.restart(&quiet(), 10_000);
    host.served_by(GREEN);
    host.run(40_000);
    assert_sent(&host, &[&["silence"]]);
    host.run(20_000);
    assert_eq!(host.titles().len(), 3, "the end of the silence and the failover: {:?}", host.titles());
}

#[test]
fn after_an_upgrade_the_new_tree_repeats_nothing_and_sends_what_it_alone_saw() {
    let host = failed_over();
    let mut new = host.upgraded(&quiet());
    new.served_by(GREEN);
    new.take_over(&host);
    new.run(20_000);
    assert_sent(&new, &[&["failover"]]);
    for _ in 0..100 {
        new.served_by(BLUE);
        new.run(200);
    }
    assert_sent(&new, &[&["failover"], &["recovery"]]);
    let recovery = new.slack.bodies.lock().expect("no panic")[1].to_string();
    assert!(recovery.contains("app/serving/1`  ·  change 2"), "{recovery}");
}

#[test]
fn changes_that_the_new_tree_saw_while_the_old_one_sent_are_due_when_it_takes_over() {
    let mut host = Host::new(1, &quiet());
    host.served_by(BLUE);
    host.run(1000);
    // The couriers of the new tree do not run before it takes over.
    let mut new = host.upgraded(&quiet());
    new.served_by(GREEN);
    for (worker, _, channel) in &new.workers {
        worker.fold(channel);
    }
    new.time.0.fetch_add(2000, Ordering::Relaxed);
    for (worker, _, channel) in &new.workers {
        worker.fold(channel);
    }
    assert_sent(&new, &[]);
    new.take_over(&host);
    new.run(1000);
    assert_sent(&new, &[&["failover", "blue", "green"]]);
}

#[test]
fn after_a_roll_back_the_old_tree_takes_the_newer_state() {
    let mut host = Host::new(1, &quiet());
    host.served_by(BLUE);
    host.run(1000);
    let mut new = host.upgraded(&quiet());
    new.served_by(GREEN);
    new.run(5000);
    assert_sent(&new, &[&["failover", "blue", "green"]]);
    host.take_over(&new);
    host.run(60_000);
    host.served_by(GREEN);
    host.run(60_000);
    assert_sent(&host, &[&["failover"]]);
}

/// Random traffic, reloads and answers: the table comes back from its text as it was.
fn comes_back(seed: u64, forgets: bool) -> bool {
    let mut host = Host::new(2, &Rules { cooldown: Millis(20_000), ..Rules::default() });
    let mut random = seed;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    for _ in 0..8 {
        let (kind, status) = (below(5), if below(3) == 0 { 503 } else { 200 });
        host.slack.status.store(status, Ordering::Relaxed);
        for _ in 0..below(60) {
            match kind {
                0 => host.request(0, &[(BLUE, Verdict::Ok)], 200),
                1 => host.request(1, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200),
                2 => host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::TimedOut)], 504),
                3 => host.order(silence(&host, below(3), "app", below(100))),
                _ => host.configure(1, &[]),
            }
            host.run(200);
        }
        host.load(2, &Rules::default());
    }
    let mut saved = host.saved();
    let text = saved.to_text();
    if forgets {
        saved = Saved::default();
    }
    let again = host.restored(&text).with(|table| Saved::of(table, 1, host.time.times()));
    again == saved
}

#[test]
fn any_table_comes_back_as_it_was() {
    for seed in 0..40 {
        assert!(comes_back(seed, false), "seed {seed}");
    }
    assert!(!comes_back(0, true));
}

#[test]
fn the_longest_upstream_fits_into_its_place() {
    let hostile = |number: u8| [vec![1; 62], vec![b'0' + number / 10, b'0' + number % 10]].concat();
    let mut watched = upstream(&quiet());
    watched.name = Name::new(&hostile(0));
    // As many addresses as there are, which take all the bytes for addresses.
    let length = ADDRESS_BYTES / MAX_PEERS;
    watched.peers.clear();
    for number in 0..MAX_PEERS {
        let address = format!("{number:0>length$}").into_bytes();
        watched.peers.push(ConfiguredPeer { address, role: Role::Backup, ..ConfiguredPeer::default() });
    }
    let mut host = Host::new(1, &quiet());
    let receivers =
        (0..MAX_RECEIVERS).map(|number| Receiver { name: Name::new(&[b'a' + number as u8; 64]), ..receiver() });
    host.workers.clear();
    let slot_map = host.shared.with(|table| {
        table.adopt(&[watched.clone()], &receivers.collect::<Vec<_>>(), 2, host.time.now(), &mut Vec::new())
    });
    for number in 0..60 {
        let names = Arc::new(Names { pool: Name::new(&hostile(number)), release: Text::new(&[2; 64]) });
        let mut seen = Observation { status: 200, names: Some(names), ..Observation::default() };
        seen.push(Attempt { peer: number.into(), status: 200, start: host.time.now(), ..Attempt::default() });
        host.time.0.fetch_add(40_000, Ordering::Relaxed);
        let now = host.time.now();
        host.shared.with(|table| table.fold(&[watched.clone()], &slot_map, &[seen], now));
    }
    let text = host.saved().to_text();
    // The changes remembered for the cooldown take this much more; no message was sent here.
    let times = MAX_RECEIVERS * 2 * 8 * r#"["flapping","flapping",1790000000000],"#.len();
    assert!(text.len() > 25_000 && text.len() + times < UPSTREAM, "{} and {times}", text.len());
}

#[test]
fn an_address_that_no_configuration_names_any_more_is_in_the_state_file() {
    let mut host = Host::new(1, &quiet());
    host.served_by(BLUE);
    host.run(1000);
    let mut other = upstream(&quiet());
    other.peers.truncate(1);
    other.peers[0].address = b"127.0.0.1:3003".to_vec();
    host.configure(1, &[other]);
    let text = host.saved().to_text();
    assert!(
        text.contains(r#""address":"127.0.0.1:3001","pool":0,"backup":false,"certain":true,"left":true"#),
        "{text}"
    );
    // It comes back with the pool, and is expected as soon as a configuration names it again.
    host.shared = host.restored(&text);
    assert_eq!(host.saved().to_text(), text);
    host.load(2, &quiet());
    assert!(host.saved().to_text().contains(r#""expected":["pool 0"]"#));
}

proptest! {
    #[test]
    fn texts_that_nobody_wrote_are_refused_or_survived(seed in any::<u64>(), at in any::<usize>(), with in "[ -~]{0,12}") {
        let mut host = failed_over();
        let mut text = host.saved().to_text();
        let begin = at % text.len();
        let end = (begin + (seed % 9) as usize).min(text.len());
        text.replace_range(begin..end, &with);
        host.shared = host.restored(&text);
        host.load(2, &quiet());
        host.served_by(GREEN);
        host.run(2000);
        if let Some(saved) = Saved::from_text(&text) {
            host.shared.with(|table| saved.merge(table, host.time.times()));
        }
        host.run(2000);
    }
}

#[test]
fn unknown_fields_are_ignored_and_missing_ones_have_their_defaults() {
    let text = failed_over().saved().to_text();
    let more = text.replacen('{', r#"{"colour":"red","#, 1).replace(r#""generation""#, r#""weight":[1],"generation""#);
    assert_eq!(Saved::from_text(&more), Saved::from_text(&text));
    assert_eq!(Saved::from_text("{}"), Some(Saved::default()));
    assert_eq!(Saved::from_text(""), None);
}

#[test]
fn the_state_file_keeps_its_names_and_an_earlier_one_is_read_in_full() {
    let mut host = failed_over();
    host.order(silence(&host, 7, "other", 600));
    host.request(1, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
    host.run(2000);
    let text = host.saved().to_text();
    let pretty: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let file = golden::expected("state_file.json", &format!("{pretty:#}\n"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&file).expect("JSON"), pretty, "is now\n{pretty:#}");
    let again = host.restored(&file).with(|table| Saved::of(table, 1, host.time.times()));
    assert_eq!(again, host.saved());
}
