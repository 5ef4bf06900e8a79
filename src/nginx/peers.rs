//! Which peers nginx itself does not ask at present, and why, by its own table of peers.
//!
//! Read after a failed attempt, and where a backup server answers: why was it asked?

use nginx_sys::{ngx_current_msec, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, time_t};

use crate::nginx::cycle;
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
    (!marks.are_empty()).then(|| Box::new(Details { marks, example: None }))
}

/// The configured peers that nginx does not send requests to.
pub(crate) fn marks(upstream: &EventLoopUpstream, pipeline: &Pipeline) -> Marks {
    // SAFETY: the upstream's configuration lives as long as the cycle whose worker this is.
    let Some(uscf) = (unsafe { upstream.uscf.as_ref() }) else { return Marks::default() };
    // With `zone`, nginx itself takes the balancer's data for this table.
    let has_zone = !uscf.shm_zone.is_null();
    // If servers are resolved at run time, the table's lists may change while they are read.
    if !(has_zone || upstream.has_table) || !upstream.is_fixed || cycle::is_exiting() {
        return Marks::default();
    }
    let mut marks = Marks { is_shared: has_zone || pipeline.is_alone(), ..Marks::default() };
    // SAFETY: see above.
    let primaries = unsafe { uscf.peer.data.cast::<ngx_http_upstream_rr_peers_t>().as_ref() };
    // SAFETY: null, or the table of the backup servers.
    let backups = primaries.and_then(|table| unsafe { table.next.as_ref() });
    let now = now();
    for table in primaries.into_iter().chain(backups) {
        // SAFETY: the list of peers, which nginx does not change for a fixed upstream; workers change only numbers in
        // it.
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
