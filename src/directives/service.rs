//! `poolwatch_service`: upstream blocks that are watched as one.

use crate::config::blocks::MAX_BLOCKS;
use crate::directives::arguments::{leading, name};
use crate::directives::block::{Http, ServiceLine};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::{DirectiveLine, Placed};

/// `poolwatch_service`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_service",
    syntax: "name upstream ...",
    default: None,
    arguments: Arguments::TwoOrMore,
    context: Context::Http(read),
    text: "Watches several `upstream` blocks as one thing, which has this name: one application whose requests a \
           `map`, a `set` in an included file, `split_clients` or an `error_page` sends to one block or the other. It \
           has one state, one error rate and one history, and `poolwatch on` is not needed in the blocks. \
           [Recipes](recipes.md) has the usual set-ups.\n\n\
           * The pool of a server is the one that `poolwatch_pool` in its block or the response header names, else it \
           has its block's name. A server that is `backup` in its block and primary in another one is of the other \
           one; one that is always `backup` is of a reserve of its own. Lines of `poolwatch_pool` with the same name \
           in several blocks are one pool.\n\
           * The expected pool is `poolwatch_active`, else that of the primary servers of the block to which requests \
           are sent *first*. When first requests move to another block, that is a planned switch: after four tenths of \
           a second of traffic if nginx was reloaded, else after eight, or after as many requests where traffic is \
           thin. Blocks that get more than a fifth of the first requests each are expected together, a canary that \
           gets less is not. Requests that reach another block by `error_page` are retried ones: they tell of a \
           failover.\n\
           * All groups of attempts that a request makes in these blocks count as one request.\n\
           * Other directives stand in `http`, or come from the first of these blocks that has them.\n\
           * Up to 8 blocks with up to 8 pools. A block belongs to one service at most.",
};

fn read(http: &mut Http, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let (argument, rest) = leading(line.args)?;
    let service = name(argument).ok_or_else(|| Mistake::value(argument))?;
    if http.services.iter().any(|other| other.value.name == service) {
        return Err(Mistake::Phrase(format!("duplicate service \"{}\"", shown(argument))));
    }
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for &block in rest {
        if block.is_empty() {
            return Err(Mistake::value(block));
        }
        let said = shown(block);
        if blocks.iter().any(|other| other == block) {
            return Err(Mistake::Phrase(format!("duplicate upstream \"{said}\" in \"poolwatch_service\"")));
        }
        let is_here = |other: &&Placed<ServiceLine>| other.value.blocks.iter().any(|other| other == block);
        if let Some(other) = http.services.iter().find(is_here) {
            let other = shown(other.value.name.as_bytes());
            return Err(Mistake::Phrase(format!("upstream \"{said}\" belongs to the service \"{other}\" already")));
        }
        blocks.push(block.to_vec());
    }
    if blocks.len() > MAX_BLOCKS {
        return Err(Mistake::Phrase(format!("too many upstreams in a service, at most {MAX_BLOCKS} are possible")));
    }
    http.services.push(line.placed(ServiceLine { name: service, blocks }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{mistake, read_twice, taken};
    use crate::text::Name;

    #[test]
    fn a_service_has_a_name_and_blocks() {
        let services = taken(read, "shop blue_servers green_servers").services;
        assert_eq!(services[0].value.name, Name::new(b"shop"));
        assert_eq!(services[0].value.blocks, [b"blue_servers".to_vec(), b"green_servers".to_vec()]);
    }

    #[test]
    fn each_block_is_named_once() {
        for (line, expected) in [
            ("a/b blue", "invalid value \"a/b\" in \"d\""),
            ("app blue green blue", "duplicate upstream \"blue\" in \"poolwatch_service\""),
            ("app 1 2 3 4 5 6 7 8 9", "too many upstreams in a service, at most 8 are possible"),
        ] {
            assert_eq!(mistake(read, line), expected, "{line}");
        }
        let long = "x".repeat(65);
        assert_eq!(mistake(read, &format!("{long} blue")), format!("invalid value \"{long}\" in \"d\""));
        assert_eq!(read_twice(read, "a blue", "a green"), "duplicate service \"a\"");
        assert_eq!(
            read_twice(read, "a blue", "b green blue"),
            "upstream \"blue\" belongs to the service \"a\" already"
        );
        assert_eq!(mistake(read, "a 1 2 3 4 5 6 7 8"), "");
    }
}
