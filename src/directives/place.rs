//! Where the configuration says something: `FILE:LINE`, and what is remarked about it.

use std::fmt;

/// `FILE:LINE`, kept for what can only be judged at the end, when nginx's own messages would name the last brace of `http`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// As nginx names the file.
    pub file: String,
    /// Counts from 1.
    pub line: usize,
}

/// A message and the place it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Lower case, without a full stop.
    pub text: String,
    /// Where to look.
    pub place: Place,
}

/// A value and where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// What.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// One line of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct DirectiveLine<'a> {
    /// The arguments, without the directive's name.
    pub args: &'a [&'a [u8]],
    /// Where it stands.
    pub place: &'a Place,
}

impl DirectiveLine<'_> {
    pub(super) fn placed<T>(&self, value: T) -> Placed<T> {
        Placed { value, place: self.place.clone() }
    }
}

impl Place {
    /// Something to say about this place.
    pub fn remark(&self, text: impl Into<String>) -> Remark {
        Remark { text: text.into(), place: self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.text, self.place)
    }
}
