//! Invariants of the detectors over random traffic. Numbers are those of the project's list of invariants.
//!
//! Each invariant is a function of a machine, and is tried on a deliberately wrong one as well: a check that the wrong machine
//! passes checks nothing. `make test-long` runs many more schedules (`PROPTEST_CASES`).

use ngx_http_poolwatch_module::detect::error_rate::{ErrorRate, Level};
use ngx_http_poolwatch_module::detect::failover::{Evidence, Failover, Serving};
use ngx_http_poolwatch_module::pools::{Expected, PoolId};
use ngx_http_poolwatch_module::rules::{ErrorRateRules, Rules};
use ngx_http_poolwatch_module::units::{Millis, Ratio};
use ngx_http_poolwatch_module::window::{Entry, Period, Ring, WORDS, Window};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const BLUE: PoolId = 0;
const GREEN: PoolId = 1;
const BOOT: u64 = 1_000_000;

/// One finished request, with the times that the machine gets and does not get.
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

/// A machine that sees requests and says who serves: the real one, or a wrong one.
trait Machine {
    fn new() -> Self;
    fn see(&mut self, request: &Request, now: u64) -> Vec<Serving>;
    fn tick(&mut self, now: u64) -> Vec<Serving>;
    /// Requests that started earlier are of the past.
    fn fence(&self) -> u64;
}

/// What makes a machine wrong, by what it is made to believe.
trait Belief {
    fn evidence(request: &Request, now: u64) -> Evidence;
    fn rules() -> Rules {
        Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() }
    }
}

/// The truth.
struct Truth;

impl Belief for Truth {
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
        Evidence { start: Millis(now), ..Truth::evidence(request, now) }
    }
}

/// Takes every answer of another pool for hard evidence, as a watcher that compares lines does.
struct Naive;

impl Belief for Naive {
    fn evidence(request: &Request, now: u64) -> Evidence {
        Evidence { unusable: 0xff, ..Truth::evidence(request, now) }
    }
}

/// Confirms nothing.
struct Hasty;

impl Belief for Hasty {
    fn evidence(request: &Request, now: u64) -> Evidence {
        Truth::evidence(request, now)
    }

    fn rules() -> Rules {
        Rules { failover: Some(Millis::ZERO), ..Truth::rules() }
    }
}

/// The real machine, told what the belief believes.
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

    fn see(&mut self, request: &Request, now: u64) -> Vec<Serving> {
        let change = self.machine.fold(&B::evidence(request, now), Expected::Pool(BLUE));
        let mut states: Vec<Serving> = change.into_iter().map(|change| change.to).collect();
        states.extend(self.tick(now));
        states
    }

    fn tick(&mut self, now: u64) -> Vec<Serving> {
        let change = self.machine.tick(&self.rules, Expected::Pool(BLUE), Millis(now));
        change.into_iter().map(|change| change.to).collect()
    }

    fn fence(&self) -> u64 {
        self.machine.since().0
    }
}

type Real = Believing<Truth>;

/// The states that a machine goes through, with requests given in the order of their ends and a tick each 100 ms.
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

/// A stretch of traffic: who answers, in thousandths of the requests; the rest fails.
#[derive(Clone, Copy, Debug)]
struct Phase {
    seconds: u64,
    blue: u32,
    green: u32,
}

/// Requests of these phases at this pace, in the order of their ends.
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

/// Tries an invariant on random values.
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

// -- 13: a stale finisher never changes the state.

/// With everything that started before the fence left out, the states are the same.
fn ignores_stale_finishers<M: Machine>(requests: &[Request]) -> Result<(), TestCaseError> {
    let (mut all, mut fresh) = (M::new(), M::new());
    let mut kept = Vec::new();
    let mut with = Vec::new();
    for request in requests {
        if request.start >= fresh.fence() {
            kept.push(*request);
            fresh.see(request, request.end());
        }
        with.extend(all.see(request, request.end()));
    }
    let mut again = M::new();
    let without: Vec<Serving> = kept.iter().flat_map(|request| again.see(request, request.end())).collect();
    prop_assert_eq!(with, without);
    Ok(())
}

#[test]
fn invariant_13_a_stale_finisher_never_changes_the_state() {
    // Blue is busy with slow requests when it dies; green serves, ever less is asked, and blue's last answers trickle in.
    let draining = || {
        (2..8_u64, 5..30_u64, 12_000..25_000_u64, any::<u64>()).prop_map(|(seconds, pause, slow, seed)| {
            let busy = traffic(&[Phase { seconds, blue: 1000, green: 0 }], pause, 10_000, seed);
            let late = busy.iter().map(|request| Request { took: request.took + slow, ..*request });
            let first = Request { pool: Some(BLUE), start: BOOT, took: 1 };
            let shift = |after: Vec<Request>, by: u64| {
                after.into_iter().map(move |request| Request { start: request.start + by, ..request })
            };
            let green = |seconds, pause| traffic(&[Phase { seconds, blue: 0, green: 1000 }], pause, 20, seed);
            let mut requests: Vec<Request> = std::iter::once(first)
                .chain(late)
                .chain(shift(green(4, 10), seconds * 1000))
                .chain(shift(green(60, 2000), seconds * 1000 + 4000))
                .collect();
            requests.sort_by_key(Request::end);
            requests
        })
    };
    assert!(holds(draining(), 60, |requests| ignores_stale_finishers::<Real>(&requests)));
    assert!(holds(schedule(), 60, |requests| ignores_stale_finishers::<Real>(&requests)));
    assert!(
        !holds(draining(), 60, |requests| ignores_stale_finishers::<Believing<ByEnd>>(&requests)),
        "the check bites"
    );
}

// -- 14: sanity.

fn all_of_one_pool<M: Machine>(pool: PoolId, requests: &[Request]) -> Result<(), TestCaseError> {
    prop_assert_eq!(states::<M>(requests), [Serving::Pool(pool)]);
    Ok(())
}

#[test]
fn invariant_14_one_pool_alone_is_one_state() {
    for (pool, phase) in [(BLUE, (1000, 0)), (GREEN, (0, 1000))] {
        let only =
            (2..60_u64, 5..500_u64, 1..3000_u64, any::<u64>()).prop_map(move |(seconds, pause, longest, seed)| {
                traffic(&[Phase { seconds, blue: phase.0, green: phase.1 }], pause, longest, seed)
            });
        assert!(holds(only, 60, move |requests| all_of_one_pool::<Real>(pool, &requests)));
    }
}

/// Masked errors of a primary that keeps at least four fifths of the answers are no change.
fn masked_errors_change_nothing<M: Machine>(requests: &[Request]) -> Result<(), TestCaseError> {
    prop_assert_eq!(states::<M>(requests), [Serving::Pool(BLUE)]);
    Ok(())
}

#[test]
fn invariant_14_a_primary_with_masked_errors_keeps_the_state() {
    // From one request in a hundred to one in seven: at every pace that makes contradiction likely within a second.
    let masked = || {
        (10..60_u64, 10..140_u32, 5..40_u64, any::<u64>()).prop_map(|(seconds, green, pause, seed)| {
            traffic(&[Phase { seconds, blue: 1000 - green, green }], pause, 20, seed)
        })
    };
    let served = |requests: Vec<Request>| {
        let first = Request { pool: Some(BLUE), start: BOOT - 10, took: 1 };
        // What comes last is contradicted by nobody, and so it must be the truth.
        let end = requests.iter().map(Request::end).max().unwrap_or(BOOT);
        let last = Request { pool: Some(BLUE), start: end, took: 1 };
        std::iter::once(first).chain(requests).chain([last]).collect::<Vec<_>>()
    };
    assert!(holds(masked(), 60, |requests| masked_errors_change_nothing::<Real>(&served(requests))));
    assert!(!holds(masked(), 60, |requests| masked_errors_change_nothing::<Believing<Naive>>(&served(requests))));
    assert!(!holds(masked(), 60, |requests| masked_errors_change_nothing::<Believing<Hasty>>(&served(requests))));
}

/// More requests that agree with the state cause no change that would not come without them.
#[test]
fn invariant_14_requests_that_agree_change_nothing() {
    assert!(holds((schedule(), any::<u64>()), 60, |(requests, seed)| {
        let mut machine = Real::new();
        let mut last = Vec::new();
        for request in &requests {
            last.extend(machine.see(request, request.end()));
        }
        let begin = requests.iter().map(Request::end).max().unwrap_or(BOOT) + 30_000;
        // What was pending is settled first.
        while let Some(&state) = machine.tick(begin).last() {
            last.push(state);
        }
        let Some(Serving::Pool(pool)) = last.last().copied() else { return Ok(()) };
        let share = if pool == BLUE { (1000, 0) } else { (0, 1000) };
        let more = traffic(&[Phase { seconds: 60, blue: share.0, green: share.1 }], 50, 50, seed);
        for request in more.iter().map(|request| Request { start: request.start - BOOT + begin, ..*request }) {
            let changed = machine.see(&request, request.end());
            prop_assert!(changed.is_empty(), "{changed:?} at {}", request.end() - BOOT);
        }
        Ok(())
    }));
}

// -- 15: order and placement.

/// Requests that end within one bucket, shuffled: the same states.
fn order_within_a_bucket_is_no_matter<M: Machine>(requests: &[Request], seed: u64) -> Result<(), TestCaseError> {
    const BUCKET: u64 = 10;
    let mut shuffled = requests.to_vec();
    // A fixed hash of each request decides its place within its bucket.
    let place = |request: &Request| {
        (request.start ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ request.took.wrapping_mul(seed | 1)
    };
    shuffled.sort_by_key(|request| (request.end() / BUCKET, place(request)));
    let fold = |requests: &[Request]| {
        let mut machine = M::new();
        let mut states = Vec::new();
        let mut bucket = 0;
        for request in requests {
            // As an observer does: a batch first, then the clock.
            if request.end() / BUCKET != bucket {
                states.extend(machine.tick(bucket * BUCKET));
                bucket = request.end() / BUCKET;
            }
            states.extend(machine.see(request, bucket * BUCKET));
        }
        states.extend(machine.tick(bucket * BUCKET + 60_000));
        states
    };
    prop_assert_eq!(fold(requests), fold(&shuffled));
    Ok(())
}

#[test]
fn invariant_15_the_order_within_a_bucket_is_no_matter() {
    assert!(holds((schedule(), any::<u64>()), 100, |(requests, seed)| {
        order_within_a_bucket_is_no_matter::<Real>(&requests, seed)
    }));
    assert!(!holds((schedule(), any::<u64>()), 100, |(requests, seed)| {
        order_within_a_bucket_is_no_matter::<Believing<Naive>>(&requests, seed)
    }));
}

/// A few requests end within one bucket after a known past, and nothing comes after them: whichever worker's observer came first.
fn order_of_the_last_few_is_no_matter<M: Machine>(
    known: bool,
    last: &[(Option<PoolId>, u64)],
) -> Result<(), TestCaseError> {
    let fold = |order: &mut dyn Iterator<Item = Request>| {
        let mut machine = M::new();
        if known {
            machine.see(&Request { pool: Some(BLUE), start: BOOT, took: 1 }, BOOT + 1);
        }
        let now = BOOT + 1000;
        order.for_each(|request| drop(machine.see(&request, now)));
        (0..600).flat_map(|tenth| machine.tick(now + tenth * 100)).last()
    };
    let requests: Vec<Request> =
        (BOOT + 900..).zip(last).map(|(start, &(pool, took))| Request { pool, start, took }).collect();
    let mut by_end = requests.clone();
    by_end.sort_by_key(Request::end);
    let expected = fold(&mut requests.iter().copied());
    prop_assert_eq!(expected, fold(&mut requests.iter().rev().copied()));
    prop_assert_eq!(expected, fold(&mut by_end.into_iter()));
    Ok(())
}

#[test]
fn invariant_15_the_order_of_the_last_few_is_no_matter() {
    let pool = prop_oneof![Just(Some(BLUE)), Just(Some(GREEN)), Just(None)];
    let last = || (any::<bool>(), prop::collection::vec((pool.clone(), 0..40_u64), 1..12));
    assert!(holds(last(), 2000, |(known, last)| order_of_the_last_few_is_no_matter::<Real>(known, &last)));
    assert!(!holds(last(), 2000, |(known, last)| {
        order_of_the_last_few_is_no_matter::<Believing<ByEnd>>(known, &last)
    }));
}

// -- 16: thinning.

/// Every k-th request alone ends in the same state, if the last phase is clear and long.
#[test]
fn invariant_16_a_part_of_the_traffic_ends_in_the_same_state() {
    let clear = (prop::collection::vec(phase(), 0..4), any::<bool>(), 2..20_usize, any::<u64>());
    assert!(holds(clear, 60, |(mut phases, blue, every, seed)| {
        let share = if blue { (1000, 0) } else { (0, 1000) };
        phases.push(Phase { seconds: 120, blue: share.0, green: share.1 });
        let all = traffic(&phases, 10, 20, seed);
        let some: Vec<Request> = all.iter().step_by(every).copied().collect();
        let pool = if blue { BLUE } else { GREEN };
        prop_assert_eq!(states::<Real>(&all).last().copied(), Some(Serving::Pool(pool)));
        prop_assert_eq!(states::<Real>(&some).last().copied(), Some(Serving::Pool(pool)));
        Ok(())
    }));
}

// -- 18, 19, 20: the error rate.

/// The error-rate machine over a list of requests.
fn levels(rules: &ErrorRateRules, errors: &[bool], pause: u64) -> Vec<Level> {
    let mut ring: Box<Ring> = vec![0; WORDS].into_boxed_slice().try_into().expect("the ring's length");
    let (mut machine, mut window, mut period) = (ErrorRate::default(), Window::new(rules.window), Period::default());
    let mut levels = Vec::new();
    let mut now = BOOT;
    for &upstream_error in errors {
        now += pause;
        let entry = Entry { upstream_error, client_error: false };
        window.push(&mut ring, entry);
        period.push(entry, Millis(now));
        machine.note_traffic(Millis(now));
        levels.extend(machine.tick(rules, &window, &period, Millis(now)));
    }
    levels
}

#[test]
fn invariant_18_firing_and_ok_alternate() {
    let runs = prop::collection::vec((1..300_usize, 0..100_u32), 1..20);
    assert!(holds((runs, 1..500_u64, 1..400_u32), 60, |(runs, pause, window)| {
        let errors: Vec<bool> = runs
            .iter()
            .flat_map(|&(count, share)| (0..count).map(move |index| (index as u32 * 37) % 100 < share))
            .collect();
        let rules = ErrorRateRules { window, ..ErrorRateRules::default() };
        let levels = levels(&rules, &errors, pause);
        for (index, level) in levels.iter().enumerate() {
            prop_assert_eq!(*level, if index % 2 == 0 { Level::Firing } else { Level::Ok });
        }
        Ok(())
    }));
}

/// A constant rate between resolve and threshold: nothing fires, and nothing that fires resolves.
fn hysteresis(rules: &ErrorRateRules) -> bool {
    // Three errors in two hundred: 1.5 %, between 1 % and 2 %.
    let constant: Vec<bool> = (0..4000).map(|index| index % 67 == 0).collect();
    let outage: Vec<bool> = std::iter::repeat_n(true, 10).chain(constant.iter().copied()).collect();
    levels(rules, &constant, 100).is_empty() && levels(rules, &outage, 100) == [Level::Firing]
}

#[test]
fn invariant_19_a_rate_between_resolve_and_threshold_changes_nothing() {
    let rules = ErrorRateRules::default();
    assert!(hysteresis(&rules));
    assert!(!hysteresis(&ErrorRateRules { resolve: rules.threshold, ..rules }), "the check bites without hysteresis");
}

#[test]
fn invariant_20_few_requests_never_fire() {
    let few = (prop::collection::vec(any::<bool>(), 0..500), 10..1000_u32);
    assert!(holds(few, 200, |(errors, window)| {
        let rules = ErrorRateRules { threshold: Ratio::from_millionths(500_000), window, ..ErrorRateRules::default() };
        let enough = errors.len() as u32 * 2 > window;
        let levels = levels(&rules, &errors, 10);
        prop_assert!(enough || levels.is_empty());
        Ok(())
    }));
}

/// D21, D22: the window is judged with every request and at every size, against the full size while it fills.
#[test]
fn d21_d22_any_window_fires_with_the_first_error_beyond_its_share() {
    for window in [5, 7, 10, 199, 200, 201, 100_000] {
        let rules = ErrorRateRules { window, ..ErrorRateRules::default() };
        let needed = (window / 50 + 1) as usize;
        assert_eq!(levels(&rules, &vec![true; needed - 1], 10), [], "window={window}");
        assert_eq!(levels(&rules, &vec![true; needed], 10), [Level::Firing], "window={window}");
        let after_a_while: Vec<bool> = std::iter::repeat_n(false, 777).chain(vec![true; needed]).collect();
        assert_eq!(levels(&rules, &after_a_while, 10), [Level::Firing], "window={window}");
    }
}

// -- 24: time.

/// A clock that goes backwards, or stands still, only delays.
#[test]
fn invariant_24_a_clock_that_goes_backwards_only_delays() {
    let mut machine = Real::new();
    let blue = Request { pool: Some(BLUE), start: BOOT + 5000, took: 1 };
    assert_eq!(machine.see(&blue, BOOT + 5001), [Serving::Pool(BLUE)]);
    assert_eq!(machine.tick(BOOT), []);
    let green = Request { pool: Some(GREEN), start: BOOT + 6000, took: 1 };
    assert_eq!(machine.see(&green, BOOT + 3000), []);
    assert_eq!(machine.tick(BOOT + 6500), []);
    assert_eq!(machine.tick(BOOT + 7000), [Serving::Pool(GREEN)]);
}

// -- Hard cases.

#[test]
fn one_request_every_thirty_seconds_is_enough_for_a_failover_and_its_end() {
    let at = |pool, index: u64| Request { pool: Some(pool), start: BOOT + index * 30_000, took: 20 };
    let requests: Vec<Request> =
        (0..5).map(|i| at(BLUE, i)).chain((5..10).map(|i| at(GREEN, i))).chain((10..20).map(|i| at(BLUE, i))).collect();
    assert_eq!(states::<Real>(&requests), [Serving::Pool(BLUE), Serving::Pool(GREEN), Serving::Pool(BLUE)]);
}

/// A draining primary refuses new requests from the 20th second on, and still answers old ones for 35 s.
#[test]
fn a_draining_primary_is_left_in_seconds_and_for_good() {
    for seed in 0..200 {
        let mut requests = traffic(&[Phase { seconds: 20, blue: 1000, green: 0 }], 250, 200, seed);
        let drains = traffic(&[Phase { seconds: 20, blue: 1000, green: 0 }], 166, 35_000, seed + 7);
        requests.extend(drains);
        let green = traffic(&[Phase { seconds: 60, blue: 0, green: 1000 }], 250, 200, seed + 13);
        requests.extend(green.into_iter().map(|request| Request { start: request.start + 20_000, ..request }));
        requests.sort_by_key(Request::end);
        assert_eq!(states::<Real>(&requests), [Serving::Pool(BLUE), Serving::Pool(GREEN)], "seed {seed}");
    }
}

/// A primary with 5 s to its first byte, a hundredth of which fails at once onto a fast backup.
#[test]
fn a_slow_healthy_primary_is_not_left_for_a_fast_backup() {
    for seed in 0..20 {
        let slow: Vec<Request> = traffic(&[Phase { seconds: 120, blue: 990, green: 10 }], 50, 1, seed)
            .into_iter()
            .map(|request| Request { took: if request.pool == Some(BLUE) { 5000 } else { 5 }, ..request })
            .collect();
        let mut requests = slow;
        requests.sort_by_key(Request::end);
        // The first answers are green's: nobody knows yet how slow blue is.
        assert!(
            requests
                .iter()
                .take_while(|request| request.end() < BOOT + 5000)
                .all(|request| request.pool == Some(GREEN))
        );
        assert_eq!(states::<Real>(&requests), [Serving::Pool(BLUE)], "seed {seed}");
    }
}
