//! The configuration of an upstream or service, its pools, and which of them should serve.

use crate::config::blocks::{BlockSet, MAX_BLOCKS};
use crate::config::rules::Rules;
use crate::config::upstream::WatchedUpstream;
use crate::pools::directory::Directory;
use crate::pools::set::{Expected, PoolSet};
use crate::text::Name;

/// The configuration of an upstream, and its pools.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    pub(crate) directory: Directory,
    pub(crate) expected: Expected,
    /// The blocks of a service, in the order of their indices; the rest is empty.
    pub(crate) blocks: [Name; MAX_BLOCKS],
    /// The pools of each block's primary servers.
    pub(crate) primaries: [PoolSet; MAX_BLOCKS],
    /// The blocks to which the configuration sends requests first; empty: nothing is known.
    pub(crate) chosen: BlockSet,
}

impl Setup {
    /// Applies a configuration. `chosen`: the indices in it of the blocks that are chosen. While none is, what was
    /// expected before stays expected.
    pub(super) fn adopt(&mut self, watched: &WatchedUpstream, chosen: BlockSet, is_first: bool) {
        self.rules = watched.rules;
        self.directory.adopt(watched);
        self.blocks = [Name::EMPTY; MAX_BLOCKS];
        for (entry, name) in self.blocks.iter_mut().zip(&watched.blocks) {
            *entry = *name;
        }
        self.chosen = chosen;
        self.place(watched);
        if !watched.is_service() || chosen != BlockSet::EMPTY || is_first {
            self.expected = self.expect();
        }
    }

    /// Expects the pools of the blocks that are chosen now; with none of them, what was expected before.
    pub(crate) fn choose(&mut self, chosen: BlockSet) {
        self.chosen = chosen;
        if chosen != BlockSet::EMPTY {
            self.expected = self.expect();
        }
    }

    /// The index of a block of this name.
    pub(crate) fn block_index(&self, name: &Name) -> Option<usize> {
        self.blocks.iter().position(|block| block == name).filter(|_| !name.is_empty())
    }

    /// Notes in which pools the blocks' primary servers are. Does this change anything?
    pub(super) fn place(&mut self, watched: &WatchedUpstream) -> bool {
        let primaries = self.primaries_of(watched);
        let is_news = primaries != self.primaries;
        self.primaries = primaries;
        is_news
    }

    fn primaries_of(&self, watched: &WatchedUpstream) -> [PoolSet; MAX_BLOCKS] {
        let mut primaries = [PoolSet::EMPTY; MAX_BLOCKS];
        for peer in &watched.peers {
            let pool = self.directory.index_of(&peer.address).and_then(|index| self.directory.pool_at(index));
            let Some(pool) = pool else { continue };
            for (block, primaries) in primaries.iter_mut().enumerate() {
                if peer.primary_in.contains(block) {
                    primaries.insert(pool);
                }
            }
        }
        primaries
    }

    /// Are the blocks' primary servers in other pools than noted?
    pub(super) fn is_displaced(&self, watched: &WatchedUpstream) -> bool {
        watched.is_service() && self.primaries_of(watched) != self.primaries
    }

    /// The pools of the primary servers of these blocks.
    pub(crate) fn pools_of(&self, blocks: BlockSet) -> PoolSet {
        blocks.iter().filter_map(|block| self.primaries.get(block)).flat_map(|pools| pools.iter()).collect()
    }

    /// Which pools should serve: `poolwatch_active`, else the pools of the primary servers, of a service those of the
    /// blocks that are chosen.
    pub(super) fn expect(&self) -> Expected {
        let chosen = self.pools_of(self.chosen);
        let is_named = !self.rules.active.is_empty() && self.directory.find(&self.rules.active).is_some();
        if is_named || chosen == PoolSet::EMPTY { self.directory.expected(&self.rules) } else { chosen.into() }
    }

    /// Was a request sent first to a block of a service to which the configuration sends only few? `block`: its index.
    pub(super) fn is_elsewhere(&self, block: u8) -> bool {
        self.chosen != BlockSet::EMPTY && !self.chosen.contains(block.into())
    }
}
