//! The model: workers that claim, send and settle in random schedules, and receivers with random answers.
//!
//! A message is claimed, sent, received and settled in four steps. In between anything may happen: the worker is
//! killed, stopped for longer than its lease, or asked to exit, or the machine sleeps. The delivery states and the
//! receivers' states are the module's own.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use ngx_http_poolwatch_module::clock::Clock;
use ngx_http_poolwatch_module::incident::{Revision, StateCode};
use ngx_http_poolwatch_module::outbox::delivery_state::{Claim, DeliveryState, LEASE, SendConditions};
use ngx_http_poolwatch_module::outbox::outcome::Outcome;
use ngx_http_poolwatch_module::outbox::receiver::ReceiverState;
use ngx_http_poolwatch_module::units::Millis;

use crate::wrong::Wrong;

const WORKERS: usize = 3;
const RECEIVERS: usize = 2;

/// What messages are about: an incident, which a silence holds back, and the announcement of that silence, which
/// nothing holds back.
pub(crate) const SUBJECTS: usize = 2;
pub(crate) const INCIDENT: usize = 0;
const ANNOUNCEMENT: usize = 1;
/// The state of the second subject while a silence holds.
const SILENCED: StateCode = StateCode::new(1);

const COOLDOWN: Millis = Millis(20_000);

/// When a schedule begins, in milliseconds; instants must not be zero.
const BEGIN: u64 = 1_000_000;

/// Random numbers, the same for the same seed.
#[derive(Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// How a receiver treats a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepts,
    /// The receiver accepts the message, but its answer does not reach the sender.
    AcceptsSilently,
    /// The message does not arrive, and no answer comes.
    Loses,
    Refuses,
    Limits(Option<u64>),
    DislikesBlocks,
    DislikesAll,
    Gone,
}

impl Answer {
    fn accepts(self, plain: bool) -> bool {
        matches!(self, Self::Accepts | Self::AcceptsSilently) || (self == Self::DislikesBlocks && plain)
    }

    fn outcome(self, plain: bool) -> Outcome {
        match self {
            Self::Accepts => Outcome::Accepted,
            Self::AcceptsSilently | Self::Loses => Outcome::Retry("reset".into()),
            Self::Refuses => Outcome::Retry("answered 503".into()),
            Self::Limits(span) => Outcome::RateLimited(span.map(Millis)),
            Self::DislikesBlocks if plain => Outcome::Accepted,
            Self::DislikesBlocks | Self::DislikesAll => Outcome::Rejected("invalid_blocks".into()),
            Self::Gone => Outcome::Broken("no_service".into()),
        }
    }
}

/// A message that a receiver got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) subject: usize,
    pub(crate) revision: Revision,
    pub(crate) covered: u64,
    pub(crate) at: u64,
    pub(crate) accepted: bool,
    /// Another worker had claimed this delivery when the message arrived.
    pub(crate) overtaken: bool,
    /// The revision had been accepted before, as far as the senders knew.
    pub(crate) repair: bool,
}

/// A worker's exchange with a receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    subject: usize,
    pub(crate) claim: Claim,
    /// The number of the claim for this delivery state.
    number: u64,
    repair: bool,
    sent: bool,
    landed: bool,
    ends: u64,
    answer: Answer,
}

#[derive(Clone, Copy)]
struct Process {
    pid: u32,
    /// The process does nothing before this time.
    stopped: u64,
    /// From then on the process is gone; until then it claims nothing.
    exits: Option<u64>,
    flights: [Option<Flight>; RECEIVERS],
}

/// What the model itself notes about a receiver, for comparison with the module's notes.
#[derive(Clone, Default)]
pub(crate) struct Book {
    pub(crate) posts: Vec<Post>,
    pub(crate) retry_after: u64,
    probe: u64,
    pub(crate) last_sent: u64,
    failures: u32,
    /// Claims so far.
    claims: [u64; SUBJECTS],
    /// The process that claimed last and has not given the lease back.
    held: [Option<u32>; SUBJECTS],
    acked: [u64; SUBJECTS],
    pub(crate) refused: [u64; SUBJECTS],
    /// The number of the revision whose full form was rejected.
    disliked: [u64; SUBJECTS],
    /// By revision, how many messages may have been accepted without the sender's knowledge.
    pub(crate) unsure: HashMap<(usize, u64), usize>,
    /// Revisions of which a message was sent.
    pub(crate) sent: HashSet<(usize, u64)>,
    /// How many of those messages in `unsure` were repairs.
    pub(crate) unsure_repairs: [usize; SUBJECTS],
    /// Senders whose claim had been overtaken when their exchange was over.
    pub(crate) overtaken: [usize; SUBJECTS],
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

    fn host(&self) -> String {
        "web1".to_owned()
    }
}

pub(crate) struct World {
    pub(crate) wrong: Wrong,
    pub(crate) now: u64,
    random: Random,
    /// One generator for each receiver, so that one receiver cannot change the answers of another.
    luck: [Random; RECEIVERS],
    pub(crate) revisions: [Revision; SUBJECTS],
    /// When the present silence ends by itself, or when the last one ended.
    silenced: u64,
    processes: Processes,
    next_pid: u32,
    workers: Vec<Process>,
    pub(crate) deliveries: [[DeliveryState; SUBJECTS]; RECEIVERS],
    pub(crate) receivers: [ReceiverState; RECEIVERS],
    generation: u64,
    pub(crate) books: [Book; RECEIVERS],
    /// The last claim of each delivery state, for the variant in which all workers share one token.
    last_claims: [[Option<Claim>; SUBJECTS]; RECEIVERS],
    pub(crate) violations: Vec<String>,
    /// Do receivers answer badly at times?
    pub(crate) trouble: bool,
    /// Can receivers also be gone, so that what follows takes long?
    breaks: bool,
    /// Does the first receiver take all messages without ever answering?
    pub(crate) first_hangs: bool,
    /// One step out of this many changes the incident.
    rarity: u64,
}

impl World {
    pub(crate) fn new(seed: u64, wrong: Wrong) -> Self {
        let mut world = Self {
            wrong,
            now: BEGIN,
            random: Random::new(seed),
            luck: [Random::new(seed ^ 0xa5a5), Random::new(seed ^ 0x5a5a_0000)],
            revisions: [Revision { over: true, ..Revision::default() }; SUBJECTS],
            silenced: 0,
            processes: Processes { alive: RefCell::new(Vec::new()) },
            next_pid: 1,
            workers: Vec::new(),
            deliveries: [[DeliveryState::default(); SUBJECTS]; RECEIVERS],
            receivers: [ReceiverState::default(); RECEIVERS],
            generation: 0,
            books: [Book::default(), Book::default()],
            last_claims: [[None; SUBJECTS]; RECEIVERS],
            violations: Vec::new(),
            trouble: true,
            breaks: seed % 4 == 3,
            first_hangs: false,
            rarity: [10, 40, 160][(seed % 3) as usize],
        };
        world.start_workers();
        world
    }

    pub(crate) fn violated(&mut self, what: &str) {
        self.violations.push(format!("{what} at {}", self.now - BEGIN));
    }

    /// Runs a time with trouble, then a time without, in which everything must be sent, then one in which nothing may
    /// be sent.
    pub(crate) fn run(mut self) -> Self {
        self.trouble_for(400);
        self.trouble = false;
        self.wait_for(1_200_000);
        let before = self.books.each_ref().map(|book| book.posts.len());
        self.wait_for(1_200_000);
        for (receiver, before) in before.into_iter().enumerate() {
            self.check(receiver, before);
        }
        self
    }

    pub(crate) fn trouble_for(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += self.random.below(500) + 1;
            if self.random.below(self.rarity) == 0 {
                self.change(INCIDENT);
            }
            match self.random.below(60) {
                0 | 1 => self.silence(),
                2 => self.kill(),
                3 => self.stop(),
                4 => self.reload(),
                // The machine sleeps.
                5 if self.random.below(8) == 0 => self.now += self.random.below(600_000),
                _ => {}
            }
            self.step_all();
        }
    }

    pub(crate) fn wait_for(&mut self, millis: u64) {
        let until = self.now + millis;
        while self.now < until {
            self.now += 300;
            self.step_all();
        }
    }

    pub(crate) fn change(&mut self, subject: usize) {
        let Revision { number: last, state: from, .. } = self.revisions[subject];
        let before = from.number();
        let number = if subject == ANNOUNCEMENT { 1 - before } else { (before + 1 + self.random.below(2) as u8) % 3 };
        let (state, over) = (StateCode::new(number), number == 0);
        self.revisions[subject] = Revision { number: last + 1, state, from, over, ..Revision::default() };
    }

    /// Begins a silence that ends by itself, or ends the present one.
    fn silence(&mut self) {
        if self.revisions[ANNOUNCEMENT].state == SILENCED {
            self.end_silence();
        } else {
            self.silenced = self.now + self.random.below(60_000) + 1;
            self.change(ANNOUNCEMENT);
        }
    }

    fn end_silence(&mut self) {
        self.silenced = self.now;
        if self.wrong == Wrong::SilenceDrops {
            let revision = self.revisions[INCIDENT];
            self.deliveries.iter_mut().for_each(|deliveries| deliveries[INCIDENT].skip(&revision));
        }
        self.change(ANNOUNCEMENT);
    }

    fn start_workers(&mut self) {
        for _ in 0..WORKERS {
            let pid = self.new_pid();
            self.workers.push(Process { pid, stopped: 0, exits: None, flights: [None; RECEIVERS] });
        }
        self.generation += 1;
        let generation = self.generation;
        self.receivers.iter_mut().for_each(|receiver| receiver.adopt(generation));
    }

    fn new_pid(&mut self) -> u32 {
        self.next_pid += 1;
        self.processes.alive.borrow_mut().push(self.next_pid);
        self.next_pid
    }

    /// Starts new workers; the old ones finish what they have begun, for as long as they still have.
    fn reload(&mut self) {
        for index in 0..self.workers.len() {
            let patience = self.random.below(3000);
            self.workers[index].exits.get_or_insert(self.now + patience);
        }
        self.start_workers();
        self.books.iter_mut().for_each(|book| book.probe = 0);
        if self.wrong == Wrong::ReloadEndsPauses {
            self.receivers.iter_mut().for_each(|receiver| receiver.earliest = Millis::ZERO);
        }
    }

    fn kill(&mut self) {
        let index = self.random.below(self.workers.len() as u64) as usize;
        let Process { pid, exits, flights, .. } = self.workers.remove(index);
        for (receiver, flight) in flights.iter().enumerate() {
            self.break_off(receiver, flight.as_ref(), false);
        }
        self.processes.alive.borrow_mut().retain(|&alive| alive != pid);
        if exits.is_none() {
            // Now and then the same process id comes back at once.
            let pid = if self.random.below(8) == 0 { pid } else { self.next_pid + 1 };
            self.next_pid = self.next_pid.max(pid);
            self.processes.alive.borrow_mut().push(pid);
            self.workers.push(Process { pid, stopped: 0, exits: None, flights: [None; RECEIVERS] });
        }
    }

    fn stop(&mut self) {
        let index = self.random.below(self.workers.len() as u64) as usize;
        self.workers[index].stopped = self.now + LEASE.0 / 2 + self.random.below(2 * LEASE.0);
    }

    pub(crate) fn step_all(&mut self) {
        if self.revisions[ANNOUNCEMENT].state == SILENCED && self.now >= self.silenced {
            self.end_silence();
        }
        let mut index = 0;
        while let Some(Process { pid, stopped, exits, .. }) = self.workers.get(index).copied() {
            if self.now < stopped {
                index += 1;
                continue;
            }
            (0..RECEIVERS).for_each(|receiver| self.step(index, receiver));
            if exits.is_some_and(|exits| exits <= self.now) {
                let Process { flights, .. } = self.workers.remove(index);
                for (receiver, flight) in flights.iter().enumerate() {
                    // The worker waits no longer; whether it still settles the exchange is chance.
                    let books = self.luck[receiver].below(2) == 0;
                    self.break_off(receiver, flight.as_ref(), books);
                }
                self.deliveries.as_flattened_mut().iter_mut().for_each(|delivery| delivery.release(pid));
                for held in self.books.iter_mut().flat_map(|book| &mut book.held) {
                    *held = held.filter(|&holder| holder != pid);
                }
                self.processes.alive.borrow_mut().retain(|&alive| alive != pid);
            } else {
                index += 1;
            }
        }
    }

    /// A worker ends in the middle of an exchange. Known limit: if a sender was overtaken after its message arrived,
    /// and is killed before it settles, its old message stays the last one. Here it therefore always settles.
    fn break_off(&mut self, receiver: usize, flight: Option<&Flight>, books: bool) {
        let Some(flight) = flight.filter(|flight| flight.sent) else { return };
        let overtaken = self.books[receiver].claims[flight.subject] != flight.number;
        if books || (overtaken && flight.landed) {
            self.settle(receiver, flight, &Outcome::CutShort);
        } else {
            self.note_unsure(receiver, flight);
        }
    }

    /// One step of a courier: claim, send, arrive, or settle.
    fn step(&mut self, worker: usize, receiver: usize) {
        let Process { pid, exits, flights, .. } = self.workers[worker];
        let next = match flights[receiver] {
            None if exits.is_some() => None,
            None => (0..SUBJECTS).find_map(|subject| self.claim(pid, receiver, subject)),
            Some(flight) if !flight.sent => self.send(pid, receiver, flight),
            Some(flight) if !flight.landed => Some(self.land(receiver, flight)),
            Some(flight) if self.now >= flight.ends => {
                self.learn(receiver, &flight);
                None
            }
            flying => flying,
        };
        self.workers[worker].flights[receiver] = next;
    }

    fn conditions(&self, pid: u32, subject: usize, receiver: usize) -> SendConditions<'_> {
        let (revision, receiver, clock) = (self.revisions[subject], self.receivers[receiver], &self.processes);
        let (cooldown, silenced) =
            if subject == INCIDENT { (COOLDOWN, Millis(self.silenced)) } else { Default::default() };
        SendConditions { revision, cooldown, silenced, receiver, clock, me: pid }
    }

    fn claim(&mut self, pid: u32, receiver: usize, subject: usize) -> Option<Flight> {
        self.wrong_ways(receiver, subject, pid);
        let mut delivery = self.deliveries[receiver][subject];
        let claim = delivery.claim(&self.conditions(pid, subject, receiver), Millis(self.now))?;
        let revision = self.revisions[subject];
        let book = &mut self.books[receiver];
        if self.wrong == Wrong::NoLeaseExpiry && book.held[subject].is_some_and(|holder| holder != pid) {
            return None;
        }
        self.deliveries[receiver][subject] = delivery;
        book.claims[subject] += 1;
        book.held[subject] = Some(pid);
        let (number, repair) = (book.claims[subject], book.acked[subject] == revision.number);
        self.last_claims[receiver][subject] = Some(claim);
        let (answer, wait) = self.answer(receiver);
        let ends = self.now + wait;
        Some(Flight { subject, claim, number, repair, sent: false, landed: false, ends, answer })
    }

    fn answer(&mut self, receiver: usize) -> (Answer, u64) {
        let luck = &mut self.luck[receiver];
        let (draw, wait, span) = (luck.below(24), luck.below(8000), 1000 + luck.below(9000));
        if self.first_hangs && receiver == 0 {
            return (Answer::Loses, 25_000);
        }
        let answer = match draw {
            _ if !self.trouble => Answer::Accepts,
            0..=10 => Answer::Accepts,
            11..=13 => Answer::AcceptsSilently,
            14 | 15 => Answer::Loses,
            16..=18 => Answer::Refuses,
            19 => Answer::Limits(Some(span)),
            20 => Answer::Limits(None),
            21 => Answer::DislikesBlocks,
            22 => Answer::DislikesAll,
            _ if self.breaks => Answer::Gone,
            _ => Answer::Refuses,
        };
        (answer, wait)
    }

    fn send(&mut self, pid: u32, receiver: usize, flight: Flight) -> Option<Flight> {
        let Flight { subject, .. } = flight;
        let claim = self.token_of(receiver, &flight);
        let (mut delivery, mut state) = (self.deliveries[receiver][subject], self.receivers[receiver]);
        let mut conditions = self.conditions(pid, subject, receiver);
        if self.wrong == Wrong::SilenceOnlyWhenClaiming {
            conditions.silenced = Millis::ZERO;
        }
        let allowed = delivery.may_send(&claim, &conditions, &mut state, Millis(self.now));
        self.deliveries[receiver][subject] = delivery;
        if self.wrong != Wrong::RateTokenPerWorker {
            self.receivers[receiver] = state;
        }
        if self.wrong == Wrong::ReceiversShareTheirRate {
            self.receivers.iter_mut().for_each(|receiver| receiver.earliest = receiver.earliest.max(state.earliest));
        }
        if !allowed && self.wrong != Wrong::NoLastLook {
            let book = &mut self.books[receiver];
            if book.claims[subject] == flight.number {
                book.held[subject] = None;
            }
            return None;
        }
        self.check_sending(receiver, &flight);
        Some(Flight { sent: true, claim, ..flight })
    }

    fn land(&mut self, receiver: usize, flight: Flight) -> Flight {
        let Flight { subject, claim, number, repair, answer, .. } = flight;
        let book = &mut self.books[receiver];
        let overtaken = book.claims[subject] != number;
        let accepted = answer.accepts(claim.plain);
        let (revision, covered) = (claim.revision, claim.covered);
        let covered = if self.wrong == Wrong::CountsNothing { 0 } else { covered };
        book.posts.push(Post { subject, revision, covered, at: self.now, accepted, overtaken, repair });
        Flight { landed: true, ..flight }
    }

    /// The sender learns the outcome of its message.
    fn learn(&mut self, receiver: usize, flight: &Flight) {
        if let Answer::Limits(span) = flight.answer {
            let until = self.now + span.unwrap_or(5000);
            let known = &mut self.books[receiver].retry_after;
            *known = until.max(*known);
        }
        let outcome = self.wrong.understands(flight.answer.outcome(flight.claim.plain), self.trouble);
        self.settle(receiver, flight, &outcome);
    }

    fn settle(&mut self, receiver: usize, flight: &Flight, outcome: &Outcome) {
        let Flight { subject, number, .. } = *flight;
        let mut claim = self.token_of(receiver, flight);
        let revision = claim.revision.number;
        let book = &mut self.books[receiver];
        let overtaken = book.claims[subject] != number;
        if overtaken {
            book.overtaken[subject] += 1;
        } else {
            book.held[subject] = None;
        }
        if overtaken || *outcome == Outcome::CutShort || flight.answer == Answer::AcceptsSilently {
            self.note_unsure(receiver, flight);
        }
        let book = &mut self.books[receiver];
        if matches!(outcome, Outcome::Accepted | Outcome::Rejected(_)) {
            // The receiver exists, whatever another exchange found.
            book.probe = 0;
        }
        match outcome {
            Outcome::Accepted if !overtaken => book.acked[subject] = revision,
            Outcome::Broken(_) => book.probe = self.now + 900_000,
            Outcome::Rejected(_) if !overtaken => book.disliked[subject] = revision,
            _ => {}
        }
        book.failures = if *outcome == Outcome::Accepted { 0 } else { book.failures + 1 };
        if overtaken && self.wrong.forgets_overtaken(outcome) {
            return;
        }
        if self.wrong == Wrong::AcksCurrent {
            claim.revision = self.revisions[subject];
        }
        let random = self.luck[receiver].below(u64::from(u32::MAX));
        let (delivery, state) = (&mut self.deliveries[receiver][subject], &mut self.receivers[receiver]);
        let settled = delivery.settle(&claim, outcome, state, Millis(self.now), random);
        if settled.refused {
            self.books[receiver].refused[subject] = revision;
        }
    }

    /// The claim of a flight. In the variant that does not raise the token, it has the token of the last claim.
    fn token_of(&self, receiver: usize, flight: &Flight) -> Claim {
        let last = self.last_claims[receiver][flight.subject].filter(|_| self.wrong == Wrong::TokenNotRaised);
        last.map_or(flight.claim, |last| {
            let mut claim = last;
            claim.revision = flight.claim.revision;
            (claim.covered, claim.plain) = (flight.claim.covered, flight.claim.plain);
            claim
        })
    }

    fn note_unsure(&mut self, receiver: usize, flight: &Flight) {
        let book = &mut self.books[receiver];
        *book.unsure.entry((flight.subject, flight.claim.revision.number)).or_default() += 1;
        book.unsure_repairs[flight.subject] += usize::from(flight.repair);
    }

    /// What wrong variants do when they look for something to send.
    fn wrong_ways(&mut self, receiver: usize, subject: usize, pid: u32) {
        let revision = self.revisions[subject];
        let delivery = self.deliveries[receiver][subject];
        let due = delivery.due_at(&self.conditions(pid, subject, receiver));
        let book = &mut self.books[receiver];
        let last = book.posts.iter().rev().find(|post| post.accepted && post.subject == subject);
        let skips = match self.wrong {
            Wrong::SilenceDrops => subject == INCIDENT && self.now < self.silenced && delivery.is_due(&revision),
            Wrong::CooldownDrops => due.is_some_and(|due| due.0 > self.now + 5000),
            Wrong::ByStateOnly => last.is_some_and(|post| post.revision.state == revision.state),
            Wrong::GivesUp => book.failures >= 4,
            _ => false,
        };
        if skips {
            book.failures = 0;
            self.deliveries[receiver][subject].skip(&revision);
        }
    }

    /// Checks a message at the moment from which its first byte may be sent.
    fn check_sending(&mut self, receiver: usize, flight: &Flight) {
        let Flight { subject, claim, number, .. } = *flight;
        let book = &self.books[receiver];
        let checks = [
            (self.now < book.retry_after, "5: sent before Retry-After had passed"),
            (self.now < book.last_sent + 1000, "6: more than one message a second"),
            (subject == INCIDENT && self.now < self.silenced, "7: a message began during a silence"),
            (book.claims[subject] != number, "10: sent under a claim that was overtaken"),
            (self.now < book.probe, "a broken receiver was tried before its time"),
            (!claim.plain && book.disliked[subject] == claim.revision.number, "a rejected message was sent again"),
        ];
        for (violated, what) in checks {
            if violated {
                self.violated(what);
            }
        }
        self.books[receiver].last_sent = self.now;
        self.books[receiver].sent.insert((subject, claim.revision.number));
    }
}
