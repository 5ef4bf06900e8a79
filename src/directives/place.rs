//! Lines of the configuration, their places as `FILE:LINE`, and remarks about them.

use std::fmt;

/// `FILE:LINE`. A line remembers it for what can only be checked when the whole configuration is read: nginx's own
/// messages would then name the closing brace of `http`.
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
    /// In lower case, without a full stop.
    pub text: String,
    /// The line that it is about.
    pub place: Place,
}

/// A value, and the line that gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// The place of the line.
    pub place: Place,
}

/// A directive as it stands in the configuration.
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
    /// A remark about this place.
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
