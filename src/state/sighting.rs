//! An observation, and what a directory says of it: looked up once, and not at all if it is like others of its batch.

use std::ptr;

use crate::config::upstream::Watched;
use crate::observation::{Names, Observation, Verdict};
use crate::pools::directory::Directory;
use crate::pools::set::PoolId;

/// Answers of so many peers are told apart.
const PEERS: usize = 16;

/// An observation, and what is to be known of it before it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) seen: &'a Observation,
    /// Where the directory has the last attempt's peer.
    pub(crate) place: Option<usize>,
    /// The pool that answered.
    pub(crate) answered: Option<PoolId>,
    /// Did any attempt fail, whatever the client saw?
    pub(crate) failed: bool,
}

impl<'a> Sighting<'a> {
    /// Looks it up.
    pub(crate) fn new(directory: &Directory, watched: &Watched, seen: &'a Observation) -> Self {
        let place = seen.attempts().last().and_then(|last| directory.place_of_peer(watched, last));
        Self { seen, place, answered: directory.answered_by(watched, seen), failed: seen.has_failure() }
    }
}

/// The last plain answers of peers, as long as a directory does not change.
#[derive(Default)]
pub(crate) struct Familiar<'a> {
    sightings: [Option<Sighting<'a>>; PEERS],
}

impl<'a> Familiar<'a> {
    /// The sighting of an answer whose peer answered like this before, and named the same; `None`: it has to be looked up.
    pub(crate) fn recognise(&self, seen: &'a Observation) -> Option<Sighting<'a>> {
        let (peer, names) = plain(seen)?;
        let before = self.sightings.get(usize::from(peer) % PEERS)?.as_ref()?;
        let is_same = plain(before.seen).is_some_and(|(other, others)| other == peer && ptr::eq(others, names));
        is_same.then_some(Sighting { seen, ..*before })
    }

    /// Remembers it, if it is a plain answer.
    pub(crate) fn remember(&mut self, sighting: Sighting<'a>) {
        let place = plain(sighting.seen).and_then(|(peer, _)| self.sightings.get_mut(usize::from(peer) % PEERS));
        if let Some(place) = place {
            *place = Some(sighting);
        }
    }
}

/// The peer of a plain answer, which was the first one asked, and what it named.
fn plain(seen: &Observation) -> Option<(u16, *const Names)> {
    match seen.attempts() {
        [only] if only.verdict == Verdict::Ok && !seen.aborted => {
            Some((only.peer, seen.names.as_deref().map_or(ptr::null(), ptr::from_ref)))
        }
        _ => None,
    }
}
