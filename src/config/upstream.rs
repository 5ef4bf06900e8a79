//! One upstream of the configuration: its servers, and the directives in effect.

use crate::config::rules::Rules;
use crate::text::Name;

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
}

/// One watched upstream block, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedUpstream {
    /// The block's name.
    pub name: Name,
    /// The directives in effect.
    pub rules: Rules,
    /// The pools that `poolwatch_pool` names, in the order of the configuration; empty: names come from headers or
    /// roles.
    pub pools: Vec<Name>,
    /// Every address of every server.
    pub peers: Vec<ConfiguredPeer>,
}

impl WatchedUpstream {
    /// The index of the configured peer that nginx calls by this name; `None`: no such peer.
    pub fn peer_index(&self, name: &[u8]) -> Option<u16> {
        let index = self.peers.iter().position(|peer| peer.address == name)?;
        u16::try_from(index).ok()
    }
}
