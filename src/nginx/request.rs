//! The log phase: one pass over what nginx knows of a finished request, into an [`Observation`].
//!
//! It runs on the event loop for every request, so it takes no lock, and allocates for failed requests only.

use std::ptr::NonNull;
use std::slice;

use nginx_sys::{
    NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_MODIFIED,
    ngx_http_request_t, ngx_http_upstream_headers_in_t, ngx_http_upstream_state_t, ngx_msec_t, ngx_str_t,
    ngx_table_elt_t,
};

use crate::nginx::conf::{Header, MainConf, Upstream};
use crate::nginx::peers;
use crate::nginx::process::{self, Running};
use crate::observation::{Attempt, Example, Observation, Verdict};
use crate::text::{self, Text};
use crate::units::Millis;

/// What nginx puts where a time was never taken: the connection or the header did not come.
const NEVER: ngx_msec_t = ngx_msec_t::MAX;

/// Observes a finished request.
pub(crate) fn observe(request: &ngx_http_request_t, conf: &MainConf) {
    let Some(running) = process::running() else { return };
    let Some(states) = states(request) else { return };
    let mut end = None;
    // Backwards, since the start of a later group is the end of the one before: an internal redirect's upstream.
    for group in states.rsplit(|state| state.peer.is_null()) {
        if !group.is_empty() {
            end = Some(observe_group(request, conf, running, group, end));
        }
    }
}

/// One upstream's attempts. `end`: when the next upstream took over; `None` for the last one, whose `r->upstream` is still there.
/// Returns when the first attempt started.
fn observe_group(
    request: &ngx_http_request_t,
    conf: &MainConf,
    running: &Running,
    group: &[ngx_http_upstream_state_t],
    end: Option<Millis>,
) -> Millis {
    // SAFETY: nginx keeps the upstream of a request that was sent to one until the request is freed.
    let current = unsafe { request.upstream.as_ref() };
    let last_start = match (end, current, group.last()) {
        (None, Some(current), _) => Millis(current.start_time as u64),
        (Some(end), _, Some(last)) => end - Millis(last.response_time as u64),
        _ => return end.unwrap_or_default(),
    };
    // nginx notes the next start and the last response time in the same instant, so the starts follow from the times.
    let before_last: u64 =
        group.split_last().map_or(0, |(_, earlier)| earlier.iter().map(|state| state.response_time as u64).sum());
    let first_start = last_start - Millis(before_last);
    let found = match (end, current) {
        (None, Some(current)) => conf.upstream_of(current.upstream),
        _ => conf.upstream_with_peer(group.first().map_or(&[], peer_name)),
    };
    let Some((index, upstream)) = found else { return first_start };

    let mut seen = Observation { upstream: index, status: client_status(request), ..Observation::default() };
    let mut start = first_start;
    for state in group {
        seen.push(attempt(state, upstream, start));
        start = start + Millis(state.response_time as u64);
    }
    if let (None, Some(current)) = (end, current) {
        read_headers(&mut seen, &current.headers_in, group.last(), upstream);
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

fn attempt(state: &ngx_http_upstream_state_t, upstream: &Upstream, start: Millis) -> Attempt {
    let name = peer_name(state);
    Attempt {
        peer: upstream.peer_index(name).unwrap_or(Attempt::UNKNOWN_PEER),
        verdict: verdict(state, name == upstream.watched.name.as_bytes()),
        status: state.status as u16,
        start,
        to_header: u32::try_from(state.header_time).unwrap_or(u32::MAX),
    }
}

fn verdict(state: &ngx_http_upstream_state_t, names_the_upstream: bool) -> Verdict {
    match (state.status as u32, state.header_time) {
        (0, _) => Verdict::Unfinished,
        // nginx found no peer to ask and put the upstream's own name there.
        (_, NEVER) if names_the_upstream && state.connect_time == NEVER => Verdict::NoLiveUpstreams,
        (NGX_HTTP_GATEWAY_TIME_OUT, NEVER) => Verdict::TimedOut,
        (_, NEVER) => Verdict::Refused,
        (NGX_HTTP_INTERNAL_SERVER_ERROR.., _) => Verdict::ServerError,
        _ => Verdict::Ok,
    }
}

/// The pool and the release that the last attempt's own response named.
///
/// nginx keeps headers longer than they are true: of an earlier attempt when the last one got none, and of a cached response
/// that a 304 confirmed. A response without a status line is garbage.
fn read_headers(
    seen: &mut Observation,
    headers_in: &ngx_http_upstream_headers_in_t,
    last_state: Option<&ngx_http_upstream_state_t>,
    upstream: &Upstream,
) {
    if last_state.is_none_or(|state| state.header_time == NEVER || state.status as u32 == NGX_HTTP_NOT_MODIFIED) {
        return;
    }
    if headers_in.status_n == 0 {
        let last = usize::from(seen.attempt_count).saturating_sub(1);
        if let Some(last) = seen.attempts.get_mut(last).filter(|last| last.verdict == Verdict::Ok) {
            last.verdict = Verdict::Refused;
        }
        return;
    }
    let mut part = Some(&headers_in.headers.part);
    while let Some(current) = part {
        let headers = match NonNull::new(current.elts.cast::<ngx_table_elt_t>()) {
            // SAFETY: a list part holds `nelts` elements of the list's type.
            Some(headers) => unsafe { slice::from_raw_parts(headers.as_ptr(), current.nelts) },
            None => &[],
        };
        for header in headers {
            if is_named(header, &upstream.pool_header) && seen.pool.is_empty() {
                seen.pool = Text::new(header.value.as_bytes());
            } else if is_named(header, &upstream.release_header) && seen.release.is_empty() {
                seen.release = Text::new(header.value.as_bytes());
            }
        }
        // SAFETY: the parts of a list are linked, the last one by null.
        part = unsafe { current.next.as_ref() };
    }
}

/// By hash, and for the one that matches by the name that nginx has in lower case already.
fn is_named(header: &ngx_table_elt_t, name: &Header) -> bool {
    if header.hash != name.hash || header.key.len != name.lowcase.len() || header.lowcase_key.is_null() {
        return false;
    }
    // SAFETY: every protocol module of nginx keeps the key in lower case there, as long as the key itself.
    let lowcase = unsafe { slice::from_raw_parts(header.lowcase_key, header.key.len) };
    lowcase == name.lowcase
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
