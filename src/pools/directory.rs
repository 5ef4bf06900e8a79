//! Which pool an attempt belongs to: by configuration, else by the last header of the peer, else by the peer's role.
//!
//! A failed attempt has no header and belongs to the pool that its peer's address last had. All workers therefore share
//! the directory of peers and pools, and it outlives a reload.

use crate::config::rules::Rules;
use crate::config::upstream::{Role, WatchedUpstream};
use crate::observation::peer_set::PeerSet;
use crate::observation::{Attempt, Observation};
use crate::pools::peers::{Peer, Peers};
use crate::pools::set::{Expected, MAX_POOLS, PoolId, PoolMap, PoolSet};
use crate::text::Name;

/// A pool of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Pool {
    pub(crate) name: Name,
    /// The name is a role's (`primary`, `backup`) until a header names the pool.
    pub(crate) unnamed: bool,
    /// The name is that of a service's block, which says which servers these are, until a header names the pool.
    pub(crate) of_block: bool,
}

/// What gave a pool its name, or a peer its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `poolwatch_pool`.
    Configuration,
    /// A response header.
    Header,
    /// The role, primary or backup: no pool has another name.
    Role,
    /// Nothing yet: other pools have names, and only the role is known.
    Unknown,
}

/// The pools and peers of one upstream: fixed-size plain data for the zone.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Directory {
    pools: PoolMap<Pool>,
    peers: Peers,
    pool_count: u8,
    /// `poolwatch_pool` names the pools; headers can only contradict it.
    configured: bool,
    /// A header contradicts it, and error.log has not said so yet.
    is_contradicted: bool,
}

impl Directory {
    /// The directory that was saved before a restart: pools, configured peers, and peers that were remembered. Pools
    /// beyond [`MAX_POOLS`], peers for which there is no room, and peers of an unknown pool are left out.
    pub(crate) fn resume<'a>(
        pools: impl Iterator<Item = Pool>,
        configured: impl Iterator<Item = Peer<'a>>,
        remembered: impl Iterator<Item = Peer<'a>>,
    ) -> Self {
        let mut directory = Self::default();
        for pool in pools {
            directory.add(pool);
        }
        let has_pool = |directory: &Self, peer: &Peer<'_>| peer.pool.is_some_and(|pool| directory.has(pool));
        for peer in configured {
            if has_pool(&directory, &peer) {
                directory.peers.push(&peer);
            }
        }
        directory.peers.end_configured();
        for peer in remembered {
            if has_pool(&directory, &peer) {
                directory.peers.push(&peer);
            }
        }
        directory
    }

    /// Adds a pool of this name unless there is one. Does nothing if there are [`MAX_POOLS`] pools.
    pub(crate) fn admit(&mut self, name: &Name) {
        self.pool_named(name);
    }

    /// Which pools should serve under these rules: `poolwatch_active`, else the pool or pools of the primary servers that
    /// are not `down`; if all of them are, nginx asks the `backup` servers.
    pub fn expected(&self, rules: &Rules) -> Expected {
        if let Some(id) = self.find(&rules.active).filter(|_| !rules.active.is_empty()) {
            return Expected::Pool(id);
        }
        // In the order in which nginx asks them; it asks none that are down.
        let order = [(Role::Primary, false), (Role::Backup, false), (Role::Primary, true)];
        let pools = |(role, is_down)| -> PoolSet {
            let peers = self.peers().filter(|peer| !peer.is_resolved);
            let peers = peers.filter(move |peer| (peer.role, peer.is_down) == (role, is_down));
            peers.filter_map(|peer| peer.pool).collect()
        };
        order.into_iter().map(pools).find(|&pools| pools != PoolSet::EMPTY).unwrap_or_default().into()
    }

    /// The pool of the attempt's peer; `None`: the configuration or the directory does not know the peer. `watched` is
    /// the configuration of the worker that saw the attempt.
    pub fn pool_of(&self, watched: &WatchedUpstream, attempt: &Attempt) -> Option<PoolId> {
        self.peer_of(watched, attempt)?.pool
    }

    /// The index of the attempt's peer in the directory. `watched`, the configuration of the worker that saw the
    /// attempt, is usually also the one that the directory has adopted; then the indices are the same.
    pub fn index_of_peer(&self, watched: &WatchedUpstream, attempt: &Attempt) -> Option<usize> {
        let index = usize::from(attempt.peer);
        self.place_of(index, &watched.peers.get(index)?.address)
    }

    /// The pool of the peer at this index of the directory.
    pub fn pool_at(&self, index: usize) -> Option<PoolId> {
        self.peers.pool(index)
    }

    /// The address of the peer at this index of the directory.
    pub fn address_at(&self, index: usize) -> Option<&[u8]> {
        self.peers.address(index)
    }

    /// The pool that answered this request; `None`: no attempt was ok, or the address is unknown, the header names no
    /// known pool, and there are several pools.
    pub fn answered_by(&self, watched: &WatchedUpstream, seen: &Observation) -> Option<PoolId> {
        let by_address = self.pool_of(watched, seen.answer()?);
        let by_header = || self.find(seen.pool()).filter(|_| !seen.pool().is_empty());
        by_address.or_else(by_header).or_else(|| (self.pool_count == 1).then_some(PoolId::FIRST))
    }

    /// Is this an address to which nginx resolved a server at run time, and which is to be added?
    pub(crate) fn is_unresolved(&self, watched: &WatchedUpstream, attempt: &Attempt) -> bool {
        let peer = watched.peers.get(usize::from(attempt.peer)).filter(|peer| peer.server.is_some());
        peer.is_some_and(|peer| {
            self.index_of(&peer.address).and_then(|index| self.peers.get(index)).is_none_or(|peer| !peer.is_resolved)
        })
    }

    /// Adds the address of an attempt, to which nginx resolved a server at run time: it is in the pool that it had or,
    /// if that is not known, in the server's. Without room for it the peer with the index `spare` goes. Returns the
    /// index of a peer that is another one now.
    pub(crate) fn resolve(
        &mut self,
        watched: &WatchedUpstream,
        attempt: &Attempt,
        spare: Option<usize>,
    ) -> Option<usize> {
        let address = &watched.peers.get(usize::from(attempt.peer))?.address;
        let server = watched.peers.get(usize::from(watched.peers.get(usize::from(attempt.peer))?.server?))?;
        let before = *self;
        let server = before.peers.get(before.index_of(&server.address)?)?;
        if let Some(index) = self.index_of(address) {
            self.peers.resolve(index, &server);
            return None;
        }
        let peer = Peer { address, is_resolved: true, claimed: None, reported: PoolSet::EMPTY, ..server };
        if self.peers.push(&peer) {
            return None;
        }
        spare.filter(|&spare| self.peers.replace(spare, &peer))
    }

    /// May the peer of this index be replaced by another one?
    pub(crate) fn is_spare(&self, index: usize) -> bool {
        self.peers.is_spare(index)
    }

    /// Would [`Directory::learn`] change anything? Cheap enough for every request.
    pub fn is_news(&self, watched: &WatchedUpstream, seen: &Observation) -> bool {
        let Some(answer) = seen.answer() else { return false };
        if self.configured {
            return self.peer_of(watched, answer).is_some_and(|peer| self.claim(&peer, seen.pool()) != peer.claimed);
        }
        if seen.pool().is_empty() {
            return false;
        }
        match self.peer_of(watched, answer) {
            Some(peer) => !peer.certain || peer.pool.is_none_or(|pool| self.name(pool) != seen.pool().as_bytes()),
            None => self.find(seen.pool()).is_none(),
        }
    }

    /// Puts the peer that answered into the pool that its header names. With [`MAX_POOLS`] pools no new name is learned.
    /// If the configuration names the pools, what contradicts it is noted.
    pub fn learn(&mut self, watched: &WatchedUpstream, seen: &Observation) {
        let Some(answer) = seen.answer() else { return };
        let index = self.index_of_peer(watched, answer);
        if self.configured {
            if let Some((index, peer)) = index.and_then(|index| Some((index, self.peers.get(index)?))) {
                let claimed = self.claim(&peer, seen.pool());
                self.peers.claim(index, claimed);
                self.is_contradicted |= claimed.is_some();
            }
            return;
        }
        let Some(pool) = self.named_by_header(seen.pool(), index) else { return };
        let Some(index) = index else { return };
        let before = self.peers.get(index).map(|peer| (peer.role, peer.pool));
        self.peers.put(index, pool, true);
        // What was not known together is taken for one pool, unless others of the role are of another one.
        if let Some((role, Some(unknown))) = before.filter(|&(_, before)| before != Some(pool)) {
            let others = self.peers().filter(|peer| peer.role == role && peer.pool != Some(unknown));
            if self.is_unnamed(unknown) && others.into_iter().all(|peer| peer.pool == Some(pool)) {
                self.peers.move_all(role, unknown, pool);
            }
        }
    }

    /// The pool that a header names although the configuration puts the peer into another one.
    fn claim(&self, peer: &Peer<'_>, header: &Name) -> Option<PoolId> {
        self.find(header).filter(|&named| peer.certain && !header.is_empty() && peer.pool != Some(named))
    }

    /// Is there something that [`Directory::contradictions`] would return?
    pub(crate) fn is_contradicted(&self) -> bool {
        self.is_contradicted
    }

    /// Addresses whose header names another pool than the configuration, each with the name of its own pool and of the
    /// other one. Each is returned once.
    pub(crate) fn contradictions(&mut self) -> Vec<[Vec<u8>; 3]> {
        self.is_contradicted = false;
        let mut all = Vec::new();
        while let Some((index, claimed)) = self.peers.report() {
            let own = self.peers.pool(index).map_or(&[][..], |pool| self.name(pool));
            let address = self.peers.address(index).unwrap_or_default();
            all.push([address, own, self.name(claimed)].map(<[u8]>::to_vec));
        }
        all
    }

    /// The pools that have configured peers, all of which nginx refuses to ask, for a while or because they are `down`.
    pub fn unusable(&self, watched: &WatchedUpstream, unusable_peers: PeerSet) -> PoolSet {
        let (mut refused, mut usable) = (PoolSet::EMPTY, PoolSet::EMPTY);
        for (index, configured) in watched.peers.iter().enumerate() {
            if configured.is_name {
                continue;
            }
            let Some(pool) = self.place_of(index, &configured.address).and_then(|place| self.peers.pool(place)) else {
                continue;
            };
            if configured.is_down || unusable_peers.contains(index) {
                refused.insert(pool);
            } else {
                usable.insert(pool);
            }
        }
        refused.iter().filter(|pool| !usable.contains(*pool)).collect()
    }

    /// The pool's name; empty: there is no such pool.
    pub fn name(&self, id: PoolId) -> &[u8] {
        if self.has(id) { self.pools[id].name.as_bytes() } else { &[] }
    }

    /// What gave a pool its name.
    pub fn named_by(&self, id: PoolId) -> Origin {
        if self.is_unknown(id) { Origin::Unknown } else { self.origin(!self.is_unnamed(id)) }
    }

    /// What put a peer into its pool.
    pub(crate) fn origin_of(&self, peer: &Peer<'_>) -> Origin {
        if peer.pool.is_none_or(|pool| self.is_unknown(pool)) { Origin::Unknown } else { self.origin(peer.certain) }
    }

    fn origin(&self, is_certain: bool) -> Origin {
        match (is_certain, self.configured) {
            (false, _) => Origin::Role,
            (true, true) => Origin::Configuration,
            (true, false) => Origin::Header,
        }
    }

    /// The addresses of the pool's peers, in the order of the configuration; if it names none of them, the remembered
    /// ones.
    pub fn addresses(&self, id: PoolId) -> impl Iterator<Item = &[u8]> {
        let is_configured = self.is_configured(id);
        let configured = self.peers().filter(move |peer| is_configured && !peer.is_resolved);
        let remembered = self.peers.remembered().filter(move |_| !is_configured);
        configured.chain(remembered).filter(move |peer| peer.pool == Some(id)).map(|peer| peer.address)
    }

    /// Does the configuration name a peer of the pool?
    pub(crate) fn is_configured(&self, id: PoolId) -> bool {
        self.peers().any(|peer| peer.pool == Some(id))
    }

    /// May nginx ask a peer of the pool? Also a pool without known peers may have some that nginx resolved at run time.
    pub(crate) fn is_reachable(&self, id: PoolId) -> bool {
        self.is_configured(id) || self.peers.remembered().all(|peer| peer.pool != Some(id))
    }

    /// Does nobody know which pool this is? Its servers came when other pools had names already, and none of them has
    /// answered with the header yet. Where `poolwatch_pool` names pools, a server that it leaves out is told by its role.
    pub(crate) fn is_unknown(&self, id: PoolId) -> bool {
        !self.configured && self.is_unnamed(id) && !self.pools[id].of_block && self.are_pools_named()
    }

    /// Was the pool one of unknown servers, and has it none any more? Then the next unknown servers may get it.
    pub(crate) fn is_left(&self, id: PoolId) -> bool {
        self.is_unknown(id) && !self.is_configured(id)
    }

    /// Has a pool with peers a name other than that of a role?
    fn are_pools_named(&self) -> bool {
        self.peers.iter().filter_map(|peer| peer.pool).any(|pool| !self.is_unnamed(pool))
    }

    /// Gives a pool the name in a header, and returns the pool; `None`: the name is new, and there are [`MAX_POOLS`]
    /// pools. The guessed pool of the peer's role takes the name, unless another pool has it already. If the
    /// configuration does not name the peer, its role is unknown: then the guessed pool of the primary servers takes
    /// the name, because nginx asks these first.
    fn named_by_header(&mut self, name: &Name, by_peer: Option<usize>) -> Option<PoolId> {
        if let Some((id, _)) = self.pools().find(|(_, pool)| pool.name == *name && !pool.unnamed) {
            return Some(id);
        }
        let guessed = if let Some(index) = by_peer {
            self.peers.pool(index).filter(|&pool| self.is_unnamed(pool))
        } else {
            // Of a service nobody knows which block such a peer is in.
            let is_guess = |pool| self.is_unnamed(pool) && !self.pools[pool].of_block;
            let guesses = self.peers().filter(|peer| peer.pool.is_some_and(is_guess));
            guesses.min_by_key(|peer| (peer.is_down, peer.role)).and_then(|peer| peer.pool)
        };
        let id = match guessed {
            Some(pool) => pool,
            None => self.add(Pool { name: *name, ..Pool::default() })?,
        };
        // A pool that only has this name because of its role is not the pool that the header means; it gets another
        // name.
        let other = self.unnamed(name).filter(|&other| other != id);
        let free = self.free_name(name);
        if let Some(other) = other {
            self.pools[other].name = free;
        }
        self.pools[id] = Pool { name: *name, ..Pool::default() };
        Some(id)
    }

    fn pool_named(&mut self, name: &Name) -> Option<PoolId> {
        self.find(name).or_else(|| self.add(Pool { name: *name, ..Pool::default() }))
    }

    /// The pool that has this name only because of its role.
    fn unnamed(&self, name: &Name) -> Option<PoolId> {
        self.pools().find(|(_, pool)| pool.unnamed && pool.name == *name).map(|(id, _)| id)
    }

    /// This name, with a number if another pool has the name already.
    fn free_name(&self, name: &Name) -> Name {
        let mut free = *name;
        for number in 2..=MAX_POOLS + 1 {
            if self.find(&free).is_none() {
                break;
            }
            free = *name;
            free.push(format!(" {number}").as_bytes());
        }
        free
    }

    fn add(&mut self, pool: Pool) -> Option<PoolId> {
        let id = PoolId::new(self.pool_count.into())?;
        self.pools[id] = pool;
        self.pool_count += 1;
        Some(id)
    }

    /// The id of the pool with this name.
    pub(crate) fn find(&self, name: &Name) -> Option<PoolId> {
        self.pools().find(|(_, pool)| pool.name == *name).map(|(id, _)| id)
    }

    fn has(&self, id: PoolId) -> bool {
        id.index() < usize::from(self.pool_count)
    }

    fn is_unnamed(&self, id: PoolId) -> bool {
        self.has(id) && self.pools[id].unnamed
    }

    /// The index of the peer with this address.
    pub fn index_of(&self, address: &[u8]) -> Option<usize> {
        self.peers.index_of(address)
    }

    /// The index of the peer with this address, which is likely the same as in the configuration.
    fn place_of(&self, likely: usize, address: &[u8]) -> Option<usize> {
        if self.peers.address(likely) == Some(address) { Some(likely) } else { self.index_of(address) }
    }

    fn peer_of(&self, watched: &WatchedUpstream, attempt: &Attempt) -> Option<Peer<'_>> {
        self.peers.get(self.index_of_peer(watched, attempt)?)
    }

    /// The pools in the order of their ids.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (PoolId, &Pool)> {
        self.pools.iter().take(usize::from(self.pool_count))
    }

    /// The peers of the configuration, in its order, and those to which nginx resolved some of these.
    pub(crate) fn peers(&self) -> impl Iterator<Item = Peer<'_>> {
        self.peers.configured().map(|(_, peer)| peer)
    }

    /// The same, each with its index.
    pub(crate) fn indexed_peers(&self) -> impl Iterator<Item = (usize, Peer<'_>)> {
        self.peers.configured()
    }

    /// The peers that the configuration does not name any more, the ones that left last first.
    pub(crate) fn remembered_peers(&self) -> impl Iterator<Item = Peer<'_>> {
        self.peers.remembered()
    }
}

mod adopt;
#[cfg(test)]
mod tests;
