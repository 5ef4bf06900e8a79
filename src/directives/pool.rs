//! `poolwatch_pool`: the servers of a pool.

use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};

/// `poolwatch_pool`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_pool",
    syntax: "name server ...",
    default: None,
    contexts: &[Context::Upstream],
    arguments: Arguments::TwoOrMore,
    text: "Puts servers of the block into a named pool; up to 8 pools. A server is written as in its `server` directive, or as \
           one of its addresses; the port 80 may be left out. Without this directive pools are told apart by the response \
           header (`poolwatch_pool_header`), and before the first answer by primary and `backup`.",
    read: Read::Block(Block::pool),
};
