//! `poolwatch_active`: the pool that should serve.

use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};

/// `poolwatch_active`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_active",
    syntax: "pool",
    default: None,
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Names the pool that should serve. By default it is the pool of the primary servers. Changing it by a reload \
           announces a planned switch. It moves no traffic: nginx asks the servers that are not `backup`. In `http` it speaks \
           for every watched upstream, also for one that has no such pool.",
    read: Read::Block(Block::active),
};
