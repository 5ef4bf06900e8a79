//! The log phase: makes an [`Observation`] of what nginx knows about a finished request.
//!
//! It runs on the event loop for every request, so it takes no lock, and allocates only for failed requests. The usual
//! request has a shorter path of its own.

use std::ptr::NonNull;
use std::slice;

use nginx_sys::{
    NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_MODIFIED,
    ngx_http_request_t, ngx_http_upstream_headers_in_t, ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_msec_t,
    ngx_str_t, ngx_uint_t,
};

use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
use crate::nginx::headers::Headers;
use crate::nginx::peer_cache::CachedPeer;
use crate::nginx::peers;
use crate::nginx::process::{self, Pipeline};
use crate::nginx::upstream::EventLoopUpstream;
use crate::observation::{Attempt, Example, Failure, Observation, Verdict};
use crate::text::{self, Text};
use crate::units::Millis;

/// nginx's value of a time that was not measured: there was no connection, or no header.
const NEVER: ngx_msec_t = ngx_msec_t::MAX;

/// Stands for a peer without a name.
const NO_NAME: ngx_str_t = ngx_str_t::empty();

/// Sends an observation of a finished request to the observer, one for each watched upstream that it went to.
#[expect(clippy::inline_always, reason = "the log phase's handler is little else")]
#[inline(always)]
pub(crate) fn observe(request: &ngx_http_request_t) {
    let Some(pipeline) = process::pipeline() else { return };
    let Some(states) = states(request) else { return };
    // SAFETY: nginx keeps the upstream of a request that was sent to one until the request is freed.
    let Some(current) = (unsafe { request.upstream.as_ref() }) else { return };
    match usual(request, states, current) {
        Some((seen, upstream)) => pipeline.send(seen, upstream),
        None => observe_groups(request, pipeline, states, current),
    }
}

/// The usual request: one attempt, and a response below 500 of a watched upstream, with the same names as the peer's
/// last one. `None`: any other request. All of it is inlined, since calls would cost more.
#[expect(clippy::inline_always, reason = "it is the one whose cost counts")]
#[inline(always)]
fn usual<'a>(
    request: &ngx_http_request_t,
    attempts: &[ngx_http_upstream_state_t],
    current: &ngx_http_upstream_t,
) -> Option<(Observation, &'a EventLoopUpstream)> {
    let [state] = attempts else { return None };
    let upstream = EventLoopUpstream::of(current.upstream)?;
    let status = client_status(request);
    let is_good = 0 < state.status && state.status < NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_uint_t;
    if !is_good || !has_response(state, &current.headers_in) || u32::from(status) == NGX_HTTP_CLIENT_CLOSED_REQUEST {
        return None;
    }
    // SAFETY: null for a separator only, which is no attempt; else a name that outlives the request.
    let peer = upstream.peers.hinted(unsafe { state.peer.as_ref() }?)?;
    if !peer.names_as_before(&upstream.headers, &current.headers_in.headers) {
        return None;
    }
    let attempt = attempt(state, peer, Verdict::Ok, Millis(current.start_time as u64));
    let seen = Observation {
        upstream: upstream.index,
        status,
        names_as_before: true,
        attempts: [attempt].into(),
        ..Observation::default()
    };
    Some((seen, upstream))
}

/// Any other request. Internal redirects may have sent it to several upstreams; the attempts at each are a group. The
/// groups are read backwards, since only the start of the last one is known.
#[cold]
fn observe_groups(
    request: &ngx_http_request_t,
    pipeline: &Pipeline,
    states: &[ngx_http_upstream_state_t],
    current: &ngx_http_upstream_t,
) {
    let mut end = None;
    for group in states.rsplit(|state| state.peer.is_null()) {
        let ([first, ..], Some((last, earlier))) = (group, group.split_last()) else { continue };
        let last_start = end.map_or(Millis(current.start_time as u64), |end| end - Millis(last.response_time as u64));
        // An attempt starts at the moment at which the response time of the one before is taken.
        let start = last_start - Millis(earlier.iter().map(|state| state.response_time as u64).sum());
        // `r->upstream`, with the headers of the response, belongs to the last group.
        let (upstream, headers_in) = match end {
            None => (EventLoopUpstream::of(current.upstream), Some(&current.headers_in)),
            Some(_) => (upstream_with_peer(request, peer_name(first)), None),
        };
        if let Some(upstream) = upstream {
            pipeline.send(observe_group(request, pipeline, group, start, headers_in, upstream), upstream);
        }
        end = Some(start);
    }
}

fn upstream_with_peer<'a>(request: &ngx_http_request_t, name: &ngx_str_t) -> Option<&'a EventLoopUpstream> {
    MainConf::of_request(request)?.upstream_with_peer(name.as_bytes())
}

/// The observation of one group of attempts, the first of which began at `start`. `headers_in`: only of the last group.
fn observe_group(
    request: &ngx_http_request_t,
    pipeline: &Pipeline,
    group: &[ngx_http_upstream_state_t],
    mut start: Millis,
    headers_in: Option<&ngx_http_upstream_headers_in_t>,
    upstream: &EventLoopUpstream,
) -> Observation {
    let mut seen = Observation { upstream: upstream.index, status: client_status(request), ..Observation::default() };
    let mut last = None;
    for state in group {
        let peer = upstream.peers.find(peer_name(state));
        seen.push(attempt(state, peer, verdict(state, upstream), start));
        start = start + Millis(state.response_time as u64);
        last = Some((state, peer));
    }
    if let (Some(headers_in), Some((state, peer))) = (headers_in, last) {
        read_response(&mut seen, headers_in, state, peer, &upstream.headers);
    }
    seen.aborted = u32::from(seen.status) == NGX_HTTP_CLIENT_CLOSED_REQUEST
        || seen.attempts().iter().any(|attempt| attempt.verdict == Verdict::Unfinished);
    if seen.has_failure() && !seen.aborted {
        let unusable_peers = peers::unusable(upstream, pipeline);
        let now = SystemClock.now();
        let wants_example = pipeline.wants_example(upstream.index, now);
        let example = wants_example.then(|| example(request, &seen, group, now));
        if unusable_peers != 0 || wants_example {
            seen.failure = Some(Box::new(Failure { unusable_peers, example }));
        }
    }
    seen
}

fn attempt(state: &ngx_http_upstream_state_t, peer: &CachedPeer, verdict: Verdict, start: Millis) -> Attempt {
    Attempt { peer: peer.index, verdict, status: state.status as u16, start, to_header: state.header_time as u32 }
}

fn verdict(state: &ngx_http_upstream_state_t, upstream: &EventLoopUpstream) -> Verdict {
    match (state.status as u32, state.header_time) {
        (0, _) => Verdict::Unfinished,
        // nginx found no available peer, and uses the upstream's own name.
        (_, NEVER)
            if state.connect_time == NEVER && peer_name(state).as_bytes() == upstream.watched.name.as_bytes() =>
        {
            Verdict::NoLiveUpstreams
        }
        (NGX_HTTP_GATEWAY_TIME_OUT, NEVER) => Verdict::TimedOut,
        (_, NEVER) => Verdict::Refused,
        (NGX_HTTP_INTERNAL_SERVER_ERROR.., _) => Verdict::ServerError,
        _ => Verdict::Ok,
    }
}

/// Are the headers that nginx holds those of this attempt's own response?
///
/// They may also be those of an earlier attempt, if the last one got none, or of a cached response that a 304
/// confirmed. A response without a status line is invalid.
fn has_response(state: &ngx_http_upstream_state_t, headers_in: &ngx_http_upstream_headers_in_t) -> bool {
    state.header_time != NEVER && state.status as u32 != NGX_HTTP_NOT_MODIFIED && headers_in.status_n != 0
}

/// Adds what the last attempt's own response named. An invalid response counts as refused.
fn read_response(
    seen: &mut Observation,
    headers_in: &ngx_http_upstream_headers_in_t,
    state: &ngx_http_upstream_state_t,
    peer: &CachedPeer,
    headers: &Headers,
) {
    let Some(last) = seen.attempts.last_mut() else { return };
    if has_response(state, headers_in) {
        seen.names = peer.names(headers, &headers_in.headers);
        seen.names_as_before = seen.names.is_none();
    } else if last.verdict == Verdict::Ok && state.status as u32 != NGX_HTTP_NOT_MODIFIED {
        last.verdict = Verdict::Refused;
    }
}

fn example(
    request: &ngx_http_request_t,
    seen: &Observation,
    group: &[ngx_http_upstream_state_t],
    now: Millis,
) -> Example {
    let uri = text::path_without_secrets(request.unparsed_uri.as_bytes());
    let mut example = Example {
        at: now,
        status: seen.status,
        method: Text::new(request.method_name.as_bytes()),
        path: Text::new(uri.as_bytes()),
        ..Example::default()
    };
    for (index, state) in group.iter().enumerate() {
        let separator: &[u8] = if index == 0 { b"" } else { b", " };
        let status = if state.status == 0 { "-".to_owned() } else { state.status.to_string() };
        example.upstream_status.push(separator);
        example.upstream_status.push(status.as_bytes());
        example.upstream_addr.push(separator);
        example.upstream_addr.push(peer_name(state).as_bytes());
        let time = state.response_time;
        example.upstream_response_time.push(separator);
        example.upstream_response_time.push(format!("{}.{:03}", time / 1000, time % 1000).as_bytes());
    }
    example
}

/// nginx's `$status`: at most three digits.
fn client_status(request: &ngx_http_request_t) -> u16 {
    let status = if request.err_status == 0 { request.headers_out.status } else { request.err_status };
    status as u16
}

fn states(request: &ngx_http_request_t) -> Option<&[ngx_http_upstream_state_t]> {
    // SAFETY: null, or an array of the request's pool.
    let states = unsafe { request.upstream_states.as_ref() }?;
    let first = NonNull::new(states.elts.cast::<ngx_http_upstream_state_t>())?;
    // SAFETY: the array holds `nelts` states.
    Some(unsafe { slice::from_raw_parts(first.as_ptr(), states.nelts) })
}

fn peer_name(state: &ngx_http_upstream_state_t) -> &ngx_str_t {
    // SAFETY: null only for the separators, which are no attempts; else a name that outlives the request.
    unsafe { state.peer.as_ref() }.unwrap_or(&NO_NAME)
}
