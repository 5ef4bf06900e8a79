//! The log phase: one pass over what nginx knows of a finished request, into an [`Observation`].
//!
//! It runs on the event loop for every request, so it takes no lock, and allocates for failed requests only. The usual request has
//! a short way of its own.

use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use nginx_sys::{
    NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_MODIFIED,
    ngx_http_request_t, ngx_http_upstream_headers_in_t, ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_msec_t,
    ngx_str_t,
};

use crate::nginx::conf::{MainConf, Upstream};
use crate::nginx::peers;
use crate::nginx::process::{self, Running};
use crate::observation::{Attempt, Example, Names, Observation, Verdict};
use crate::text::{self, Text};
use crate::units::Millis;

/// What nginx puts where a time was never taken: the connection or the header did not come.
const NEVER: ngx_msec_t = ngx_msec_t::MAX;

/// Observes a finished request.
pub(crate) fn observe(request: &ngx_http_request_t, conf: &MainConf) {
    let Some(running) = process::running() else { return };
    let Some(states) = states(request) else { return };
    // SAFETY: nginx keeps the upstream of a request that was sent to one until the request is freed.
    let Some(current) = (unsafe { request.upstream.as_ref() }) else { return };
    match usual(request, conf, states, current) {
        Some(seen) => running.send(seen),
        None => observe_groups(request, conf, running, states, current),
    }
}

/// The usual request: one attempt, and a response of a watched upstream below 500. `None`: it was another one.
fn usual(
    request: &ngx_http_request_t,
    conf: &MainConf,
    states: &[ngx_http_upstream_state_t],
    current: &ngx_http_upstream_t,
) -> Option<Observation> {
    let [state] = states else { return None };
    let (upstream_index, upstream) = conf.upstream_of(current.upstream)?;
    let client_status = client_status(request);
    if !has_response(state, &current.headers_in) || u32::from(client_status) == NGX_HTTP_CLIENT_CLOSED_REQUEST {
        return None;
    }
    let attempt = attempt(state, upstream, Millis(current.start_time as u64));
    if attempt.verdict != Verdict::Ok {
        return None;
    }
    Some(Observation {
        upstream: upstream_index,
        status: client_status,
        aborted: false,
        names: names(upstream, attempt.peer, &current.headers_in),
        attempts: [attempt].into(),
        unusable_peers: 0,
        example: None,
    })
}

/// All the others. Backwards, since the start of a later group of attempts is the end of the one before: an internal
/// redirect's upstream.
#[cold]
fn observe_groups(
    request: &ngx_http_request_t,
    conf: &MainConf,
    running: &Running,
    states: &[ngx_http_upstream_state_t],
    current: &ngx_http_upstream_t,
) {
    let mut end = None;
    for group in states.rsplit(|state| state.peer.is_null()) {
        if !group.is_empty() {
            end = Some(observe_group(request, conf, running, group, (current, end)));
        }
    }
}

/// One upstream's attempts. `end`: when the next upstream took over; `None` for the last one, which `r->upstream` still is.
/// Returns when the first attempt started.
fn observe_group(
    request: &ngx_http_request_t,
    conf: &MainConf,
    running: &Running,
    group: &[ngx_http_upstream_state_t],
    (current, end): (&ngx_http_upstream_t, Option<Millis>),
) -> Millis {
    let Some((last, earlier)) = group.split_last() else { return end.unwrap_or_default() };
    let last_start = end.map_or(Millis(current.start_time as u64), |end| end - Millis(last.response_time as u64));
    // nginx notes the next start and the last response time in the same instant, so the starts follow from the times.
    let first_start = last_start - Millis(earlier.iter().map(|state| state.response_time as u64).sum());
    let found = match end {
        None => conf.upstream_of(current.upstream),
        Some(_) => conf.upstream_with_peer(group.first().map_or(&[], peer_name)),
    };
    let Some((index, upstream)) = found else { return first_start };

    let mut seen = Observation { upstream: index, status: client_status(request), ..Observation::default() };
    let mut start = first_start;
    for state in group {
        seen.push(attempt(state, upstream, start));
        start = start + Millis(state.response_time as u64);
    }
    if end.is_none() {
        read_response(&mut seen, &current.headers_in, last, upstream);
    }
    seen.aborted = u32::from(seen.status) == NGX_HTTP_CLIENT_CLOSED_REQUEST
        || seen.attempts().iter().any(|attempt| attempt.verdict == Verdict::Unfinished);
    if seen.has_failure() && !seen.aborted {
        seen.unusable_peers = peers::unusable(upstream, running);
        let now = process::now();
        if running.wants_example(index, now) {
            seen.example = Some(Box::new(example(request, &seen, group, now)));
        }
    }
    running.send(seen);
    first_start
}

#[expect(clippy::inline_always, reason = "short where the request is the usual one")]
#[inline(always)]
fn attempt(state: &ngx_http_upstream_state_t, upstream: &Upstream, start: Millis) -> Attempt {
    // SAFETY: null only for the separators, which are no attempts; else a name that outlives the request.
    let name = unsafe { state.peer.as_ref() };
    Attempt {
        peer: name.map_or(Attempt::UNKNOWN_PEER, |name| upstream.known.peer_index(&upstream.watched, name)),
        verdict: verdict(state, upstream),
        status: state.status as u16,
        start,
        to_header: u32::try_from(state.header_time).unwrap_or(u32::MAX),
    }
}

fn verdict(state: &ngx_http_upstream_state_t, upstream: &Upstream) -> Verdict {
    match (state.status as u32, state.header_time) {
        (0, _) => Verdict::Unfinished,
        // nginx found no peer to ask and put the upstream's own name there.
        (_, NEVER) if state.connect_time == NEVER && peer_name(state) == upstream.watched.name.as_bytes() => {
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
/// nginx keeps headers longer than they are true: of an earlier attempt when the last one got none, and of a cached response
/// that a 304 confirmed. A response without a status line is garbage.
fn has_response(state: &ngx_http_upstream_state_t, headers_in: &ngx_http_upstream_headers_in_t) -> bool {
    state.header_time != NEVER && state.status as u32 != NGX_HTTP_NOT_MODIFIED && headers_in.status_n != 0
}

/// What the headers of this peer's response named.
fn names(upstream: &Upstream, peer: u16, headers_in: &ngx_http_upstream_headers_in_t) -> Option<Arc<Names>> {
    let [pool, release] = upstream.headers.values(&headers_in.headers);
    upstream.known.names(peer, pool, release)
}

/// What the last attempt's own response named, and whether it was one at all.
fn read_response(
    seen: &mut Observation,
    headers_in: &ngx_http_upstream_headers_in_t,
    state: &ngx_http_upstream_state_t,
    upstream: &Upstream,
) {
    let Some(last) = seen.attempts.last_mut() else { return };
    if has_response(state, headers_in) {
        seen.names = names(upstream, last.peer, headers_in);
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
        example.upstream_addr.push(peer_name(state));
        let time = state.response_time;
        example.upstream_response_time.push(separator);
        example.upstream_response_time.push(format!("{}.{:03}", time / 1000, time % 1000).as_bytes());
    }
    example
}

/// As nginx's `$status`.
fn client_status(request: &ngx_http_request_t) -> u16 {
    let status = if request.err_status == 0 { request.headers_out.status } else { request.err_status };
    u16::try_from(status).unwrap_or_default()
}

fn states(request: &ngx_http_request_t) -> Option<&[ngx_http_upstream_state_t]> {
    // SAFETY: null, or an array of the request's pool.
    let states = unsafe { request.upstream_states.as_ref() }?;
    let first = NonNull::new(states.elts.cast::<ngx_http_upstream_state_t>())?;
    // SAFETY: the array holds `nelts` states.
    Some(unsafe { slice::from_raw_parts(first.as_ptr(), states.nelts) })
}

fn peer_name(state: &ngx_http_upstream_state_t) -> &[u8] {
    // SAFETY: null only for the separators, which are no attempts; else a name that outlives the request.
    unsafe { state.peer.as_ref() }.map_or(&[], ngx_str_t::as_bytes)
}
