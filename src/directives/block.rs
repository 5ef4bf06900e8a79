//! What each block of the configuration says, and what is in effect for one upstream.
//!
//! nginx does not merge the configuration of `http` into `upstream` blocks, so this module does: `Settings::of`.

use std::ffi::CStr;

use crate::config::rules::Rules;
use crate::directives::mistake::Mistake;
use crate::directives::place::{DirectiveLine, Place, Placed};
use crate::directives::receiver::line::ReceiverLine;
use crate::text::Name;

/// Reads one line, and adds it to what its block says.
pub type Reader<T> = fn(&mut T, &DirectiveLine<'_>) -> Result<(), Mistake>;

/// What only the `http` block says.
#[derive(Default)]
pub struct Http {
    /// `poolwatch_zone`; `None`: it is not given.
    pub zone: Option<Placed<ZoneLine>>,
    /// Each `poolwatch_receiver`, in their order; at most [`crate::outbox::MAX_RECEIVERS`].
    pub receivers: Vec<Placed<ReceiverLine>>,
    /// Each `poolwatch_service`, in their order.
    pub services: Vec<Placed<ServiceLine>>,
}

/// A `poolwatch_service` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLine {
    /// The service's name.
    pub name: Name,
    /// The names of its blocks, at most [`crate::config::blocks::MAX_BLOCKS`].
    pub blocks: Vec<Vec<u8>>,
}

/// A `poolwatch_zone` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLine {
    /// The zone's name.
    pub name: String,
    /// Its size in bytes; `None`: what it needs.
    pub size: Option<usize>,
    /// `state=`: the file that keeps the state while nginx does not run, as written; `None`: nothing keeps it.
    pub state: Option<Vec<u8>>,
}

/// What one location says.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// `poolwatch_status`: is `write=on` given? `None`: the location serves no status page.
    pub status: Option<Placed<bool>>,
}

/// What an `upstream` block says about itself, or the `http` block about all upstreams.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The values of the directives that are `given`. All other values in it are unused.
    settings: Settings,
    given: Vec<Given>,
}

/// A directive of which a block has a line.
#[derive(Clone, Copy, Debug)]
struct Given {
    name: &'static CStr,
    inherit: Inherit,
}

/// How a directive sets a value for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub(super) read: Reader<Settings>,
    inherit: Inherit,
    is_list: bool,
}

/// Copies the values that one directive sets from the second to the first.
type Inherit = fn(&mut Settings, &Settings);

/// The values in effect for one upstream. A directive that sets none of the [`Rules`] has a field here.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the `poolwatch on` stands that is in effect; `None`: it is off.
    pub watched: Option<Place>,
    /// Each `poolwatch_pool`, in their order; at most [`crate::pools::set::MAX_POOLS`].
    pub(super) pools: Vec<Placed<PoolLine>>,
    /// Where the `poolwatch_active` stands that is in effect; `None`: no pool is named.
    pub(super) active: Option<Place>,
    /// The response header that names the pool, in lower case.
    pub pool_header: String,
    /// The response header that names the release, in lower case.
    pub release_header: String,
    /// The values that the zone keeps. No directive of this module sets `fail_timeout`.
    pub rules: Rules,
}

/// A `poolwatch_pool` line.
#[derive(Clone, Debug)]
pub(super) struct PoolLine {
    pub(super) name: Name,
    /// As written.
    pub(super) servers: Vec<String>,
}

impl Block {
    /// Reads a line of the directive `name`, which sets `setting`.
    ///
    /// # Errors
    /// What is wrong with the line. As nginx's own directives, the second one in a block is refused before its
    /// arguments are read.
    pub fn read(&mut self, name: &'static CStr, setting: Setting, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        if !setting.is_list && self.given.iter().any(|given| given.name == name) {
            return Err(Mistake::Duplicate);
        }
        (setting.read)(&mut self.settings, line)?;
        self.given.push(Given { name, inherit: setting.inherit });
        Ok(())
    }

    /// Does the block have a line of this directive?
    pub(super) fn gives(&self, name: &CStr) -> bool {
        self.given.iter().any(|given| given.name == name)
    }
}

impl Setting {
    /// Of a directive that may stand once in a block.
    pub(super) const fn once(read: Reader<Settings>, inherit: Inherit) -> Self {
        Self { read, inherit, is_list: false }
    }

    /// Of a directive that may stand more than once in a block: each line adds to the lines before it.
    pub(super) const fn list(read: Reader<Settings>, inherit: Inherit) -> Self {
        Self { read, inherit, is_list: true }
    }
}

impl Settings {
    /// Of each directive the values of the last of these blocks that has a line of it.
    pub(super) fn of(blocks: &[&Block]) -> Self {
        let mut settings = Self::default();
        for block in blocks {
            for given in &block.given {
                (given.inherit)(&mut settings, &block.settings);
            }
        }
        settings
    }
}
