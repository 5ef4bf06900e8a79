//! How a configuration's peers get their pools, and which addresses are remembered that it does not name.

use crate::config::upstream::{ConfiguredPeer, Role, WatchedUpstream};
use crate::pools::directory::{Directory, Pool};
use crate::pools::peers::{Peer, Peers};
use crate::pools::set::{PoolId, PoolSet};
use crate::text::Name;

/// How servers of a configuration are told apart as long as nothing names their pools.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Primary,
    Backup,
    /// Servers marked `down`: one that comes up later may be of another pool than the primary servers before it.
    Down,
}

impl Group {
    const ALL: [Self; 3] = [Self::Primary, Self::Backup, Self::Down];

    fn new(role: Role, is_down: bool) -> Self {
        match role {
            _ if is_down => Self::Down,
            Role::Primary => Self::Primary,
            Role::Backup => Self::Backup,
        }
    }

    /// The name of its pool.
    fn word(self) -> &'static [u8] {
        match self {
            Self::Primary => b"primary",
            Self::Backup => b"backup",
            Self::Down => b"standby",
        }
    }
}

/// A peer of a configuration, and what is known of its pool.
struct Candidate<'a> {
    configured: &'a ConfiguredPeer,
    group: Group,
    pool: Option<PoolId>,
    is_certain: bool,
    /// Nobody knows the pool, unless other servers of the group tell; it may have one that has no name.
    is_newcomer: bool,
}

impl Directory {
    /// Applies a configuration. Pools keep their ids. An address that had a pool before keeps it, also if configurations
    /// in between did not name the address, unless `poolwatch_pool` puts it into another one. As far as there is room,
    /// addresses that are not configured any more are remembered, the ones that left last first.
    pub fn adopt(&mut self, watched: &WatchedUpstream) {
        let before = *self;
        self.configured = !watched.pools.is_empty();
        self.peers = Peers::default();
        let mut peers: Vec<Candidate<'_>> =
            watched.peers.iter().map(|peer| self.candidate(watched, peer, &before)).collect();
        for group in Group::ALL {
            if peers.iter().any(|peer| peer.group == group && peer.is_newcomer) {
                let pool = self.pool_of_newcomers(group, &peers, &before);
                for peer in peers.iter_mut().filter(|peer| peer.group == group && peer.is_newcomer) {
                    peer.pool = pool;
                }
            }
        }
        for Candidate { configured, pool, is_certain, .. } in peers {
            let ConfiguredPeer { address, role, is_down, .. } = configured;
            // Attempts at a peer for which there is no room are counted in no pool.
            let peer = Peer { address, pool, role: *role, is_down: *is_down, certain: is_certain, ..Peer::default() };
            let same = before.peers.index_of(address).and_then(|index| before.peers.get(index));
            let same = same.filter(|same| self.configured && same.pool == pool);
            let (claimed, reported) = same.map_or_else(Default::default, |same| (same.claimed, same.reported));
            self.peers.push(&Peer { claimed, reported, ..peer });
        }
        self.peers.end_configured();
        let left = before.peers().chain(before.remembered_peers());
        for peer in left.filter(|peer| before.remembered(peer.address).is_some()) {
            if self.peers.index_of(peer.address).is_none() {
                let (claimed, reported) = Default::default();
                self.peers.push(&Peer { is_resolved: false, claimed, reported, ..peer });
            }
        }
        if !watched.rules.active.is_empty() {
            self.pool_named(&watched.rules.active);
        }
    }

    fn candidate<'a>(
        &mut self,
        watched: &WatchedUpstream,
        configured: &'a ConfiguredPeer,
        before: &Self,
    ) -> Candidate<'a> {
        let group = Group::new(configured.role, configured.is_down);
        let named = configured.pool.and_then(|index| watched.pools.get(index)).and_then(|name| self.pool_named(name));
        if let Some(pool) = named {
            return Candidate { configured, group, pool: Some(pool), is_certain: true, is_newcomer: false };
        }
        let known = before.remembered(&configured.address).filter(|&(_, certain)| certain || !self.configured);
        let (pool, is_certain) = known.unzip();
        if !configured.block_pool.is_empty() {
            let pool = pool.or_else(|| self.pool_of_block(watched, configured, before));
            let is_certain = is_certain.unwrap_or_default();
            return Candidate { configured, group, pool, is_certain, is_newcomer: false };
        }
        let is_newcomer = pool.is_none_or(|pool| before.is_unknown(pool));
        Candidate { configured, group, pool, is_certain: is_certain.unwrap_or_default(), is_newcomer }
    }

    /// The pool of a server of a service whose address nobody knows: that of the servers beside it, else it has the
    /// block's name.
    fn pool_of_block(&mut self, watched: &WatchedUpstream, peer: &ConfiguredPeer, before: &Self) -> Option<PoolId> {
        let name = peer.block_pool;
        let mut beside = watched.peers.iter().filter(|other| other.block_pool == name && other.pool.is_none());
        let known = beside.find_map(|other| before.remembered(&other.address)).map(|(pool, _)| pool);
        let id =
            known.or_else(|| self.find(&name)).or_else(|| self.add(Pool { name, unnamed: true, of_block: true }))?;
        let pool = &mut self.pools[id];
        pool.of_block = pool.unnamed;
        Some(id)
    }

    /// The pool that this address had, and whether that is certain; `None`: nobody knows. A guess holds as long as the
    /// address is configured, or as all pools are those of roles.
    fn remembered(&self, address: &[u8]) -> Option<(PoolId, bool)> {
        let index = self.peers.index_of(address)?;
        let peer = self.peers.get(index)?;
        let holds = peer.certain || self.peers.is_configured(index) || !self.are_pools_named();
        peer.pool.filter(|_| holds).map(|pool| (pool, peer.certain))
    }

    /// The pool of the newcomers of a group. Beside servers of one pool they are taken for servers of that pool.
    fn pool_of_newcomers(&mut self, group: Group, peers: &[Candidate<'_>], before: &Self) -> Option<PoolId> {
        let of_group = || peers.iter().filter(|peer| peer.group == group);
        let beside: PoolSet = of_group().filter(|peer| !peer.is_newcomer).filter_map(|peer| peer.pool).collect();
        if let Some(only) = beside.first().filter(|_| beside.iter().count() == 1) {
            return Some(only);
        }
        let had: PoolSet = of_group().filter_map(|peer| peer.pool).collect();
        let last = || before.peers().filter(|peer| Group::new(peer.role, peer.is_down) == group);
        let word = Name::new(group.word());
        let known = if before.are_pools_named() {
            // None of the pools that other servers have or had: these are not the same ones.
            let others: PoolSet =
                peers.iter().filter_map(|peer| peer.pool).chain(before.peers().filter_map(|peer| peer.pool)).collect();
            let is_free = |id: PoolId, pool: &Pool| {
                pool.unnamed && pool.name.as_bytes().starts_with(word.as_bytes()) && !others.contains(id)
            };
            let unknown = had.iter().find(|&pool| before.is_unknown(pool));
            unknown.or_else(|| self.pools().find(|&(id, pool)| is_free(id, pool)).map(|(id, _)| id))
        } else {
            last().find_map(|peer| peer.pool).or_else(|| self.unnamed(&word))
        };
        known.or_else(|| self.add(Pool { name: self.free_name(&word), unnamed: true, ..Pool::default() }))
    }
}
