//! What a directive is: its name, arguments, default, context and meaning, and how a line of it is read.
//!
//! Each directive is a constant of this type, in a file of its own beside its reader and its tests. The table in
//! [`crate::directives`] lists them, and nginx's command table and the reference are made of that.

use std::ffi::CStr;

use crate::directives::block::{Http, Location, Reader, Setting};

/// A directive, all of it.
#[derive(Debug)]
pub struct Directive {
    /// Ended by a zero byte, as nginx compares names.
    pub name: &'static CStr,
    /// The arguments, as the reference writes them.
    pub syntax: &'static str,
    /// The arguments that are in effect without the directive, as one would write them; `None`: nothing is.
    pub default: Option<&'static str>,
    /// How many arguments nginx lets through.
    pub arguments: Arguments,
    /// The blocks it may stand in, and how a line of it is read there.
    pub context: Context,
    /// What it is for, in Markdown.
    pub text: &'static str,
}

/// How many arguments nginx lets through. It only counts them: what is too much, a reader can name.
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

/// Where a directive may stand, and what a line of it is read into.
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

    /// What a directive of upstream blocks sets; `None`: it sets something else.
    pub(super) const fn setting(&self) -> Option<Setting> {
        match self {
            Self::HttpAndUpstream(setting) | Self::Upstream(setting) => Some(*setting),
            Self::Http(_) | Self::Location(_) => None,
        }
    }
}
