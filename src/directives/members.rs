//! Makes a [`WatchedUpstream`] of a `poolwatch_service` line and its upstream blocks.
//!
//! An address is one peer, although several blocks may have it. It belongs to the pool of the block in which it is
//! primary; of several the first one decides.

use crate::config::rules::Rules;
use crate::config::upstream::{ConfiguredPeer, Role, WatchedUpstream};
use crate::directives::block::{Block, PoolLine, ServiceLine, Settings};
use crate::directives::judge::remark_on_room;
use crate::directives::mistake::shown;
use crate::directives::place::{Placed, Remark};
use crate::directives::upstream::{Server, UpstreamBlock};
use crate::directives::{active, defaults, pool};
use crate::pools::set::MAX_POOLS;
use crate::text::Name;

/// What the name of a pool of reserve servers ends with.
const RESERVE: &str = " backup";

/// A block of a service: its directives, and the block as nginx has read it.
pub struct Member<'a> {
    /// Its directives.
    pub directives: &'a Block,
    /// The block with its servers.
    pub block: UpstreamBlock,
}

/// The service to be watched, and the settings in effect for it. `warn` gets what looks like an oversight.
///
/// # Errors
/// A line names a server or a pool that is not there, a server is in two pools, there are too many pools, or a block
/// says that it is not to be watched, or has a name that is longer than a [`Name`].
pub fn judge(
    service: &Placed<ServiceLine>,
    http: &Block,
    members: &[Member<'_>],
    warn: &mut impl FnMut(Remark),
) -> Result<(Settings, WatchedUpstream), Remark> {
    let name = service.value.name;
    for Member { directives, block } in members {
        let said = shown(&block.name);
        if Name::new(&block.name).as_bytes() != block.name {
            return Err(service.place.remark(format!("name of upstream \"{said}\" is too long to be watched")));
        }
        if directives.gives(c"poolwatch") && Settings::of(&[directives]).watched.is_none() {
            let service_name = shown(name.as_bytes());
            let text =
                format!("upstream \"{said}\" with \"poolwatch off\" in \"poolwatch_service\" \"{service_name}\"");
            return Err(service.place.remark(text));
        }
    }
    let mut merged = Merged { watched: WatchedUpstream { name, ..WatchedUpstream::default() }, lines: Vec::new() };
    for member in members {
        merged.add(member, warn)?;
    }
    let Merged { mut watched, lines } = merged;
    // The last one of these that has a line decides.
    let defaults = defaults();
    let blocks = [&defaults, http].into_iter().chain(members.iter().rev().map(|member| member.directives));
    let mut settings = Settings::of(&blocks.collect::<Vec<_>>());
    (settings.watched, settings.pools) = (Some(service.place.clone()), lines);
    let names = pool_names(&watched);
    active::check_pool(&settings, &names, name.as_bytes())?;
    active::remark_on_reserve(&settings, name.as_bytes(), &watched.peers).into_iter().for_each(&mut *warn);
    if names.len() + usize::from(!names.contains(&settings.rules.active) && settings.active.is_some()) > MAX_POOLS {
        let text =
            format!("too many pools of service \"{}\", at most {MAX_POOLS} are possible", shown(name.as_bytes()));
        return Err(service.place.remark(text));
    }
    let fail_timeouts = members.iter().flat_map(|member| &member.block.servers).map(|server| server.fail_timeout);
    watched.rules = Rules { fail_timeout: fail_timeouts.max().unwrap_or_default(), ..settings.rules };
    if let Some(text) = remark_on_room(&watched) {
        warn(service.place.remark(text));
    }
    Ok((settings, watched))
}

/// The pools that have a name before a response names one.
fn pool_names(watched: &WatchedUpstream) -> Vec<Name> {
    let mut names = watched.pools.clone();
    for peer in watched.peers.iter().filter(|peer| peer.pool.is_none()) {
        if !names.contains(&peer.block_pool) {
            names.push(peer.block_pool);
        }
    }
    names
}

/// The blocks that were added so far.
struct Merged {
    watched: WatchedUpstream,
    /// The first `poolwatch_pool` line of each pool, in the order of the pools.
    lines: Vec<Placed<PoolLine>>,
}

impl Merged {
    fn add(&mut self, member: &Member<'_>, warn: &mut impl FnMut(Remark)) -> Result<(), Remark> {
        let Member { directives, block } = member;
        let own = Settings::of(&[directives]).pools;
        let pool_of = pool::pools_of(&block.servers, &own)?;
        let (index, name) = (self.watched.blocks.len(), shown(&block.name));
        self.watched.blocks.push(Name::new(&block.name));
        let pools: Vec<usize> = own.into_iter().map(|line| self.pool(line)).collect();
        for (server, pool) in block.servers.iter().zip(pool_of) {
            if pool.is_none() && !pools.is_empty() {
                let server = shown(&server.name);
                warn(
                    block
                        .place
                        .remark(format!("server \"{server}\" of upstream \"{name}\" is in no \"poolwatch_pool\"")),
                );
            }
            let pool = pool.and_then(|pool| pools.get(pool).copied());
            // A server that nginx resolves at run time has no address yet, but a pool and a role.
            let written = server.addresses.is_empty().then(|| server.name.clone());
            for address in server.addresses.iter().chain(&written) {
                if !self.put(index, server, pool, address, written.is_some()) {
                    let (address, service) = (shown(address), shown(self.watched.name.as_bytes()));
                    let text = format!("pools of service \"{service}\" share the address \"{address}\"");
                    warn(block.place.remark(text));
                }
            }
        }
        Ok(())
    }

    /// The index of the pool that this line names.
    fn pool(&mut self, line: Placed<PoolLine>) -> usize {
        let name = line.value.name;
        let known = self.watched.pools.iter().position(|pool| *pool == name);
        known.unwrap_or_else(|| {
            self.watched.pools.push(name);
            self.lines.push(line);
            self.watched.pools.len() - 1
        })
    }

    /// Puts an address of a server into the block with this index. `false`: another line has it in another pool.
    fn put(&mut self, block: usize, server: &Server, pool: Option<usize>, address: &[u8], is_name: bool) -> bool {
        let role = server.role;
        let peers = &mut self.watched.peers;
        let index = peers.iter().position(|peer| peer.address == address).unwrap_or_else(|| {
            let (address, role) = (address.to_vec(), Role::Backup);
            peers.push(ConfiguredPeer { address, role, is_down: true, is_name, ..ConfiguredPeer::default() });
            peers.len() - 1
        });
        let (Some(peer), Some(name)) = (peers.get_mut(index), self.watched.blocks.get(block)) else { return true };
        let is_new = peer.block_pool.is_empty();
        if role == Role::Primary && (is_new || peer.role == Role::Backup) {
            (peer.role, peer.block_pool) = (role, *name);
        } else if is_new {
            peer.block_pool = *name;
            peer.block_pool.push(RESERVE.as_bytes());
        }
        if role == Role::Primary && !server.is_down {
            peer.primary_in.insert(block);
        }
        peer.is_down &= server.is_down;
        let agrees = peer.pool.is_none() || pool.is_none() || peer.pool == pool;
        peer.pool = peer.pool.or(pool);
        agrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::blocks::BlockSet;
    use crate::directives::testing::{lines, place};
    use crate::units::Millis;

    const PRIMARY: Role = Role::Primary;
    const BACKUP: Role = Role::Backup;

    fn block(name: &str, servers: &[(&str, Role)]) -> UpstreamBlock {
        let servers = servers.iter().map(|&(address, role)| Server {
            name: address.into(),
            addresses: vec![address.into()],
            role,
            fail_timeout: Millis::from_secs(servers.len() as u64),
            ..Server::default()
        });
        UpstreamBlock { name: name.into(), place: place(100), servers: servers.collect() }
    }

    fn two() -> [UpstreamBlock; 2] {
        [block("blue_servers", &[("10.0.0.1:80", PRIMARY)]), block("green_servers", &[("10.0.0.2:80", PRIMARY)])]
    }

    fn judge(
        http: &[&str],
        blocks: &[UpstreamBlock],
        own: &[&[&str]],
    ) -> (Result<(Settings, WatchedUpstream), String>, Vec<String>) {
        let service = ServiceLine { name: Name::new(b"shop"), blocks: vec![] };
        let directives: Vec<Block> = own.iter().map(|own| lines(own)).collect();
        let none = Block::default();
        let member = |(index, block): (usize, &UpstreamBlock)| Member {
            directives: directives.get(index).unwrap_or(&none),
            block: block.clone(),
        };
        let members: Vec<_> = blocks.iter().enumerate().map(member).collect();
        let mut warnings = Vec::new();
        let service = Placed { value: service, place: place(7) };
        let judged = super::judge(&service, &lines(http), &members, &mut |warning| warnings.push(warning.to_string()));
        (judged.map_err(|error| error.to_string()), warnings)
    }

    fn peers(watched: &WatchedUpstream) -> Vec<(String, Role, BlockSet, String)> {
        let pool = |peer: &ConfiguredPeer| peer.pool.map_or(peer.block_pool, |pool| watched.pools[pool]);
        let peer =
            |peer: &ConfiguredPeer| (shown(&peer.address), peer.role, peer.primary_in, shown(pool(peer).as_bytes()));
        watched.peers.iter().map(peer).collect()
    }

    fn set(blocks: &[usize]) -> BlockSet {
        blocks.iter().copied().collect()
    }

    #[test]
    fn a_server_is_of_its_blocks_pool() {
        let (judged, warnings) = judge(&[], &two(), &[]);
        let (settings, watched) = judged.unwrap();
        assert_eq!(settings.watched, Some(place(7)));
        assert_eq!(watched.blocks, [Name::new(b"blue_servers"), Name::new(b"green_servers")]);
        let blue = ("10.0.0.1:80".to_owned(), PRIMARY, set(&[0]), "blue_servers".to_owned());
        let green = ("10.0.0.2:80".to_owned(), PRIMARY, set(&[1]), "green_servers".to_owned());
        assert_eq!((peers(&watched), warnings), (vec![blue, green], vec![]));
    }

    #[test]
    fn a_mirrored_server_is_of_the_block_in_which_it_is_primary_and_a_reserve_of_its_own() {
        let blocks = [
            block("blue_first", &[("10.0.0.2:80", BACKUP), ("10.0.0.1:80", PRIMARY), ("10.0.0.9:80", BACKUP)]),
            block("green_first", &[("10.0.0.1:80", BACKUP), ("10.0.0.2:80", PRIMARY)]),
        ];
        let (_, watched) = judge(&[], &blocks, &[]).0.unwrap();
        let pools: Vec<_> =
            peers(&watched).into_iter().map(|(_, role, primary_in, pool)| (role, primary_in, pool)).collect();
        let expected = [
            (PRIMARY, set(&[1]), "green_first".to_owned()),
            (PRIMARY, set(&[0]), "blue_first".to_owned()),
            (BACKUP, set(&[]), "blue_first backup".to_owned()),
        ];
        assert_eq!(pools, expected);
        assert_eq!(watched.rules.fail_timeout, Millis::from_secs(3), "the longest");
    }

    #[test]
    fn lines_of_one_pool_in_several_blocks_are_one_pool() {
        let own: [&[&str]; 2] = [&["poolwatch_pool blue 10.0.0.1"], &["poolwatch_pool green 10.0.0.2"]];
        let (_, watched) = judge(&["poolwatch_active green"], &two(), &own).0.unwrap();
        assert_eq!(watched.pools, [Name::new(b"blue"), Name::new(b"green")]);
        let own: [&[&str]; 2] = [&["poolwatch_pool all 10.0.0.1"], &["poolwatch_pool all 10.0.0.2"]];
        let (_, watched) = judge(&[], &two(), &own).0.unwrap();
        assert_eq!((watched.pools.len(), peers(&watched)[1].3.as_str()), (1, "all"));
    }

    #[test]
    fn the_first_block_that_has_a_setting_decides_before_http() {
        let own: [&[&str]; 2] =
            [&["poolwatch_cooldown 1s"], &["poolwatch_cooldown 2s", "poolwatch_release_header x-version"]];
        let http = ["poolwatch_cooldown 3s", "poolwatch_pool_header x-colour", "poolwatch_release_header x-old"];
        let (settings, watched) = judge(&http, &two(), &own).0.unwrap();
        assert_eq!(watched.rules.cooldown, Millis(1000));
        assert_eq!((settings.pool_header.as_str(), settings.release_header.as_str()), ("x-colour", "x-version"));
    }

    #[test]
    fn what_cannot_be_is_an_error_at_its_line() {
        let error = |http: &[&str], blocks: &[UpstreamBlock], own: &[&[&str]]| {
            judge(http, blocks, own).0.err().unwrap_or_default()
        };
        assert_eq!(
            error(&[], &two(), &[&[], &["poolwatch off"]]),
            "upstream \"green_servers\" with \"poolwatch off\" in \"poolwatch_service\" \"shop\" in nginx.conf:7"
        );
        assert_eq!(error(&["poolwatch off"], &two(), &[&["poolwatch on"]]), "");
        assert_eq!(
            error(&[], &two(), &[&[], &["poolwatch_pool blue 10.0.0.1"]]),
            "unknown server \"10.0.0.1\" in \"poolwatch_pool\" in nginx.conf:1"
        );
        let pools: &[&str] = &["poolwatch_pool blue 10.0.0.1"];
        assert_eq!(error(&["poolwatch_active green_servers"], &two(), &[pools]), "", "it is the other block's pool");
        assert_eq!(
            error(&["poolwatch_active green"], &two(), &[pools]),
            "unknown pool \"green\" of upstream \"shop\" in \"poolwatch_active\" in nginx.conf:1"
        );
        let many: Vec<_> = (0..4)
            .map(|block| {
                self::block(
                    &format!("b{block}"),
                    &[(&format!("10.0.{block}.1:80"), PRIMARY), (&format!("10.0.{block}.2:80"), BACKUP)],
                )
            })
            .collect();
        assert_eq!(error(&[], &many, &[]), "");
        let said = "too many pools of service \"shop\", at most 8 are possible in nginx.conf:7";
        assert_eq!(error(&["poolwatch_active blue"], &many, &[]), said);
        let long = [block(&"x".repeat(65), &[])];
        assert!(error(&[], &long, &[]).ends_with("xxx\" is too long to be watched in nginx.conf:7"));
    }

    #[test]
    fn what_looks_like_an_oversight_is_a_warning() {
        let same = [
            block("a", &[("10.0.0.1:80", PRIMARY), ("10.0.0.3:80", PRIMARY)]),
            block("b", &[("10.0.0.1:80", PRIMARY)]),
        ];
        let own: [&[&str]; 2] = [&["poolwatch_pool blue 10.0.0.1"], &["poolwatch_pool green 10.0.0.1"]];
        let (judged, warnings) = judge(&[], &same, &own);
        assert_eq!(judged.unwrap().1.peers.len(), 2);
        assert_eq!(
            warnings,
            [
                "server \"10.0.0.3:80\" of upstream \"a\" is in no \"poolwatch_pool\" in nginx.conf:100",
                "pools of service \"shop\" share the address \"10.0.0.1:80\" in nginx.conf:100"
            ]
        );
    }
}
