//! The peers of an upstream, with their addresses one after another in a fixed number of bytes: an address may be as
//! long as nginx allows, and a short one takes no more than its own bytes.

use crate::config::upstream::Role;
pub use crate::observation::peer_set::MAX_PEERS;
use crate::pools::set::{PoolId, PoolSet};

/// Bytes for the addresses of all peers. The longest address of nginx, a socket's, has 112 bytes.
pub const ADDRESS_BYTES: usize = 8 * 1024;

/// A peer, and the pool to which it belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer<'a> {
    /// As nginx prints it in `$upstream_addr`.
    pub(crate) address: &'a [u8],
    /// `None`: nobody knows, and there is no room for one more pool.
    pub(crate) pool: Option<PoolId>,
    pub(crate) role: Role,
    /// The configuration marks its server as `down`.
    pub(crate) is_down: bool,
    /// The configuration or a header named the pool; `false`: it is a guess by the role.
    pub(crate) certain: bool,
    /// nginx resolved a server of the configuration to this address at run time.
    pub(crate) is_resolved: bool,
    /// Another pool, which the header of its last answer named although the configuration names its pool.
    pub(crate) claimed: Option<PoolId>,
    /// The pools for which error.log has said that.
    pub(crate) reported: PoolSet,
}

/// A peer as it is stored.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Entry {
    /// Where its address begins, in bytes.
    begin: u16,
    length: u16,
    pool: Option<PoolId>,
    role: Role,
    is_down: bool,
    certain: bool,
    is_resolved: bool,
    claimed: Option<PoolId>,
    reported: PoolSet,
}

/// The peers of one upstream: fixed-size plain data for the zone.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Peers {
    entries: [Entry; MAX_PEERS],
    addresses: [u8; ADDRESS_BYTES],
    count: u16,
    /// As many of the first entries are peers of the configuration; the others are remembered.
    configured: u16,
    /// Bytes of `addresses` that are in use.
    used: u16,
}

impl Default for Peers {
    fn default() -> Self {
        Self { entries: [Entry::default(); MAX_PEERS], addresses: [0; ADDRESS_BYTES], count: 0, configured: 0, used: 0 }
    }
}

impl Peers {
    /// Adds a peer after the others. Returns `false`, and does nothing, if there is no room for it.
    pub(super) fn push(&mut self, peer: &Peer<'_>) -> bool {
        let Peer { address, pool, role, is_down, certain, is_resolved, claimed, reported } = *peer;
        let (begin, length) = (usize::from(self.used), address.len());
        let entry = self.entries.get_mut(usize::from(self.count));
        let bytes = self.addresses.get_mut(begin..begin + length);
        let (Some(entry), Some(bytes)) = (entry, bytes) else { return false };
        bytes.copy_from_slice(address);
        *entry = Entry {
            begin: begin as u16,
            length: length as u16,
            pool,
            role,
            is_down,
            certain,
            is_resolved,
            claimed,
            reported,
        };
        self.count += 1;
        self.used += length as u16;
        true
    }

    /// The peers so far are those of the configuration.
    pub(super) fn end_configured(&mut self) {
        self.configured = self.count;
    }

    /// Is the peer of this index one of the configuration, or one to which nginx resolved one of these?
    pub(super) fn is_configured(&self, index: usize) -> bool {
        index < usize::from(self.configured) || self.entry(index).is_some_and(|entry| entry.is_resolved)
    }

    /// May the peer of this index be replaced by another one?
    pub(super) fn is_spare(&self, index: usize) -> bool {
        index >= usize::from(self.configured) && index < usize::from(self.count)
    }

    /// Puts a peer in the place of another one. Returns `false`, and does nothing, if there is no room for it.
    pub(super) fn replace(&mut self, index: usize, peer: &Peer<'_>) -> bool {
        let mut peers = Self::default();
        for (other, old) in self.iter().enumerate() {
            if !peers.push(if other == index { peer } else { &old }) {
                return false;
            }
        }
        peers.configured = self.configured;
        *self = peers;
        true
    }

    /// Notes that nginx resolved a server to the address of this peer, whose pool is the one of that server.
    pub(super) fn resolve(&mut self, index: usize, server: &Peer<'_>) {
        if let Some(entry) = self.entries.get_mut(index) {
            (entry.role, entry.is_resolved) = (server.role, true);
            if !entry.certain || server.certain {
                (entry.pool, entry.certain) = (server.pool, server.certain);
            }
        }
    }

    /// The peer of this index.
    pub(super) fn get(&self, index: usize) -> Option<Peer<'_>> {
        let Entry { pool, role, is_down, certain, is_resolved, claimed, reported, .. } = *self.entry(index)?;
        Some(Peer { address: self.address(index)?, pool, role, is_down, certain, is_resolved, claimed, reported })
    }

    /// The address of the peer of this index.
    pub(super) fn address(&self, index: usize) -> Option<&[u8]> {
        let Entry { begin, length, .. } = *self.entry(index)?;
        self.addresses.get(usize::from(begin)..)?.get(..usize::from(length))
    }

    /// The pool of the peer of this index.
    pub(super) fn pool(&self, index: usize) -> Option<PoolId> {
        self.entry(index)?.pool
    }

    /// Puts a peer into a pool.
    pub(super) fn put(&mut self, index: usize, pool: PoolId, certain: bool) {
        if let Some(entry) = self.entries.get_mut(index).filter(|_| index < usize::from(self.count)) {
            (entry.pool, entry.certain) = (Some(pool), certain);
        }
    }

    /// Notes which other pool a peer's header names.
    pub(super) fn claim(&mut self, index: usize, claimed: Option<PoolId>) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.claimed = claimed;
        }
    }

    /// A peer whose header names another pool, if that was not reported before: its index, and the other pool. From now
    /// on it is taken for reported.
    pub(super) fn report(&mut self) -> Option<(usize, PoolId)> {
        let mut claims = self.entries.iter_mut().enumerate().take(self.count.into());
        claims.find_map(|(index, entry)| {
            let claimed = entry.claimed.filter(|&pool| !entry.reported.contains(pool))?;
            entry.reported.insert(claimed);
            Some((index, claimed))
        })
    }

    /// Puts the configured peers of a role from one pool into another, as a guess.
    pub(super) fn move_all(&mut self, role: Role, from: PoolId, to: PoolId) {
        let last = usize::from(self.configured);
        let entries = self.entries.iter_mut().take(self.count.into()).enumerate();
        let configured = entries.filter(|(index, entry)| *index < last || entry.is_resolved).map(|(_, entry)| entry);
        for entry in configured.filter(|entry| entry.role == role && entry.pool == Some(from) && !entry.certain) {
            entry.pool = Some(to);
        }
    }

    /// The index of the peer with this address.
    pub(super) fn index_of(&self, address: &[u8]) -> Option<usize> {
        (0..usize::from(self.count)).find(|&index| self.address(index) == Some(address))
    }

    /// All peers in their order: those of the configuration, then the remembered ones.
    pub(super) fn iter(&self) -> impl Iterator<Item = Peer<'_>> {
        (0..usize::from(self.count)).filter_map(|index| self.get(index))
    }

    /// The peers of the configuration, in its order, and those to which nginx resolved some of these; with their indices.
    pub(super) fn configured(&self) -> impl Iterator<Item = (usize, Peer<'_>)> {
        self.iter().enumerate().filter(|&(index, _)| self.is_configured(index))
    }

    /// Those that are remembered, the ones that left last first.
    pub(super) fn remembered(&self) -> impl Iterator<Item = Peer<'_>> {
        self.iter().enumerate().filter(|&(index, _)| !self.is_configured(index)).map(|(_, peer)| peer)
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(..usize::from(self.count))?.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &[u8]) -> Peer<'_> {
        Peer { address, ..Peer::default() }
    }

    #[test]
    fn the_longest_addresses_are_told_apart_by_their_last_byte() {
        let longest = |end: char| format!("unix:{}{end}", "/".repeat(106)).into_bytes();
        let (blue, green) = (longest('b'), longest('g'));
        let mut peers = Peers::default();
        assert!([&blue, &green].into_iter().all(|address| peers.push(&peer(address))));
        assert_eq!([&blue, &green].map(|address| peers.index_of(address)), [Some(0), Some(1)]);
        assert_eq!(peers.iter().map(|peer| peer.address.len()).collect::<Vec<_>>(), [112, 112]);
    }

    #[test]
    fn what_there_is_no_room_for_is_not_taken_in_part() {
        let mut peers = Peers::default();
        let taken =
            (0..1000).take_while(|number| peers.push(&peer(format!("unix:/{number:0>106}").as_bytes()))).count();
        assert_eq!(taken, ADDRESS_BYTES / 112);
        assert_eq!(peers.iter().count(), taken);
        assert!(peers.push(&peer(b"10.0.0.1:80")), "a shorter one still fits");
        let mut peers = Peers::default();
        let taken = (0..1000).take_while(|number| peers.push(&peer(format!("10.0.{number}.1:80").as_bytes()))).count();
        assert_eq!(taken, MAX_PEERS);
    }
}
