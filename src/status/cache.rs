//! A worker keeps its answers to status requests for a moment: many requests in that time cost little more than a few.
//!
//! A change that would be reported empties the cache.

use std::rc::Rc;

use crate::state::snapshot::Snapshot;
use crate::status::route::Route;
use crate::units::Millis;

/// How long a copy of the state is shown, in milliseconds: no person notices it, and no scraper.
const LIFETIME: Millis = Millis(250);

/// The most answers that are kept of one copy: a page may be asked for with any query.
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

/// A copy of the state, and the answers that were made of it.
pub struct StatusCache<A> {
    entry: Option<CacheEntry<A>>,
}

struct CacheEntry<A> {
    /// When the copy was taken, milliseconds since boot.
    at: Millis,
    /// The number of changes at that time.
    changes: u32,
    snapshot: Snapshot,
    answers: Vec<(StatusRequest, Rc<A>)>,
}

impl<A> Default for StatusCache<A> {
    fn default() -> Self {
        Self { entry: None }
    }
}

impl<A> StatusCache<A> {
    /// The answer to a request. `changes` is a number that rises with each change that would be reported; `take` copies the
    /// state as it is now, and `render` makes an answer of a copy. `None`: the state could not be copied.
    pub fn answer(
        &mut self,
        request: StatusRequest,
        now: Millis,
        changes: u32,
        take: impl FnOnce() -> Option<Snapshot>,
        render: impl FnOnce(&Snapshot, &StatusRequest) -> A,
    ) -> Option<Rc<A>> {
        if !self.entry.as_ref().is_some_and(|entry| entry.changes == changes && now - entry.at < LIFETIME) {
            let snapshot = take()?;
            self.entry = Some(CacheEntry { at: now, changes, snapshot, answers: Vec::new() });
        }
        let entry = self.entry.as_mut()?;
        if let Some((_, answer)) = entry.answers.iter().find(|(kept, _)| *kept == request) {
            return Some(Rc::clone(answer));
        }
        let answer = Rc::new(render(&entry.snapshot, &request));
        if entry.answers.len() < ANSWERS {
            entry.answers.push((request, Rc::clone(&answer)));
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::snapshot::ModuleInfo;

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
                Some(Snapshot::empty(ModuleInfo { now, ..ModuleInfo::default() }))
            };
            let answer = cache.answer(request, now, changes, take, |snapshot, request| {
                *answers += 1;
                (snapshot.info.now, request.query.clone())
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
