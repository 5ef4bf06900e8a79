//! What a directive is: its name, arguments, place, default and meaning, and how a line of it is read.

use std::ffi::CStr;

use crate::directives::block::{Block, Http, Location};
use crate::directives::mistake::Mistake;
use crate::directives::place::DirectiveLine;

/// A directive, all of it.
#[derive(Debug)]
pub struct Directive {
    /// Ended by a zero byte, as nginx compares names.
    pub name: &'static CStr,
    /// The arguments, as the reference writes them.
    pub syntax: &'static str,
    /// The arguments that have the effect of leaving the directive out; `None`: none have.
    pub default: Option<&'static str>,
    /// The blocks it may stand in.
    pub contexts: &'static [Context],
    /// How many arguments nginx lets through.
    pub arguments: Arguments,
    /// What it is for, in Markdown.
    pub text: &'static str,
    /// Puts the arguments of one line where they belong.
    pub read: Read,
}

/// A block of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `http {}`
    Http,
    /// `upstream {}` in it
    Upstream,
    /// `location {}` in a `server {}` of it
    Location,
}

/// How many arguments a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Any number, even none. What is too much, the reader names; nginx's own check would only count.
    Any,
    /// One.
    One,
    /// One or more, likewise.
    OneOrMore,
    /// Two or more, likewise.
    TwoOrMore,
}

/// What a directive writes to.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// What only the `http` block says.
    Http(Reader<Http>),
    /// What the `http` block says for all upstreams, and an `upstream` block for itself.
    Block(Reader<Block>),
    /// What a location says for itself.
    Location(Reader<Location>),
}

/// Reads a line into `T`.
pub type Reader<T> = fn(&mut T, &DirectiveLine<'_>) -> Result<(), Mistake>;

impl Directive {
    /// The name as text.
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or_default()
    }
}

impl Context {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Upstream => "upstream",
            Self::Location => "location",
        }
    }
}
