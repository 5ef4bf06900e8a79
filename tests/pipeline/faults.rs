//! What receivers, clocks and reloads do while the pipeline sends: a reader of the messages must not notice.

use crossbeam_channel::unbounded;
use ngx_http_poolwatch_module::pipeline::log_line::LogLine;
use ngx_http_poolwatch_module::pipeline::{Config, Parts, Worker};
use ngx_http_poolwatch_module::state::table::Table;

use super::*;

/// A receiver that answers as the function says, which may also do something meanwhile.
struct Answering<F>(F);

impl<F: Fn(&Endpoint, &str) -> Reply> Post for Answering<F> {
    fn post(&self, endpoint: &Endpoint, body: &str) -> Result<Reply, PostError> {
        Ok(self.0(endpoint, body))
    }
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.into(), retry_after: None }
}

fn without_rates() -> Rules {
    Rules { error_rate: None, ..Rules::default() }
}

/// Blue has just died, and no message was sent yet.
fn failed_over(workers: u32) -> Host {
    let mut host = Host::new(workers, &without_rates());
    host.served_by(BLUE);
    host.run(100);
    host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
    host
}

#[test]
fn an_hour_without_a_receiver_is_a_few_attempts_one_line_and_then_one_message() {
    let host = failed_over(4);
    let tries = AtomicU64::new(0);
    let down = Answering(|_: &Endpoint, _: &str| {
        tries.fetch_add(1, Ordering::Relaxed);
        reply(503, "")
    });
    host.run_with(3_600_000, &down);
    let tries = tries.into_inner();
    // At most 60 s between two attempts, 45 s on average, and less at the beginning.
    assert!((60..=130).contains(&tries), "{tries} attempts");
    assert_eq!(host.lines_with("will be retried"), 1);
    host.run_with(61_000, &host.slack);
    assert_sent(&host, &[&["failover", "blue", "green"]]);
    let message = host.slack.bodies.lock().expect("no panic")[0].to_string();
    assert!(message.contains("delayed 1 h"), "{message}");
    assert_eq!(host.lines_with("accepts messages again"), 1);
    assert_eq!(host.log.lock().expect("no panic").len(), 3);
}

#[test]
fn a_message_that_always_fails_does_not_hold_up_the_others() {
    let upstreams = ["poison", "other"]
        .map(|name| WatchedUpstream { name: Name::new(name.as_bytes()), ..upstream(&without_rates()) });
    let mut host = Host::new(1, &without_rates());
    host.configure(1, &upstreams);
    for peer in [BLUE, GREEN] {
        for upstream in [0, 1] {
            let mut seen = Observation { upstream, status: 200, ..Observation::default() };
            seen.push(Attempt { peer, verdict: Verdict::Ok, status: 200, start: host.time.now(), to_header: 1 });
            host.send(0, seen);
        }
        host.run_with(100, &Answering(|_: &Endpoint, _: &str| reply(503, "")));
    }
    let accepted = Mutex::new(Vec::new());
    let picky = Answering(|_: &Endpoint, body: &str| {
        if body.contains("poison") {
            return reply(500, "rollup_error");
        }
        accepted.lock().expect("no panic").push(body.to_owned());
        reply(200, "ok")
    });
    host.run_with(300_000, &picky);
    let accepted = accepted.into_inner().expect("no panic");
    assert!(matches!(accepted.as_slice(), [only] if only.contains("other")), "{accepted:#?}");
}

#[test]
fn a_reload_does_not_shorten_retry_after() {
    let mut host = failed_over(2);
    let limited = Answering(|_: &Endpoint, _: &str| Reply { retry_after: Some("60".into()), ..reply(429, "") });
    host.run_with(2000, &limited);
    host.load(2, &without_rates());
    host.run(50_000);
    assert_sent(&host, &[]);
    host.run(20_000);
    assert_sent(&host, &[&["failover"]]);
}

#[test]
fn a_reload_probes_a_broken_receiver_at_once() {
    let mut host = failed_over(2);
    host.run_with(60_000, &Answering(|_: &Endpoint, _: &str| reply(404, "no_service")));
    assert_eq!(host.lines_with("no_service"), 1);
    host.run(60_000);
    assert_sent(&host, &[]);
    host.load(2, &without_rates());
    host.run(100);
    assert_sent(&host, &[&["failover"]]);
}

#[test]
fn workers_on_their_way_out_send_nothing_more() {
    let mut host = failed_over(1);
    let old = host.workers.remove(0);
    old.0.fold(&old.2);
    // The new workers find the receiver failing: the failover is still due, some time later.
    host.time.0.fetch_add(2000, Ordering::Relaxed);
    host.slack.status.store(503, Ordering::Relaxed);
    host.load(1, &without_rates());
    host.slack.status.store(200, Ordering::Relaxed);
    host.time.0.fetch_add(2000, Ordering::Relaxed);
    // `deliver` returns only because the worker knows of the newer configuration.
    old.0.deliver(0, &host.slack);
    assert_sent(&host, &[]);
    host.run(0);
    assert_sent(&host, &[&["failover"]]);
}

#[test]
fn an_answer_for_a_receiver_that_is_gone_settles_nothing_of_its_successor() {
    let mut host = failed_over(1);
    // All entries are taken, so that the successor needs one of them.
    let named = |name: &str| Receiver { name: Name::new(name.as_bytes()), ..receiver() };
    host.receivers = ["slack", "b", "c", "d", "e", "f", "g", "h"].map(named).to_vec();
    host.load(1, &without_rates());
    host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
    let host = Mutex::new(host);
    let old = host.lock().expect("no panic").workers.remove(0);
    old.0.fold(&old.2);
    let time = host.lock().expect("no panic").time.clone();
    time.0.fetch_add(2000, Ordering::Relaxed);
    let replaced = Answering(|_: &Endpoint, _: &str| {
        let mut host = host.lock().expect("no panic");
        host.receivers = vec![named("successor")];
        // The successor is tried, and fails once.
        host.slack.status.store(503, Ordering::Relaxed);
        host.time.0.fetch_add(1000, Ordering::Relaxed);
        host.load(1, &without_rates());
        host.slack.status.store(200, Ordering::Relaxed);
        reply(200, "ok")
    });
    old.0.fold(&old.2);
    old.0.stop_delivering();
    old.0.deliver(0, &replaced);
    let mut host = host.into_inner().expect("no panic");
    host.run(2000);
    assert_sent(&host, &[&["failover"]]);
}

/// A failover and the return, in steps of a second; `disturb` may do something to the host before each step. Returns
/// the messages and their times.
fn incident(disturb: impl Fn(u64, &mut Host)) -> Vec<(u64, String)> {
    let mut host = failed_over(2);
    // An exiting worker would have folded its observations.
    host.run(0);
    let sent = Mutex::new(Vec::new());
    for step in 0..60 {
        disturb(step, &mut host);
        for _ in 0..10 {
            host.served_by(if step < 30 { GREEN } else { BLUE });
            let time = host.time.clone();
            let noting = Answering(|_: &Endpoint, body: &str| {
                let body: Value = serde_json::from_str(body).expect("valid JSON");
                let title = body["text"].as_str().expect("a text").to_owned();
                sent.lock().expect("no panic").push((time.now().0, title));
                reply(200, "ok")
            });
            host.run_with(100, &noting);
        }
    }
    sent.into_inner().expect("no panic")
}

/// 25: a reload of the same configuration, at any time, changes neither the messages nor their times.
#[test]
fn invariant_25_a_reload_is_invisible() {
    let undisturbed = incident(|_, _| {});
    assert_eq!(undisturbed.len(), 2, "{undisturbed:#?}");
    let reloaded = |at, forgets: bool| {
        incident(|step, host| {
            if step == at {
                if forgets {
                    host.shared.0.lock().expect("no panic").slots.fill_with(Slot::empty);
                }
                host.load(2, &without_rates());
            }
        })
    };
    for at in 0..60 {
        assert_eq!(reloaded(at, false), undisturbed, "reloaded before second {at}");
    }
    assert_ne!(reloaded(20, true), undisturbed);
}

/// 24: jumps of the wall clock change neither the messages nor their times; a machine that sleeps only delays.
#[test]
fn invariant_24_only_the_monotonic_clock_counts() {
    let undisturbed = incident(|_, _| {});
    let jumped = |span: i64| {
        incident(move |step, host| {
            if step % 7 == 0 {
                host.time.jump(span);
            }
        })
    };
    for span in [-1_000_000_000, -1000, 1000, 1_000_000_000] {
        assert_eq!(jumped(span), undisturbed, "{span} ms");
    }
    let titles = |sent: Vec<(u64, String)>| {
        sent.into_iter().map(|(_, title)| title.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let slept = incident(|step, host| {
        if step % 13 == 5 {
            host.time.0.fetch_add(3_600_000, Ordering::Relaxed);
        }
    });
    assert_ne!(slept, undisturbed);
    assert_eq!(titles(slept), titles(undisturbed));
}

/// A table whose lock another process takes after this many uses, and keeps.
struct Kept {
    shared: Shared,
    uses: AtomicU64,
    lost: AtomicU64,
}

impl Store for Kept {
    fn with<R>(&self, f: impl FnOnce(&mut Table<'_>) -> R) -> R {
        self.shared.with(f)
    }

    fn with_patience<R>(&self, _patience: Millis, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R> {
        let is_free = self.uses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |uses| uses.checked_sub(1)).is_ok();
        is_free.then(|| self.shared.with(f))
    }

    fn notifications(&self) -> u32 {
        0
    }

    fn notify(&self) {}

    fn wait(&self, _notifications: u32, _span: Option<Millis>) {}

    fn delivers(&self, _clock: &dyn Clock) -> bool {
        true
    }

    fn note_change(&self) {}

    fn count_lost(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

#[test]
fn a_worker_that_ends_without_the_lock_says_what_it_could_not_observe() {
    for (uses, lost) in [(0, 300), (1, 172), (2, 44), (9, 0)] {
        let kept = Kept { shared: Shared::empty(), uses: AtomicU64::new(uses), lost: AtomicU64::new(0) };
        let log: Arc<Mutex<Vec<LogLine>>> = Arc::default();
        let lines = Arc::clone(&log);
        let log_line = Box::new(move |line| lines.lock().expect("no panic").push(line));
        let config = Config { upstreams: vec![upstream(&without_rates())], receivers: vec![], generation: 1 };
        let worker = Worker::new(Parts {
            choices: vec![],
            config,
            store: kept,
            clock: Time::default(),
            process: 1,
            log: log_line,
        });
        let (sender, channel) = unbounded();
        worker.fold(&channel);
        for _ in 0..300 {
            sender.send(Observation { status: 200, ..Observation::default() }).expect("the channel is open");
        }
        worker.finish(&channel, Millis(100));
        assert_eq!(worker.store.lost.load(Ordering::Relaxed), lost, "with {uses} uses of the lock");
        let said: Vec<String> = log.lock().expect("no panic").iter().map(|line| line.text.clone()).collect();
        let expected = format!("{lost} requests were not observed, the lock of the zone could not be had");
        assert_eq!(said, if lost == 0 { vec![] } else { vec![expected] });
    }
}
