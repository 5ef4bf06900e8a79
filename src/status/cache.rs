//! What a worker shows is kept for a moment: whoever looks meanwhile gets the same, and many looks cost little more than a few.
//!
//! A state that changes in a way that anybody would be told of is looked at anew at once.

use std::rc::Rc;

use crate::state::snapshot::Snapshot;
use crate::status::route::Route;
use crate::units::Millis;

/// For so long: no person sees the difference, and no scraper.
const MOMENT: Millis = Millis(250);

/// Answers kept of one moment. A page may be asked for with any query.
const ANSWERS: usize = 8;

/// What a look is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The page, a document of the API, or the metrics.
    pub route: Route,
    /// What stands behind the `?` of the request, raw.
    pub query: String,
    /// Does the location take writes?
    pub write: bool,
}

/// The moment that is shown, and the answers to the looks at it.
pub struct Shown<A> {
    moment: Option<Moment<A>>,
}

struct Moment<A> {
    at: Millis,
    changes: u32,
    snapshot: Snapshot,
    answers: Vec<(Look, Rc<A>)>,
}

impl<A> Default for Shown<A> {
    fn default() -> Self {
        Self { moment: None }
    }
}

impl<A> Shown<A> {
    /// The answer to a look. `changes` is a number that rises with each change worth telling; `take` copies the state as it is
    /// now, and `render` makes an answer of a copy. `None`: the state could not be copied.
    pub fn answer(
        &mut self,
        look: Look,
        now: Millis,
        changes: u32,
        take: impl FnOnce() -> Option<Snapshot>,
        render: impl FnOnce(&Snapshot, &Look) -> A,
    ) -> Option<Rc<A>> {
        if !self.moment.as_ref().is_some_and(|shown| shown.changes == changes && now - shown.at < MOMENT) {
            let snapshot = take()?;
            self.moment = Some(Moment { at: now, changes, snapshot, answers: Vec::new() });
        }
        let moment = self.moment.as_mut()?;
        if let Some((_, answer)) = moment.answers.iter().find(|(kept, _)| *kept == look) {
            return Some(Rc::clone(answer));
        }
        let answer = Rc::new(render(&moment.snapshot, &look));
        if moment.answers.len() < ANSWERS {
            moment.answers.push((look, Rc::clone(&answer)));
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::snapshot::Facts;

    const START: Millis = Millis(10_000);

    #[derive(Default)]
    struct Worker {
        shown: Shown<(Millis, String)>,
        copies: u32,
        answers: u32,
    }

    impl Worker {
        /// When what the look shows was so.
        fn look(&mut self, query: &str, now: Millis, changes: u32) -> Millis {
            let Self { shown, copies, answers } = self;
            let look = Look { route: Route::Page, query: query.to_owned(), write: false };
            let take = || {
                *copies += 1;
                Some(Snapshot::empty(Facts { now, ..Facts::default() }))
            };
            let answer = shown.answer(look, now, changes, take, |snapshot, look| {
                *answers += 1;
                (snapshot.facts.now, look.query.clone())
            });
            let (at, shown_query) = answer.as_deref().expect("it could be copied");
            assert_eq!(shown_query, query);
            *at
        }
    }

    #[test]
    fn many_looks_in_one_moment_see_the_same_and_are_rendered_once_each() {
        let mut worker = Worker::default();
        for _ in 0..100 {
            assert_eq!(worker.look("", START, 7), START);
            assert_eq!(worker.look("upstream=app", START + MOMENT - Millis(1), 7), START);
        }
        assert_eq!((worker.copies, worker.answers), (1, 2));
        assert_eq!(worker.look("", START + MOMENT, 7), START + MOMENT);
        assert_eq!(worker.look("upstream=app", START + MOMENT, 7), START + MOMENT);
        assert_eq!((worker.copies, worker.answers), (2, 4));
    }

    #[test]
    fn a_change_is_seen_at_once() {
        let mut worker = Worker::default();
        assert_eq!(worker.look("", START, 7), START);
        assert_eq!(worker.look("", START + Millis(1), 8), START + Millis(1));
    }

    #[test]
    fn arbitrary_queries_are_answered_and_not_all_kept() {
        let mut worker = Worker::default();
        for query in 0..1000 {
            worker.look(&query.to_string(), START, 7);
        }
        assert_eq!(worker.copies, 1);
        assert_eq!(worker.shown.moment.expect("a moment").answers.len(), ANSWERS);
    }

    #[test]
    fn a_state_that_could_not_be_copied_is_tried_again() {
        let mut worker = Worker::default();
        let look = || Look { route: Route::Metrics, query: String::new(), write: false };
        assert!(worker.shown.answer(look(), START, 7, || None, |_, _| unreachable!()).is_none());
        assert_eq!(worker.look("", START, 7), START);
    }
}
