//! `poolwatch`: an upstream is watched.

use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};

/// `poolwatch`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch",
    syntax: "on | off",
    default: Some("off"),
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Watches an `upstream` block; at `http` level, all of them. Upstreams that are not blocks (`proxy_pass \
           http://host;`) have no second pool and are never watched.",
    read: Read::Block(Block::watch),
};
