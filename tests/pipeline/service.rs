//! Several blocks that are one application: switches, roll backs, canaries, `error_page`.

use proptest::prelude::*;

use super::*;
use ngx_http_poolwatch_module::config::blocks::BlockSet;

/// A service of two blocks, with a server each.
fn service(rules: &Rules) -> WatchedUpstream {
    let peer = |address: &str, block: usize, name: &[u8]| ConfiguredPeer {
        address: address.into(),
        primary_in: [block].into_iter().collect::<BlockSet>(),
        block_pool: Name::new(name),
        ..ConfiguredPeer::default()
    };
    WatchedUpstream {
        name: Name::new(b"app"),
        rules: *rules,
        blocks: vec![Name::new(b"blue_servers"), Name::new(b"green_servers")],
        peers: vec![peer("127.0.0.1:3001", 0, b"blue_servers"), peer("127.0.0.1:3002", 1, b"green_servers")],
        ..WatchedUpstream::default()
    }
}

fn quiet() -> Rules {
    Rules { error_rate: None, cooldown: Millis::ZERO, ..Rules::default() }
}

impl Host {
    fn of_service(workers: u32, rules: &Rules) -> Self {
        let mut host = Self::new(workers, rules);
        host.shared = Shared::empty();
        host.configure(workers, &[service(rules)]);
        host
    }

    fn reload(&mut self, rules: &Rules) {
        self.configure(2, &[service(rules)]);
    }

    /// A request that is sent to this block first, and its attempts.
    fn sent(&self, block: u16, attempts: &[(u16, Verdict)], status: u16) {
        self.choices.count(block.into());
        let mut seen = Observation { block: block as u8, status, ..Observation::default() };
        for &(peer, verdict) in attempts {
            seen.push(Attempt { peer, verdict, status, start: self.time.now(), to_header: 1 });
        }
        let worker = self.time.now().0 as usize / 100 % self.workers.len();
        self.send(worker, seen);
    }

    fn answered(&mut self, block: u16, requests: usize) {
        for _ in 0..requests {
            self.sent(block, &[(block, Verdict::Ok)], 200);
            self.run(100);
        }
    }

    fn refused(&mut self, block: u16, requests: usize) {
        for _ in 0..requests {
            self.sent(block, &[(block, Verdict::Refused)], 502);
            self.run(100);
        }
    }

    fn serving(&self) -> Serving {
        self.shared.with(|table| table.slots[0].serving())
    }
}

#[test]
fn a_switch_is_told_once_and_the_blocks_name_the_pools() {
    let mut host = Host::of_service(4, &quiet());
    host.answered(BLUE, 20);
    host.reload(&quiet());
    host.answered(GREEN, 100);
    assert_sent(&host, &[&["planned switch", "blue_servers", "green_servers"]]);
}

#[test]
fn a_switch_without_a_reload_is_told_too() {
    let mut host = Host::of_service(2, &quiet());
    host.answered(BLUE, 200);
    host.answered(GREEN, 100);
    assert_sent(&host, &[&["planned switch", "blue_servers", "green_servers"]]);
}

#[test]
fn a_roll_back_ends_the_outage_and_its_error_rate() {
    let rules = Rules { cooldown: Millis::ZERO, ..Rules::default() };
    let mut host = Host::of_service(2, &rules);
    host.answered(GREEN, 20);
    host.refused(GREEN, 60);
    assert_sent(&host, &[&["no pool answers"]]);
    host.reload(&rules);
    host.answered(BLUE, 300);
    assert_sent(&host, &[&["no pool answers"], &["planned switch", "blue_servers"]]);
    let saved = serde_json::from_str::<Value>(&host.saved().to_text()).expect("JSON");
    let over = |incident: usize| saved["upstreams"][0]["incidents"][incident]["over"].as_bool();
    assert_eq!([over(0), over(1)], [Some(true), Some(true)]);
}

#[test]
fn a_switch_to_a_dead_block_is_an_outage() {
    let mut host = Host::of_service(2, &quiet());
    host.answered(BLUE, 20);
    host.reload(&quiet());
    host.refused(GREEN, 100);
    assert_sent(&host, &[&["no pool answers"]]);
    assert_eq!(host.serving(), Serving::Down);
}

#[test]
fn a_canary_is_neither_a_switch_nor_a_failover_and_its_end_is_no_outage() {
    let mut host = Host::of_service(2, &quiet());
    for round in 0..600 {
        let block = if round % 10 == 5 { GREEN } else { BLUE };
        host.answered(block, 1);
    }
    for round in 0..600 {
        if round % 10 == 5 { host.refused(GREEN, 3) } else { host.answered(BLUE, 3) }
    }
    assert_sent(&host, &[]);
    assert!(matches!(host.serving(), Serving::Pool(_)));
}

#[test]
fn a_block_that_hangs_is_no_switch_to_the_canary_that_answers() {
    let mut host = Host::of_service(2, &quiet());
    for round in 0..300 {
        let block = if round % 10 == 5 { GREEN } else { BLUE };
        host.answered(block, 1);
    }
    // Nothing that was sent to blue ends for a minute.
    for round in 0..600 {
        if round % 10 == 5 {
            host.answered(GREEN, 1);
        } else {
            host.choices.count(BLUE.into());
            host.run(100);
        }
    }
    assert_sent(&host, &[]);
}

#[test]
fn error_page_is_a_failover_and_the_way_back_a_recovery() {
    let mut host = Host::of_service(2, &quiet());
    host.answered(BLUE, 20);
    for _ in 0..100 {
        host.sent(BLUE, &[(BLUE, Verdict::ServerError), (GREEN, Verdict::Ok)], 200);
        host.run(100);
    }
    assert_sent(&host, &[&["failover", "blue_servers", "green_servers"]]);
    host.answered(BLUE, 300);
    assert_sent(&host, &[&["failover"], &["recovery", "blue_servers"]]);
}

#[test]
fn a_canary_that_takes_everything_step_by_step_is_one_switch() {
    let mut host = Host::of_service(2, &quiet());
    host.answered(BLUE, 200);
    for of_ten in [1, 3, 5, 7, 9, 10] {
        host.reload(&quiet());
        for round in 0..600 {
            // Each third one, or what comes near to it.
            let block = if round * 7 % 10 < of_ten { GREEN } else { BLUE };
            host.answered(block, 1);
        }
    }
    assert_sent(&host, &[&["planned switch", "blue_servers", "green_servers"]]);
}

#[test]
fn after_a_restart_a_switch_is_one() {
    let mut host = Host::of_service(2, &quiet());
    host.answered(BLUE, 200);
    let text = host.saved().to_text();
    host.workers.clear();
    host.shared = host.restored(&text);
    host.reload(&quiet());
    host.answered(GREEN, 50);
    assert_sent(&host, &[&["planned switch", "blue_servers", "green_servers"]]);
}

#[test]
fn a_tree_that_takes_the_state_file_over_knows_what_was_chosen() {
    let mut host = Host::of_service(2, &quiet());
    host.answered(BLUE, 200);
    let text = host.saved().to_text();
    let mut other = Host::of_service(2, &quiet());
    other.time = host.time.clone();
    other.reload(&quiet());
    other.shared.with(|table| {
        let saved = ngx_http_poolwatch_module::persist::document::Saved::from_text(&text).expect("its own text");
        saved.merge(table, host.time.times());
    });
    let again = serde_json::from_str::<Value>(&other.saved().to_text()).expect("JSON");
    assert_eq!(again["upstreams"][0]["blocks"][0]["chosen"], true);
    other.answered(GREEN, 50);
    assert_eq!(other.titles().len(), 1, "{:?}", other.titles());
}

#[test]
fn an_upstream_that_becomes_a_service_keeps_its_state() {
    let rules = quiet();
    let mut host = Host::new(2, &rules);
    host.served_by(BLUE);
    host.run(100);
    host.reload(&rules);
    host.answered(BLUE, 50);
    assert_sent(&host, &[]);
}

/// What may happen to a service.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The operator sends everything to this block, with a reload or without.
    Switch(u16, bool),
    Break(u16),
    Mend(u16),
    Traffic(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..2_u16, any::<bool>()).prop_map(|(block, reloads)| Event::Switch(block, reloads)),
        (0..2_u16).prop_map(Event::Break),
        (0..2_u16).prop_map(Event::Mend),
        (1..150_usize).prop_map(Event::Traffic),
    ];
    proptest::collection::vec(event, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever was done: in the end the state is what the chosen block does, and the last message is true.
    #[test]
    fn the_last_word_is_true(events in events(), last in 0..2_u16, is_broken: bool) {
        let mut host = Host::of_service(2, &quiet());
        host.answered(BLUE, 20);
        let (mut block, mut broken) = (BLUE, [false; 2]);
        let end = [
            if is_broken { Event::Break(last) } else { Event::Mend(last) },
            Event::Switch(last, true),
            Event::Traffic(400),
        ];
        for event in events.into_iter().chain(end) {
            match event {
                Event::Switch(to, reloads) => {
                    block = to;
                    if reloads {
                        host.reload(&quiet());
                    }
                }
                Event::Break(which) => broken[usize::from(which)] = true,
                Event::Mend(which) => broken[usize::from(which)] = false,
                Event::Traffic(requests) if broken[usize::from(block)] => host.refused(block, requests),
                Event::Traffic(requests) => host.answered(block, requests),
            }
        }
        host.run(120_000);
        let titles = host.titles();
        let last_title = titles.last().map(|title| title.to_lowercase()).unwrap_or_default();
        if is_broken {
            prop_assert_eq!(host.serving(), Serving::Down, "{:?}", titles);
            prop_assert!(last_title.contains("no pool answers"), "{:?}", titles);
        } else {
            let name = ["blue_servers", "green_servers"][usize::from(last)];
            let saved = serde_json::from_str::<Value>(&host.saved().to_text()).expect("JSON");
            let upstream = &saved["upstreams"][0];
            prop_assert_eq!(&upstream["serving"], &Value::from(format!("pool {last}")), "{:?}", &titles);
            prop_assert_eq!(upstream["incidents"][0]["over"].as_bool(), Some(true), "{:?}", &titles);
            prop_assert!(last_title.contains(name) || (titles.is_empty() && last == BLUE), "{:?}", titles);
        }
    }
}
