//! Our configuration of upstream blocks, and the watched upstreams that are made of it.

use std::cell::Cell;
use std::ptr::NonNull;

use nginx_sys::{ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t};

use super::{blocks, log, lookup};
use crate::directives::block::Block;
use crate::directives::in_effect;
use crate::directives::judge::judge;
use crate::directives::place::{Place, Remark};
use crate::nginx::groups::Notes;
use crate::nginx::headers::Headers;
use crate::nginx::peer_cache::PeerCache;
use crate::nginx::upstream::EventLoopUpstream;

/// Our configuration of one block: of an upstream, or of `http`, whose directives hold for all upstreams.
#[derive(Default)]
pub(crate) struct SrvConf {
    /// The block's directives.
    pub(crate) directives: Block,
    /// The element of `MainConf::upstreams`, which is never moved; `None`: the upstream is not watched.
    watched: Option<NonNull<EventLoopUpstream>>,
    /// What is put before nginx's own function; `None`: nothing is.
    hook: Option<Hook>,
}

/// What is needed when a request begins to ask a watched upstream.
#[derive(Clone, Copy)]
pub(crate) struct Hook {
    /// Where the request notes that.
    pub(crate) notes: Notes,
    /// The balancer's own function.
    pub(crate) init_peer: InitPeer,
}

/// A balancer's function that nginx calls when a request begins to ask an upstream.
pub(crate) type InitPeer =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t;

impl EventLoopUpstream {
    /// The watched upstream that a request went to; `None`: it is not watched. It lives as long as the request's
    /// configuration.
    #[expect(clippy::inline_always, reason = "once for each request")]
    #[inline(always)]
    pub(crate) fn of<'a>(uscf: *const ngx_http_upstream_srv_conf_t) -> Option<&'a Self> {
        // SAFETY: null, or a configuration that lives as long as its cycle.
        let srv_conf = srv_conf(unsafe { uscf.as_ref() }?)?;
        // SAFETY: made for this block; only read once the configuration is finished.
        let watched = unsafe { srv_conf.as_ref() }.watched?;
        // SAFETY: it stays where it is for as long as the configuration lives, and is only read.
        Some(unsafe { watched.as_ref() })
    }
}

/// Has nginx call this function when a request begins to ask a watched upstream, instead of the balancer's own.
pub(crate) fn hook(upstreams: &[EventLoopUpstream], notes: Notes, function: InitPeer) {
    for upstream in upstreams {
        // SAFETY: nginx's configuration of an upstream; nothing else refers to it now.
        let Some(uscf) = (unsafe { upstream.uscf.cast_mut().as_mut() }) else { continue };
        let (Some(mut srv_conf), Some(init_peer)) = (srv_conf(uscf), uscf.peer.init) else { continue };
        // SAFETY: made for this block; nothing else refers to it now.
        unsafe { srv_conf.as_mut() }.hook = Some(Hook { notes, init_peer });
        uscf.peer.init = Some(function);
    }
}

/// What [`hook`] has put before the upstream's own function.
#[expect(clippy::inline_always, reason = "once for each request")]
#[inline(always)]
pub(crate) fn hooked(uscf: &ngx_http_upstream_srv_conf_t) -> Option<&Hook> {
    // SAFETY: made for this block; only read once the configuration is finished.
    unsafe { srv_conf(uscf)?.as_ref() }.hook.as_ref()
}

/// The directives of the `http` block, when nginx has read all of it.
pub(super) fn http(cf: &ngx_conf_t) -> Option<Block> {
    // SAFETY: the context in which nginx finishes `http` is that of `http`.
    let context = unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }?;
    let conf = lookup::ours::<SrvConf>(context.srv_conf)?;
    // SAFETY: made for `http`; nothing changes it here.
    Some(unsafe { conf.as_ref() }.directives.clone())
}

/// The watched upstreams among these blocks, and the place of the first `poolwatch on` that has an effect, if any has.
pub(super) fn watch(
    cf: &ngx_conf_t,
    http: &Block,
    blocks: &[NonNull<ngx_http_upstream_srv_conf_t>],
) -> Result<(Vec<EventLoopUpstream>, Option<Place>), Remark> {
    let (mut upstreams, mut first) = (Vec::new(), None);
    for block in blocks {
        // SAFETY: nginx's configuration of an upstream, which nothing changes now.
        let uscf = unsafe { block.as_ref() };
        let Some(srv_conf) = srv_conf(uscf) else { continue };
        // SAFETY: made for this block, which nothing changes now.
        let srv_conf = unsafe { srv_conf.as_ref() };
        let settings = in_effect(&srv_conf.directives, http);
        let Some(place) = &settings.watched else { continue };
        first.get_or_insert_with(|| place.clone());
        let block = blocks::read(uscf);
        let is_fixed = block.servers.iter().all(|server| !server.addresses.is_empty());
        let watched = judge(&settings, &block, &mut |warning| log::warn_at(cf, &warning))?;
        let headers = Headers::new(&settings.pool_header, !watched.pools.is_empty(), &settings.release_header);
        let peers = PeerCache::new(&watched);
        upstreams.push(EventLoopUpstream {
            index: upstreams.len() as u16,
            watched,
            peers,
            headers,
            variables: Cell::new(None),
            is_fixed,
            has_table: blocks::has_table(uscf),
            marks_read: Cell::new(0),
            uscf,
        });
    }
    for upstream in &upstreams {
        // SAFETY: nginx's configuration of an upstream, which nothing changes now.
        let srv_conf = srv_conf(unsafe { &*upstream.uscf });
        if let Some(mut srv_conf) = srv_conf {
            // SAFETY: made for this block; nothing else refers to it now. Moving the vector does not move its elements.
            unsafe { srv_conf.as_mut() }.watched = Some(NonNull::from(upstream));
        }
    }
    Ok((upstreams, first))
}

/// Our configuration of an upstream block.
#[expect(clippy::inline_always, reason = "once for each request")]
#[inline(always)]
fn srv_conf(uscf: &ngx_http_upstream_srv_conf_t) -> Option<NonNull<SrvConf>> {
    lookup::ours(uscf.srv_conf)
}
