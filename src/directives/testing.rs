//! For the tests of directives: a line as words, and what nginx would say of it.

use crate::directives::mistake::Mistake;

/// The arguments of a line.
pub(super) fn args(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

/// What nginx would say of a line of the directive `d`; empty: it is taken.
pub(super) fn mistake<T>(read: fn(&[&[u8]]) -> Result<T, Mistake>, line: &str) -> String {
    read(&args(line)).err().map(|mistake| mistake.in_directive("d")).unwrap_or_default()
}
