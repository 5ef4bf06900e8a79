//! One upstream of the configuration: its servers, and the directives in effect.

use crate::config::rules::Rules;
use crate::text::Name;

/// Primary and backup, as the `server` directives say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Asked first.
    #[default]
    Primary,
    /// Asked when no primary may be.
    Backup,
}

/// A peer of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredPeer {
    /// As nginx prints it in `$upstream_addr`. Of a server that nginx resolves at run time: as written, which no peer is ever called.
    pub address: Vec<u8>,
    /// Whether `backup` stands at its server.
    pub role: Role,
    /// Index among [`Watched::pools`], if `poolwatch_pool` names its server.
    pub pool: Option<usize>,
}

/// One watched upstream block, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The block's name.
    pub name: Name,
    /// The directives in effect.
    pub rules: Rules,
    /// The pools that `poolwatch_pool` names, in that order; empty: names come from headers or roles.
    pub pools: Vec<Name>,
    /// Every address of every server.
    pub peers: Vec<ConfiguredPeer>,
}

impl Watched {
    /// The index of a configured peer by the name that nginx uses for it.
    pub fn peer_index(&self, name: &[u8]) -> Option<u16> {
        let index = self.peers.iter().position(|peer| peer.address == name)?;
        u16::try_from(index).ok()
    }
}
