//! Invariants of the detectors over random traffic. Numbers are those of docs/invariants.md.
//!
//! Each invariant is a function of a detector, and is tried on a deliberately wrong one as well: a check that the wrong
//! detector passes checks nothing. `make test-long` runs many more schedules (`PROPTEST_CASES`).

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a variable says how long, and a person reads the result"
)]

mod error_rate;
mod serving;

use ngx_http_poolwatch_module::config::rules::Rules;
use ngx_http_poolwatch_module::detect::failover::{Evidence, Failover};
use ngx_http_poolwatch_module::detect::serving::Serving;
use ngx_http_poolwatch_module::pools::set::{Expected, PoolId, PoolSet};
use ngx_http_poolwatch_module::units::Millis;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const BLUE: PoolId = PoolId::FIRST;
const GREEN: PoolId = PoolId::new(1).expect("a pool");
const BOOT: u64 = 1_000_000;

/// One finished request, with the times that the detector sees and those that it does not see.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Request {
    /// The pool that answered; `None`: all attempts failed.
    pool: Option<PoolId>,
    start: u64,
    took: u64,
}

impl Request {
    fn end(&self) -> u64 {
        self.start + self.took
    }
}

/// A detector that sees requests and says which pool serves: the real one, or a wrong one.
trait Machine {
    fn new() -> Self;
    /// Folds a request, without a tick.
    fn note(&mut self, request: &Request, now: u64) -> Vec<Serving>;
    fn tick(&mut self, now: u64) -> Vec<Serving>;

    fn see(&mut self, request: &Request, now: u64) -> Vec<Serving> {
        let mut states = self.note(request, now);
        states.extend(self.tick(now));
        states
    }

    /// Requests that started before this are too old to count.
    fn fence(&self) -> u64;
}

/// What makes a detector wrong: the evidence and the rules that it gets.
trait Belief {
    fn evidence(request: &Request, now: u64) -> Evidence;
    fn rules() -> Rules {
        Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() }
    }
}

/// Gets the true evidence.
struct Revision;

impl Belief for Revision {
    fn evidence(request: &Request, _now: u64) -> Evidence {
        Evidence {
            answered: request.pool,
            start: Millis(request.start),
            to_header: request.took as u32,
            ..Evidence::default()
        }
    }
}

/// Orders requests by their end, as a log does.
struct ByEnd;

impl Belief for ByEnd {
    fn evidence(request: &Request, now: u64) -> Evidence {
        Evidence { start: Millis(now), ..Revision::evidence(request, now) }
    }
}

/// Gets every answer of another pool as certain, as a log watcher does that compares lines.
struct Naive;

impl Belief for Naive {
    fn evidence(request: &Request, now: u64) -> Evidence {
        Evidence { unusable: PoolSet::ALL, ..Revision::evidence(request, now) }
    }
}

/// Waits for no confirmation.
struct Hasty;

impl Belief for Hasty {
    fn evidence(request: &Request, now: u64) -> Evidence {
        Revision::evidence(request, now)
    }

    fn rules() -> Rules {
        Rules { failover: Some(Millis::ZERO), ..Revision::rules() }
    }
}

/// Counts a slow answer as none.
struct Impatient;

impl Belief for Impatient {
    fn evidence(request: &Request, now: u64) -> Evidence {
        let answered = request.pool.filter(|_| request.took < 1000);
        Evidence { answered, ..Revision::evidence(request, now) }
    }
}

/// Switches to a pool after a thousand of its answers in a row, however long these take: a log watcher that judges only
/// full windows.
struct ByVolume {
    serving: Serving,
    last: Option<PoolId>,
    count: u32,
}

impl Machine for ByVolume {
    fn new() -> Self {
        Self { serving: Serving::Unknown, last: None, count: 0 }
    }

    fn note(&mut self, request: &Request, _now: u64) -> Vec<Serving> {
        self.count = if self.last == request.pool { self.count + 1 } else { 1 };
        self.last = request.pool;
        let certain = self.last.map_or(Serving::Down, Serving::Pool);
        if self.count < 1000 || self.serving == certain {
            return Vec::new();
        }
        self.serving = certain;
        vec![certain]
    }

    fn tick(&mut self, _now: u64) -> Vec<Serving> {
        Vec::new()
    }

    fn fence(&self) -> u64 {
        0
    }
}

/// The real detector with the evidence and the rules of the belief.
struct Believing<B> {
    machine: Failover,
    rules: Rules,
    belief: std::marker::PhantomData<B>,
}

impl<B: Belief> Machine for Believing<B> {
    fn new() -> Self {
        let rules = B::rules();
        let mut machine = Failover::default();
        machine.set_rules(&rules);
        Self { machine, rules, belief: std::marker::PhantomData }
    }

    fn note(&mut self, request: &Request, now: u64) -> Vec<Serving> {
        let change = self.machine.fold(&B::evidence(request, now), Expected::Pool(BLUE));
        change.into_iter().map(|change| change.to).collect()
    }

    fn tick(&mut self, now: u64) -> Vec<Serving> {
        let change = self.machine.tick(&self.rules, Expected::Pool(BLUE), Millis(now));
        change.into_iter().map(|change| change.to).collect()
    }

    fn fence(&self) -> u64 {
        self.machine.since().0
    }
}

type Real = Believing<Revision>;

/// The states that a detector goes through, with requests in the order of their ends and a tick every 100 ms.
fn states<M: Machine>(requests: &[Request]) -> Vec<Serving> {
    let mut machine = M::new();
    run(&mut machine, requests)
}

fn run<M: Machine>(machine: &mut M, requests: &[Request]) -> Vec<Serving> {
    let mut states = Vec::new();
    let mut clock = BOOT;
    let end = requests.iter().map(Request::end).max().unwrap_or(BOOT) + 30_000;
    let mut next = requests.iter().peekable();
    while clock < end {
        clock += 100;
        while let Some(request) = next.next_if(|request| request.end() <= clock) {
            states.extend(machine.see(request, request.end()));
        }
        states.extend(machine.tick(clock));
    }
    states
}

/// A time of traffic: which pool answers, in thousandths of the requests; the rest fails.
#[derive(Clone, Copy, Debug)]
struct Phase {
    seconds: u64,
    blue: u32,
    green: u32,
}

/// Requests of these phases, on average `pause` milliseconds apart, in the order of their ends.
fn traffic(phases: &[Phase], pause: u64, longest: u64, seed: u64) -> Vec<Request> {
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below.max(1)
    };
    let mut requests = Vec::new();
    let mut start = BOOT;
    for phase in phases {
        let until = start + phase.seconds * 1000;
        while start < until {
            let dice = random(1000) as u32;
            let pool = match dice {
                dice if dice < phase.blue => Some(BLUE),
                dice if dice < phase.blue + phase.green => Some(GREEN),
                _ => None,
            };
            requests.push(Request { pool, start, took: random(longest) });
            start += 1 + random(2 * pause);
        }
    }
    requests.sort_by_key(Request::end);
    requests
}

fn phase() -> impl Strategy<Value = Phase> {
    let kinds = prop_oneof![
        Just((1000, 0)),
        Just((0, 1000)),
        Just((0, 0)),
        Just((500, 500)),
        Just((990, 10)),
        Just((900, 100)),
        (0..=1000_u32).prop_map(|blue| (blue, 1000 - blue)),
    ];
    (1..40_u64, kinds).prop_map(|(seconds, (blue, green))| Phase { seconds, blue, green })
}

fn schedule() -> impl Strategy<Value = Vec<Request>> {
    (prop::collection::vec(phase(), 1..6), 5..200_u64, 1..400_u64, any::<u64>())
        .prop_map(|(phases, pause, longest, seed)| traffic(&phases, pause, longest, seed))
}

/// Tries an invariant on random values. Returns `true` if it held for all of them.
fn holds<S: Strategy>(strategy: S, cases: u32, check: impl Fn(S::Value) -> Result<(), TestCaseError>) -> bool {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    match TestRunner::new(config).run(&strategy, check) {
        Ok(()) => true,
        Err(error) => {
            println!("{error}");
            false
        }
    }
}
