//! `poolwatch_silence`: alerts are held back.

use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};

/// `poolwatch_silence`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_silence",
    syntax: "on | off",
    default: Some("off"),
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Keeps watching, but holds alerts back: for maintenance. That it is on is told, and when it is off again, that it is over, \
           how many requests failed meanwhile, and what is still true. What began and ended meanwhile is no alert.",
    read: Read::Block(Block::silence),
};
