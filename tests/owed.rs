//! Invariants of the outbox over random schedules: three workers, two receivers, changes of truth, silences, kills, stops longer
//! than a lease, and every kind of answer. Numbers are those of the project's list of invariants.
//!
//! The schedules are run with deliberately wrong variants as well, and each must be caught.

use std::cell::RefCell;

use ngx_http_poolwatch_module::clock::Clock;
use ngx_http_poolwatch_module::deliver::Outcome;
use ngx_http_poolwatch_module::outbox::{Claim, Debt, LEASE, ReceiverState, Terms, Truth};
use ngx_http_poolwatch_module::rules::Rules;
use ngx_http_poolwatch_module::units::Millis;

const WORKERS: usize = 3;
const RECEIVERS: usize = 2;

/// What is wrong with a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The last look before sending is left out: no rate token, no look at silence.
    NoLastLook,
    /// Books what is true now instead of what was sent.
    AcksCurrent,
    /// Does not care about messages of claims that were overtaken.
    NoRepair,
    /// Each worker keeps a Retry-After to itself.
    RetryAfterPerWorker,
    /// Four failures, and the message is given up.
    GivesUp,
    /// Forgets what a silence kept back.
    SilenceDrops,
    /// Tells only what differs from the last told state, whatever happened in between.
    ByStateOnly,
    /// A cooldown forgets what it held back, as the watchers' do.
    CooldownDrops,
}

/// A message that a receiver got.
#[derive(Clone, Copy, Debug)]
struct Post {
    truth: Truth,
    covered: u64,
    /// The receiver has it; the sender may not know.
    accepted: bool,
}

/// A worker's exchange with a receiver.
#[derive(Clone, Copy, Debug)]
struct Flight {
    claim: Claim,
    /// Allowed to send. The message may land much later, if the worker is stopped in between.
    sent: bool,
    landed: bool,
    ends: u64,
    outcome: u64,
}

struct Processes {
    alive: RefCell<Vec<u32>>,
}

impl Clock for Processes {
    fn now(&self) -> Millis {
        Millis::ZERO
    }

    fn wall(&self) -> u64 {
        0
    }

    fn is_alive(&self, process: u32) -> bool {
        self.alive.borrow().contains(&process)
    }
}

struct World {
    wrong: Wrong,
    now: u64,
    random: u64,
    truth: Truth,
    rules: Rules,
    processes: Processes,
    pids: [u32; WORKERS],
    /// A stopped worker does nothing until then.
    stopped: [u64; WORKERS],
    flights: [[Option<Flight>; RECEIVERS]; WORKERS],
    debts: [Debt; RECEIVERS],
    receivers: [ReceiverState; RECEIVERS],
    /// No request may come before: what the receiver itself asked for.
    retry_after: [u64; RECEIVERS],
    posts: [Vec<Post>; RECEIVERS],
    last_sent: [u64; RECEIVERS],
    failures: [u32; RECEIVERS],
    violations: Vec<String>,
    /// Receivers that answer badly.
    trouble: bool,
}

impl World {
    fn new(seed: u64, wrong: Wrong) -> Self {
        let pids = [1, 2, 3];
        Self {
            wrong,
            now: 1_000_000,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            truth: Truth { over: true, ..Truth::default() },
            rules: Rules { cooldown: Millis(20_000), ..Rules::default() },
            processes: Processes { alive: RefCell::new(pids.to_vec()) },
            pids,
            stopped: [0; WORKERS],
            flights: [[None; RECEIVERS]; WORKERS],
            debts: [Debt::default(); RECEIVERS],
            receivers: [ReceiverState::default(); RECEIVERS],
            retry_after: [0; RECEIVERS],
            posts: [Vec::new(), Vec::new()],
            last_sent: [0; RECEIVERS],
            failures: [0; RECEIVERS],
            violations: Vec::new(),
            trouble: true,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn violated(&mut self, what: &str) {
        self.violations.push(format!("{what} at {}", self.now - 1_000_000));
    }

    /// A schedule with trouble, then one without, in which everything must come right.
    fn run(mut self) -> Vec<String> {
        for _ in 0..400 {
            self.now += self.below(500) + 1;
            match self.below(40) {
                0..=2 => self.change(),
                3 => self.rules.silenced = !self.rules.silenced,
                4 => self.kill(),
                5 => {
                    let worker = self.below(WORKERS as u64) as usize;
                    self.stopped[worker] = self.now + LEASE.0 / 2 + self.below(2 * LEASE.0);
                }
                _ => {}
            }
            self.step_all();
        }
        self.trouble = false;
        if self.rules.silenced && self.wrong == Wrong::SilenceDrops {
            self.debts.iter_mut().for_each(|debt| debt.waive(&self.truth));
        }
        self.rules.silenced = false;
        for _ in 0..4000 {
            self.now += 100;
            self.step_all();
        }
        let quiet = self.posts.each_ref().map(Vec::len);
        for _ in 0..4000 {
            self.now += 100;
            self.step_all();
        }
        for (receiver, quiet) in quiet.into_iter().enumerate() {
            self.check(receiver, quiet);
        }
        self.violations
    }

    fn change(&mut self) {
        let state = (self.truth.state + 1 + self.below(2) as u8) % 3;
        self.truth = Truth { generation: self.truth.generation + 1, state, from: self.truth.state, over: state == 0 };
    }

    fn kill(&mut self) {
        let worker = self.below(WORKERS as u64) as usize;
        let old = std::mem::replace(&mut self.pids[worker], 100 + self.now as u32);
        let mut alive = self.processes.alive.borrow_mut();
        alive.retain(|&pid| pid != old);
        alive.push(self.pids[worker]);
        self.flights[worker] = [None; RECEIVERS];
        self.stopped[worker] = 0;
    }

    fn step_all(&mut self) {
        for worker in 0..WORKERS {
            for receiver in 0..RECEIVERS {
                if self.now >= self.stopped[worker] {
                    self.step(worker, receiver);
                }
            }
        }
    }

    /// One step of a courier: claim, or send, or settle.
    fn step(&mut self, worker: usize, receiver: usize) {
        let now = Millis(self.now);
        let terms = Terms {
            truth: self.truth,
            cooldown: self.rules.cooldown,
            silenced: if self.rules.silenced { Millis::NEVER } else { Millis::ZERO },
            receiver: self.receivers[receiver],
            clock: &self.processes,
            me: self.pids[worker],
        };
        let debt = &mut self.debts[receiver];
        match self.flights[worker][receiver] {
            None => {
                if self.wrong == Wrong::SilenceDrops && self.rules.silenced && debt.is_due(&self.truth) {
                    debt.waive(&self.truth);
                }
                if self.wrong == Wrong::CooldownDrops && debt.due_at(&terms).is_some_and(|due| due.0 > self.now + 5000)
                {
                    debt.waive(&self.truth);
                }
                let told = self.posts[receiver].iter().rev().find(|post| post.accepted).map(|post| post.truth.state);
                if self.wrong == Wrong::ByStateOnly && told == Some(self.truth.state) {
                    debt.waive(&self.truth);
                }
                if self.wrong == Wrong::GivesUp && self.failures[receiver] >= 4 {
                    debt.waive(&self.truth);
                    self.failures[receiver] = 0;
                }
                let claim = debt.claim(&terms, now);
                let (wait, outcome) = (self.below(8000), if self.trouble { self.below(10) } else { 0 });
                self.flights[worker][receiver] =
                    claim.map(|claim| Flight { claim, sent: false, landed: false, ends: self.now + wait, outcome });
            }
            Some(flight) if !flight.sent => {
                let allowed = debt.may_send(&flight.claim, &terms, &mut self.receivers[receiver], now)
                    || self.wrong == Wrong::NoLastLook;
                if !allowed {
                    self.flights[worker][receiver] = None;
                    return;
                }
                self.check_sending(receiver);
                self.flights[worker][receiver] = Some(Flight { sent: true, ..flight });
            }
            Some(flight) if !flight.landed => {
                let (truth, covered) = (flight.claim.truth, flight.claim.covered);
                self.posts[receiver].push(Post { truth, covered, accepted: flight.outcome <= 5 });
                self.flights[worker][receiver] = Some(Flight { landed: true, ..flight });
            }
            Some(flight) if self.now >= flight.ends => {
                self.flights[worker][receiver] = None;
                self.settle(receiver, &flight);
            }
            Some(_) => {}
        }
    }

    /// The moment from which the first byte may leave.
    fn check_sending(&mut self, receiver: usize) {
        if self.now < self.retry_after[receiver] {
            self.violated("5: sent before Retry-After had passed");
        }
        if self.now < self.last_sent[receiver] + 1000 {
            self.violated("6: more than one message a second");
        }
        if self.rules.silenced {
            self.violated("7: a message began during a silence");
        }
        self.last_sent[receiver] = self.now;
    }

    fn settle(&mut self, receiver: usize, flight: &Flight) {
        let outcome = match flight.outcome {
            0..=4 => Outcome::Accepted,
            // Posted, but the answer was lost.
            5..=7 => Outcome::Retry("reset".into()),
            8 => Outcome::Retry("503".into()),
            _ => {
                let span = 1000 + self.below(9000);
                self.retry_after[receiver] = self.retry_after[receiver].max(self.now + span);
                if self.wrong == Wrong::RetryAfterPerWorker {
                    Outcome::Retry("429, kept to itself".into())
                } else {
                    Outcome::RateLimited(Some(Millis(span)))
                }
            }
        };
        self.failures[receiver] = if outcome == Outcome::Accepted { 0 } else { self.failures[receiver] + 1 };
        let mut claim = flight.claim;
        if self.wrong == Wrong::AcksCurrent {
            claim.truth = self.truth;
        }
        let random = self.below(u64::from(u32::MAX));
        let mut debt = self.debts[receiver];
        debt.settle(&claim, &outcome, &mut self.receivers[receiver], Millis(self.now), random);
        // A debt that somebody else has claimed since, left as it is: the overtaken message is not made good.
        let overtaken = debt.is_due(&self.truth) && !self.debts[receiver].is_due(&self.truth);
        if !(self.wrong == Wrong::NoRepair && overtaken) {
            self.debts[receiver] = debt;
        }
    }

    /// After all has come right.
    fn check(&mut self, receiver: usize, quiet: usize) {
        let accepted: Vec<Post> = self.posts[receiver].iter().copied().filter(|post| post.accepted).collect();
        if self.truth.generation > 0 {
            match accepted.last() {
                Some(last) if last.truth.state == self.truth.state => {}
                last => {
                    self.violated(&format!("1: the last accepted message {last:?} is not the truth {:?}", self.truth));
                }
            }
        }
        if self.posts[receiver].len() != quiet {
            self.violated("2: something was sent although nothing was owed");
        }
        // 3: every generation is told or covered by one that is.
        let mut told = vec![false; self.truth.generation as usize + 1];
        for post in &accepted {
            let last = post.truth.generation;
            for generation in last.saturating_sub(post.covered)..=last {
                told[generation as usize] = true;
            }
        }
        if let Some(gap) = told.iter().skip(1).position(|told| !told) {
            self.violated(&format!("3: generation {} was never told", gap + 1));
        }
    }
}

const SCHEDULES: u64 = 400;

fn schedules() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(SCHEDULES)
}

#[test]
fn invariants_1_to_7_hold_in_every_schedule() {
    for seed in 0..schedules() {
        assert_eq!(World::new(seed, Wrong::Nothing).run(), [""; 0], "seed {seed}");
    }
}

#[test]
fn every_wrong_variant_is_caught() {
    let all = [
        Wrong::NoLastLook,
        Wrong::AcksCurrent,
        Wrong::NoRepair,
        Wrong::RetryAfterPerWorker,
        Wrong::GivesUp,
        Wrong::SilenceDrops,
        Wrong::ByStateOnly,
        Wrong::CooldownDrops,
    ];
    for wrong in all {
        let caught = (0..SCHEDULES).filter(|&seed| !World::new(seed, wrong).run().is_empty()).count();
        assert!(caught > 0, "{wrong:?} is never caught");
    }
}

/// 9: the first news after a quiet time is not delayed by any cooldown, silence or back-off of the past.
#[test]
fn invariant_9_news_in_a_quiet_channel_goes_at_once() {
    for seed in 0..schedules() {
        let mut world = World::new(seed, Wrong::Nothing);
        for _ in 0..200 {
            world.now += world.below(500) + 1;
            if world.below(10) == 0 {
                world.change();
            }
            world.step_all();
        }
        world.trouble = false;
        for _ in 0..8000 {
            world.now += 100;
            world.step_all();
        }
        world.stopped = [0; WORKERS];
        let before = world.posts.each_ref().map(Vec::len);
        world.change();
        (0..3).for_each(|_| world.step_all());
        for (receiver, before) in before.into_iter().enumerate() {
            assert_eq!(world.posts[receiver].len(), before + 1, "seed {seed}");
        }
    }
}

/// 10: a second claim is possible only when the first is over, and then the first may not send.
#[test]
fn invariant_10_one_valid_claim_at_a_time() {
    let processes = Processes { alive: RefCell::new(vec![1, 2]) };
    let (truth, mut receiver) = (Truth { generation: 1, state: 1, ..Truth::default() }, ReceiverState::default());
    let mut debt = Debt::default();
    let before = receiver;
    let (cooldown, silenced) = (Millis::from_secs(300), Millis::ZERO);
    let terms = |me| Terms { truth, cooldown, silenced, receiver: before, clock: &processes, me };
    let first = debt.claim(&terms(1), Millis(1000)).expect("due");
    assert!(debt.claim(&terms(2), Millis(1000) + LEASE - Millis(1)).is_none());
    let second = debt.claim(&terms(2), Millis(1000) + LEASE).expect("the lease is over");
    assert!(!debt.may_send(&first, &terms(1), &mut receiver, Millis(1000) + LEASE));
    assert!(debt.may_send(&second, &terms(2), &mut receiver, Millis(1000) + LEASE));
}
