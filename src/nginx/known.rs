//! What the event loop remembers from one request to the next, so that a usual one needs neither a search nor a copy.
//!
//! nginx's own pointers serve as hints only: a peer that nginx frees leaves its place in memory to another.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use nginx_sys::ngx_str_t;

use crate::observation::{Attempt, Names};
use crate::pools::Watched;
use crate::text::{self, Name, Text};

/// Places for hints. Two peers that meet in one are searched for in turn, which costs time and nothing else.
const HINTS: usize = 64;

/// What is known of one upstream's peers.
pub(crate) struct Known {
    /// By the address of a peer's name in memory: the peer's index, perhaps.
    hints: [Cell<u16>; HINTS],
    /// By the peer's index, then for all others together: what the last answer named.
    names: Vec<Cell<Option<Arc<Names>>>>,
}

impl Known {
    pub(crate) fn new(watched: &Watched) -> Self {
        let names = (0..=watched.peers.len()).map(|_| Cell::default()).collect();
        Self { hints: [const { Cell::new(0) }; HINTS], names }
    }

    /// The index of a configured peer by the name that nginx uses for it, or [`Attempt::UNKNOWN_PEER`].
    pub(crate) fn peer_index(&self, watched: &Watched, name: &ngx_str_t) -> u16 {
        // Peers lie in memory at like distances; the product's upper bits tell them apart all the same.
        let place = (ptr::from_ref(name).addr().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) % HINTS;
        let Some(hint) = self.hints.get(place) else { return Attempt::UNKNOWN_PEER };
        let peer = watched.peers.get(usize::from(hint.get()));
        if peer.is_none_or(|peer| !text::is_same(&peer.address, name.as_bytes())) {
            take_hint(hint, watched, name);
        }
        hint.get()
    }

    /// What an answer of this peer named, made anew only if it is not what the peer named last. `None`: nothing.
    pub(crate) fn names(&self, peer: u16, pool: &[u8], release: &[u8]) -> Option<Arc<Names>> {
        if pool.is_empty() && release.is_empty() {
            return None;
        }
        let (pool, release) = (Name::kept(pool), Text::<64>::kept(release));
        let last = self.names.get(usize::from(peer)).or(self.names.last())?;
        let names = match last.take() {
            Some(names)
                if text::is_same(names.pool.as_bytes(), pool) && text::is_same(names.release.as_bytes(), release) =>
            {
                names
            }
            _ => make_names(pool, release),
        };
        last.set(Some(Arc::clone(&names)));
        Some(names)
    }
}

#[cold]
fn take_hint(hint: &Cell<u16>, watched: &Watched, name: &ngx_str_t) {
    hint.set(watched.peer_index(name.as_bytes()).unwrap_or(Attempt::UNKNOWN_PEER));
}

#[cold]
fn make_names(pool: &[u8], release: &[u8]) -> Arc<Names> {
    Arc::new(Names { pool: Text::new(pool), release: Text::new(release) })
}
