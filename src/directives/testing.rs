//! For the tests of directives: what a line sets, what nginx would say of it, and whether it is inherited.

use std::fmt::Debug;

use crate::directives::DIRECTIVES;
use crate::directives::block::{Block, Reader, Settings};
use crate::directives::directive::Directive;
use crate::directives::mistake::Mistake;
use crate::directives::place::{DirectiveLine, Place};

/// What a line says, in a block that says nothing else.
pub(super) fn taken<T: Default>(reader: Reader<T>, line: &str) -> T {
    read(reader, line).unwrap()
}

/// What nginx would say of a line of a directive called `d`; empty: it is taken.
pub(super) fn mistake<T: Default>(reader: Reader<T>, line: &str) -> String {
    read(reader, line).err().map(|mistake| mistake.in_directive("d")).unwrap_or_default()
}

/// What nginx would say of the second of two lines in a block; empty: it is taken.
pub(super) fn read_twice<T: Default>(reader: Reader<T>, first: &str, second: &str) -> String {
    let mut block = taken(reader, first);
    let result = reader(&mut block, &DirectiveLine { args: &args(second), place: &place(2) });
    result.err().map(|mistake| mistake.in_directive("d")).unwrap_or_default()
}

fn read<T: Default>(reader: Reader<T>, line: &str) -> Result<T, Mistake> {
    let mut block = T::default();
    reader(&mut block, &DirectiveLine { args: &args(line), place: &place(1) })?;
    Ok(block)
}

/// A block with these lines of a directive, each with its number as its place.
pub(super) fn block(directive: &Directive, lines: &[&str]) -> Block {
    let mut block = Block::default();
    for (index, line) in lines.iter().enumerate() {
        let line = DirectiveLine { args: &args(line), place: &place(index + 1) };
        block.read(directive.name, directive.context.setting().unwrap(), &line).unwrap();
    }
    block
}

/// A block of these lines, each with its number as its place.
pub(super) fn lines(lines: &[&str]) -> Block {
    let mut block = Block::default();
    for (index, line) in lines.iter().enumerate() {
        let (name, words) = line.split_once(' ').unwrap();
        let directive = DIRECTIVES.iter().find(|directive| directive.name() == name).unwrap();
        let line = DirectiveLine { args: &args(words), place: &place(index + 1) };
        block.read(directive.name, directive.context.setting().unwrap(), &line).unwrap();
    }
    block
}

/// Checks that the upstream block's own line is in effect, without one that of `http`, and without both the default.
pub(super) fn assert_inherited<V: PartialEq + Debug>(
    directive: &Directive,
    one: &str,
    other: &str,
    value: fn(&Settings) -> V,
) {
    let default: Vec<&str> = directive.default.into_iter().collect();
    let in_effect = |http: &[&str], own: &[&str]| {
        value(&Settings::of(&[&block(directive, &default), &block(directive, http), &block(directive, own)]))
    };
    let alone = |line| value(&taken(directive.context.setting().unwrap().read, line));
    assert_ne!(alone(one), alone(other), "the two lines say the same");
    assert_eq!(in_effect(&[one], &[other]), alone(other));
    assert_eq!(in_effect(&[other], &[one]), alone(one));
    assert_eq!(in_effect(&[one], &[]), alone(one));
    assert_eq!(in_effect(&[other], &[]), alone(other));
    if let [default] = default.as_slice() {
        assert_eq!(in_effect(&[], &[]), alone(default));
    }
}

/// The arguments of a line: what its spaces separate, or a single one in double quotes, which may be empty.
fn args(line: &str) -> Vec<&[u8]> {
    if let Some(argument) = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')) {
        return vec![argument.as_bytes()];
    }
    line.split(' ').filter(|word| !word.is_empty()).map(str::as_bytes).collect()
}

/// A line of `nginx.conf`.
pub(super) fn place(line: usize) -> Place {
    Place { file: "nginx.conf".to_owned(), line }
}
