//! Our configuration of upstream blocks, and the watched upstreams that are made of it.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use nginx_sys::{ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t};

use super::{blocks, log, lookup};
use crate::config::upstream::WatchedUpstream;
use crate::directives::block::{Block, ServiceLine, Settings};
use crate::directives::in_effect;
use crate::directives::judge::judge;
use crate::directives::members::{self, Member};
use crate::directives::place::{Place, Placed, Remark};
use crate::nginx::groups::Notes;
use crate::nginx::headers::Headers;
use crate::nginx::peer_cache::PeerCache;
use crate::nginx::upstream::{EventLoopBlock, EventLoopUpstream};

/// Our configuration of one block: of an upstream, or of `http`, whose directives hold for all upstreams.
#[derive(Default)]
pub(crate) struct SrvConf {
    /// The block's directives.
    pub(crate) directives: Block,
    /// The element of `MainConf::upstreams`, which is never moved; `None`: the upstream is not watched.
    watched: Option<NonNull<EventLoopUpstream>>,
    /// Of a block of a service: its index in `EventLoopUpstream::blocks`.
    index: u8,
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

    /// The index of this block among the upstream's.
    #[expect(clippy::inline_always, reason = "once for each request")]
    #[inline(always)]
    pub(crate) fn block_index(uscf: *const ngx_http_upstream_srv_conf_t) -> u8 {
        // SAFETY: as in `of`.
        let srv_conf = unsafe { uscf.as_ref() }.and_then(srv_conf);
        // SAFETY: as in `of`.
        srv_conf.map_or(0, |srv_conf| unsafe { srv_conf.as_ref() }.index)
    }
}

/// Has nginx call a function when a request begins to ask a watched upstream, instead of the balancer's own. `function`:
/// that of each upstream.
pub(crate) fn hook(upstreams: &[EventLoopUpstream], notes: Notes, function: impl Fn(&EventLoopUpstream) -> InitPeer) {
    for (upstream, block) in
        upstreams.iter().flat_map(|upstream| upstream.blocks.iter().map(move |block| (upstream, block)))
    {
        // SAFETY: nginx's configuration of an upstream; nothing else refers to it now.
        let Some(uscf) = (unsafe { block.uscf.cast_mut().as_mut() }) else { continue };
        let (Some(mut srv_conf), Some(init_peer)) = (srv_conf(uscf), uscf.peer.init) else { continue };
        // SAFETY: made for this block; nothing else refers to it now.
        unsafe { srv_conf.as_mut() }.hook = Some(Hook { notes, init_peer });
        uscf.peer.init = Some(function(upstream));
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

/// The watched upstreams among these blocks and the services, and the place of the first line that has one watched, if
/// any has.
pub(super) fn watch(
    cf: &ngx_conf_t,
    http: &Block,
    blocks: &[NonNull<ngx_http_upstream_srv_conf_t>],
    services: &[Placed<ServiceLine>],
) -> Result<(Vec<EventLoopUpstream>, Option<Place>), Remark> {
    let mut warn = |warning| log::warn_at(cf, &warning);
    // SAFETY: nginx's configurations of upstreams, which nothing changes now.
    let blocks: Vec<&ngx_http_upstream_srv_conf_t> = blocks.iter().map(|block| unsafe { block.as_ref() }).collect();
    let mut watched = Vec::new();
    for uscf in blocks.iter().copied().filter(|uscf| !is_member(uscf.host.as_bytes(), services)) {
        let Some(directives) = directives(uscf) else { continue };
        let settings = in_effect(directives, http);
        if settings.watched.is_some() {
            let upstream = judge(&settings, &blocks::read(uscf), &mut warn)?;
            watched.push((settings, upstream, vec![uscf]));
        }
    }
    for service in services {
        let members = members(service, &blocks)?;
        let mut parts = Vec::new();
        for &uscf in &members {
            parts.extend(directives(uscf).map(|directives| Member { directives, block: blocks::read(uscf) }));
        }
        let (settings, upstream) = members::judge(service, http, &parts, &mut warn)?;
        if watched.iter().any(|(_, other, _)| other.name == upstream.name) {
            let name = String::from_utf8_lossy(upstream.name.as_bytes());
            return Err(service.place.remark(format!("service \"{name}\" has the name of a watched upstream")));
        }
        watched.push((settings, upstream, members));
    }
    let first = watched.iter().find_map(|(settings, ..)| settings.watched.clone());
    let upstreams: Vec<_> = (0..)
        .zip(watched)
        .map(|(index, (settings, watched, members))| upstream(index, &settings, watched, &members))
        .collect();
    for upstream in &upstreams {
        for (index, block) in (0..).zip(&upstream.blocks) {
            // SAFETY: nginx's configuration of an upstream, which nothing changes now.
            let Some(mut srv_conf) = srv_conf(unsafe { &*block.uscf }) else { continue };
            // SAFETY: made for this block; nothing else refers to it now.
            let srv_conf = unsafe { srv_conf.as_mut() };
            // Moving the vector does not move its elements.
            (srv_conf.watched, srv_conf.index) = (Some(NonNull::from(upstream)), index);
        }
    }
    Ok((upstreams, first))
}

fn is_member(name: &[u8], services: &[Placed<ServiceLine>]) -> bool {
    services.iter().any(|service| service.value.blocks.iter().any(|block| block == name))
}

/// The blocks of a service.
fn members<'a>(
    service: &Placed<ServiceLine>,
    blocks: &[&'a ngx_http_upstream_srv_conf_t],
) -> Result<Vec<&'a ngx_http_upstream_srv_conf_t>, Remark> {
    let block = |name: &Vec<u8>| {
        blocks.iter().copied().find(|uscf| uscf.host.as_bytes() == *name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            service.place.remark(format!("unknown upstream \"{name}\" in \"poolwatch_service\""))
        })
    };
    service.value.blocks.iter().map(block).collect()
}

fn upstream(
    index: u16,
    settings: &Settings,
    watched: WatchedUpstream,
    blocks: &[&ngx_http_upstream_srv_conf_t],
) -> EventLoopUpstream {
    let headers = Headers::new(&settings.pool_header, !watched.pools.is_empty(), &settings.release_header);
    let peers = PeerCache::new(&watched);
    let block = |uscf: &&ngx_http_upstream_srv_conf_t| EventLoopBlock {
        is_fixed: blocks::read(uscf).servers.iter().all(|server| !server.addresses.is_empty()),
        has_table: blocks::has_table(uscf),
        marks_read: Cell::new(0),
        uscf: ptr::from_ref(*uscf),
    };
    let blocks = blocks.iter().map(block).collect();
    EventLoopUpstream { index, watched, peers, headers, variables: Cell::new(None), blocks, choices: Arc::default() }
}

/// The directives of an upstream block.
fn directives(uscf: &ngx_http_upstream_srv_conf_t) -> Option<&Block> {
    let srv_conf = srv_conf(uscf)?;
    // SAFETY: made for this block, which nothing changes now.
    Some(&unsafe { srv_conf.as_ref() }.directives)
}

/// Our configuration of an upstream block.
#[expect(clippy::inline_always, reason = "once for each request")]
#[inline(always)]
fn srv_conf(uscf: &ngx_http_upstream_srv_conf_t) -> Option<NonNull<SrvConf>> {
    lookup::ours(uscf.srv_conf)
}
