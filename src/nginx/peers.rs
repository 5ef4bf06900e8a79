//! Which peers nginx itself does not ask at present, and why, by its own table of peers.
//!
//! Read after a failed attempt, and where a backup server answers: why was it asked?

use nginx_sys::{
    ngx_atomic_t, ngx_current_msec, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_rwlock_rlock,
    ngx_rwlock_unlock, ngx_str_t, time_t,
};

use crate::config::upstream::Role;
use crate::nginx::cycle;
use crate::nginx::peer_cache::CachedPeer;
use crate::nginx::process::Pipeline;
use crate::nginx::upstream::EventLoopUpstream;
use crate::observation::{Details, Marks};

/// The marks as details of a request that a backup server answered. `None`: there are none, or they were read in this
/// millisecond already.
#[cold]
pub(crate) fn details(upstream: &EventLoopUpstream, pipeline: &Pipeline) -> Option<Box<Details>> {
    // SAFETY: set by nginx before any request.
    let now = unsafe { ngx_current_msec };
    if upstream.marks_read.replace(now) == now {
        return None;
    }
    let marks = marks(upstream, pipeline);
    (!marks.are_empty()).then(|| Box::new(Details { marks, ..Details::default() }))
}

/// The configured peers that nginx does not send requests to.
pub(crate) fn marks(upstream: &EventLoopUpstream, pipeline: &Pipeline) -> Marks {
    // SAFETY: the upstream's configuration lives as long as the cycle whose worker this is.
    let Some(uscf) = (unsafe { upstream.uscf.as_ref() }) else { return Marks::default() };
    // With `zone`, nginx itself takes the balancer's data for this table.
    let has_zone = !uscf.shm_zone.is_null();
    if !(has_zone || upstream.has_table) || cycle::is_exiting() {
        return Marks::default();
    }
    let mut marks = Marks { is_shared: has_zone || pipeline.is_alone(), ..Marks::default() };
    // SAFETY: see above.
    let primaries = unsafe { uscf.peer.data.cast::<ngx_http_upstream_rr_peers_t>().as_ref() };
    // SAFETY: null, or the table of the backup servers.
    let backups = primaries.and_then(|table| unsafe { table.next.as_ref() });
    let now = now();
    for table in primaries.into_iter().chain(backups) {
        let _lock = (!upstream.is_fixed).then(|| ReadLock::new(table));
        // SAFETY: the list of peers, which nginx does not change for a fixed upstream; workers change only numbers in
        // it. Of others the lock keeps it as it is.
        let mut next = unsafe { table.peer.as_ref() };
        while let Some(peer) = next {
            let index = || usize::from(upstream.peers.find(&peer.name).index);
            if is_given_up(peer, now) {
                marks.unusable.insert(index());
            } else if peer.max_conns != 0 && peer.conns >= peer.max_conns {
                marks.full.insert(index());
            }
            // SAFETY: null at the end of the list.
            next = unsafe { peer.next.as_ref() };
        }
    }
    marks
}

/// The peer that nginx calls by this name. If nginx resolves servers of the upstream at run time, and the address is new,
/// its table says which server it is of.
pub(crate) fn find<'a>(upstream: &'a EventLoopUpstream, name: &ngx_str_t) -> &'a CachedPeer {
    let found = upstream.peers.find(name);
    if upstream.is_fixed || !upstream.peers.is_stranger(found) || cycle::is_exiting() {
        return found;
    }
    match server_of(upstream, name.as_bytes()) {
        Some((server, role)) => upstream.peers.resolve(name, server, role == Role::Backup),
        None => found,
    }
}

/// The server that nginx resolved to this address: the index of its name among the configured peers, and its role.
fn server_of(upstream: &EventLoopUpstream, address: &[u8]) -> Option<(u16, Role)> {
    // SAFETY: the upstream's configuration lives as long as the cycle whose worker this is.
    let uscf = unsafe { upstream.uscf.as_ref() }.filter(|uscf| !uscf.shm_zone.is_null())?;
    // SAFETY: with `zone`, nginx itself takes the balancer's data for its table of peers.
    let primaries = unsafe { uscf.peer.data.cast::<ngx_http_upstream_rr_peers_t>().as_ref() }?;
    // SAFETY: null, or the table of the backup servers.
    let backups = unsafe { primaries.next.as_ref() };
    for (table, role) in [(Some(primaries), Role::Primary), (backups, Role::Backup)] {
        let Some(table) = table else { continue };
        let _lock = ReadLock::new(table);
        // SAFETY: the list of peers, which the lock keeps as it is.
        let mut next = unsafe { table.peer.as_ref() };
        while let Some(peer) = next {
            if peer.name.as_bytes() == address {
                return upstream.watched.resolved_server(peer.server.as_bytes(), role).map(|index| (index, role));
            }
            // SAFETY: null at the end of the list.
            next = unsafe { peer.next.as_ref() };
        }
    }
    None
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
