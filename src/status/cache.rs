//! A worker keeps its answers to status requests for a moment: many requests in that time cost little more than a few.
//!
//! A change that would be reported empties the cache.

use std::rc::Rc;

use super::route::Route;
use super::view::StateView;
use crate::units::Millis;

/// How long a state is shown, in milliseconds: no person notices it, and no scraper.
const LIFETIME: Millis = Millis(250);

/// The most answers that are kept of one state: a page may be asked for with any query.
const ANSWERS: usize = 8;

/// What is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// The page, a document of the API, or the metrics.
    pub route: Route,
    /// What stands behind the `?` of the request, raw.
    pub query: String,
    /// Does the location take writes?
    pub write: bool,
}

/// The state of a moment, and the answers that were made of it.
pub struct StatusCache<A> {
    entry: Option<CacheEntry<A>>,
}

struct CacheEntry<A> {
    /// The moment, milliseconds since boot.
    at: Millis,
    /// The number of changes at that moment.
    changes: u32,
    state: StateView,
    answers: Vec<(StatusRequest, Rc<A>)>,
}

impl<A> Default for StatusCache<A> {
    fn default() -> Self {
        Self { entry: None }
    }
}

impl<A> StatusCache<A> {
    /// The answer to a request. `changes` is a number that rises with each change that would be reported; `take` reads
    /// the state as it is now, and `render` makes an answer of it. `None`: the state could not be read.
    pub fn answer(
        &mut self,
        request: StatusRequest,
        now: Millis,
        changes: u32,
        take: impl FnOnce() -> Option<StateView>,
        render: impl FnOnce(&StateView, &StatusRequest) -> A,
    ) -> Option<Rc<A>> {
        if !self.entry.as_ref().is_some_and(|entry| entry.changes == changes && now - entry.at < LIFETIME) {
            let state = take()?;
            self.entry = Some(CacheEntry { at: now, changes, state, answers: Vec::new() });
        }
        let entry = self.entry.as_mut()?;
        if let Some((_, answer)) = entry.answers.iter().find(|(kept, _)| *kept == request) {
            return Some(Rc::clone(answer));
        }
        entry.state.write = request.write;
        let answer = Rc::new(render(&entry.state, &request));
        if entry.answers.len() < ANSWERS {
            entry.answers.push((request, Rc::clone(&answer)));
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::snapshot::{ModuleInfo, Snapshot};

    const START: Millis = Millis(10_000);

    #[derive(Default)]
    struct Worker {
        cache: StatusCache<(Millis, String)>,
        copies: u32,
        answers: u32,
    }

    impl Worker {
        /// When the copy was taken that the answer was made of.
        fn ask(&mut self, query: &str, now: Millis, changes: u32) -> Millis {
            let Self { cache, copies, answers } = self;
            let request = StatusRequest { route: Route::Page, query: query.to_owned(), write: false };
            let take = || {
                *copies += 1;
                Some(StateView::new(
                    &Snapshot::empty(ModuleInfo { host: now.0.to_string(), ..ModuleInfo::default() }),
                    false,
                ))
            };
            let answer = cache.answer(request, now, changes, take, |state, request| {
                *answers += 1;
                (Millis(state.host.parse().expect("a moment")), request.query.clone())
            });
            let (at, its_query) = answer.as_deref().expect("it could be copied");
            assert_eq!(its_query, query);
            *at
        }
    }

    #[test]
    fn many_requests_in_one_moment_get_the_same_and_are_rendered_once_each() {
        let mut worker = Worker::default();
        for _ in 0..100 {
            assert_eq!(worker.ask("", START, 7), START);
            assert_eq!(worker.ask("upstream=app", START + LIFETIME - Millis(1), 7), START);
        }
        assert_eq!((worker.copies, worker.answers), (1, 2));
        assert_eq!(worker.ask("", START + LIFETIME, 7), START + LIFETIME);
        assert_eq!(worker.ask("upstream=app", START + LIFETIME, 7), START + LIFETIME);
        assert_eq!((worker.copies, worker.answers), (2, 4));
    }

    #[test]
    fn a_location_that_takes_writes_and_one_that_takes_none_get_answers_of_their_own() {
        let mut cache = StatusCache::default();
        for write in [true, false, true] {
            let request = StatusRequest { route: Route::Page, query: String::new(), write };
            let state = || Some(StateView::new(&Snapshot::empty(ModuleInfo::default()), false));
            let answer = cache.answer(request, START, 7, state, |state, _| state.write);
            assert_eq!(answer.as_deref(), Some(&write));
        }
    }

    #[test]
    fn a_change_is_seen_at_once() {
        let mut worker = Worker::default();
        assert_eq!(worker.ask("", START, 7), START);
        assert_eq!(worker.ask("", START + Millis(1), 8), START + Millis(1));
    }

    #[test]
    fn arbitrary_queries_are_answered_and_not_all_kept() {
        let mut worker = Worker::default();
        for query in 0..1000 {
            worker.ask(&query.to_string(), START, 7);
        }
        assert_eq!(worker.copies, 1);
        assert_eq!(worker.cache.entry.expect("an entry").answers.len(), ANSWERS);
    }

    #[test]
    fn a_state_that_could_not_be_copied_is_tried_again() {
        let mut worker = Worker::default();
        let request = || StatusRequest { route: Route::Metrics, query: String::new(), write: false };
        assert!(worker.cache.answer(request(), START, 7, || None, |_, _| unreachable!()).is_none());
        assert_eq!(worker.ask("", START, 7), START);
    }
}
