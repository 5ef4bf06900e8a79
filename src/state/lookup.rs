//! An observation together with what the directory says about it: looked up once, or taken from an equal one of the
//! batch.

use std::ptr;

use crate::config::upstream::WatchedUpstream;
use crate::observation::{Names, Observation, Verdict};
use crate::pools::directory::Directory;
use crate::pools::set::PoolId;

/// Peers whose answers the cache keeps at a time.
const PEERS: usize = 16;

/// An observation, and what must be known about it before it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResolvedObservation<'a> {
    pub(crate) seen: &'a Observation,
    /// The index of the last attempt's peer in the directory; `None`: the directory does not know the peer.
    pub(crate) index: Option<usize>,
    /// The pool that answered; `None`: none, or unknown.
    pub(crate) answered: Option<PoolId>,
    /// Did any attempt fail, even if the client got a good answer?
    pub(crate) failed: bool,
}

impl<'a> ResolvedObservation<'a> {
    /// Looks the observation up in the directory.
    pub(crate) fn new(directory: &Directory, watched: &WatchedUpstream, seen: &'a Observation) -> Self {
        let index = seen.attempts().last().and_then(|last| directory.index_of_peer(watched, last));
        Self { seen, index, answered: directory.answered_by(watched, seen), failed: seen.has_failure() }
    }
}

/// The last plain answer of each peer, valid as long as the directory does not change.
#[derive(Default)]
pub(crate) struct ResolveCache<'a> {
    answers: [Option<ResolvedObservation<'a>>; PEERS],
}

impl<'a> ResolveCache<'a> {
    /// The resolved observation, if the same peer gave a plain answer with the same names before; `None`: look it up.
    pub(crate) fn get(&self, seen: &'a Observation) -> Option<ResolvedObservation<'a>> {
        let (peer, names) = plain(seen)?;
        let before = self.answers.get(usize::from(peer) % PEERS)?.as_ref()?;
        let is_same = plain(before.seen).is_some_and(|(other, others)| other == peer && ptr::eq(others, names));
        is_same.then_some(ResolvedObservation { seen, ..*before })
    }

    /// Keeps the observation, if it is a plain answer.
    pub(crate) fn put(&mut self, resolved: ResolvedObservation<'a>) {
        let entry = plain(resolved.seen).and_then(|(peer, _)| self.answers.get_mut(usize::from(peer) % PEERS));
        if let Some(entry) = entry {
            *entry = Some(resolved);
        }
    }
}

/// The peer and the names of a plain answer: one attempt, which was answered, and the client stayed. `None`: no plain
/// answer.
fn plain(seen: &Observation) -> Option<(u16, *const Names)> {
    match seen.attempts() {
        [only] if only.verdict == Verdict::Ok && !seen.aborted => {
            Some((only.peer, seen.names.as_deref().map_or(ptr::null(), ptr::from_ref)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Attempt;
    use crate::text::Name;

    fn answer(peer: u16, names: Option<Names>) -> Observation {
        let mut seen = Observation { status: 200, names: names.map(Into::into), ..Observation::default() };
        seen.push(Attempt { peer, verdict: Verdict::Ok, ..Attempt::default() });
        seen
    }

    #[test]
    fn an_answer_is_recognised_by_its_peer_and_by_what_it_names() {
        let names = |pool: &[u8]| Some(Names { pool: Name::new(pool), ..Names::default() });
        let (blue, green) = (answer(0, names(b"blue")), answer(0, names(b"green")));
        let nothing = answer(0, None);
        let mut cache = ResolveCache::default();
        assert!(cache.get(&blue).is_none());
        cache.put(ResolvedObservation { seen: &blue, index: Some(0), answered: PoolId::new(3), failed: false });
        assert_eq!(cache.get(&blue).and_then(|resolved| resolved.answered), PoolId::new(3));
        assert!(cache.get(&green).is_none(), "another name of the same peer, in the same batch");
        assert!(cache.get(&nothing).is_none());
        let other_peer = Observation { names: blue.names.clone(), ..answer(PEERS as u16, None) };
        assert!(cache.get(&other_peer).is_none(), "another peer with the same cache entry");
    }
}
