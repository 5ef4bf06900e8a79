//! Which pool a peer is in, and what headers, roles and reloads make of that.

use proptest::prelude::*;

use super::*;
use crate::config::upstream::ConfiguredPeer;
use crate::observation::{Names, Resolved, Verdict};
use crate::pools::peers::MAX_PEERS;

const BLUE: &str = "127.0.0.1:3001";
const GREEN: &str = "127.0.0.1:3002";

const FIRST: PoolId = PoolId::FIRST;
const SECOND: PoolId = PoolId::new(1).expect("a pool");
const THIRD: PoolId = PoolId::new(2).expect("a pool");

fn watched(peers: &[(&str, Role, Option<usize>)], pools: &[&str]) -> WatchedUpstream {
    let peer = |&(address, role, pool): &(&str, Role, Option<usize>)| ConfiguredPeer {
        address: address.into(),
        role,
        pool,
        ..ConfiguredPeer::default()
    };
    WatchedUpstream {
        name: Name::new(b"app"),
        rules: Rules::default(),
        pools: pools.iter().map(|name| Name::new(name.as_bytes())).collect(),
        peers: peers.iter().map(peer).collect(),
        ..WatchedUpstream::default()
    }
}

fn blue_green() -> WatchedUpstream {
    watched(&[(BLUE, Role::Primary, None), (GREEN, Role::Backup, None)], &[])
}

/// The peer's good answer with this pool header.
fn answer(peer: u16, header: &[u8]) -> Observation {
    let names = Names { pool: Name::new(header), ..Names::default() };
    let mut seen = Observation { names: Some(names.into()), ..Observation::default() };
    seen.push(Attempt { peer, verdict: Verdict::Ok, ..Attempt::default() });
    seen
}

fn adopted(watched: &WatchedUpstream) -> Directory {
    let mut directory = Directory::default();
    directory.adopt(watched);
    directory
}

fn see(directory: &mut Directory, watched: &WatchedUpstream, seen: &Observation) -> String {
    if directory.is_news(watched, seen) {
        directory.learn(watched, seen);
    }
    assert!(!directory.is_news(watched, seen), "what was learned is no news any more");
    let pool = directory.answered_by(watched, seen);
    pool.map_or_else(String::new, |pool| String::from_utf8_lossy(directory.name(pool)).into_owned())
}

#[test]
fn pools_are_named_by_role_until_a_header_names_them() {
    let watched = blue_green();
    let mut directory = adopted(&watched);
    assert_eq!(see(&mut directory, &watched, &answer(0, b"")), "primary");
    assert_eq!(see(&mut directory, &watched, &answer(0, b"blue")), "blue");
    assert_eq!(see(&mut directory, &watched, &answer(1, b"")), "backup");
    assert_eq!(see(&mut directory, &watched, &answer(1, b"green")), "green");
    assert_eq!(see(&mut directory, &watched, &answer(0, b"")), "blue", "an answer without the header");
}

#[test]
fn a_header_takes_the_name_of_a_role_from_the_pool_that_has_it() {
    let both = blue_green();
    let mut directory = adopted(&both);
    assert_eq!(see(&mut directory, &both, &answer(0, b"backup")), "backup");
    assert_eq!([directory.name(FIRST), directory.name(SECOND)], [b"backup".as_slice(), b"backup 2"]);
    assert_eq!(see(&mut directory, &both, &answer(1, b"backup 2")), "backup 2");
    assert_eq!(see(&mut directory, &both, &answer(1, b"primary")), "primary");
    assert_eq!(directory.name(FIRST), b"backup");

    // A server that joins as `backup` does not join the primary whose header names it `backup`.
    let alone = watched(&[(BLUE, Role::Primary, None)], &[]);
    let mut directory = adopted(&alone);
    see(&mut directory, &alone, &answer(0, b"backup"));
    directory.adopt(&both);
    assert_eq!([directory.pool_at(0), directory.pool_at(1)], [Some(FIRST), Some(SECOND)]);
    assert_eq!(directory.name(SECOND), b"backup 2");
}

#[test]
fn a_header_names_no_pool_where_the_configuration_does() {
    let watched = watched(&[(BLUE, Role::Primary, Some(0)), (GREEN, Role::Backup, Some(1))], &["one", "two"]);
    let mut directory = adopted(&watched);
    assert_eq!(see(&mut directory, &watched, &answer(0, b"two")), "one");
    assert_eq!(see(&mut directory, &watched, &answer(1, b"red")), "two");
}

#[test]
fn a_planned_switch_of_the_roles_keeps_the_peers_in_their_pools() {
    for green_is_known in [false, true] {
        let before = blue_green();
        let mut directory = adopted(&before);
        see(&mut directory, &before, &answer(0, b"blue"));
        if green_is_known {
            see(&mut directory, &before, &answer(1, b"green"));
        }
        let expected_before = directory.expected(&before.rules);
        let after = watched(&[(GREEN, Role::Primary, None), (BLUE, Role::Backup, None)], &[]);
        directory.adopt(&after);
        assert_ne!(directory.expected(&after.rules), expected_before);
        assert_eq!(see(&mut directory, &after, &answer(0, b"green")), "green");
        assert_eq!(see(&mut directory, &after, &answer(1, b"blue")), "blue");
    }
}

#[test]
fn a_new_peer_is_taken_for_one_like_those_of_its_role() {
    let before = blue_green();
    let mut directory = adopted(&before);
    see(&mut directory, &before, &answer(0, b"blue"));
    let after = watched(&[("127.0.0.1:3003", Role::Primary, None), (BLUE, Role::Primary, None)], &[]);
    directory.adopt(&after);
    assert_eq!(see(&mut directory, &after, &answer(0, b"")), "blue");
}

#[test]
fn primaries_of_two_pools_are_expected_together() {
    let watched = watched(&[(BLUE, Role::Primary, None), (GREEN, Role::Primary, None)], &[]);
    let mut directory = adopted(&watched);
    see(&mut directory, &watched, &answer(0, b"blue"));
    assert!(matches!(directory.expected(&watched.rules), Expected::Pool(_)));
    see(&mut directory, &watched, &answer(1, b"green"));
    let expected = directory.expected(&watched.rules);
    assert_eq!(expected, Expected::Several([FIRST, SECOND].into_iter().collect()));
    assert_eq!([FIRST, SECOND, THIRD].map(|pool| expected.stand_in(pool)), [FIRST, FIRST, THIRD]);
}

#[test]
fn servers_resolved_at_run_time_are_distinguished_by_headers() {
    let stranger = |header: &[u8]| answer(Attempt::UNKNOWN_PEER, header);
    let peers =
        |pools: [Option<usize>; 2]| [("blue:80", Role::Primary, pools[0]), ("green:80", Role::Backup, pools[1])];
    let named = watched(&peers([Some(0), Some(1)]), &["one", "two"]);
    let mut directory = adopted(&named);
    assert_eq!(see(&mut directory, &named, &stranger(b"two")), "two");
    assert_eq!(see(&mut directory, &named, &stranger(b"three")), "", "a header names no pool here");
    assert_eq!(directory.expected(&named.rules), Expected::Pool(FIRST));

    let unnamed = watched(&peers([None, None]), &[]);
    let mut directory = adopted(&unnamed);
    assert_eq!(see(&mut directory, &unnamed, &stranger(b"")), "", "nobody knows which of the two");
    assert_eq!(see(&mut directory, &unnamed, &stranger(b"blue")), "blue");
    assert_eq!(see(&mut directory, &unnamed, &stranger(b"green")), "green");
    assert_eq!(directory.expected(&unnamed.rules), Expected::Pool(FIRST));
    assert_eq!((directory.name(FIRST), directory.name(SECOND)), (&b"blue"[..], &b"green"[..]));
}

#[test]
fn an_unknown_address_belongs_to_the_only_pool() {
    let watched = watched(&[("app:80", Role::Primary, None)], &[]);
    let mut directory = adopted(&watched);
    assert_eq!(see(&mut directory, &watched, &answer(Attempt::UNKNOWN_PEER, b"")), "primary");
}

#[test]
fn a_pool_is_unusable_when_every_peer_of_it_is() {
    let watched = watched(
        &[(BLUE, Role::Primary, Some(0)), ("[::1]:1", Role::Primary, Some(0)), (GREEN, Role::Backup, Some(1))],
        &["b", "g"],
    );
    let directory = adopted(&watched);
    let unusable =
        |peers: &[usize]| directory.unusable(&watched, peers.iter().copied().collect()).iter().collect::<Vec<_>>();
    assert_eq!(unusable(&[]), []);
    assert_eq!(unusable(&[0]), []);
    assert_eq!(unusable(&[0, 1]), [FIRST]);
    assert_eq!(unusable(&[0, 1, 2]), [FIRST, SECOND]);
}

#[test]
fn headers_that_name_ever_new_pools_are_ignored_beyond_the_limit() {
    let watched = blue_green();
    let mut directory = adopted(&watched);
    for round in 0..100 {
        let seen = answer(0, format!("pool-{round}").as_bytes());
        if directory.is_news(&watched, &seen) {
            directory.learn(&watched, &seen);
        }
        assert!(directory.answered_by(&watched, &seen).is_some());
    }
    assert_eq!(directory.pools().count(), MAX_POOLS);
}

#[test]
fn what_named_a_pool_is_known_after_a_reload() {
    let watched = blue_green();
    let mut directory = adopted(&watched);
    see(&mut directory, &watched, &answer(0, b"blue"));
    directory.adopt(&watched);
    let origins: Vec<_> = directory.peers().map(|peer| directory.origin_of(&peer)).collect();
    assert_eq!(origins, [Origin::Header, Origin::Unknown]);
}

#[test]
fn peers_beyond_the_limit_have_no_pool_and_are_never_known_to_be_unusable() {
    let addresses: Vec<String> = (0..=MAX_PEERS).map(|number| format!("10.0.{number}.1:80")).collect();
    let mut all: Vec<_> = addresses.iter().map(|address| (address.as_str(), Role::Primary, Some(0))).collect();
    let watched = |peers: &[_]| watched(peers, &["one"]);
    let directory = adopted(&watched(&all));
    assert_eq!(directory.peers().count(), MAX_PEERS);
    let attempt = |peer: usize| Attempt { peer: peer as u16, ..Attempt::default() };
    assert_eq!(directory.pool_of(&watched(&all), &attempt(MAX_PEERS - 1)), Some(FIRST));
    assert_eq!(directory.pool_of(&watched(&all), &attempt(MAX_PEERS)), None);
    let every_peer = (0..MAX_PEERS).collect();
    assert_eq!(directory.unusable(&watched(&all), every_peer), [FIRST].into_iter().collect());
    // nginx's word about the server beyond the limit is not passed on, even if another line names its address.
    all[MAX_PEERS].0 = all[0].0;
    assert_eq!(directory.unusable(&watched(&all), every_peer), PoolSet::EMPTY);
    let peer = |address| Peer { address, pool: Some(FIRST), ..Peer::default() };
    let pools = [Pool { name: Name::new(b"one"), ..Pool::default() }];
    let saved = addresses.iter().map(|address| peer(address.as_bytes()));
    assert_eq!(Directory::resume(pools.into_iter(), saved, [].into_iter()).peers().count(), MAX_PEERS);
}

#[test]
fn the_active_pool_of_the_rules_is_expected_instead_of_the_primary_servers() {
    let mut watched = blue_green();
    assert_eq!(adopted(&watched).expected(&watched.rules), Expected::Pool(FIRST));
    watched.rules.active = Name::new(b"green");
    let directory = adopted(&watched);
    let green = directory.find(&watched.rules.active).expect("adopted");
    assert_eq!((directory.expected(&watched.rules), green), (Expected::Pool(green), THIRD));
}

#[test]
fn a_worker_of_another_configuration_finds_the_peer_by_its_address() {
    let directory = adopted(&blue_green());
    let old = watched(&[(GREEN, Role::Primary, None), (BLUE, Role::Backup, None)], &[]);
    let index = |peer| directory.index_of_peer(&old, &Attempt { peer, ..Attempt::default() });
    assert_eq!([0, 1].map(index), [Some(1), Some(0)]);
    assert_eq!(directory.addresses(FIRST).collect::<Vec<_>>(), [BLUE.as_bytes()]);
}

#[test]
fn a_pool_is_named_by_its_role_until_a_header_names_it() {
    let watched = blue_green();
    let mut directory = adopted(&watched);
    assert_eq!([FIRST, SECOND].map(|pool| directory.named_by(pool)), [Origin::Role; 2]);
    see(&mut directory, &watched, &answer(0, b"blue"));
    assert_eq!([FIRST, SECOND].map(|pool| directory.named_by(pool)), [Origin::Header, Origin::Unknown]);
}

#[test]
fn a_name_is_free_under_a_number_even_if_all_pools_have_it() {
    let mut directory = Directory::default();
    directory.admit(&Name::new(b"p"));
    directory.admit(&Name::new(b"p"));
    assert_eq!(directory.pools().count(), 1);
    (2..=MAX_POOLS).for_each(|number| directory.admit(&Name::new(format!("p {number}").as_bytes())));
    assert_eq!(directory.free_name(&Name::new(b"p")), Name::new(b"p 9"));
}

#[test]
fn saved_peers_of_an_unknown_pool_are_left_out() {
    let pools = [Pool { name: Name::new(b"one"), ..Pool::default() }];
    let peers = [FIRST, SECOND, FIRST].map(|pool| Peer { pool: Some(pool), ..Peer::default() });
    let directory = Directory::resume(pools.into_iter(), peers.into_iter(), peers.into_iter());
    assert_eq!((directory.peers().count(), directory.remembered_peers().count()), (2, 2));
}

/// The configured peers' pools by name, and whether each is certain.
fn pools(directory: &Directory) -> Vec<(String, bool)> {
    let name = |peer: Peer<'_>| peer.pool.map_or_else(String::new, |pool| lossy(directory.name(pool)));
    directory.peers().map(|peer| (name(peer), peer.certain)).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn only(address: &str) -> WatchedUpstream {
    watched(&[(address, Role::Primary, None)], &[])
}

const THIRD_ADDRESS: &str = "127.0.0.1:3003";

#[test]
fn an_address_that_left_and_comes_back_is_in_the_pool_that_it_had() {
    let (blue, green) = (only(BLUE), only(GREEN));
    let mut directory = adopted(&blue);
    see(&mut directory, &blue, &answer(0, b"blue"));
    directory.adopt(&green);
    assert_eq!(see(&mut directory, &green, &answer(0, b"green")), "green");
    assert_eq!(directory.addresses(FIRST).collect::<Vec<_>>(), [BLUE.as_bytes()], "nobody forgot where blue was");
    directory.adopt(&blue);
    assert_eq!(pools(&directory), [("blue".to_owned(), true)], "before it has answered again");
    assert_eq!(directory.expected(&blue.rules), Expected::Pool(FIRST));
    let index = directory.index_of_peer(&green, &Attempt::default());
    assert_eq!(index.and_then(|index| directory.pool_at(index)), Some(SECOND), "an old worker still asks green");
}

#[test]
fn an_address_that_poolwatch_pool_named_is_known_without_it() {
    let named = watched(&[(BLUE, Role::Primary, Some(0)), (GREEN, Role::Backup, Some(1))], &["one", "two"]);
    let mut directory = adopted(&named);
    directory.adopt(&only(GREEN));
    assert_eq!(pools(&directory), [("two".to_owned(), true)]);
    // A line of poolwatch_pool counts for more than what was.
    directory.adopt(&watched(&[(GREEN, Role::Primary, Some(0))], &["one"]));
    assert_eq!(pools(&directory), [("one".to_owned(), true)]);
}

#[test]
fn a_server_that_nobody_knows_is_in_no_other_servers_pool() {
    let (blue, third) = (only(BLUE), only(THIRD_ADDRESS));
    let mut directory = adopted(&blue);
    see(&mut directory, &blue, &answer(0, b"blue"));
    directory.adopt(&third);
    let Expected::Pool(unknown) = directory.expected(&third.rules) else { panic!("one pool") };
    assert!(directory.is_unknown(unknown) && unknown != FIRST);
    assert_eq!((directory.named_by(unknown), directory.addresses(unknown).count()), (Origin::Unknown, 1));
    // Another one after it is not the same, and both are forgotten: neither has said what it is.
    directory.adopt(&only("127.0.0.1:3004"));
    assert_ne!(directory.expected(&third.rules), Expected::Pool(unknown));
    assert_eq!(directory.addresses(FIRST).count(), 1);
    directory.adopt(&third);
    assert_eq!(directory.pools().count(), 3, "the names of roles are used again");
    // Its first answer says which pool it is.
    assert_eq!(see(&mut directory, &third, &answer(0, b"blue")), "blue");
    assert_eq!(directory.expected(&third.rules), Expected::Pool(FIRST));
}

#[test]
fn servers_that_nobody_knows_get_the_name_that_the_first_of_them_says() {
    let blue = only(BLUE);
    let two = watched(&[(THIRD_ADDRESS, Role::Primary, None), ("127.0.0.1:3004", Role::Primary, None)], &[]);
    for name in ["blue", "green"] {
        let mut directory = adopted(&blue);
        see(&mut directory, &blue, &answer(0, b"blue"));
        directory.adopt(&two);
        see(&mut directory, &two, &answer(1, name.as_bytes()));
        assert_eq!(pools(&directory), [(name.to_owned(), false), (name.to_owned(), true)]);
    }
}

#[test]
fn without_a_header_the_roles_are_the_pools_and_an_address_keeps_its_own() {
    let mut directory = adopted(&blue_green());
    directory.adopt(&only(GREEN));
    assert_eq!(pools(&directory), [("backup".to_owned(), false)]);
    directory.adopt(&only(BLUE));
    assert_eq!(pools(&directory), [("primary".to_owned(), false)]);
    assert!(!directory.is_unknown(FIRST));
    directory.adopt(&only(THIRD_ADDRESS));
    assert_eq!(pools(&directory), [("primary".to_owned(), false)], "the primary server's");
}

#[test]
fn what_left_first_is_forgotten_first_when_there_is_no_room() {
    let many = |from: usize, count: usize| {
        let addresses: Vec<String> = (from..from + count).map(|number| format!("10.0.{number}.1:80")).collect();
        let peers: Vec<_> = addresses.iter().map(|address| (address.as_str(), Role::Primary, Some(0))).collect();
        watched(&peers, &["one"])
    };
    let mut directory = adopted(&many(0, 100));
    directory.adopt(&many(100, 100));
    directory.adopt(&many(200, 100));
    let is_known = |number: usize| directory.index_of(format!("10.0.{number}.1:80").as_bytes()).is_some();
    let known = [(0, 56), (100, 100), (200, 100)].map(|(from, _)| (from..from + 100).filter(|&n| is_known(n)).count());
    assert_eq!(known, [56, 100, 100]);
    assert_eq!((directory.peers().count(), directory.remembered_peers().count()), (100, MAX_PEERS - 100));
}

/// Blue and green as primary servers, one of which is marked `down`.
fn one_down(address: &str, is_named: bool) -> WatchedUpstream {
    let pool = |index| is_named.then_some(index);
    let names = if is_named { &["blue", "green"][..] } else { &[] };
    let mut watched = watched(&[(BLUE, Role::Primary, pool(0)), (GREEN, Role::Primary, pool(1))], names);
    watched.peers.iter_mut().for_each(|peer| peer.is_down = peer.address == address.as_bytes());
    watched
}

#[test]
fn a_server_that_is_down_is_not_expected_to_serve() {
    for named in [false, true] {
        let (before, after) = (one_down(GREEN, named), one_down(BLUE, named));
        let mut directory = adopted(&before);
        see(&mut directory, &before, &answer(0, b"blue"));
        assert_eq!(directory.expected(&before.rules), Expected::Pool(FIRST));
        directory.adopt(&after);
        assert_eq!(directory.expected(&after.rules), Expected::Pool(SECOND), "a planned switch");
        assert_eq!(see(&mut directory, &after, &answer(1, b"green")), "green");
        assert_eq!(directory.pool_at(0), Some(FIRST));
    }
}

#[test]
fn a_server_that_comes_up_beside_others_is_taken_for_one_of_them() {
    let before = one_down(GREEN, false);
    let mut directory = adopted(&before);
    see(&mut directory, &before, &answer(0, b"blue"));
    let both = one_down("nothing", false);
    directory.adopt(&both);
    assert_eq!(directory.expected(&both.rules), Expected::Pool(FIRST));
    assert_eq!(pools(&directory), [("blue".to_owned(), true), ("blue".to_owned(), false)]);
}

#[test]
fn with_all_primaries_down_the_backups_are_expected_as_nginx_asks_them() {
    let mut watched = blue_green();
    watched.peers[0].is_down = true;
    let expected = |watched: &WatchedUpstream| {
        let directory = adopted(watched);
        lossy(directory.name(directory.expected(&watched.rules).first()))
    };
    assert_eq!(expected(&watched), "backup");
    watched.peers[1].is_down = true;
    assert_eq!(expected(&watched), "standby");
}

#[test]
fn a_server_that_is_down_is_one_that_nginx_refuses_to_ask() {
    let mut watched = watched(
        &[(BLUE, Role::Primary, Some(0)), ("[::1]:1", Role::Primary, Some(0)), (GREEN, Role::Primary, Some(1))],
        &["b", "g"],
    );
    watched.peers[1].is_down = true;
    let directory = adopted(&watched);
    let unusable = |peers: &[usize]| directory.unusable(&watched, peers.iter().copied().collect());
    assert_eq!(unusable(&[2]), [SECOND].into_iter().collect());
    assert_eq!(unusable(&[0]), [FIRST].into_iter().collect());
}

#[test]
fn a_header_that_contradicts_the_configuration_is_reported_once_for_each_direction() {
    let named = watched(
        &[(BLUE, Role::Primary, Some(0)), (GREEN, Role::Backup, Some(1)), (THIRD_ADDRESS, Role::Backup, None)],
        &["blue", "green"],
    );
    let mut directory = adopted(&named);
    let reported = |directory: &mut Directory, peer, header: &[u8]| {
        see(directory, &named, &answer(peer, header));
        if directory.is_contradicted() { directory.contradictions() } else { vec![] }
    };
    let line = [BLUE, "blue", "green"].map(|text| text.as_bytes().to_vec());
    let claimed = |directory: &Directory| directory.peers().next().and_then(|peer| peer.claimed);
    for header in [&b"blue"[..], b"", b"v17"] {
        assert!(reported(&mut directory, 0, header).is_empty(), "no pool of the configuration");
    }
    assert_eq!(reported(&mut directory, 0, b"green"), [line]);
    assert_eq!((claimed(&directory), pools(&directory)[0].clone()), (Some(SECOND), ("blue".to_owned(), true)));
    assert!(reported(&mut directory, 2, b"green").is_empty(), "the configuration puts it into no pool");
    assert!(reported(&mut directory, 0, b"green").is_empty());
    directory.adopt(&named);
    assert_eq!(claimed(&directory), Some(SECOND), "the status still says it");
    reported(&mut directory, 0, b"blue");
    assert_eq!(claimed(&directory), None);
    assert!(reported(&mut directory, 0, b"green").is_empty(), "it was reported before");
    assert_eq!(reported(&mut directory, 1, b"blue").len(), 1, "the other address");
    let turned = watched(&[(BLUE, Role::Primary, Some(1)), (GREEN, Role::Backup, Some(0))], &["blue", "green"]);
    directory.adopt(&turned);
    assert_eq!(claimed(&directory), None, "now it is as the header says");
}

/// Two servers that nginx resolves at run time, and an address of each.
fn resolved(pools: &[&str]) -> WatchedUpstream {
    let pool = |index| (!pools.is_empty()).then_some(index);
    let names = [("blue:80", Role::Primary, pool(0)), ("green:80", Role::Backup, pool(1))];
    let mut watched = watched(&names, pools);
    watched.peers.iter_mut().for_each(|peer| peer.is_name = true);
    for (server, address) in [(0, BLUE), (1, GREEN)] {
        watched.add(&Resolved { peer: 2 + server, server, address: address.as_bytes().into() });
    }
    watched
}

/// What an attempt at this peer teaches about an address, before it is asked for the pool.
fn pool_of(directory: &mut Directory, watched: &WatchedUpstream, peer: u16) -> String {
    let attempt = Attempt { peer, ..Attempt::default() };
    if directory.is_unresolved(watched, &attempt) {
        directory.resolve(watched, &attempt, None);
    }
    assert!(!directory.is_unresolved(watched, &attempt));
    directory.pool_of(watched, &attempt).map_or_else(String::new, |pool| lossy(directory.name(pool)))
}

/// The configuration without what a worker added to it.
fn as_configured(watched: &WatchedUpstream) -> WatchedUpstream {
    let peers = watched.peers.iter().filter(|peer| peer.server.is_none()).cloned().collect();
    WatchedUpstream { peers, ..watched.clone() }
}

#[test]
fn an_address_to_which_nginx_resolved_a_server_is_in_the_servers_pool() {
    for pools in [&["blue", "green"][..], &[]] {
        let watched = resolved(pools);
        let mut directory = adopted(&as_configured(&watched));
        let names = if pools.is_empty() { ["primary", "backup"] } else { ["blue", "green"] };
        assert_eq!([2, 3].map(|peer| pool_of(&mut directory, &watched, peer)), names);
        let peers: Vec<_> = directory.peers().map(|peer| (lossy(peer.address), peer.role)).collect();
        assert_eq!(peers[2..], [(BLUE.to_owned(), Role::Primary), (GREEN.to_owned(), Role::Backup)]);
        assert_eq!(directory.expected(&watched.rules), Expected::Pool(FIRST));
        assert_eq!(directory.addresses(FIRST).collect::<Vec<_>>(), [b"blue:80"], "as the configuration calls it");
        // What is resolved is no server of the configuration, so it is remembered at most.
        directory.adopt(&as_configured(&watched));
        assert_eq!(directory.peers().count(), 2);
        assert_eq!([2, 3].map(|peer| pool_of(&mut directory, &watched, peer)), names);
    }
}

#[test]
fn an_address_that_answered_for_another_pool_keeps_that_until_its_header_says_otherwise() {
    let watched = resolved(&[]);
    let mut directory = adopted(&as_configured(&watched));
    for (peer, name) in [(2, "blue"), (3, "green")] {
        pool_of(&mut directory, &watched, peer);
        assert_eq!(see(&mut directory, &watched, &answer(peer, name.as_bytes())), name);
    }
    // Now the name blue leads to the address that was green's.
    let mut exchanged = as_configured(&watched);
    exchanged.add(&Resolved { peer: 2, server: 0, address: GREEN.as_bytes().into() });
    directory.adopt(&as_configured(&watched));
    assert_eq!(pool_of(&mut directory, &exchanged, 2), "green");
}

#[test]
fn a_resolved_address_takes_the_place_of_one_that_is_not_configured_if_there_is_no_other() {
    let many = |count: usize| -> WatchedUpstream {
        let addresses: Vec<String> = (0..count).map(|number| format!("10.0.{number}.1:80")).collect();
        watched(
            &addresses.iter().map(|address| (address.as_str(), Role::Primary, Some(0))).collect::<Vec<_>>(),
            &["one"],
        )
    };
    let mut directory = adopted(&many(MAX_PEERS));
    let watched = resolved(&["one", "two"]);
    directory.adopt(&as_configured(&watched));
    assert_eq!(directory.remembered_peers().count(), MAX_PEERS - 2);
    let attempt = Attempt { peer: 2, ..Attempt::default() };
    assert_eq!(directory.resolve(&watched, &attempt, None), None, "nothing may go");
    assert!(directory.is_unresolved(&watched, &attempt) && !directory.is_spare(1) && directory.is_spare(7));
    let last = directory.address_at(8).map(<[u8]>::to_vec);
    assert_eq!(directory.resolve(&watched, &attempt, Some(7)), Some(7));
    assert_eq!(directory.index_of(BLUE.as_bytes()), Some(7));
    assert_eq!(directory.address_at(8).map(<[u8]>::to_vec), last, "the others keep their places");
}

#[test]
fn a_server_that_nginx_resolves_is_unusable_when_its_addresses_are() {
    let watched = resolved(&["blue", "green"]);
    let mut directory = adopted(&as_configured(&watched));
    (2..4).for_each(|peer| drop(pool_of(&mut directory, &watched, peer)));
    assert_eq!(directory.unusable(&watched, [2].into_iter().collect()), [FIRST].into_iter().collect());
}

/// What reloads and answers do to an upstream, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// A configuration with these addresses, by number, the last of which is `backup`; with `poolwatch_pool`, or without.
    Reload(Vec<u8>, bool),
    /// An answer of a configured peer, by number, with the header of its own pool.
    Answer(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reload = (proptest::collection::vec(0_u8..4, 1..4), any::<bool>());
    let step = prop_oneof![
        reload.prop_map(|(addresses, is_named)| Step::Reload(addresses, is_named)),
        any::<u8>().prop_map(Step::Answer),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    /// Each address has a pool of its own that its header and `poolwatch_pool` name. Once it was named, it is never
    /// taken for anything else.
    #[test]
    fn an_address_that_was_named_once_is_never_in_another_pool(steps in steps()) {
        let address = |number: u8| format!("10.0.0.{number}:80");
        let colour = |number: u8| format!("pool-{number}");
        let mut now = only(&address(0));
        let mut directory = adopted(&now);
        let mut named = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Reload(numbers, is_named) => {
                    let numbers: std::collections::BTreeSet<u8> = numbers.into_iter().collect();
                    let numbers: Vec<u8> = numbers.into_iter().collect();
                    let (addresses, colours): (Vec<_>, Vec<_>) =
                        numbers.iter().map(|&number| (address(number), colour(number))).unzip();
                    let role = |index| if index + 1 == numbers.len() && index > 0 { Role::Backup } else { Role::Primary };
                    let peers: Vec<_> = (0..numbers.len())
                        .map(|index| (addresses[index].as_str(), role(index), is_named.then_some(index)))
                        .collect();
                    let colours: Vec<_> = colours.iter().map(String::as_str).collect();
                    now = watched(&peers, if is_named { &colours } else { &[] });
                    directory.adopt(&now);
                    if is_named {
                        named.extend(numbers);
                    }
                }
                Step::Answer(which) => {
                    let index = usize::from(which) % now.peers.len();
                    let number = now.peers[index].address[7] - b'0';
                    see(&mut directory, &now, &answer(index as u16, colour(number).as_bytes()));
                    if pools(&directory)[index].1 {
                        named.insert(number);
                    }
                }
            }
            for (peer, (pool, certain)) in directory.peers().zip(pools(&directory)) {
                let number = peer.address[7] - b'0';
                if named.contains(&number) {
                    prop_assert_eq!((pool, certain), (colour(number), true));
                }
            }
            prop_assert_eq!(directory.peers().count(), now.peers.len());
        }
    }
}

/// A service of two blocks, with these addresses in them.
fn service(blue: &[&str], green: &[&str]) -> WatchedUpstream {
    let peers = |addresses: &[&str], name: &'static str| -> Vec<ConfiguredPeer> {
        let peer = |address: &&str| ConfiguredPeer {
            address: address.as_bytes().to_vec(),
            block_pool: Name::new(name.as_bytes()),
            ..ConfiguredPeer::default()
        };
        addresses.iter().map(peer).collect()
    };
    let peers = [peers(blue, "blue_servers"), peers(green, "green_servers")].concat();
    WatchedUpstream { peers, ..WatchedUpstream::default() }
}

#[test]
fn a_pool_of_a_service_has_its_blocks_name_until_a_header_names_it() {
    let watched = service(&["10.0.0.1:80"], &["10.0.0.2:80"]);
    let mut directory = adopted(&watched);
    assert_eq!(pools(&directory), [("blue_servers".to_owned(), false), ("green_servers".to_owned(), false)]);
    assert_eq!(see(&mut directory, &watched, &answer(1, b"green")), "green");
    assert_eq!(pools(&directory), [("blue_servers".to_owned(), false), ("green".to_owned(), true)]);
    assert_eq!(directory.named_by(FIRST), Origin::Role, "and it is known which pool the other one is");
}

#[test]
fn a_server_that_joins_a_block_is_of_the_pool_of_the_servers_beside_it() {
    let before = service(&["10.0.0.1:80"], &["10.0.0.2:80"]);
    let mut directory = adopted(&before);
    see(&mut directory, &before, &answer(1, b"green"));
    directory.adopt(&service(&["10.0.0.1:80"], &["10.0.0.3:80", "10.0.0.2:80"]));
    let names: Vec<_> = pools(&directory).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["blue_servers", "green", "green"]);
    directory.adopt(&service(&["10.0.0.1:80"], &["10.0.0.4:80"]));
    assert_eq!(pools(&directory)[1].0, "green_servers", "nobody knows it");
}

#[test]
fn a_server_of_a_service_that_nobody_knows_names_no_pool_of_a_block() {
    let watched = service(&["10.0.0.1:80"], &["10.0.0.2:80"]);
    let mut directory = adopted(&watched);
    see(&mut directory, &watched, &answer(Attempt::UNKNOWN_PEER, b"green"));
    assert_eq!(
        pools(&directory).into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["blue_servers", "green_servers"]
    );
}
