//! Which pool serves: one state per upstream, quick to leave, slow to return, and never moved by a stale finisher.
//!
//! Evidence is an *ok* answer of a pool, or a request that no pool answered. It is ordered by the moment at which the
//! request's last peer was chosen. What was chosen before the current state began is a stale finisher and proves
//! nothing about the present. nginx's clock ticks every 4 ms or so; within one tick the order in which requests ended
//! stands in.
//!
//! | serving | becomes | by this evidence | certain |
//! |---|---|---|---|
//! | unknown | the expected pool | its first answer | at once |
//! | unknown, a pool | another pool | its answer while nginx refuses to ask the own pool | at once |
//! | unknown, a pool, mixed | down | a failure while nginx refuses to ask any server | at once |
//! | unknown, a pool, mixed | down | 3 failures in a row | after `confirm`, at most 1 s; if cold 10 s |
//! | unknown | another pool | uncontradicted answers | after `confirm`; if cold at least 10 s |
//! | a pool | another pool, not the expected one | uncontradicted answers | after `confirm` |
//! | a pool | the expected pool | 5 uncontradicted answers | after the return span |
//! | mixed | any pool | 5 uncontradicted answers | after the return span |
//! | a pool, mixed | the expected pool | 4/5 of all answers, and one in the first quarter | over the return span |
//! | a pool, mixed | another pool | 4/5 of the answers in each quarter | over the return span |
//! | a pool | mixed | no pool has 4/5 in any quarter | over the return span; few answers: 60 s |
//! | down | any pool | more answers than failures, since its first one | after `confirm`, at most 1 s |
//!
//! * The *own* pool is the one whose answers confirm the state: the pool that serves, or the expected one while
//!   unknown. Its answer contradicts the answers of other pools that were chosen before; any answer so contradicts
//!   failures.
//! * *Cold* is an upstream whose own pool (for an outage: any pool) has not answered yet, so nobody knows how slow it
//!   is. It is not cold to a worker whose nginx has given the own pool up.
//! * What another pool answers because the own one is *full* (`max_conns`) proves nothing, however much it is.
//! * A wait counts from the first evidence. It is at least twice the median response time of the pools concerned, so
//!   that a fast pool does not outrun a slow one. After 32 answers or failures in a row it is only that, or 25 ms.
//! * The *return span* is longer than nginx's probing rhythm: 10 s, or 1.5 × `fail_timeout` + 1 s if that is longer.
//! * Pools that are expected together are one pool here, and the first of them stands for all.
//!
//! `ledger` holds what was seen, `decide` says what that proves, and here the state changes.

mod streak;
mod shares;
mod ledger;
mod decide;
#[cfg(test)]
mod tests;

use crate::config::rules::Rules;
use crate::detect::failover::decide::{Case, return_span};
use crate::detect::failover::ledger::Ledger;
use crate::detect::serving::{Change, Serving};
use crate::pools::set::{Expected, PoolId, PoolSet};
use crate::units::Millis;

/// Shares are looked at this often, under traffic.
const LOOK_EVERY: Millis = Millis(100);

/// What one finished request says about who serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The pool that answered; `None`: every attempt failed.
    pub answered: Option<PoolId>,
    /// When the last attempt's peer was chosen.
    pub start: Millis,
    /// Of the answer: milliseconds from choosing the peer to the response header.
    pub to_header: u32,
    /// Pools that nginx refuses to ask, in all workers.
    pub unusable: PoolSet,
    /// Pools that nginx refuses to ask in the worker that saw the request, whatever others do.
    pub unusable_here: PoolSet,
    /// Pools that nginx would ask, but that have all the connections that they may have (`max_conns`).
    pub full: PoolSet,
    /// nginx found no server usable at all, in a peer table that all workers share.
    pub exhausted: bool,
}

/// The machine: fixed-size plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Failover {
    serving: Serving,
    /// When the state began; answers of other pools chosen before prove nothing.
    since: Millis,
    /// When shares were last looked at.
    looked: Millis,
    ledger: Ledger,
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
        self.since
    }

    /// Takes changed rules; the state stays.
    pub fn set_rules(&mut self, rules: &Rules) {
        self.ledger.set_span(return_span(rules));
    }

    /// The operator chose another expected pool: from now on only new answers say who serves.
    pub fn expect_anew(&mut self, now: Millis) {
        self.enter(Serving::Unknown, now);
    }

    /// Takes one request's evidence. At most one change comes of it: one that happens at once.
    pub fn fold(&mut self, seen: &Evidence, expected: Expected) -> Option<Change> {
        match seen.answered {
            Some(pool) => self.fold_answer(expected.stand_in(pool), seen, expected),
            None => self.fold_failure(seen),
        }
    }

    /// Takes an answer of a server whose pool nobody knows, chosen at `start`. It speaks for no pool, but against an
    /// outage; when it ends one, it is taken for the expected pool's.
    pub fn fold_stranger(&mut self, start: Millis, expected: Expected) -> Option<Change> {
        if self.serving == Serving::Down {
            return self.fold_answer(expected.first(), &Evidence { start, ..Evidence::default() }, expected);
        }
        if start >= self.since {
            self.ledger.note_stranger(start);
        }
        None
    }

    /// Changes the state if what was seen so far is certain at `now`.
    pub fn tick(&mut self, rules: &Rules, expected: Expected, now: Millis) -> Option<Change> {
        if let Some(outage) = self.case(rules, expected).outage().filter(|outage| outage.due <= now) {
            return Some(self.change(outage.to, outage.since));
        }
        if now >= self.looked + LOOK_EVERY {
            self.looked = now;
            if let Some(verdict) = self.case(rules, expected).by_share(now) {
                return Some(self.change(verdict.to, verdict.since));
            }
        }
        let verdict = self.case(rules, expected).challenger().filter(|verdict| verdict.due <= now)?;
        if self.serving == Serving::Down && !self.ledger.do_answers_outweigh() {
            self.ledger.weigh_from_here();
            return None;
        }
        Some(self.change(verdict.to, verdict.since))
    }

    /// When an outage is certain, if nothing answers until then; `None`: nothing speaks for one.
    pub fn outage_due(&self, rules: &Rules) -> Option<Millis> {
        // An outage is one whatever is expected.
        self.case(rules, Expected::default()).outage().map(|outage| outage.due)
    }

    /// When [`Failover::tick`] may next have something to do without a further request.
    pub fn deadline(&self, rules: &Rules, expected: Expected) -> Option<Millis> {
        let case = self.case(rules, expected);
        let verdicts = case.outage().into_iter().chain(case.challenger());
        verdicts.map(|verdict| verdict.due).min()
    }

    fn fold_answer(&mut self, pool: PoolId, seen: &Evidence, expected: Expected) -> Option<Change> {
        let own = self.serving.own_pool(expected);
        // A stale finisher: not even its response time counts.
        if seen.start < self.since || (seen.start == self.since && own != Some(pool)) {
            return None;
        }
        self.ledger.note(pool, seen.start, seen.to_header);
        match self.serving {
            Serving::Down => self.ledger.weigh_answer(pool, seen.start),
            Serving::Mixed => self.ledger.mix(pool, seen.start),
            Serving::Pool(_) if own == Some(pool) => self.ledger.confirm(seen.start),
            Serving::Unknown if own == Some(pool) => {
                self.ledger.confirm(seen.start);
                return Some(self.change(Serving::Pool(pool), seen.start));
            }
            Serving::Unknown | Serving::Pool(_) => return self.fold_challenge(pool, seen, own, expected),
        }
        None
    }

    /// Another pool than the own one answered.
    fn fold_challenge(
        &mut self,
        pool: PoolId,
        seen: &Evidence,
        own: Option<PoolId>,
        expected: Expected,
    ) -> Option<Change> {
        let own_pools = own.map_or(PoolSet::EMPTY, |own| expected.together_with(own));
        let is_all_of = |pools: PoolSet| own.is_some() && pools.contains_all(own_pools);
        if is_all_of(seen.full) {
            self.ledger.note_full(seen.start);
        }
        let is_unusable = is_all_of(seen.unusable);
        if is_unusable || is_all_of(seen.unusable_here) {
            self.ledger.note_given_up(seen.start);
        } else if self.ledger.is_full(seen.start) {
            self.ledger.overflow(seen.start);
            return None;
        }
        let counts = self.ledger.challenge(pool, seen.start);
        (counts && is_unusable).then(|| self.change(Serving::Pool(pool), seen.start))
    }

    fn fold_failure(&mut self, seen: &Evidence) -> Option<Change> {
        if self.serving == Serving::Down {
            self.ledger.weigh_failure(seen.start);
            return None;
        }
        let counts = seen.start >= self.since && self.ledger.fail(seen.start);
        (counts && seen.exhausted).then(|| self.change(Serving::Down, self.ledger.failures().first()))
    }

    fn change(&mut self, to: Serving, since: Millis) -> Change {
        let change = Change { from: self.serving, to, since };
        self.enter(to, since);
        change
    }

    fn enter(&mut self, to: Serving, since: Millis) {
        let own = if let Serving::Pool(own) = to { Some(own) } else { None };
        self.ledger.begin(since, own, own.is_some() && self.serving != Serving::Down);
        (self.serving, self.since) = (to, since);
    }

    fn case<'a>(&'a self, rules: &'a Rules, expected: Expected) -> Case<'a> {
        Case { serving: self.serving, since: self.since, rules, expected, ledger: &self.ledger }
    }
}
