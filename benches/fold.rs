//! What an observation costs the observer, in batches as under load: by the size of the window, by the number of
//! watched upstreams, of releases and of servers, and when attempts fail. The lines of one group should show the same
//! cost.
//!
//! With `--batches N`, N batches go from the channel to the table, so that callgrind can count the instructions.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

#[path = "../tests/pipeline/host.rs"]
#[expect(dead_code, reason = "the pipeline's tests use the rest of it")]
mod host;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use host::{Host, Shared};
use ngx_http_poolwatch_module::config::rules::{ErrorRateRules, Rules};
use ngx_http_poolwatch_module::config::upstream::{ConfiguredPeer, Role, WatchedUpstream};
use ngx_http_poolwatch_module::observation::{Attempt, Names, Observation, Verdict};
use ngx_http_poolwatch_module::pipeline::Store;
use ngx_http_poolwatch_module::state::table::SlotMap;
use ngx_http_poolwatch_module::text::{Name, Text};
use ngx_http_poolwatch_module::units::Millis;

/// Observations that the observer folds under one lock.
const BATCH: usize = 128;

/// The content of a zone, and a configuration that was adopted into it.
struct Zone {
    shared: Shared,
    watched: Vec<WatchedUpstream>,
    slot_map: SlotMap,
    now: Millis,
}

impl Zone {
    fn new(upstreams: usize, window: u32, peers: &[String]) -> Self {
        let peer = |(index, address): (usize, &String)| ConfiguredPeer {
            address: address.as_bytes().to_vec(),
            role: if index == 0 { Role::Primary } else { Role::Backup },
            ..ConfiguredPeer::default()
        };
        let error_rate = Some(ErrorRateRules { window, ..ErrorRateRules::default() });
        let upstream = |index| WatchedUpstream {
            name: Name::new(format!("app-{index}").as_bytes()),
            rules: Rules { error_rate, ..Rules::default() },
            pools: Vec::new(),
            peers: peers.iter().enumerate().map(peer).collect(),
            ..WatchedUpstream::default()
        };
        let mut zone = Self {
            shared: Shared::with_slots(upstreams),
            watched: (0..upstreams).map(upstream).collect(),
            slot_map: SlotMap::default(),
            now: Millis::from_secs(1000),
        };
        zone.slot_map = zone.shared.with(|table| table.adopt(&zone.watched, &[], 1, zone.now, &mut Vec::new()));
        zone
    }

    /// Blue and its backup.
    fn blue_green(upstreams: usize, window: u32) -> Self {
        Self::new(upstreams, window, &["10.0.0.1:3000", "10.0.0.2:3000"].map(str::to_owned))
    }

    /// Folds one batch, a millisecond after the one before.
    fn fold(&mut self, batch: &mut [Observation]) {
        self.now = self.now + Millis(1);
        for attempt in batch.iter_mut().flat_map(|seen| &mut seen.attempts) {
            attempt.start = self.now;
        }
        black_box(self.shared.with(|table| table.fold(&self.watched, &self.slot_map, batch, self.now)));
    }
}

/// Answers of the primary.
fn batch(upstream: impl Fn(usize) -> u16, release: impl Fn(usize) -> usize) -> Vec<Observation> {
    let seen = |index| {
        let release = Text::new(format!("v1.2.{}", release(index)).as_bytes());
        let names = Some(Arc::new(Names { pool: Name::new(b"blue"), release }));
        let mut seen = Observation { upstream: upstream(index), status: 200, names, ..Observation::default() };
        seen.push(Attempt { verdict: Verdict::Ok, status: 200, to_header: 3, ..Attempt::default() });
        seen
    };
    (0..BATCH).map(seen).collect()
}

fn by_window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold, by window");
    group.throughput(Throughput::Elements(BATCH as u64));
    for window in [200, 1000, 10_000, 100_000] {
        let (mut zone, mut batch) = (Zone::blue_green(1, window), batch(|_| 0, |_| 0));
        group.bench_function(BenchmarkId::from_parameter(window), |bencher| bencher.iter(|| zone.fold(&mut batch)));
    }
}

/// All traffic goes to one upstream out of many, or to each of them in turn.
fn by_upstreams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold, by upstreams");
    group.throughput(Throughput::Elements(BATCH as u64));
    for upstreams in [1, 10, 50, 200] {
        let (mut zone, mut batch) = (Zone::blue_green(upstreams, 200), batch(|_| 0, |_| 0));
        group.bench_function(BenchmarkId::new("one busy", upstreams), |bencher| bencher.iter(|| zone.fold(&mut batch)));
    }
    for upstreams in [2, 8] {
        let mut batch = batch(|index| (index * upstreams / BATCH) as u16, |_| 0);
        let mut zone = Zone::blue_green(upstreams, 200);
        group.bench_function(BenchmarkId::new("all busy", upstreams), |bencher| bencher.iter(|| zone.fold(&mut batch)));
    }
}

fn by_releases(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold, by releases");
    group.throughput(Throughput::Elements(BATCH as u64));
    for releases in [1, 4, 16] {
        let (mut zone, mut batch) = (Zone::blue_green(1, 200), batch(|_| 0, |index| index % releases));
        group.bench_function(BenchmarkId::from_parameter(releases), |bencher| bencher.iter(|| zone.fold(&mut batch)));
    }
}

/// All answers come from the last of this many servers.
fn by_servers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold, by servers");
    group.throughput(Throughput::Elements(BATCH as u64));
    for servers in [2, 16, 64] {
        let peers = (1..=servers).map(|index| format!("10.0.0.{index}:3000")).collect::<Vec<_>>();
        let (mut zone, mut batch) = (Zone::new(1, 200, &peers), batch(|_| 0, |_| 0));
        batch.iter_mut().flat_map(|seen| &mut seen.attempts).for_each(|attempt| attempt.peer = servers - 1);
        group.bench_function(BenchmarkId::from_parameter(servers), |bencher| bencher.iter(|| zone.fold(&mut batch)));
    }
}

/// The primary refuses every tenth request, and the backup answers it.
fn masked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold, masked failovers");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (mut zone, mut batch) = (Zone::blue_green(1, 200), batch(|_| 0, |_| 0));
    for seen in batch.iter_mut().step_by(10) {
        let ok = seen.attempts[0];
        seen.attempts[0] = Attempt { verdict: Verdict::Refused, status: 502, ..ok };
        seen.push(Attempt { peer: 1, ..ok });
        seen.names = None;
    }
    group.bench_function("10 %", |bencher| bencher.iter(|| zone.fold(&mut batch)));
}

/// The function whose instructions callgrind counts.
#[inline(never)]
fn observe_batch(host: &Host) {
    let (worker, _, observations) = &host.workers[0];
    black_box(worker.fold(observations));
}

fn observe(batches: usize) {
    let host = Host::new(1, &Rules::default());
    for number in 0..batches {
        let now = Millis(host.time.0.fetch_add(1, Ordering::Relaxed));
        for (index, mut seen) in batch(|_| 0, |_| 0).into_iter().enumerate() {
            seen.attempts[0].start = now;
            // As the log phase sends them.
            seen.names_as_before = number > 0 || index > 0;
            seen.names = seen.names.filter(|_| !seen.names_as_before);
            host.send(0, seen);
        }
        observe_batch(&host);
    }
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--batches").skip(1);
    match arguments.next() {
        Some(batches) => observe(batches.parse().expect("a number")),
        None => benches(),
    }
}

criterion_group!(benches, by_window, by_upstreams, by_releases, by_servers, masked);
