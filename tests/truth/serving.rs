//! Which pool serves: invariants 13 to 16 and 24, and the cases that shaped the rules.

use super::*;

// -- 13: a stale finisher never changes the state.

/// Leaving out all requests that started before the fence gives the same states.
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
    // Blue is busy with slow requests when it dies. Green serves ever fewer requests, while blue's last answers arrive.
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
        let only = || {
            (2..60_u64, 5..500_u64, 1..3000_u64, any::<u64>()).prop_map(move |(seconds, pause, longest, seed)| {
                traffic(&[Phase { seconds, blue: phase.0, green: phase.1 }], pause, longest, seed)
            })
        };
        assert!(holds(only(), 60, |requests| all_of_one_pool::<Real>(pool, &requests)));
        assert!(!holds(only(), 60, |requests| all_of_one_pool::<Believing<Impatient>>(pool, &requests)));
    }
}

/// Masked errors of a primary that keeps at least four fifths of the answers change nothing.
fn masked_errors_change_nothing<M: Machine>(requests: &[Request]) -> Result<(), TestCaseError> {
    prop_assert_eq!(states::<M>(requests), [Serving::Pool(BLUE)]);
    Ok(())
}

#[test]
fn invariant_14_a_primary_with_masked_errors_keeps_the_state() {
    // From one request in a hundred to one in ten, at every pace at which a contrary answer within a second is likely.
    // Nearer to a fifth, chance alone makes it more than a fifth for ten seconds now and then, and then that is a
    // change.
    let masked = || {
        (10..60_u64, 10..100_u32, 5..40_u64, any::<u64>()).prop_map(|(seconds, green, pause, seed)| {
            traffic(&[Phase { seconds, blue: 1000 - green, green }], pause, 20, seed)
        })
    };
    let served = |requests: Vec<Request>| {
        let first = Request { pool: Some(BLUE), start: BOOT - 10, took: 1 };
        // No answer contradicts the last one, so it must be of the pool that serves.
        let end = requests.iter().map(Request::end).max().unwrap_or(BOOT);
        let last = Request { pool: Some(BLUE), start: end, took: 1 };
        std::iter::once(first).chain(requests).chain([last]).collect::<Vec<_>>()
    };
    assert!(holds(masked(), 60, |requests| masked_errors_change_nothing::<Real>(&served(requests))));
    assert!(!holds(masked(), 60, |requests| masked_errors_change_nothing::<Believing<Naive>>(&served(requests))));
    assert!(!holds(masked(), 60, |requests| masked_errors_change_nothing::<Believing<Hasty>>(&served(requests))));
}

/// More requests that agree with the state cause no change that would not come without them.
fn agreement_changes_nothing<M: Machine>(requests: &[Request], seed: u64) -> Result<(), TestCaseError> {
    let mut machine = M::new();
    let mut last = Vec::new();
    for request in requests {
        last.extend(machine.see(request, request.end()));
    }
    let begin = requests.iter().map(Request::end).max().unwrap_or(BOOT) + 30_000;
    // First let pending changes happen.
    while let Some(&state) = machine.tick(begin).last() {
        last.push(state);
    }
    let Some(Serving::Pool(pool)) = last.last().copied() else { return Ok(()) };
    let share = if pool == BLUE { (1000, 0) } else { (0, 1000) };
    let more = traffic(&[Phase { seconds: 60, blue: share.0, green: share.1 }], 50, 2000, seed);
    for request in more.iter().map(|request| Request { start: request.start - BOOT + begin, ..*request }) {
        let changed = machine.see(&request, request.end());
        prop_assert!(changed.is_empty(), "{changed:?} at {}", request.end() - BOOT);
    }
    Ok(())
}

#[test]
fn invariant_14_requests_that_agree_change_nothing() {
    let traffic = || (schedule(), any::<u64>());
    assert!(holds(traffic(), 60, |(requests, seed)| agreement_changes_nothing::<Real>(&requests, seed)));
    assert!(!holds(traffic(), 60, |(requests, seed)| {
        agreement_changes_nothing::<Believing<Impatient>>(&requests, seed)
    }));
}

// -- 15: order and placement.

/// The same states, whatever the order of the requests that end within one bucket.
fn order_within_a_bucket_is_no_matter<M: Machine>(requests: &[Request], seed: u64) -> Result<(), TestCaseError> {
    const BUCKET: u64 = 10;
    let mut shuffled = requests.to_vec();
    // A fixed hash of each request decides its position within its bucket.
    let place = |request: &Request| {
        (request.start ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ request.took.wrapping_mul(seed | 1)
    };
    shuffled.sort_by_key(|request| (request.end() / BUCKET, place(request)));
    let fold = |requests: &[Request]| {
        let mut machine = M::new();
        let mut states = Vec::new();
        let mut bucket = 0;
        for request in requests {
            // As the observer does: first a batch, then a tick.
            if request.end() / BUCKET != bucket {
                states.extend(machine.tick(bucket * BUCKET));
                bucket = request.end() / BUCKET;
            }
            states.extend(machine.note(request, bucket * BUCKET));
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

/// A few requests end within one bucket after a known past, and nothing follows: the same states, whichever worker's
/// observer is first.
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

/// Every `every`-th request alone leads to the same last state, if the last phase is clear and long.
fn a_part_is_enough<M: Machine>(
    mut phases: Vec<Phase>,
    pool: PoolId,
    every: usize,
    seed: u64,
) -> Result<(), TestCaseError> {
    let share = if pool == BLUE { (1000, 0) } else { (0, 1000) };
    phases.push(Phase { seconds: 120, blue: share.0, green: share.1 });
    let all = traffic(&phases, 40, 20, seed);
    let some: Vec<Request> = all.iter().step_by(every).copied().collect();
    prop_assert_eq!(states::<M>(&all).last().copied(), Some(Serving::Pool(pool)));
    prop_assert_eq!(states::<M>(&some).last().copied(), Some(Serving::Pool(pool)));
    Ok(())
}

#[test]
fn invariant_16_a_part_of_the_traffic_ends_in_the_same_state() {
    let clear =
        || (prop::collection::vec(phase(), 0..4), prop::sample::select(&[BLUE, GREEN]), 2..20_usize, any::<u64>());
    assert!(holds(clear(), 60, |(phases, pool, every, seed)| a_part_is_enough::<Real>(phases, pool, every, seed)));
    assert!(!holds(clear(), 60, |(phases, pool, every, seed)| a_part_is_enough::<ByVolume>(phases, pool, every, seed)));
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

#[test]
fn one_request_and_then_silence_is_sent_for_what_it_is() {
    let one = |pool, start| Request { pool, start: BOOT + start, took: 20 };
    let blue = one(Some(BLUE), 0);
    assert_eq!(states::<Real>(&[blue]), [Serving::Pool(BLUE)]);
    assert_eq!(states::<Real>(&[one(Some(GREEN), 0)]), [Serving::Pool(GREEN)]);
    assert_eq!(states::<Real>(&[blue, one(Some(GREEN), 60_000)]), [Serving::Pool(BLUE), Serving::Pool(GREEN)]);
    assert_eq!(states::<Real>(&[blue, one(None, 60_000)]), [Serving::Pool(BLUE)], "one failure is no outage");
    // After a failover, one answer of the primary is no return.
    let after = [blue, one(Some(GREEN), 60_000), one(Some(BLUE), 120_000)];
    assert_eq!(states::<Real>(&after), [Serving::Pool(BLUE), Serving::Pool(GREEN)]);
    assert_ne!(states::<Believing<Naive>>(&after), states::<Real>(&after));
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

/// A primary that needs 5 s to its first byte; one request in a hundred fails at once and goes to a fast backup.
#[test]
fn a_slow_healthy_primary_is_not_left_for_a_fast_backup() {
    for seed in 0..20 {
        let slow: Vec<Request> = traffic(&[Phase { seconds: 120, blue: 990, green: 10 }], 50, 1, seed)
            .into_iter()
            .map(|request| Request { took: if request.pool == Some(BLUE) { 5000 } else { 5 }, ..request })
            .collect();
        let mut requests = slow;
        requests.sort_by_key(Request::end);
        // The first answers are green's: the detector does not know yet how slow blue is.
        assert!(
            requests
                .iter()
                .take_while(|request| request.end() < BOOT + 5000)
                .all(|request| request.pool == Some(GREEN))
        );
        assert_eq!(states::<Real>(&requests), [Serving::Pool(BLUE)], "seed {seed}");
    }
}
