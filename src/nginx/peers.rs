//! Which peers nginx itself currently considers unavailable.
//!
//! Read only after a failed attempt, and only from a table that all workers share: it is evidence for all of them,
//! while a worker's private table says nothing about other workers.

use nginx_sys::{ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, time_t};

use crate::nginx::cycle;
use crate::nginx::process::Pipeline;
use crate::nginx::upstream::EventLoopUpstream;
use crate::observation::peer_set::PeerSet;

/// The configured peers that nginx does not send requests to. Empty: none, or the table is not shared.
pub(crate) fn unusable(upstream: &EventLoopUpstream, pipeline: &Pipeline) -> PeerSet {
    // SAFETY: the upstream's configuration lives as long as the cycle whose worker this is.
    let Some(uscf) = (unsafe { upstream.uscf.as_ref() }) else { return PeerSet::EMPTY };
    // With `zone`, nginx itself takes the balancer's data for this table.
    let is_shared_table = !uscf.shm_zone.is_null() || (pipeline.is_alone() && upstream.has_table);
    // If servers are resolved at run time, the table's lists may change while they are read.
    if !is_shared_table || !upstream.is_fixed || cycle::is_exiting() {
        return PeerSet::EMPTY;
    }
    // SAFETY: see above.
    let primaries = unsafe { uscf.peer.data.cast::<ngx_http_upstream_rr_peers_t>().as_ref() };
    // SAFETY: null, or the table of the backup servers.
    let backups = primaries.and_then(|table| unsafe { table.next.as_ref() });
    let now = now();
    let mut unusable = PeerSet::EMPTY;
    for table in primaries.into_iter().chain(backups) {
        // SAFETY: the list of peers, which nginx does not change for a fixed upstream; workers change only numbers in
        // it.
        let mut next = unsafe { table.peer.as_ref() };
        while let Some(peer) = next {
            let index = upstream.watched.peer_index(peer.name.as_bytes()).filter(|_| is_refused(peer, now));
            if let Some(index) = index {
                unusable.insert(index.into());
            }
            // SAFETY: null at the end of the list.
            next = unsafe { peer.next.as_ref() };
        }
    }
    unusable
}

/// The same condition as in nginx's `ngx_http_upstream_get_peer`.
fn is_refused(peer: &ngx_http_upstream_rr_peer_t, now: time_t) -> bool {
    peer.down != 0 || (peer.max_fails != 0 && peer.fails >= peer.max_fails && now - peer.checked <= peer.fail_timeout)
}

/// nginx's cached time in seconds, which `checked` is taken from.
fn now() -> time_t {
    // SAFETY: set by nginx before any request.
    let cached = unsafe { nginx_sys::ngx_cached_time };
    // SAFETY: points to one of nginx's time slots.
    unsafe { (*cached).sec }
}
