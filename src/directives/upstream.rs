//! From what was said to what is watched: an upstream block's lines and servers become one [`Watched`].
//!
//! nginx merges nothing into `upstream` blocks, so inheritance is done here, at the end of the configuration: the block's own
//! word, else the `http` block's, else the default. Only then are all servers known, too, so names are checked here.

use crate::config::rules::Rules;
use crate::config::upstream::{ConfiguredPeer, Role, Watched};
use crate::directives::block::Block;
use crate::directives::mistake::shown;
use crate::directives::place::{Place, Placed, Remark};
use crate::pools::directory::MAX_PEERS;
use crate::text::{Name, Text};
use crate::units::Millis;

/// nginx's default for the port of a `server`.
const DEFAULT_PORT: &str = ":80";

const POOL_HEADER: &str = "x-app-pool";
const RELEASE_HEADER: &str = "x-release-id";

/// An `upstream` block, as nginx read it.
#[derive(Clone, Debug, Default)]
pub struct UpstreamBlock {
    /// Its name.
    pub name: Vec<u8>,
    /// Where it begins.
    pub place: Place,
    /// Its servers in their order.
    pub servers: Vec<Server>,
}

/// A `server` of an upstream block.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// As written.
    pub name: Vec<u8>,
    /// As nginx prints them in `$upstream_addr`.
    pub addresses: Vec<Vec<u8>>,
    /// `backup`
    pub role: Role,
    /// `fail_timeout=`
    pub fail_timeout: Millis,
}

/// The rules in effect for an upstream block. `fail_timeout` is not known from lines.
pub fn effective(own: &Block, http: &Block) -> Rules {
    let default = Rules::default();
    let active = own.active.as_ref().or(http.active.as_ref());
    Rules {
        failover: own.failover.or(http.failover).unwrap_or(default.failover),
        error_rate: own.error_rate.or(http.error_rate).unwrap_or(default.error_rate),
        active: active.map_or(default.active, |active| active.value),
        fail_timeout: default.fail_timeout,
        cooldown: own.cooldown.or(http.cooldown).unwrap_or(default.cooldown),
        silenced: own.silenced.or(http.silenced).unwrap_or(default.silenced),
        runbook: own.runbook.or(http.runbook).unwrap_or(default.runbook),
    }
}

impl Block {
    /// Where `poolwatch on` stands that is in effect for this block; `None`: it is not watched.
    pub fn is_watched<'a>(&'a self, http: &'a Self) -> Option<&'a Place> {
        let watch = self.watch.as_ref().or(http.watch.as_ref())?;
        watch.value.then_some(&watch.place)
    }

    /// The response headers that name the pool and the release, in lower case.
    pub fn headers<'a>(&'a self, http: &'a Self) -> (&'a str, &'a str) {
        let pool = self.pool_header.as_ref().or(http.pool_header.as_ref());
        let release = self.release_header.as_ref().or(http.release_header.as_ref());
        (pool.map_or(POOL_HEADER, String::as_str), release.map_or(RELEASE_HEADER, String::as_str))
    }

    /// Puts this block's lines and its upstream's servers together. Warnings go to `warn`.
    ///
    /// # Errors
    /// A line names what does not exist, or contradicts another.
    pub fn judge(
        &self,
        http: &Self,
        upstream: &UpstreamBlock,
        warn: &mut impl FnMut(Remark),
    ) -> Result<Watched, Remark> {
        let name: Name = Text::new(&upstream.name);
        if name.as_bytes() != upstream.name {
            let text = format!("name of upstream \"{}\" is too long to be watched", shown(&upstream.name));
            return Err(upstream.place.remark(text));
        }
        let members = self.members(&upstream.servers)?;
        let pools: Vec<Name> = self.pools.iter().map(|line| line.value.name).collect();
        let active = self.active.as_ref().or(http.active.as_ref());
        let unknown = active.filter(|active| !pools.is_empty() && !pools.contains(&active.value));
        if let Some(Placed { value: active, place }) = unknown {
            let (pool, upstream) = (shown(active.as_bytes()), shown(&upstream.name));
            let text = format!("unknown pool \"{pool}\" of upstream \"{upstream}\" in \"poolwatch_active\"");
            return Err(place.remark(text));
        }
        let peers = peers(upstream, &members, &mut |text| warn(upstream.place.remark(text)));
        if let Some(Placed { value: active, place }) = active {
            let mut roles = peers.iter().filter(|peer| peer.pool.and_then(|pool| pools.get(pool)) == Some(active));
            let is_reserve = roles.clone().next().is_some() && roles.all(|peer| peer.role == Role::Backup);
            if is_reserve {
                let (pool, upstream) = (shown(active.as_bytes()), shown(&upstream.name));
                let text = format!(
                    "pool \"{pool}\" in \"poolwatch_active\" has only backup servers in upstream \"{upstream}\""
                );
                warn(place.remark(text));
            }
        }
        let fail_timeout = upstream.servers.iter().map(|server| server.fail_timeout).max().unwrap_or_default();
        Ok(Watched { name, rules: Rules { fail_timeout, ..effective(self, http) }, pools, peers })
    }

    /// For each server the pool that a `poolwatch_pool` puts it into.
    fn members(&self, servers: &[Server]) -> Result<Vec<Option<usize>>, Remark> {
        let mut members = vec![None; servers.len()];
        for (pool, Placed { value: line, place }) in self.pools.iter().enumerate() {
            for wanted in &line.servers {
                let found = servers_named(wanted, servers);
                if found.is_empty() {
                    return Err(place.remark(format!("unknown server \"{wanted}\" in \"poolwatch_pool\"")));
                }
                for index in found {
                    if members[index].replace(pool).is_some() {
                        return Err(place.remark(format!("duplicate server \"{wanted}\" in \"poolwatch_pool\"")));
                    }
                }
            }
        }
        Ok(members)
    }
}

/// One peer for each address, in nginx's order. `members`: each server's pool.
fn peers(upstream: &UpstreamBlock, members: &[Option<usize>], warn: &mut impl FnMut(String)) -> Vec<ConfiguredPeer> {
    let name = shown(&upstream.name);
    let has_pools = members.iter().any(Option::is_some);
    let mut peers: Vec<ConfiguredPeer> = Vec::new();
    for (server, &pool) in upstream.servers.iter().zip(members) {
        if pool.is_none() && has_pools {
            let server = shown(&server.name);
            warn(format!("server \"{server}\" of upstream \"{name}\" is in no \"poolwatch_pool\""));
        }
        // What is resolved at run time has no address yet, but a pool and a role.
        let written = server.addresses.is_empty().then(|| server.name.clone());
        for address in server.addresses.iter().chain(&written) {
            match peers.iter().find(|peer| peer.address == *address) {
                None => peers.push(ConfiguredPeer { address: address.clone(), role: server.role, pool }),
                Some(twin) if twin.pool == pool => {}
                Some(_) => {
                    let address = shown(address);
                    warn(format!("pools of upstream \"{name}\" share the address \"{address}\""));
                }
            }
        }
    }
    if peers.len() > MAX_PEERS {
        let count = peers.len();
        warn(format!("upstream \"{name}\" has {count} peers, the pools of only {MAX_PEERS} are remembered"));
    }
    peers
}

/// The servers that are written like this; if none is, those that have this address. By index.
fn servers_named(wanted: &str, servers: &[Server]) -> Vec<usize> {
    let wanted = with_port(wanted);
    let all = |is_it: &dyn Fn(&Server) -> bool| (0..servers.len()).filter(|&index| is_it(&servers[index])).collect();
    let by_text: Vec<usize> = all(&|server| with_port(&shown(&server.name)) == wanted);
    if by_text.is_empty() {
        all(&|server| server.addresses.iter().any(|address| *address == wanted.as_bytes()))
    } else {
        by_text
    }
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
    use crate::directives::DIRECTIVES;
    use crate::directives::directive::Read;
    use crate::directives::place::DirectiveLine;

    /// A block of these lines, each with its number as its place.
    fn block(lines: &[&str]) -> Block {
        let mut block = Block::default();
        for (index, line) in lines.iter().enumerate() {
            let (name, args) = line.split_once(' ').unwrap();
            let directive = DIRECTIVES.iter().find(|directive| directive.name() == name).unwrap();
            let Read::Block(read) = directive.read else { panic!("{name} belongs to http") };
            let args: Vec<&[u8]> = args.split(' ').map(str::as_bytes).collect();
            read(&mut block, &DirectiveLine { args: &args, place: &place(index + 1) }).unwrap();
        }
        block
    }

    fn place(line: usize) -> Place {
        Place { file: "nginx.conf".to_owned(), line }
    }

    fn server(name: &str, address: &str, role: Role) -> Server {
        let (name, addresses) = (name.as_bytes().to_vec(), vec![address.as_bytes().to_vec()]);
        Server { name, addresses, role, fail_timeout: Millis::from_secs(5) }
    }

    fn app() -> UpstreamBlock {
        let servers = vec![
            server("app_blue", "10.0.0.1:80", Role::Primary),
            server("app_green:3000", "10.0.0.2:3000", Role::Backup),
        ];
        UpstreamBlock { name: b"app".to_vec(), place: place(100), servers }
    }

    fn judge(own: &[&str], http: &[&str], upstream: &UpstreamBlock) -> (Result<Watched, String>, Vec<String>) {
        let mut warnings = Vec::new();
        let judged = block(own).judge(&block(http), upstream, &mut |warning| warnings.push(warning.to_string()));
        (judged.map_err(|error| error.to_string()), warnings)
    }

    fn error(own: &[&str], http: &[&str]) -> String {
        judge(own, http, &app()).0.err().unwrap_or_default()
    }

    #[test]
    fn a_block_of_its_own_word_overrules_http_and_default() {
        let own = block(&["poolwatch_cooldown 1s", "poolwatch_failover off"]);
        let http = block(&[
            "poolwatch_cooldown 2s",
            "poolwatch_error_rate off",
            "poolwatch_failover on",
            "poolwatch_active blue",
        ]);
        let rules = effective(&own, &http);
        assert_eq!((rules.cooldown, rules.failover, rules.error_rate), (Millis(1000), None, None));
        assert_eq!(rules.active, Name::new(b"blue"));
        assert_eq!(rules.silenced, Rules::default().silenced);
    }

    #[test]
    fn a_block_can_leave_what_http_joined() {
        let (on, off, unsaid) = (block(&["poolwatch on"]), block(&["poolwatch off"]), Block::default());
        assert_eq!(unsaid.is_watched(&on), Some(&place(1)));
        assert_eq!(on.is_watched(&off), Some(&place(1)));
        assert_eq!(off.is_watched(&on), None);
        assert_eq!(unsaid.is_watched(&unsaid), None);
    }

    #[test]
    fn an_expected_pool_that_nginx_keeps_in_reserve_earns_a_warning() {
        let pools = ["poolwatch_pool blue app_blue", "poolwatch_pool green app_green:3000"];
        let warnings = |active| judge(&[pools[0], pools[1], active], &[], &app()).1;
        assert_eq!(warnings("poolwatch_active blue"), [""; 0]);
        let said = "pool \"green\" in \"poolwatch_active\" has only backup servers in upstream \"app\" in nginx.conf:3";
        assert_eq!(warnings("poolwatch_active green"), [said]);
    }

    #[test]
    fn a_server_that_is_resolved_at_run_time_has_a_pool_and_a_role_before_it_has_an_address() {
        let mut upstream = app();
        upstream.servers.iter_mut().for_each(|server| server.addresses.clear());
        let (judged, warnings) = judge(&["poolwatch_pool green app_green:3000"], &[], &upstream);
        let peers = judged.unwrap().peers;
        let roles: Vec<_> = peers.iter().map(|peer| (peer.address.as_slice(), peer.role, peer.pool)).collect();
        let green = (&b"app_green:3000"[..], Role::Backup, Some(0));
        assert_eq!(roles, [(&b"app_blue"[..], Role::Primary, None), green]);
        assert_eq!(warnings.len(), 1, "app_blue is in no pool");
    }

    #[test]
    fn servers_are_found_by_text_with_and_without_port_80_and_by_address() {
        for (blue, green) in
            [("app_blue", "app_green:3000"), ("app_blue:80", "10.0.0.2:3000"), ("10.0.0.1", "app_green:3000")]
        {
            let lines = [format!("poolwatch_pool blue {blue}"), format!("poolwatch_pool green {green}")];
            let (judged, warnings) = judge(&[&lines[0], &lines[1]], &[], &app());
            let watched = judged.unwrap();
            assert_eq!(watched.pools, [Name::new(b"blue"), Name::new(b"green")]);
            let pools: Vec<_> = watched.peers.iter().map(|peer| peer.pool).collect();
            assert_eq!(pools, [Some(0), Some(1)], "{lines:?}");
            assert_eq!(watched.rules.fail_timeout, Millis::from_secs(5));
            assert_eq!(warnings, [""; 0]);
        }
    }

    #[test]
    fn sockets_and_ipv6_addresses_keep_their_colons() {
        assert_eq!(with_port("unix:/run/app.sock"), "unix:/run/app.sock");
        assert_eq!(with_port("[::1]"), "[::1]:80");
        assert_eq!(with_port("[::1]:81"), "[::1]:81");
    }

    #[test]
    fn what_is_not_there_is_an_error_at_its_line() {
        let unknown = "unknown server \"app_blau\" in \"poolwatch_pool\" in nginx.conf:2";
        assert_eq!(error(&["poolwatch on", "poolwatch_pool blue app_blau"], &[]), unknown);
        assert_eq!(
            error(&["poolwatch_pool blue app_blue", "poolwatch_pool green app_green:3000 app_blue:80"], &[]),
            "duplicate server \"app_blue:80\" in \"poolwatch_pool\" in nginx.conf:2"
        );
        assert_eq!(
            error(&["poolwatch_pool blue app_blue"], &["poolwatch on", "poolwatch_active purple"]),
            "unknown pool \"purple\" of upstream \"app\" in \"poolwatch_active\" in nginx.conf:2"
        );
        assert_eq!(error(&["poolwatch_active purple"], &[]), "", "a header may name it");
        let long = UpstreamBlock { name: vec![b'x'; 65], ..app() };
        let said = judge(&[], &[], &long).0.unwrap_err();
        assert!(said.ends_with("xxx\" is too long to be watched in nginx.conf:100"), "{said}");
    }

    #[test]
    fn what_looks_like_an_oversight_is_a_warning() {
        let (judged, warnings) = judge(&["poolwatch_pool blue app_blue"], &[], &app());
        assert!(judged.is_ok());
        assert_eq!(
            warnings,
            ["server \"app_green:3000\" of upstream \"app\" is in no \"poolwatch_pool\" in nginx.conf:100"]
        );
        let mut shared = app();
        shared.servers[1].addresses = shared.servers[0].addresses.clone();
        let (judged, warnings) = judge(&["poolwatch_pool a app_blue", "poolwatch_pool b app_green:3000"], &[], &shared);
        assert_eq!(judged.unwrap().peers.len(), 1);
        assert_eq!(warnings, ["pools of upstream \"app\" share the address \"10.0.0.1:80\" in nginx.conf:100"]);
        let mut many = app();
        many.servers[0].addresses = (0..64).map(|host| format!("10.1.0.{host}:80").into_bytes()).collect();
        assert_eq!(
            judge(&[], &[], &many).1,
            ["upstream \"app\" has 65 peers, the pools of only 64 are remembered in nginx.conf:100"]
        );
    }

    #[test]
    fn a_server_written_twice_is_one_peer() {
        let mut twice = app();
        twice.servers.push(server("app_blue", "10.0.0.1:80", Role::Primary));
        let (judged, warnings) =
            judge(&["poolwatch_pool blue app_blue", "poolwatch_pool green app_green:3000"], &[], &twice);
        assert_eq!(judged.unwrap().peers.len(), 2);
        assert_eq!(warnings, [""; 0]);
    }
}
