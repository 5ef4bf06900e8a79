//! The event loop's memory of an upstream's peers: for most requests it saves the search for the peer, and the copying
//! of the names of pool and release. Its counterpart on the observer's thread, which completes an observation without
//! names, is in [`crate::observation`].
//!
//! nginx's pointers serve only as hints: when nginx frees a peer, another may get its address.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ptr;
use std::sync::Arc;

use nginx_sys::{ngx_list_t, ngx_msec_t, ngx_str_t};

use crate::config::blocks::BlockSet;
use crate::config::upstream::{ConfiguredPeer, Role, WatchedUpstream};
use crate::nginx::headers::{Headers, Position, is_same};
use crate::observation::{Attempt, Names, Resolved};
use crate::text::{Name, Text};

/// The number of hints. If two peers share one, each search replaces it, which only costs time.
const HINTS: usize = 64;

/// How long a peer's pool header is not looked at where the configuration names the pools, in milliseconds.
const UNCHECKED: ngx_msec_t = 10_000;

/// What is remembered of the peers of one upstream.
pub(crate) struct PeerCache {
    /// By the address of a peer's name in memory: the likely index of the peer.
    hints: [Cell<u16>; HINTS],
    /// The configured peers, by index.
    peers: Vec<CachedPeer>,
    /// Addresses to which nginx resolved servers at run time; their indices follow those of the configured peers.
    resolved: Vec<ResolvedPeer>,
    /// The place among these for the next one.
    next: Cell<usize>,
    /// Those of them of which the observer was not told yet.
    news: RefCell<Vec<Resolved>>,
    /// Stands for all other peers together.
    strangers: CachedPeer,
}

/// An address to which nginx resolved a server at run time.
struct ResolvedPeer {
    peer: CachedPeer,
    /// Empty: the place is free.
    address: RefCell<Box<[u8]>>,
}

/// A peer, and what its last response named.
pub(crate) struct CachedPeer {
    /// Its index among the configured peers, or [`Attempt::UNKNOWN_PEER`].
    pub(crate) index: u16,
    /// The blocks of the upstream in which its server is a `backup`, if they have it.
    pub(crate) backup_in: Cell<BlockSet>,
    /// As nginx writes it; empty: not a configured peer.
    address: Box<[u8]>,
    /// `None`: nothing was read yet, or the observer must be sent the names again.
    last: UnsafeCell<Option<LastResponse>>,
    /// When a pool header that may contradict the configuration is to be looked at again, by nginx's clock.
    check_at: Cell<ngx_msec_t>,
}

/// What a response named, and the positions of the headers.
struct LastResponse {
    pool: Box<[u8]>,
    release: Box<[u8]>,
    pool_position: Position,
    release_position: Position,
}

impl PeerCache {
    pub(crate) fn new(watched: &WatchedUpstream) -> Self {
        let peers = watched.peers.iter().zip(0..);
        let backup_in = |peer: &ConfiguredPeer| match (watched.is_service(), peer.role) {
            (true, _) => peer.primary_in.complement(),
            (false, Role::Backup) => BlockSet::EMPTY.complement(),
            (false, Role::Primary) => BlockSet::EMPTY,
        };
        let peers = peers.map(|(peer, index)| CachedPeer::new(index, backup_in(peer), &peer.address));
        let strangers = CachedPeer::new(Attempt::UNKNOWN_PEER, BlockSet::EMPTY, &[]);
        let resolved = (watched.peers.len()..).take(watched.room()).map(|index| ResolvedPeer {
            peer: CachedPeer::new(index as u16, BlockSet::EMPTY, &[]),
            address: RefCell::default(),
        });
        Self {
            hints: [const { Cell::new(0) }; HINTS],
            peers: peers.collect(),
            resolved: resolved.collect(),
            next: Cell::new(0),
            news: RefCell::default(),
            strangers,
        }
    }

    /// The configured peer with this name, if the hint is right.
    #[expect(clippy::inline_always, reason = "once for each request, and short")]
    #[inline(always)]
    pub(crate) fn hinted(&self, name: &ngx_str_t) -> Option<&CachedPeer> {
        match self.peers.get(usize::from(self.hint(name)?.get())) {
            Some(peer) if is_same(name, &peer.address) => Some(peer),
            _ => None,
        }
    }

    /// The peer with this name, by search; what stands for all others, if it is not known.
    pub(crate) fn find(&self, name: &ngx_str_t) -> &CachedPeer {
        let found = self.peers.iter().find(|peer| is_same(name, &peer.address));
        if let (Some(peer), Some(hint)) = (found, self.hint(name)) {
            hint.set(peer.index);
        }
        let is_it = |resolved: &&ResolvedPeer| is_same(name, &resolved.address.borrow());
        let resolved = || self.resolved.iter().find(is_it).map(|resolved| &resolved.peer);
        found.or_else(resolved).unwrap_or(&self.strangers)
    }

    /// Is it what stands for all peers that are not known?
    pub(crate) fn is_stranger(&self, peer: &CachedPeer) -> bool {
        peer.index == self.strangers.index
    }

    /// Adds an address to which nginx resolved a server, by the index of the server's name. If there is no room, it takes
    /// the place of the one that was added first.
    pub(crate) fn resolve(&self, name: &ngx_str_t, server: u16) -> &CachedPeer {
        let place = self.next.get();
        let Some(resolved) = self.resolved.get(place) else { return &self.strangers };
        self.next.set((place + 1) % self.resolved.len());
        resolved.address.replace(name.as_bytes().into());
        let backup_in = self.peers.get(usize::from(server)).map(|server| server.backup_in.get());
        resolved.peer.backup_in.set(backup_in.unwrap_or_default());
        self.forget(resolved.peer.index);
        let news = Resolved { peer: resolved.peer.index, server, address: name.as_bytes().into() };
        self.news.borrow_mut().push(news);
        &resolved.peer
    }

    /// The addresses of which the observer is to be told.
    pub(crate) fn take_news(&self) -> Vec<Resolved> {
        self.news.take()
    }

    /// Forgets a peer's last response, since the observation with its names was lost: the next one has them again.
    pub(crate) fn forget(&self, peer: u16) {
        let resolved = || self.resolved.get(usize::from(peer).checked_sub(self.peers.len())?).map(|found| &found.peer);
        let peer = self.peers.get(usize::from(peer)).or_else(resolved).unwrap_or(&self.strangers);
        // SAFETY: this event loop is the only one to use it, and nothing refers to it now.
        unsafe { *peer.last.get() = None };
    }

    /// The observer is to be told of this address again, since the observation that told of it was lost.
    pub(crate) fn tell_again(&self, resolved: &Resolved) {
        self.news.borrow_mut().push(resolved.clone());
    }

    fn hint(&self, name: &ngx_str_t) -> Option<&Cell<u16>> {
        // Peers are at equal distances in memory; the upper bits of the product (Fibonacci hashing) still differ.
        self.hints.get((ptr::from_ref(name).addr().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) % HINTS)
    }
}

impl CachedPeer {
    fn new(index: u16, backup_in: BlockSet, address: &[u8]) -> Self {
        let backup_in = Cell::new(backup_in);
        Self { index, backup_in, address: address.into(), last: UnsafeCell::new(None), check_at: Cell::new(0) }
    }

    /// Did a response of this peer name the same as its last one, at the same positions?
    #[expect(clippy::inline_always, reason = "once for each request, and short")]
    #[inline(always)]
    pub(crate) fn names_as_before(&self, headers: &Headers, response: &ngx_list_t) -> bool {
        // SAFETY: this event loop is the only one to use it, and nothing replaces it before this returns.
        let Some(last) = (unsafe { &*self.last.get() }) else { return false };
        let is_pool_same = match &headers.pool {
            Some(pool) => pool.is_still(&last.pool, last.pool_position, response),
            None => now() < self.check_at.get(),
        };
        is_pool_same && headers.release.is_still(&last.release, last.release_position, response)
    }

    /// What a response of this peer named; `None`: the same as its last one.
    pub(crate) fn names(&self, headers: &Headers, response: &ngx_list_t) -> Option<Arc<Names>> {
        let pool_header = headers.pool.as_ref().or(headers.other_pool.as_ref());
        self.check_at.set(now() + UNCHECKED);
        let (pool, pool_position) = pool_header.map_or_else(Default::default, |pool| pool.find(response));
        let (release, release_position) = headers.release.find(response);
        let (pool, release) = (Name::kept(pool), Text::<64>::kept(release));
        // SAFETY: this event loop is the only one to use it, and nothing else refers to it now.
        let last = unsafe { &mut *self.last.get() };
        match last {
            Some(last) if *last.pool == *pool && *last.release == *release => {
                (last.pool_position, last.release_position) = (pool_position, release_position);
                None
            }
            _ => {
                *last =
                    Some(LastResponse { pool: pool.into(), release: release.into(), pool_position, release_position });
                Some(Arc::new(Names { pool: Text::new(pool), release: Text::new(release) }))
            }
        }
    }
}

/// nginx's cached time, in milliseconds of its own clock.
#[expect(clippy::inline_always, reason = "a load")]
#[inline(always)]
fn now() -> ngx_msec_t {
    // SAFETY: nginx's time, which only its own thread changes, and which is this one.
    unsafe { nginx_sys::ngx_current_msec }
}
