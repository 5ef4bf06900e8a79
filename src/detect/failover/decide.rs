//! What the evidence proves: pure verdicts, each with the moment from which it is certain.

use crate::config::rules::Rules;
use crate::detect::failover::ledger::Ledger;
use crate::detect::failover::shares::{LONGEST_SPAN, SHORTEST_SPAN, Share};
use crate::detect::failover::streak::Streak;
use crate::detect::serving::Serving;
use crate::pools::set::{Expected, PoolId};
use crate::units::Millis;

/// The fewest answers that prove a return.
const RETURN_ANSWERS: u32 = 5;

/// The fewest failed requests in a row that prove an outage.
const DOWN_FAILURES: u32 = 3;

/// The longest that an outage or its end is held back for confirmation.
const DOWN_CONFIRM: Millis = Millis(1000);

/// Parts in which a span is judged: what holds for each of them is no passing transition.
const PARTS: u64 = 4;

/// With fewer answers in a span a longer one is judged before traffic is called mixed. If each tenth answer is the
/// wrong pool's, then of a hundred answers a fifth are only once in ten thousand times.
const MIXED_ANSWERS: u64 = 100;

/// The fewest answers in a part that say anything about shares.
const PART_ANSWERS: u64 = 3;

/// How long a cold upstream is waited for: until its pool has answered nobody knows how slow it is, and a fast pool
/// gets no credit for being first.
const COLD_START: Millis = Millis::from_secs(10);

/// What there is to decide about.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) serving: Serving,
    /// When that began.
    pub(super) since: Millis,
    pub(super) rules: &'a Rules,
    pub(super) expected: Expected,
    pub(super) ledger: &'a Ledger,
}

/// A state that follows, unless something contradicts it before it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) to: Serving,
    /// When it began to hold.
    pub(super) since: Millis,
    /// From when on it is certain.
    pub(super) due: Millis,
}

impl Case<'_> {
    /// No pool answers.
    pub(super) fn outage(&self) -> Option<Verdict> {
        let failures = self.ledger.failures();
        if self.serving == Serving::Down || failures.count() < DOWN_FAILURES {
            return None;
        }
        let is_cold = self.serving == Serving::Unknown && !self.ledger.is_any_timed();
        let slack = if is_cold { COLD_START } else { self.ledger.longest_slack() };
        let due = failures.certain_at(DOWN_FAILURES, self.confirm().min(DOWN_CONFIRM), slack)?;
        Some(Verdict { to: Serving::Down, since: failures.first(), due })
    }

    /// The pool whose uncontradicted answers are certain first; of several the one that began first.
    pub(super) fn challenger(&self) -> Option<Verdict> {
        let verdicts = self.ledger.challenges().filter_map(|(pool, challenge)| {
            let due = self.certain_at(pool, challenge)?;
            Some(Verdict { to: Serving::Pool(pool), since: challenge.first(), due })
        });
        verdicts.min_by_key(|verdict| (verdict.due, verdict.since))
    }

    /// Under traffic shares decide: which pool prevails over the whole span, or that none does. Due at once or not at
    /// all: without traffic no share rises.
    pub(super) fn by_share(&self, now: Millis) -> Option<Verdict> {
        let own = match self.serving {
            Serving::Unknown | Serving::Down => return None,
            Serving::Pool(_) | Serving::Mixed => self.serving.own_pool(self.expected),
        };
        // While only the state's own pool answers there is nothing to judge.
        if !self.ledger.is_challenged() && self.ledger.away() + LONGEST_SPAN < now {
            return None;
        }
        let length = return_span(self.rules).max(self.ledger.longest_slack()).min(LONGEST_SPAN);
        let span = Span { begin: now - length, length };
        if span.begin < self.since {
            return None;
        }
        // What the own pool has no room for is mixed traffic at most.
        let can_prevail = |pool| self.expected.includes(pool) || !self.ledger.is_full(now);
        let mut others = PoolId::all().filter(|&pool| Some(pool) != own && can_prevail(pool));
        let prevailing = others.find(|&pool| self.does_prevail(pool, span, now));
        if let Some(pool) = prevailing {
            let since = self.ledger.challenge_of(pool).map_or(span.begin, Streak::first);
            return Some(Verdict { to: Serving::Pool(pool), since, due: now });
        }
        let since = own.and_then(|_| self.mixed_since(length, now))?;
        Some(Verdict { to: Serving::Mixed, since, due: now })
    }

    /// When a challenge is certain, if nothing contradicts it until then.
    fn certain_at(&self, pool: PoolId, challenge: &Streak) -> Option<Millis> {
        let own = self.serving.own_pool(self.expected);
        if own == Some(pool) {
            return None;
        }
        let slack = self.ledger.slack(pool).max(own.map_or(Millis::ZERO, |own| self.ledger.slack(own)));
        let is_known = |own| self.ledger.is_timed(own) || self.ledger.is_given_up(challenge.first());
        let is_cold = own.is_some_and(|own| !is_known(own));
        match (self.serving, pool == self.expected.first()) {
            (Serving::Down, _) => challenge.certain_at(1, self.confirm().min(DOWN_CONFIRM), slack),
            (Serving::Unknown, _) if is_cold => challenge.certain_at(1, self.confirm(), COLD_START),
            (Serving::Unknown, _) | (Serving::Pool(_), false) => challenge.certain_at(1, self.confirm(), slack),
            // With less traffic than this a span says little, and the next answer decides.
            (Serving::Pool(_), true) | (Serving::Mixed, _) => (challenge.count() >= RETURN_ANSWERS)
                .then(|| self.since.max(challenge.first()) + return_span(self.rules).max(slack)),
        }
    }

    /// Has a pool four fifths of the answers in each part of the span? For the return of the expected pool those of the
    /// whole span are enough, if it answered in the first part: a burst after a silence is no return.
    fn does_prevail(&self, pool: PoolId, span: Span, now: Millis) -> bool {
        let whole = self.ledger.share(pool, span.begin, now);
        let returns = pool == self.expected.first()
            && whole.prevails(RETURN_ANSWERS.into())
            && self.share_in_part(pool, span, 0).of > 0;
        returns || (0..PARTS).all(|part| self.share_in_part(pool, span, part).prevails(PART_ANSWERS))
    }

    /// Since when no pool has four fifths. Small samples scatter, so they are judged over a longer span.
    fn mixed_since(&self, mut length: Millis, now: Millis) -> Option<Millis> {
        while length < LONGEST_SPAN && self.ledger.share(PoolId::FIRST, now - length, now).all < MIXED_ANSWERS {
            length = length.times(2).min(LONGEST_SPAN);
        }
        let span = Span { begin: now - length, length };
        let does_none_prevail = |part| {
            let share = |pool| self.share_in_part(pool, span, part);
            share(PoolId::FIRST).all >= PART_ANSWERS && !PoolId::all().any(|pool| share(pool).prevails(0))
        };
        (span.begin >= self.since && (0..PARTS).all(does_none_prevail)).then_some(span.begin)
    }

    fn share_in_part(&self, pool: PoolId, span: Span, part: u64) -> Share {
        self.ledger.share(pool, span.edge(part), span.edge(part + 1))
    }

    fn confirm(&self) -> Millis {
        self.rules.failover.unwrap_or(Millis::NEVER)
    }
}

/// A stretch of time that ends now, in [`PARTS`] parts.
#[derive(Clone, Copy)]
struct Span {
    begin: Millis,
    length: Millis,
}

impl Span {
    /// Where a part begins, and the one before ends.
    fn edge(self, part: u64) -> Millis {
        self.begin + Millis(self.length.0 * part / PARTS)
    }
}

/// The span over which a return must prevail: longer than nginx's probing rhythm, since one probe per `fail_timeout`
/// must not look like a return.
pub(super) fn return_span(rules: &Rules) -> Millis {
    SHORTEST_SPAN.max(Millis(rules.fail_timeout.0 / 2 * 3) + Millis(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_return_span_is_longer_than_the_rhythm_in_which_nginx_probes() {
        let span = |seconds| {
            let fail_timeout = Millis::from_secs(seconds);
            return_span(&Rules { fail_timeout, ..Rules::default() }).as_secs()
        };
        assert_eq!([0, 2, 6, 10, 60].map(span), [10, 10, 10, 16, 91]);
    }

    #[test]
    fn a_part_of_a_span_reaches_to_where_the_next_begins() {
        let (mut ledger, rules) = (Ledger::default(), Rules::default());
        (0..100).for_each(|index| ledger.note(PoolId::FIRST, Millis(100_000 + 100 * index), 1));
        let (serving, expected) = (Serving::Unknown, Expected::default());
        let case = Case { serving, since: Millis::ZERO, rules: &rules, expected, ledger: &ledger };
        let span = Span { begin: Millis(100_000), length: Millis::from_secs(10) };
        // Buckets of 1.25 s, and the one that begins where the part ends.
        let counted = [0, 1, 2, 3].map(|part| case.share_in_part(PoolId::FIRST, span, part).of);
        assert_eq!(counted, [38, 38, 38, 25]);
    }
}
