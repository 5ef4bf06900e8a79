//! One upstream or service of the configuration: its servers, and the directives in effect.

use crate::config::blocks::BlockSet;
use crate::config::rules::Rules;
use crate::observation::Resolved;
use crate::text::Name;

/// Addresses to which nginx resolved servers at run time that a worker tells apart; a further one takes the place of the
/// one that was found first.
pub const MAX_RESOLVED: usize = 64;

/// Whether a server is primary or backup, as its `server` directive says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// nginx asks these servers first.
    #[default]
    Primary,
    /// nginx asks these servers (`backup`) when it may ask no primary server.
    Backup,
}

/// A peer of the configuration: one address of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredPeer {
    /// The address as nginx prints it in `$upstream_addr`. For a server that nginx resolves at run time: the name as
    /// written, which never equals a peer's address.
    pub address: Vec<u8>,
    /// Does the `server` directive say `backup`?
    pub role: Role,
    /// Do all `server` directives with this address say `down`? Then nginx never asks it.
    pub is_down: bool,
    /// Index in [`WatchedUpstream::pools`]; `None`: no `poolwatch_pool` names the peer's server.
    pub pool: Option<usize>,
    /// nginx resolves the server at run time (`resolve`): the address is the server's name as written.
    pub is_name: bool,
    /// For an address to which nginx resolved a server at run time: the index of that server's name.
    pub server: Option<u16>,
    /// Of a service: the blocks in which the peer is primary, by their indices in [`WatchedUpstream::blocks`].
    pub primary_in: BlockSet,
    /// Of a service: the name of the peer's pool until something else names it. Empty: it goes by the role.
    pub block_pool: Name,
}

/// One watched upstream block, or one service, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchedUpstream {
    /// The name of the block or of the service.
    pub name: Name,
    /// The blocks of a service, at most [`crate::config::blocks::MAX_BLOCKS`]; empty: it is a block of its own.
    pub blocks: Vec<Name>,
    /// The directives in effect.
    pub rules: Rules,
    /// The pools that `poolwatch_pool` names, in the order of the configuration; empty: names come from headers or
    /// roles.
    pub pools: Vec<Name>,
    /// Every address of every server. In a worker, those to which nginx resolved servers at run time follow.
    pub peers: Vec<ConfiguredPeer>,
}

impl WatchedUpstream {
    /// Is it a service?
    pub fn is_service(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The index of the configured peer that nginx calls by this name; `None`: no such peer.
    pub fn peer_index(&self, name: &[u8]) -> Option<u16> {
        let index = self.peers.iter().position(|peer| peer.address == name)?;
        u16::try_from(index).ok()
    }

    /// The index of the server that nginx resolves at run time and calls by this name, or of the only one of its role:
    /// by `service=` the name is another one than that which is written.
    pub fn resolved_server(&self, name: &[u8], role: Role) -> Option<u16> {
        // In another block of a service the server may have another role.
        let is_it = |peer: &ConfiguredPeer| peer.is_name && (peer.role == role || self.is_service());
        let mut all = self.peers.iter().zip(0..).filter(|(peer, _)| is_it(peer));
        if let Some((_, index)) = all.clone().find(|(peer, _)| peer.address == name) {
            return Some(index);
        }
        let (_, only) = all.next()?;
        all.next().is_none().then_some(only)
    }

    /// How many addresses that nginx resolves at run time may follow the configured ones.
    pub fn room(&self) -> usize {
        if self.peers.iter().any(|peer| peer.is_name) { MAX_RESOLVED } else { 0 }
    }

    /// Adds an address to which nginx resolved a server, or puts it in the place of an earlier one.
    pub fn add(&mut self, resolved: &Resolved) {
        let Some(server) = self.peers.get(usize::from(resolved.server)).cloned() else { return };
        let server = ConfiguredPeer { is_name: false, server: Some(resolved.server), ..server };
        let peer = ConfiguredPeer { address: resolved.address.to_vec(), ..server };
        match self.peers.get_mut(usize::from(resolved.peer)) {
            Some(place) => *place = peer,
            None => self.peers.push(peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_server_is_found_by_its_name_or_if_it_is_the_only_one_of_its_role() {
        let peer = |name: &[u8], role, is_name| ConfiguredPeer {
            address: name.into(),
            role,
            is_name,
            ..ConfiguredPeer::default()
        };
        let watched = WatchedUpstream {
            name: Name::new(b"app"),
            rules: Rules::default(),
            pools: vec![],
            peers: vec![
                peer(b"10.0.0.1:80", Role::Primary, false),
                peer(b"blue:80", Role::Primary, true),
                peer(b"red:80", Role::Primary, true),
                peer(b"green:80", Role::Backup, true),
            ],
            ..WatchedUpstream::default()
        };
        let server = |name: &[u8], role| watched.resolved_server(name, role);
        assert_eq!(
            [b"blue:80".as_slice(), b"red:80", b"x"].map(|name| server(name, Role::Primary)),
            [Some(1), Some(2), None]
        );
        assert_eq!(server(b"_srv.example", Role::Backup), Some(3));
        assert_eq!(server(b"10.0.0.1:80", Role::Primary), None);
    }
}
