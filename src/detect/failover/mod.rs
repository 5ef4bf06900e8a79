//! Which pool serves: one state per upstream, quick to leave, slow to return, and never moved by a stale finisher.
//!
//! Evidence is an *ok* answer of a pool, ordered by the moment its peer was chosen. Answers chosen before the current state
//! began (the fence) are finishers of the past and prove nothing about the present. nginx's clock ticks every 4 ms or so; within
//! one tick the order in which requests ended stands in.
//!
//! * **Leave at once** when nginx itself refuses to ask the current pool and another pool answered instead.
//! * **Leave fast** when another pool's answers stand uncontradicted: for `confirm`, or [`MANY`] of them in a row.
//! * **Return slowly** to the expected pool: it must have four fifths of the answers over a span longer than nginx's probing
//!   rhythm. Slowly, too, a pool takes over that prevails although the current one still answers now and then.
//! * **Mixed** when no pool prevails for that long.
//! * **Down** when no pool answers.
//!
//! Pools that are expected together are one pool here, and the first of them stands for all.

mod shares;
#[cfg(test)]
mod tests;

use crate::config::rules::Rules;
use crate::detect::failover::shares::{Share, Shares};
use crate::detect::serving::{Change, Serving};
use crate::pools::set::{Expected, MAX_POOLS, PoolId};
use crate::units::Millis;

/// So many uncontradicted answers (or failures) in a row need no further patience than [`SETTLE`].
const MANY: u32 = 32;

/// Long enough for every worker's observer to have folded what its requests saw; they sleep at most 10 ms under load.
const SETTLE: Millis = Millis(25);

/// The fewest answers that prove a return.
const RETURN_ANSWERS: u32 = 5;

/// The fewest failed requests in a row that prove an outage.
const DOWN_FAILURES: u32 = 3;

/// The longest that an outage or its end is held back for confirmation.
const DOWN_CONFIRM: Millis = Millis(1000);

/// The shortest span over which a return must prevail.
const RETURN_SPAN: Millis = Millis::from_secs(10);

/// The longest span over which shares are looked at, however slow the pools are.
const LONGEST_SPAN: Millis = Millis::from_secs(60);

/// Shares are looked at this often, under traffic.
const LOOK_EVERY: Millis = Millis(100);

/// A span is looked at in so many parts: what holds for each of them is no passing transition.
const PARTS: u64 = 4;

/// With fewer answers in a span a longer one is looked at before traffic is called mixed: of a hundred, with one in ten from the
/// wrong pool, a fifth are once in ten thousand times.
const MIXED_ANSWERS: u64 = 100;

/// The fewest answers in a part that say anything about shares.
const PART_ANSWERS: u64 = 3;

/// Until the pool that should serve has answered nobody knows how slow it is, and a fast pool gets no credit for being first.
const COLD_START: Millis = Millis::from_secs(10);

/// Response times remembered per pool.
const TIMES: usize = 21;

/// Response times above this count as this.
const LONGEST_TIME: u16 = 30_000;

/// What one finished request says about who serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The pool that answered; `None`: every attempt failed.
    pub answered: Option<PoolId>,
    /// When the last attempt's peer was chosen.
    pub start: Millis,
    /// Of the answer: milliseconds from choosing the peer to the response header.
    pub to_header: u32,
    /// Pools that nginx refuses to ask, in all workers; a bit per pool.
    pub unusable: u8,
    /// nginx found no server usable at all, in a peer table that all workers share.
    pub exhausted: bool,
}

/// The latest starts that a run remembers, for a late contradiction.
const LATEST: usize = 5;

/// Uncontradicted evidence in a row, of whatever order it came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Run {
    first: Millis,
    count: u32,
    /// The latest starts, the last one first.
    latest: [Millis; LATEST],
}

impl Run {
    fn last(&self) -> Millis {
        self.latest[0]
    }

    fn extend(&mut self, start: Millis) {
        self.first = if self.count == 0 { start } else { self.first.min(start) };
        self.count = self.count.saturating_add(1);
        if let Some(place) = self.latest.iter().position(|&latest| latest < start) {
            self.latest[place..].rotate_right(1);
            self.latest[place] = start;
        }
    }

    /// Evidence for the contrary that started at `start`: what is not younger no longer counts.
    fn contradict(&mut self, start: Millis) {
        if self.count == 0 || start < self.first {
            return;
        }
        let known = self.latest.iter().take(self.count as usize);
        let younger = known.filter(|&&latest| latest > start).count();
        match self.latest[..younger].last() {
            None => *self = Self::default(),
            // Of those that it does not remember some may be younger as well.
            Some(_) if younger == LATEST => (self.first, self.count) = (start + Millis(1), LATEST as u32),
            Some(&first) => (self.first, self.count) = (first, younger as u32),
        }
        self.latest[younger..].fill(Millis::ZERO);
    }

    /// When the run is certain, if nothing contradicts it until then.
    fn certain_at(&self, least: u32, confirm: Millis, slack: Millis) -> Option<Millis> {
        match self.count {
            0 => None,
            count if count < least => None,
            count if count >= MANY => Some(self.first + SETTLE.max(slack).min(confirm.max(slack))),
            _ => Some(self.first + confirm.max(slack)),
        }
    }
}

/// The machine: fixed-size plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Failover {
    serving: Serving,
    /// When the state began; answers of other pools chosen before prove nothing.
    fence: Millis,
    /// The latest start of an answer of the state's own pool.
    stood: Millis,
    /// The latest start of any answer.
    answered: Millis,
    /// When shares were last looked at.
    looked: Millis,
    /// The latest start of another pool's answer.
    contradicted: Millis,
    /// While pools share the traffic, per pool: the latest start of its answers.
    latest: [Millis; MAX_POOLS],
    /// Per pool: answers that the state's own pool has not contradicted.
    challenges: [Run; MAX_POOLS],
    /// Requests in a row that no pool answered.
    failures: Run,
    shares: Shares,
    times: [[u16; TIMES]; MAX_POOLS],
    time_counts: [u32; MAX_POOLS],
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            serving: Serving::Unknown,
            fence: Millis::ZERO,
            stood: Millis::ZERO,
            answered: Millis::ZERO,
            looked: Millis::ZERO,
            contradicted: Millis::ZERO,
            latest: [Millis::ZERO; MAX_POOLS],
            challenges: [Run::default(); MAX_POOLS],
            failures: Run::default(),
            shares: Shares::new(RETURN_SPAN),
            times: [[0; TIMES]; MAX_POOLS],
            time_counts: [0; MAX_POOLS],
        }
    }
}

impl Failover {
    /// The state of an earlier life, with no evidence for it or against it yet.
    pub fn resume(serving: Serving, since: Millis) -> Self {
        let mut machine = Self::default();
        machine.enter(serving, since);
        machine
    }

    /// Who serves now.
    pub fn serving(&self) -> Serving {
        self.serving
    }

    /// When that began.
    pub fn since(&self) -> Millis {
        self.fence
    }

    /// Takes changed rules; the state stays.
    pub fn set_rules(&mut self, rules: &Rules) {
        self.shares.set_span(return_span(rules));
    }

    /// The operator chose another expected pool: from now on only new answers say who serves.
    pub fn expect_anew(&mut self, now: Millis) {
        self.enter(Serving::Unknown, now);
    }

    /// Takes one request's evidence. At most one change comes of it: the one that needs no patience.
    pub fn fold(&mut self, seen: &Evidence, expected: Expected) -> Option<Change> {
        match seen.answered {
            Some(pool) => self.fold_answer(expected.stand_in(pool), seen, expected),
            None => self.fold_failure(seen),
        }
    }

    /// Takes an answer of a server whose pool nobody knows, chosen at `start`. It speaks for no pool, but against an outage; when it
    /// ends one, it is taken for the expected pool's.
    pub fn fold_stranger(&mut self, start: Millis, expected: Expected) -> Option<Change> {
        if self.serving == Serving::Down {
            return self.fold_answer(expected.first(), &Evidence { start, ..Evidence::default() }, expected);
        }
        if start >= self.fence {
            self.answered = self.answered.max(start);
            self.failures.contradict(start);
        }
        None
    }

    /// Changes the state if what was seen so far is certain at `now`.
    pub fn tick(&mut self, rules: &Rules, expected: Expected, now: Millis) -> Option<Change> {
        if let Some(since) = self.down_at(rules).filter(|&(due, _)| due <= now).map(|(_, since)| since) {
            return Some(self.change(Serving::Down, since));
        }
        if now >= self.looked + LOOK_EVERY {
            self.looked = now;
            if let Some((to, since)) = self.by_share(rules, expected, now) {
                return Some(self.change(to, since));
            }
        }
        let (due, to, since) = self.next_pool(rules, expected)?;
        if self.serving == Serving::Down && due <= now && !self.answers_outweigh_failures() {
            (self.challenges, self.failures) = ([Run::default(); MAX_POOLS], Run::default());
            return None;
        }
        (due <= now).then(|| self.change(to, since))
    }

    /// When an outage is certain, if nothing answers until then; `None`: nothing speaks for one.
    pub fn outage_due(&self, rules: &Rules) -> Option<Millis> {
        self.down_at(rules).map(|(due, _)| due)
    }

    /// When [`Failover::tick`] may next have something to do without a further request.
    pub fn deadline(&self, rules: &Rules, expected: Expected) -> Option<Millis> {
        let down = self.outage_due(rules);
        let pool = self.next_pool(rules, expected).map(|(due, _, _)| due);
        down.into_iter().chain(pool).min()
    }

    fn fold_answer(&mut self, pool: PoolId, seen: &Evidence, expected: Expected) -> Option<Change> {
        let own = self.own_pool(expected) == Some(pool);
        if seen.start < self.fence || (seen.start == self.fence && !own) {
            return None;
        }
        self.answered = self.answered.max(seen.start);
        if self.serving != Serving::Down {
            self.failures.contradict(seen.start);
        } else if self.challenges.iter().all(|run| run.count == 0) {
            // The first answer in an outage: from here answers and failures are weighed.
            self.failures = Run::default();
        }
        self.shares.count(pool, seen.start);
        self.remember_time(pool, seen.to_header);
        if self.serving == Serving::Mixed {
            for (_, other) in self.challenges.iter_mut().enumerate().filter(|(other, _)| *other != usize::from(pool)) {
                other.contradict(seen.start);
            }
            if self.is_outdone(pool, seen.start) {
                return None;
            }
        }
        if !own {
            self.contradicted = self.contradicted.max(seen.start);
            return self.challenge(pool, seen, expected);
        }
        self.stood = self.stood.max(seen.start);
        for challenge in &mut self.challenges {
            challenge.contradict(seen.start);
        }
        match self.serving {
            Serving::Unknown => Some(self.change(Serving::Pool(pool), seen.start)),
            _ => None,
        }
    }

    /// Has another pool answered a younger request? Notes this one.
    fn is_outdone(&mut self, pool: PoolId, start: Millis) -> bool {
        if let Some(own) = self.latest.get_mut(usize::from(pool)) {
            *own = start.max(*own);
        }
        self.latest.iter().enumerate().any(|(other, &latest)| other != usize::from(pool) && latest > start)
    }

    /// Another pool than the state's own answered.
    fn challenge(&mut self, pool: PoolId, seen: &Evidence, expected: Expected) -> Option<Change> {
        if seen.start < self.stood {
            return None;
        }
        self.challenges.get_mut(usize::from(pool))?.extend(seen.start);
        let given_up = self.own_pool(expected).is_some_and(|own| {
            let mut pools = (0..MAX_POOLS as PoolId).filter(|&pool| expected.stand_in(pool) == own);
            pools.all(|pool| seen.unusable & (1 << pool) != 0)
        });
        given_up.then(|| self.change(Serving::Pool(pool), seen.start))
    }

    fn fold_failure(&mut self, seen: &Evidence) -> Option<Change> {
        if self.serving == Serving::Down {
            // Weighed against the answers when these are due to end the outage.
            self.failures.extend(seen.start);
            return None;
        }
        if seen.start < self.fence || seen.start < self.answered {
            return None;
        }
        self.failures.extend(seen.start);
        if seen.exhausted {
            return Some(self.change(Serving::Down, self.failures.first));
        }
        None
    }

    /// When, and since when, the upstream counts as down.
    fn down_at(&self, rules: &Rules) -> Option<(Millis, Millis)> {
        if self.serving == Serving::Down || self.failures.count < DOWN_FAILURES {
            return None;
        }
        let is_cold = self.serving == Serving::Unknown && self.time_counts == [0; MAX_POOLS];
        let slack = (0..MAX_POOLS).map(|pool| self.slack(pool)).max().unwrap_or_default();
        let slack = if is_cold { COLD_START } else { slack };
        let due = self.failures.certain_at(DOWN_FAILURES, confirm(rules).min(DOWN_CONFIRM), slack)?;
        Some((due, self.failures.first))
    }

    /// The best challenger, when it is certain, and since when it serves.
    fn next_pool(&self, rules: &Rules, expected: Expected) -> Option<(Millis, Serving, Millis)> {
        let challenges = self.challenges.iter().enumerate().filter(|(_, run)| run.count > 0);
        let candidates = challenges.filter_map(|(pool, run)| {
            let due = self.due(pool, run, rules, expected)?;
            Some((due, Serving::Pool(pool as PoolId), run.first))
        });
        candidates.min_by_key(|&(due, _, since)| (due, since))
    }

    fn due(&self, pool: usize, run: &Run, rules: &Rules, expected: Expected) -> Option<Millis> {
        let own = self.own_pool(expected).map(usize::from);
        if own == Some(pool) {
            return None;
        }
        let slack = self.slack(pool).max(own.map_or(Millis::ZERO, |own| self.slack(own)));
        if self.serving == Serving::Down {
            return run.certain_at(1, confirm(rules).min(DOWN_CONFIRM), slack);
        }
        if self.serving == Serving::Unknown {
            let is_cold = own.and_then(|own| self.time_counts.get(own)) == Some(&0);
            return run.certain_at(1, confirm(rules), if is_cold { COLD_START } else { slack });
        }
        let slowly = self.serving == Serving::Mixed || usize::from(expected.first()) == pool;
        if !slowly {
            return run.certain_at(1, confirm(rules), slack);
        }
        // With less traffic than this a span says little, and the next answer decides.
        (run.count >= RETURN_ANSWERS).then(|| self.fence.max(run.first) + return_span(rules).max(slack))
    }

    /// Under traffic shares decide: who prevails over the whole span, or that nobody does. Looked at with each batch, since
    /// without traffic no share changes for the better.
    fn by_share(&self, rules: &Rules, expected: Expected, now: Millis) -> Option<(Serving, Millis)> {
        if matches!(self.serving, Serving::Unknown | Serving::Down) {
            return None;
        }
        let own = self.own_pool(expected);
        // While only the state's own pool answers there is nothing to look at.
        if self.challenges.iter().all(|run| run.count == 0) && self.contradicted + LONGEST_SPAN < now {
            return None;
        }
        let slack = (0..MAX_POOLS).map(|pool| self.slack(pool)).max().unwrap_or_default();
        let span = return_span(rules).max(slack).min(LONGEST_SPAN);
        let begin = now - span;
        if begin < self.fence {
            return None;
        }
        let share = |pool, index| self.share_in_part(pool, begin, span, index);
        let others = (0..MAX_POOLS as PoolId).filter(|&pool| Some(pool) != own);
        for pool in others {
            let whole = self.shares.over(pool, begin, now);
            // The expected pool was there all along if nginx goes back to it; a burst after a silence was not.
            let returns =
                pool == expected.first() && whole.prevails(u64::from(RETURN_ANSWERS)) && share(pool, 0).of > 0;
            if returns || (0..PARTS).all(|index| share(pool, index).prevails(PART_ANSWERS)) {
                let since =
                    self.challenges.get(usize::from(pool)).filter(|run| run.count > 0).map_or(begin, |run| run.first);
                return Some((Serving::Pool(pool), since));
            }
        }
        own.and_then(|_| self.mixed_since(span, now)).map(|since| (Serving::Mixed, since))
    }

    /// Since when no pool prevails. Of few answers chance alone gives the wrong pool too many, so few are looked at for longer.
    fn mixed_since(&self, mut span: Millis, now: Millis) -> Option<Millis> {
        while span < LONGEST_SPAN && self.shares.over(0, now - span, now).all < MIXED_ANSWERS {
            span = span.times(2).min(LONGEST_SPAN);
        }
        let begin = now - span;
        let nobody_prevails = |index| {
            let share = |pool| self.share_in_part(pool, begin, span, index);
            share(0).all >= PART_ANSWERS && !(0..MAX_POOLS as PoolId).any(|pool| share(pool).prevails(0))
        };
        (begin >= self.fence && (0..PARTS).all(nobody_prevails)).then_some(begin)
    }

    /// The pool's share in one of the [`PARTS`] of a span.
    fn share_in_part(&self, pool: PoolId, begin: Millis, span: Millis, index: u64) -> Share {
        let edge = |index| begin + Millis(span.0 * index / PARTS);
        self.shares.over(pool, edge(index), edge(index + 1))
    }

    /// An outage ends when more requests are answered than not, since one of them was.
    fn answers_outweigh_failures(&self) -> bool {
        self.challenges.iter().map(|run| run.count).sum::<u32>() > self.failures.count
    }

    /// The pool whose answers confirm the state; before the first answer that is the expected one.
    fn own_pool(&self, expected: Expected) -> Option<PoolId> {
        match self.serving {
            Serving::Pool(own) => Some(expected.stand_in(own)),
            Serving::Unknown => Some(expected.first()),
            Serving::Mixed | Serving::Down => None,
        }
    }

    fn change(&mut self, to: Serving, since: Millis) -> Change {
        let change = Change { from: self.serving, to, since };
        self.enter(to, since);
        change
    }

    /// Evidence that is younger than the new state's own may have come first, from another worker, and is kept.
    fn enter(&mut self, to: Serving, since: Millis) {
        let (before, own) = (self.serving, if let Serving::Pool(own) = to { Some(usize::from(own)) } else { None });
        self.serving = to;
        self.fence = since;
        self.latest = [Millis::ZERO; MAX_POOLS];
        self.stood = own.and_then(|own| self.challenges.get(own)).map_or(since, |run| run.last().max(since));
        for (pool, challenge) in self.challenges.iter_mut().enumerate() {
            if own.is_some_and(|own| own != pool) {
                challenge.contradict(self.stood);
            } else {
                *challenge = Run::default();
            }
        }
        if own.is_none() || before == Serving::Down {
            self.failures = Run::default();
        }
    }

    /// Twice the pool's median time to header: a fast pool's answers must not outrun a slow pool's.
    fn slack(&self, pool: usize) -> Millis {
        let Some((times, &count)) = self.times.get(pool).zip(self.time_counts.get(pool)) else { return Millis::ZERO };
        let mut times = *times;
        let known = &mut times[..(count as usize).min(TIMES)];
        known.sort_unstable();
        known.get(known.len() / 2).map_or(Millis::ZERO, |&median| Millis(u64::from(median)).times(2))
    }

    fn remember_time(&mut self, pool: PoolId, to_header: u32) {
        let pool = usize::from(pool);
        if let (Some(times), Some(count)) = (self.times.get_mut(pool), self.time_counts.get_mut(pool)) {
            times[*count as usize % TIMES] = to_header.min(u32::from(LONGEST_TIME)) as u16;
            // Beyond the first round only the place matters, so the count may go round as well.
            *count = if *count as usize >= 2 * TIMES - 1 { TIMES as u32 } else { *count + 1 };
        }
    }
}

fn confirm(rules: &Rules) -> Millis {
    rules.failover.unwrap_or(Millis::NEVER)
}

/// Longer than nginx's probing rhythm: one probe per `fail_timeout` must not look like a return.
fn return_span(rules: &Rules) -> Millis {
    RETURN_SPAN.max(Millis(rules.fail_timeout.0 / 2 * 3) + Millis(1000))
}
