//! What a directive is: its name, arguments, default, context and meaning, and how a line of it is read.
//!
//! Each directive is a constant of this type, in a file of its own beside its reader and its tests. The table in
//! [`crate::directives`] lists them, and nginx's command table and the reference are made from it.

use std::ffi::CStr;

use crate::directives::block::{Http, Location, Reader, Setting};

/// A directive.
#[derive(Debug)]
pub struct Directive {
    /// Ended by a zero byte, as nginx compares names.
    pub name: &'static CStr,
    /// The arguments, as the reference writes them.
    pub syntax: &'static str,
    /// The arguments in effect without the directive, as an operator would write them; `None`: there are none.
    pub default: Option<&'static str>,
    /// The number of arguments that nginx accepts.
    pub arguments: Arguments,
    /// The blocks in which the directive may stand, and how a line of it is read.
    pub context: Context,
    /// What the directive does, in Markdown.
    pub text: &'static str,
}

/// The number of arguments that nginx accepts. nginx reports a wrong number without naming an argument, so a reader
/// that names a surplus argument asks for no upper bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Any number, even none.
    Any,
    /// One.
    One,
    /// One or more.
    OneOrMore,
    /// Two or more.
    TwoOrMore,
}

/// The blocks in which a directive may stand, and how a line of it is read.
#[derive(Clone, Copy, Debug)]
pub enum Context {
    /// `http {}`.
    Http(Reader<Http>),
    /// `upstream {}` for itself, and `http {}` for all upstreams.
    HttpAndUpstream(Setting),
    /// `upstream {}` alone.
    Upstream(Setting),
    /// `location {}` in a `server {}`.
    Location(Reader<Location>),
}

impl Directive {
    /// The name as text.
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or_default()
    }
}

impl Context {
    /// The names of the blocks, as the reference writes them.
    pub(super) const fn names(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::HttpAndUpstream(_) => "http, upstream",
            Self::Upstream(_) => "upstream",
            Self::Location(_) => "location",
        }
    }

    /// How the directive sets a value for an upstream; `None`: it sets no such value.
    pub(super) const fn setting(&self) -> Option<Setting> {
        match self {
            Self::HttpAndUpstream(setting) | Self::Upstream(setting) => Some(*setting),
            Self::Http(_) | Self::Location(_) => None,
        }
    }
}
