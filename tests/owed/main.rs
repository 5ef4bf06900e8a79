//! Invariants of the outbox over random schedules: three workers, two receivers, new revisions, silences that end by
//! themselves and are announced, kills, stops longer than a lease, reloads, a machine that sleeps, and every kind of
//! answer.
//!
//! The schedules also run with deliberately wrong variants; each must violate the invariant that it breaks.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a variable says how long, and a person reads the result"
)]

mod invariants;
mod world;
mod wrong;

use std::collections::HashSet;

use world::{INCIDENT, World};
use wrong::Wrong;

const SCHEDULES: u64 = 400;

fn schedules() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(SCHEDULES)
}

#[test]
fn invariants_1_to_8_10_18_and_25_hold_in_every_schedule() {
    let (mut accepted, mut different) = (0, 0);
    for seed in 0..schedules() {
        let world = World::new(seed, Wrong::Nothing).run();
        assert_eq!(world.violations, [""; 0], "seed {seed}");
        for book in &world.books {
            let posts: Vec<_> = book.posts.iter().filter(|post| post.accepted).collect();
            accepted += posts.len();
            different += posts.iter().map(|post| (post.subject, post.revision.number)).collect::<HashSet<_>>().len();
        }
    }
    println!("{} schedules, {accepted} accepted messages, {} of them duplicates", schedules(), accepted - different);
}

#[test]
fn every_wrong_variant_is_caught() {
    for (wrong, broken) in Wrong::ALL {
        let caught = (0..SCHEDULES).find(|&seed| {
            let mut violations = World::new(seed, wrong).run().violations;
            violations.extend(first_delays_second(seed, wrong).then(|| "12:".to_owned()));
            violations.iter().any(|violation| {
                broken.iter().any(|number| violation.strip_prefix(number).is_some_and(|rest| rest.starts_with(':')))
            })
        });
        assert!(caught.is_some(), "{wrong:?} is never caught");
    }
}

/// 12: does the second receiver get another message, or at another time, if the first one hangs?
fn first_delays_second(seed: u64, wrong: Wrong) -> bool {
    let [well, ill] = [false, true].map(|first_hangs| {
        let mut world = World::new(seed, wrong);
        world.first_hangs = first_hangs;
        world.trouble_for(400);
        world
    });
    well.books[1].posts != ill.books[1].posts
}

#[test]
fn invariant_12_a_receiver_that_hangs_delays_no_other() {
    for seed in 0..schedules() {
        assert!(!first_delays_second(seed, Wrong::Nothing), "seed {seed}");
    }
}

/// 9: the first message after a quiet time is not delayed by an earlier cooldown, silence or back-off.
#[test]
fn invariant_9_news_in_a_quiet_channel_goes_at_once() {
    for seed in 0..schedules() {
        let mut world = World::new(seed, Wrong::Nothing);
        world.trouble_for(200);
        world.trouble = false;
        world.wait_for(1_200_000);
        let before = world.books.each_ref().map(|book| book.posts.len());
        world.change(INCIDENT);
        (0..3).for_each(|_| world.step_all());
        let after = world.books.each_ref().map(|book| book.posts.len());
        assert_eq!(after, before.map(|posts| posts + 1), "seed {seed}");
    }
}
