//! Which peers nginx itself does not ask at present, and why, by its own table of peers.
//!
//! Read after a failed attempt, and where a backup server answers: why was it asked?

use std::iter;

use nginx_sys::{
    ngx_atomic_t, ngx_current_msec, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_srv_conf_t, ngx_rwlock_rlock, ngx_rwlock_unlock, ngx_str_t, time_t,
};

use crate::config::upstream::Role;
use crate::nginx::cycle;
use crate::nginx::peer_cache::CachedPeer;
use crate::nginx::process::Pipeline;
use crate::nginx::upstream::{EventLoopBlock, EventLoopUpstream};
use crate::observation::peer_set::PeerSet;
use crate::observation::{Details, Marks};

/// The marks in a block's table, as details of a request that a backup server answered. `None`: there are none, or they
/// were read in this millisecond already.
#[cold]
pub(crate) fn details(upstream: &EventLoopUpstream, block: u8, pipeline: &Pipeline) -> Option<Box<Details>> {
    let block = upstream.blocks.get(usize::from(block))?;
    // SAFETY: set by nginx before any request.
    let now = unsafe { ngx_current_msec };
    if block.marks_read.replace(now) == now {
        return None;
    }
    let marks = marks(upstream, pipeline, [block].into_iter());
    (!marks.are_empty()).then(|| Box::new(Details { marks, ..Details::default() }))
}

/// The configured peers that nginx does not send requests to, by the tables of these blocks, to which a request was sent
/// in this order. Of a peer that several of them have, the first one decides.
pub(crate) fn marks<'a>(
    upstream: &EventLoopUpstream,
    pipeline: &Pipeline,
    blocks: impl Iterator<Item = &'a EventLoopBlock>,
) -> Marks {
    let mut marks = Marks { is_shared: true, ..Marks::default() };
    let mut known = PeerSet::default();
    for block in blocks {
        let before = known;
        marks.is_shared &= read(block, pipeline, |peer, now| {
            let index = usize::from(upstream.peers.find(&peer.name).index);
            known.insert(index);
            if before.contains(index) {
                return;
            }
            if is_given_up(peer, now) {
                marks.unusable.insert(index);
            } else if peer.max_conns != 0 && peer.conns >= peer.max_conns {
                marks.full.insert(index);
            }
        });
    }
    marks
}

/// Reads a block's table, if that can be read. Do all workers share it?
fn read(
    block: &EventLoopBlock,
    pipeline: &Pipeline,
    mut note: impl FnMut(&ngx_http_upstream_rr_peer_t, time_t),
) -> bool {
    // SAFETY: the upstream's configuration lives as long as the cycle whose worker this is.
    let Some(uscf) = (unsafe { block.uscf.as_ref() }) else { return false };
    // With `zone`, nginx itself takes the balancer's data for this table.
    let has_zone = !uscf.shm_zone.is_null();
    if !(has_zone || block.has_table) || cycle::is_exiting() {
        return false;
    }
    // SAFETY: see above.
    let tables = unsafe { tables(uscf) };
    let now = now();
    for (table, _) in tables {
        let _lock = (!block.is_fixed).then(|| ReadLock::new(table));
        // SAFETY: nginx does not change the list of a fixed upstream; workers change only numbers in it. Of others the
        // lock keeps it as it is.
        unsafe { peers(table) }.for_each(|peer| note(peer, now));
    }
    has_zone || pipeline.is_alone()
}

/// The peer that nginx calls by this name. If nginx resolves servers of the upstream at run time, and the address is new,
/// its tables say which server it is of.
pub(crate) fn find<'a>(upstream: &'a EventLoopUpstream, name: &ngx_str_t) -> &'a CachedPeer {
    let found = upstream.peers.find(name);
    if !upstream.peers.is_stranger(found) || cycle::is_exiting() {
        return found;
    }
    let mut changing = upstream.blocks.iter().filter(|block| !block.is_fixed);
    match changing.find_map(|block| server_of(upstream, block, name.as_bytes())) {
        Some(server) => upstream.peers.resolve(name, server),
        None => found,
    }
}

/// The server of a block that nginx resolved to this address: the index of its name among the configured peers.
fn server_of(upstream: &EventLoopUpstream, block: &EventLoopBlock, address: &[u8]) -> Option<u16> {
    // SAFETY: the upstream's configuration lives as long as the cycle whose worker this is.
    let uscf = unsafe { block.uscf.as_ref() }.filter(|uscf| !uscf.shm_zone.is_null())?;
    // SAFETY: with `zone`, nginx itself takes the balancer's data for its table of peers.
    let tables = unsafe { tables(uscf) };
    for (table, role) in tables {
        let _lock = ReadLock::new(table);
        // SAFETY: the lock keeps the list as it is.
        if let Some(peer) = unsafe { peers(table) }.find(|peer| peer.name.as_bytes() == address) {
            return upstream.watched.resolved_server(peer.server.as_bytes(), role);
        }
    }
    None
}

/// nginx's table of a block's primary servers, and that of its backup servers, if it has any.
///
/// # Safety
/// The balancer's data are such a table.
unsafe fn tables(uscf: &ngx_http_upstream_srv_conf_t) -> impl Iterator<Item = (&ngx_http_upstream_rr_peers_t, Role)> {
    // SAFETY: the caller's promise.
    let primaries = unsafe { uscf.peer.data.cast::<ngx_http_upstream_rr_peers_t>().as_ref() };
    // SAFETY: null, or the table of the backup servers.
    let backups = primaries.and_then(|table| unsafe { table.next.as_ref() });
    primaries.map(|table| (table, Role::Primary)).into_iter().chain(backups.map(|table| (table, Role::Backup)))
}

/// The peers of a table.
///
/// # Safety
/// nginx does not change the list meanwhile.
unsafe fn peers(table: &ngx_http_upstream_rr_peers_t) -> impl Iterator<Item = &ngx_http_upstream_rr_peer_t> {
    // SAFETY: null, or the first one.
    let first = unsafe { table.peer.as_ref() };
    // SAFETY: null at the end of the list, which the caller keeps as it is.
    iter::successors(first, |peer| unsafe { peer.next.as_ref() })
}

/// nginx's own lock of a table of peers, for reading; nginx takes it for each request.
struct ReadLock(*mut ngx_atomic_t);

impl ReadLock {
    fn new(table: &ngx_http_upstream_rr_peers_t) -> Self {
        let lock = (&raw const table.rwlock).cast_mut();
        // SAFETY: the table's lock, an atomic number in shared memory, which outlives this.
        unsafe { ngx_rwlock_rlock(lock) };
        Self(lock)
    }
}

impl Drop for ReadLock {
    fn drop(&mut self) {
        // SAFETY: taken above, and not given back yet.
        unsafe { ngx_rwlock_unlock(self.0) };
    }
}

/// The same condition as in nginx's `ngx_http_upstream_get_peer`.
fn is_given_up(peer: &ngx_http_upstream_rr_peer_t, now: time_t) -> bool {
    peer.down != 0 || (peer.max_fails != 0 && peer.fails >= peer.max_fails && now - peer.checked <= peer.fail_timeout)
}

/// nginx's cached time in seconds, which `checked` is taken from.
fn now() -> time_t {
    // SAFETY: set by nginx before any request.
    let cached = unsafe { nginx_sys::ngx_cached_time };
    // SAFETY: points to one of nginx's time slots.
    unsafe { (*cached).sec }
}
