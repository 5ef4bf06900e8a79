//! How a configuration's peers get their pools, and which addresses are remembered that it does not name.

use crate::config::upstream::{Role, WatchedUpstream};
use crate::pools::directory::{Directory, Pool};
use crate::pools::peers::{Peer, Peers};
use crate::pools::set::{PoolId, PoolSet};
use crate::text::Name;

impl Directory {
    /// Applies a configuration. Pools keep their ids. An address that had a pool before keeps it, also if configurations
    /// in between did not name the address, unless `poolwatch_pool` puts it into another one. As far as there is room,
    /// addresses that are not configured any more are remembered, the ones that left last first.
    pub fn adopt(&mut self, watched: &WatchedUpstream) {
        let before = *self;
        self.configured = !watched.pools.is_empty();
        self.peers = Peers::default();
        let known: Vec<Option<(PoolId, bool)>> = watched
            .peers
            .iter()
            .map(|peer| {
                let named = peer.pool.and_then(|index| watched.pools.get(index));
                match named {
                    Some(name) => self.pool_named(name).map(|pool| (pool, true)),
                    None => before.remembered(&peer.address).filter(|&(_, certain)| certain || !self.configured),
                }
            })
            .collect();
        let pools_of_role = |role| -> PoolSet {
            let all = watched.peers.iter().zip(&known).filter(|(peer, _)| peer.role == role);
            all.filter_map(|(_, known)| known.map(|(pool, _)| pool)).collect()
        };
        let taken: PoolSet = known.iter().flatten().map(|&(pool, _)| pool).collect();
        let mut newcomers = |role| self.pool_of_newcomers(role, pools_of_role(role), taken, &before);
        let is_new = |role| watched.peers.iter().zip(&known).any(|(peer, known)| peer.role == role && known.is_none());
        let [primary, backup] =
            [Role::Primary, Role::Backup].map(|role| if is_new(role) { newcomers(role) } else { None });
        for (configured, known) in watched.peers.iter().zip(known) {
            let role = configured.role;
            let newcomer = if role == Role::Primary { primary } else { backup };
            let (pool, certain) = known.map_or((newcomer, false), |(pool, certain)| (Some(pool), certain));
            // Attempts at a peer for which there is no room are counted in no pool.
            self.peers.push(&Peer { address: &configured.address, pool, role, certain });
        }
        self.peers.end_configured();
        for peer in before.peers.iter() {
            let is_worth_it = before.remembered(peer.address).is_some();
            if is_worth_it && self.peers.index_of(peer.address).is_none() {
                self.peers.push(&peer);
            }
        }
        if !watched.rules.active.is_empty() {
            self.pool_named(&watched.rules.active);
        }
    }

    /// The pool that this address had, and whether that is certain; `None`: nobody knows. A guess by the role holds as
    /// long as the address is configured, or as all pools are those of roles.
    fn remembered(&self, address: &[u8]) -> Option<(PoolId, bool)> {
        let index = self.peers.index_of(address)?;
        let peer = self.peers.get(index)?;
        let holds = peer.certain || self.peers.is_configured(index) || !self.are_pools_named();
        peer.pool.filter(|_| holds).map(|pool| (pool, peer.certain))
    }

    /// The pool of the servers of a role whose addresses nobody knows. Beside servers of one pool they are taken for
    /// servers of that pool. `beside`: the pools of the known servers of this role; `taken`: of all known servers.
    fn pool_of_newcomers(&mut self, role: Role, beside: PoolSet, taken: PoolSet, before: &Self) -> Option<PoolId> {
        let only = beside.first().filter(|_| beside.iter().count() == 1);
        if only.is_some() {
            return only;
        }
        let word = match role {
            Role::Primary => "primary",
            Role::Backup => "backup",
        };
        let name = Name::new(word.as_bytes());
        if !before.are_pools_named() {
            let last = before.peers().find(|peer| peer.role == role).and_then(|peer| peer.pool);
            return last
                .or_else(|| self.unnamed(&name))
                .or_else(|| self.add(Pool { name: self.free_name(&name), unnamed: true }));
        }
        // Their pool is not known, and is none of those that other unknown servers had before.
        let last: PoolSet = before.peers().filter_map(|peer| peer.pool).collect();
        let is_free = |id: PoolId, pool: &Pool| {
            pool.unnamed
                && pool.name.as_bytes().starts_with(word.as_bytes())
                && !taken.contains(id)
                && !last.contains(id)
        };
        let free = self.pools().find(|&(id, pool)| is_free(id, pool)).map(|(id, _)| id);
        free.or_else(|| self.add(Pool { name: self.free_name(&name), unnamed: true }))
    }
}
