//! Makes a [`WatchedUpstream`] of the settings in effect and the servers of an upstream block.
//!
//! This is done when nginx has read the whole configuration: before, servers and lines of `http` may still follow.

use crate::config::rules::Rules;
use crate::config::upstream::{ConfiguredPeer, WatchedUpstream};
use crate::directives::block::Settings;
use crate::directives::mistake::shown;
use crate::directives::place::Remark;
use crate::directives::upstream::UpstreamBlock;
use crate::directives::{active, pool};
use crate::pools::directory::Directory;
use crate::text::{Name, Text};

/// Addresses that a warning names.
const NAMED: usize = 3;

/// The upstream to be watched. `warn` gets what looks like an oversight.
///
/// # Errors
/// A line names a server or a pool that the block does not have, a server is in two pools, or the block's name is
/// longer than a [`Name`].
pub fn judge(
    settings: &Settings,
    upstream: &UpstreamBlock,
    warn: &mut impl FnMut(Remark),
) -> Result<WatchedUpstream, Remark> {
    let name: Name = Text::new(&upstream.name);
    if name.as_bytes() != upstream.name {
        let text = format!("name of upstream \"{}\" is too long to be watched", shown(&upstream.name));
        return Err(upstream.place.remark(text));
    }
    let pool_of = pool::pools_of(&upstream.servers, &settings.pools)?;
    let pools: Vec<Name> = settings.pools.iter().map(|pool| pool.value.name).collect();
    active::check_pool(settings, &pools, &upstream.name)?;
    let peers = peers(upstream, &pool_of, &mut |text| warn(upstream.place.remark(text)));
    active::remark_on_reserve(settings, &upstream.name, &peers).into_iter().for_each(&mut *warn);
    let fail_timeout = upstream.servers.iter().map(|server| server.fail_timeout).max().unwrap_or_default();
    let rules = Rules { fail_timeout, ..settings.rules };
    let watched = WatchedUpstream { name, rules, pools, peers, ..WatchedUpstream::default() };
    if let Some(text) = remark_on_room(&watched) {
        warn(upstream.place.remark(text));
    }
    Ok(watched)
}

/// A warning that names the first addresses for which a directory has no room; `None`: it has room for all.
pub(super) fn remark_on_room(watched: &WatchedUpstream) -> Option<String> {
    let mut directory = Directory::default();
    directory.adopt(watched);
    let addresses = watched.peers.iter().map(|peer| &peer.address);
    let left: Vec<String> =
        addresses.filter(|address| directory.index_of(address).is_none()).map(|address| shown(address)).collect();
    let first: Vec<String> = left.iter().take(NAMED).map(|address| format!("\"{address}\"")).collect();
    let more = if left.len() > NAMED { ", ..." } else { "" };
    let (count, all, name) = (left.len(), watched.peers.len(), shown(watched.name.as_bytes()));
    let room = format!("no room for {count} of the {all} addresses of upstream \"{name}\"");
    (count > 0).then(|| format!("{room}, attempts at them count for no pool: {}{more}", first.join(", ")))
}

/// One peer for each address, in nginx's order. `pool_of`: for each server the index of its pool.
fn peers(upstream: &UpstreamBlock, pool_of: &[Option<usize>], warn: &mut impl FnMut(String)) -> Vec<ConfiguredPeer> {
    let name = shown(&upstream.name);
    let has_pools = pool_of.iter().any(Option::is_some);
    let mut peers: Vec<ConfiguredPeer> = Vec::new();
    for (server, &pool) in upstream.servers.iter().zip(pool_of) {
        if pool.is_none() && has_pools {
            let server = shown(&server.name);
            warn(format!("server \"{server}\" of upstream \"{name}\" is in no \"poolwatch_pool\""));
        }
        // A server that nginx resolves at run time has no address yet, but a pool and a role.
        let written = server.addresses.is_empty().then(|| server.name.clone());
        for address in server.addresses.iter().chain(&written) {
            let Some(known) = peers.iter_mut().find(|peer| peer.address == *address) else {
                let (role, is_down, is_name) = (server.role, server.is_down, written.is_some());
                let address = address.clone();
                peers.push(ConfiguredPeer { address, role, is_down, pool, is_name, ..ConfiguredPeer::default() });
                continue;
            };
            known.is_down &= server.is_down;
            if known.pool != pool {
                let address = shown(address);
                warn(format!("pools of upstream \"{name}\" share the address \"{address}\""));
            }
        }
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::upstream::Role;
    use crate::directives::block::Block;
    use crate::directives::in_effect;
    use crate::directives::testing::{lines as block, place};
    use crate::directives::upstream::Server;
    use crate::units::Millis;

    fn server(name: &str, address: &str, role: Role) -> Server {
        let (name, addresses) = (name.as_bytes().to_vec(), vec![address.as_bytes().to_vec()]);
        Server { name, addresses, role, is_down: false, fail_timeout: Millis::from_secs(5) }
    }

    fn app() -> UpstreamBlock {
        let servers = vec![
            server("app_blue", "10.0.0.1:80", Role::Primary),
            server("app_green:3000", "10.0.0.2:3000", Role::Backup),
        ];
        UpstreamBlock { name: b"app".to_vec(), place: place(100), servers }
    }

    fn judge(own: &[&str], http: &[&str], upstream: &UpstreamBlock) -> (Result<WatchedUpstream, String>, Vec<String>) {
        let mut warnings = Vec::new();
        let settings = in_effect(&block(own), &block(http));
        let judged = super::judge(&settings, upstream, &mut |warning| warnings.push(warning.to_string()));
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
        let rules = in_effect(&own, &http).rules;
        assert_eq!((rules.cooldown, rules.failover, rules.error_rate), (Millis(1000), None, None));
        assert_eq!(rules.active, Name::new(b"blue"));
        assert_eq!(rules.silenced, Rules::default().silenced);
    }

    #[test]
    fn a_block_can_leave_what_http_joined() {
        let (on, off, unsaid) = (block(&["poolwatch on"]), block(&["poolwatch off"]), Block::default());
        let watched = |own, http| in_effect(own, http).watched;
        assert_eq!(watched(&unsaid, &on), Some(place(1)));
        assert_eq!(watched(&on, &off), Some(place(1)));
        assert_eq!(watched(&off, &on), None);
        assert_eq!(watched(&unsaid, &unsaid), None);
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
        assert!(peers.iter().all(|peer| peer.is_name && peer.server.is_none()));
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
        many.servers[0].addresses = (0..260).map(|host| format!("10.1.{host}.1:80").into_bytes()).collect();
        assert_eq!(
            judge(&[], &[], &many).1,
            ["no room for 5 of the 261 addresses of upstream \"app\", attempts at them count for no pool: \
              \"10.1.256.1:80\", \"10.1.257.1:80\", \"10.1.258.1:80\", ... in nginx.conf:100"]
        );
        let long = |host: usize| format!("unix:/{host:0>106}").into_bytes();
        many.servers[0].addresses = (0..73).map(long).collect();
        assert_eq!(judge(&[], &[], &many).1, [""; 0]);
        many.servers[0].addresses = (0..74).map(long).collect();
        assert!(judge(&[], &[], &many).1[0].starts_with("no room for 1 of the 75 addresses of upstream \"app\""));
    }

    #[test]
    fn the_longest_fail_timeout_is_in_effect() {
        let mut upstream = app();
        upstream.servers[1].fail_timeout = Millis::from_secs(7);
        assert_eq!(judge(&[], &[], &upstream).0.unwrap().rules.fail_timeout, Millis::from_secs(7));
    }

    #[test]
    fn a_pool_whose_address_another_pool_has_is_not_said_to_be_in_reserve() {
        let mut shared = app();
        shared.servers[1].addresses = shared.servers[0].addresses.clone();
        let lines = ["poolwatch_pool a app_blue", "poolwatch_pool b app_green:3000", "poolwatch_active b"];
        let warnings = judge(&lines, &[], &shared).1;
        assert_eq!(warnings, ["pools of upstream \"app\" share the address \"10.0.0.1:80\" in nginx.conf:100"]);
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

    #[test]
    fn a_server_is_down_if_each_line_with_its_address_says_so() {
        let are_down = |lines: &[bool]| {
            let mut upstream = app();
            upstream.servers = lines
                .iter()
                .map(|&is_down| Server { is_down, ..server("app_blue", "10.0.0.1:80", Role::Primary) })
                .collect();
            judge(&[], &[], &upstream).0.unwrap().peers[0].is_down
        };
        assert_eq!(
            [&[true][..], &[true, true], &[true, false], &[false, true]].map(are_down),
            [true, true, false, false]
        );
    }
}
