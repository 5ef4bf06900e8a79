//! `poolwatch_pool`: which servers of an upstream block are a pool.

use crate::directives::arguments::{leading, name};
use crate::directives::block::{PoolLine, Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::{DirectiveLine, Placed, Remark};
use crate::directives::upstream::Server;
use crate::pools::set::MAX_POOLS;

/// `poolwatch_pool`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_pool",
    syntax: "name server ...",
    default: None,
    arguments: Arguments::TwoOrMore,
    context: Context::Upstream(Setting::list(read, |to, from| to.pools.clone_from(&from.pools))),
    text: "Puts servers of the block into a named pool; up to 8 pools. A server is written as in its `server` \
           directive, or as one of its addresses; the port 80 may be left out. Without this directive pools are told \
           apart by the response header (`poolwatch_pool_header`), and before the first answer by primary and \
           `backup`. Up to 256 addresses of a block, of 8 KiB together, are told apart, and one that had a pool keeps it \
           for later configurations. `nginx -t` warns of addresses for which there is no room.",
};

/// nginx's default for the port of a `server`.
const DEFAULT_PORT: &str = ":80";

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let (argument, servers) = leading(line.args)?;
    let name = name(argument).ok_or_else(|| Mistake::value(argument))?;
    if settings.pools.iter().any(|other| other.value.name == name) {
        return Err(Mistake::Phrase(format!("duplicate pool \"{}\"", shown(argument))));
    }
    if settings.pools.len() == MAX_POOLS {
        return Err(Mistake::Phrase(format!("too many pools, at most {MAX_POOLS} are possible")));
    }
    let servers = servers.iter().map(|server| shown(server)).collect();
    settings.pools.push(line.placed(PoolLine { name, servers }));
    Ok(())
}

/// For each server of the block the index of its pool; `None`: no line names it.
///
/// # Errors
/// A line names a server that the block does not have, or that has a pool already.
pub(super) fn pools_of(servers: &[Server], pools: &[Placed<PoolLine>]) -> Result<Vec<Option<usize>>, Remark> {
    let mut pool_of = vec![None; servers.len()];
    for (pool, Placed { value: line, place }) in pools.iter().enumerate() {
        for wanted in &line.servers {
            let mut is_known = false;
            for slot in named(wanted, servers, &mut pool_of) {
                is_known = true;
                if slot.replace(pool).is_some() {
                    return Err(place.remark(format!("duplicate server \"{wanted}\" in \"poolwatch_pool\"")));
                }
            }
            if !is_known {
                return Err(place.remark(format!("unknown server \"{wanted}\" in \"poolwatch_pool\"")));
            }
        }
    }
    Ok(pool_of)
}

/// The entries of the servers that are written as `wanted`; if there is none, of those that have this address.
fn named<'a, T>(wanted: &str, servers: &'a [Server], entries: &'a mut [T]) -> impl Iterator<Item = &'a mut T> {
    let wanted = with_port(wanted);
    let is_written = |server: &Server| with_port(&shown(&server.name)) == wanted;
    let has_address = |server: &Server| server.addresses.iter().any(|address| *address == wanted.as_bytes());
    let by_text = servers.iter().any(is_written);
    let is_it: Vec<bool> =
        servers.iter().map(|server| if by_text { is_written(server) } else { has_address(server) }).collect();
    entries.iter_mut().zip(is_it).filter_map(|(entry, is_it)| is_it.then_some(entry))
}

/// nginx adds the port 80 to a server without one; sockets have none.
fn with_port(server: &str) -> String {
    let after_ipv6 = server.rsplit(']').next().unwrap_or(server);
    if server.starts_with("unix:") || after_ipv6.contains(':') {
        server.to_owned()
    } else {
        format!("{server}{DEFAULT_PORT}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::place::Place;
    use crate::directives::testing::{block, mistake, read_twice};
    use crate::text::Name;

    #[test]
    fn pools_add_up_in_a_block() {
        let block = block(&DIRECTIVE, &["blue a b:81", "green c"]);
        let pools = Settings::of(&[&block]).pools;
        let names: Vec<Name> = pools.iter().map(|pool| pool.value.name).collect();
        assert_eq!(names, [Name::new(b"blue"), Name::new(b"green")]);
        assert_eq!(pools[0].value.servers, ["a", "b:81"]);
        assert_eq!((pools[0].place.line, pools[1].place.line), (1, 2));
    }

    #[test]
    fn a_pool_has_a_name_of_its_own() {
        assert_eq!(mistake(read, "a/b server"), "invalid value \"a/b\" in \"d\"");
        assert_eq!(read_twice(read, "blue a", "blue b"), "duplicate pool \"blue\"");
    }

    #[test]
    fn there_are_eight_pools_at_most() {
        let mut settings = Settings::default();
        let mut add = |name: &str| {
            let line = DirectiveLine { args: &[name.as_bytes(), b"a"], place: &Place::default() };
            read(&mut settings, &line).map_err(|mistake| mistake.in_directive("d"))
        };
        for pool in 1..=8 {
            assert_eq!(add(&pool.to_string()), Ok(()));
        }
        assert_eq!(add("9"), Err("too many pools, at most 8 are possible".to_owned()));
    }

    #[test]
    fn sockets_and_ipv6_addresses_keep_their_colons() {
        assert_eq!(with_port("unix:/run/app.sock"), "unix:/run/app.sock");
        assert_eq!(with_port("[::1]"), "[::1]:80");
        assert_eq!(with_port("[::1]:81"), "[::1]:81");
    }
}
