//! An `upstream` block as nginx has read it, as plain values.

use crate::config::upstream::Role;
use crate::directives::place::Place;
use crate::units::Millis;

/// An `upstream` block.
#[derive(Clone, Debug, Default)]
pub struct UpstreamBlock {
    /// Its name.
    pub name: Vec<u8>,
    /// Where it begins.
    pub place: Place,
    /// Its servers in their order.
    pub servers: Vec<Server>,
}

/// A `server` of an upstream block.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// As written.
    pub name: Vec<u8>,
    /// As nginx prints them in `$upstream_addr`; empty: nginx resolves the name at run time.
    pub addresses: Vec<Vec<u8>>,
    /// `backup`
    pub role: Role,
    /// `down`
    pub is_down: bool,
    /// `fail_timeout=`
    pub fail_timeout: Millis,
}
