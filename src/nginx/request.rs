//! The log phase: makes an [`Observation`] of what nginx knows about a finished request.
//!
//! It runs on the event loop for every request, so it takes no lock, and allocates only for unusual requests. The usual
//! request has a shorter path of its own.

use std::collections::VecDeque;
use std::ptr;

use nginx_sys::{
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_NOT_MODIFIED, NGX_HTTP_OK, NGX_HTTP_SWITCHING_PROTOCOLS, ngx_http_request_t, ngx_http_upstream_srv_conf_t,
    ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_msec_t, ngx_str_t, ngx_uint_t,
};

use crate::clock::Clock;
use crate::nginx::bits;
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
use crate::nginx::groups::{self, Group, Notes};
use crate::nginx::peer_cache::CachedPeer;
use crate::nginx::peers;
use crate::nginx::process::{self, Pipeline};
use crate::nginx::upstream::EventLoopUpstream;
use crate::observation::{Attempt, Details, Example, Observation, Verdict};
use crate::text::{self, Text};
use crate::units::Millis;

/// nginx's value of a time that was not measured: there was no connection, or no header.
const NEVER: ngx_msec_t = ngx_msec_t::MAX;

/// Stands for a peer without a name.
const NO_NAME: ngx_str_t = ngx_str_t::empty();

/// Upstreams to which nginx speaks TLS have these schemes.
const TLS: [&[u8]; 3] = [b"https://", b"grpcs://", b"suwsgi://"];

/// Notes that a request begins to ask the upstream that is its `r->upstream` now. What other requests of the same main
/// request were answered meanwhile is observed at once, so that a main request with thousands of subrequests does not
/// send thousands of observations when it ends.
#[cold]
pub(crate) fn begin_next(r: &ngx_http_request_t, notes: Notes) {
    if !ptr::eq(r.main, r) {
        observe_answered_subrequests(r, notes);
    }
    notes.note_next(r);
}

/// Counts a request by the block of a service that it is sent to first. To be called before that is noted.
pub(crate) fn note_choice(r: &ngx_http_request_t, uscf: *const ngx_http_upstream_srv_conf_t, notes: Notes) {
    let Some(upstream) = EventLoopUpstream::of(uscf) else { return };
    if !notes.has_asked(r, |asked| is_of(upstream, asked)) {
        upstream.choices.count(EventLoopUpstream::block_index(uscf).into());
    }
}

/// Sends observations of a main request that has ended to the observer: one for each time that it or a subrequest asked
/// a watched upstream.
#[expect(clippy::inline_always, reason = "the log phase's handler is little else")]
#[inline(always)]
pub(crate) fn observe(main: &ngx_http_request_t) {
    let Some(pipeline) = process::pipeline() else { return };
    let Some(conf) = MainConf::of_request(main) else { return };
    match conf.notes.only(main).and_then(|upstream| usual(main, upstream, pipeline)) {
        Some((seen, upstream)) => pipeline.send(seen, upstream),
        None => observe_groups(main, conf.notes, pipeline, |_| true),
    }
}

/// The usual request: one attempt, and a response below 500 of a watched upstream, with the same names as the peer's
/// last one. `None`: any other request. All of it is inlined, since calls would cost more.
#[expect(clippy::inline_always, reason = "it is the one whose cost counts")]
#[inline(always)]
fn usual<'a>(
    main: &ngx_http_request_t,
    current: &ngx_http_upstream_t,
    pipeline: &Pipeline,
) -> Option<(Observation, &'a EventLoopUpstream)> {
    let [state] = groups::states(main) else { return None };
    let upstream = EventLoopUpstream::of(current.upstream)?;
    let status = client_status(main);
    let is_good = NGX_HTTP_OK as ngx_uint_t <= state.status
        && state.status < NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_uint_t
        && u32::from(status) < NGX_HTTP_CLIENT_CLOSED_REQUEST;
    if !is_good || !has_response(state, current) {
        return None;
    }
    // SAFETY: null for a separator only, which is no attempt; else a name that outlives the request.
    let peer = upstream.peers.hinted(unsafe { state.peer.as_ref() }?)?;
    if !peer.names_as_before(&upstream.headers, &current.headers_in.headers) {
        return None;
    }
    let attempt = Attempt {
        peer: peer.index,
        verdict: Verdict::Ok,
        status: state.status as u16,
        start: Millis(current.start_time as u64),
        to_header: state.header_time as u32,
    };
    let block = EventLoopUpstream::block_index(current.upstream);
    let seen = Observation {
        upstream: upstream.index,
        status,
        block,
        names_as_before: true,
        attempts: [attempt].into(),
        // Why does the reserve serve?
        details: if peer.backup_in.get().contains(block.into()) {
            peers::details(upstream, block, pipeline)
        } else {
            None
        },
        ..Observation::default()
    };
    Some((seen, upstream))
}

fn observe_answered_subrequests(r: &ngx_http_request_t, notes: Notes) {
    // SAFETY: the main request outlives its subrequests.
    let (Some(pipeline), Some(main)) = (process::pipeline(), unsafe { r.main.as_ref() }) else { return };
    // What came of a failure is known only when the main request has ended.
    let is_answered = |group: &Group| {
        // Of a service, what was asked before in the same subrequest belongs to it.
        let is_service = |upstream: &EventLoopUpstream| upstream.watched.is_service();
        let is_part = !group.is_first() && EventLoopUpstream::of(group.upstream().upstream).is_some_and(is_service);
        !ptr::eq(group.request(), main)
            && group.is_over()
            && !is_part
            && group.attempts().last().is_some_and(|last| verdict(last, true, group.upstream()) == Verdict::Ok)
    };
    observe_groups(main, notes, pipeline, is_answered);
}

/// Any other request than the usual one: observes the groups that are wanted, oldest first.
#[cold]
fn observe_groups(main: &ngx_http_request_t, notes: Notes, pipeline: &Pipeline, is_wanted: impl FnMut(&Group) -> bool) {
    let mut groups = VecDeque::from(notes.take(main, is_wanted));
    while let Some(first) = groups.pop_front() {
        let Some(upstream) = EventLoopUpstream::of(first.upstream().upstream) else { continue };
        let mut together = vec![first];
        if upstream.watched.is_service() {
            // What a request or subrequest asked of a service is one request of that, whichever blocks it went to.
            let is_same = |first: &Group, other: &Group| {
                ptr::eq(other.request(), first.request()) && is_of(upstream, other.upstream())
            };
            let (same, others): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|other| together.iter().any(|first| is_same(first, other)));
            together.extend(same);
            groups = others.into();
        }
        if let Some(seen) = observe_together(main, pipeline, &together, upstream) {
            pipeline.send(seen, upstream);
        }
    }
}

/// Is this a block of the watched upstream?
fn is_of(upstream: &EventLoopUpstream, asked: &ngx_http_upstream_t) -> bool {
    EventLoopUpstream::of(asked.upstream).is_some_and(|other| ptr::eq(other, upstream))
}

/// The observation of a group of attempts, or of all groups of a service; `None`: nginx made no attempt.
fn observe_together(
    main: &ngx_http_request_t,
    pipeline: &Pipeline,
    groups: &[Group],
    upstream: &EventLoopUpstream,
) -> Option<Observation> {
    let (last_group, others) = groups.split_last()?;
    let mut seen = Observation { upstream: upstream.index, ..Observation::default() };
    seen.block = groups.first().map_or(0, |first| EventLoopUpstream::block_index(first.upstream().upstream));
    for group in others {
        push_attempts(&mut seen, group, upstream);
        if let Some(last) = seen.attempts.last_mut() {
            // A response that nginx did not keep, since `error_page` led to another block.
            if last.verdict == Verdict::Ok && u32::from(last.status) >= NGX_HTTP_BAD_REQUEST {
                last.verdict = Verdict::Rejected;
            }
        }
    }
    push_attempts(&mut seen, last_group, upstream);
    let last = *seen.attempts.last()?;
    let current = last_group.upstream();
    let state = last_group.attempts().last();
    let peer = upstream.peers.find(state.map_or(&NO_NAME, peer_name));
    let is_reserve = peer.backup_in.get().contains(EventLoopUpstream::block_index(current.upstream).into());
    if state.is_some_and(|state| has_response(state, current)) {
        seen.names = peer.names(&upstream.headers, &current.headers_in.headers);
        seen.names_as_before = seen.names.is_none();
    }
    let client = status_for_client(main, last_group, &last);
    // An upstream that answered is not charged with what became of the request afterwards: another upstream may have
    // failed to which the answer led, or the client of a mirrored request.
    let is_done = last.verdict == Verdict::Ok && !ptr::eq(main.upstream, current);
    seen.aborted = (u32::from(client) == NGX_HTTP_CLIENT_CLOSED_REQUEST && !is_done)
        || seen.attempts().iter().any(|attempt| attempt.verdict == Verdict::Unfinished);
    seen.status = if last.verdict == Verdict::Ok && !seen.aborted { last.status } else { client };
    if !seen.aborted && (seen.has_failure() || is_reserve) {
        let block = |group: &Group| {
            let asked = group.upstream().upstream;
            upstream.blocks.iter().find(|block| ptr::eq(block.uscf, asked))
        };
        let now = SystemClock.now();
        let wants_example = seen.has_failure() && pipeline.wants_example(upstream.index, now);
        let example = wants_example.then(|| example(&seen, groups, now));
        let marks = peers::marks(upstream, pipeline, groups.iter().filter_map(block));
        let resolved = Vec::new();
        seen.details = (wants_example || !marks.are_empty()).then(|| Box::new(Details { marks, example, resolved }));
    }
    let resolved = upstream.peers.take_news();
    if !resolved.is_empty() {
        seen.details.get_or_insert_default().resolved = resolved;
    }
    Some(seen)
}

/// Adds the attempts of a group.
fn push_attempts(seen: &mut Observation, group: &Group, upstream: &EventLoopUpstream) {
    let (states, current) = (group.attempts(), group.upstream());
    let Some((last_state, earlier)) = states.split_last() else { return };
    // An attempt starts at the moment at which the response time of the one before is taken.
    let mut start =
        Millis(current.start_time as u64) - Millis(earlier.iter().map(|state| state.response_time as u64).sum());
    for state in earlier {
        let peer = peers::find(upstream, peer_name(state));
        seen.push(attempt(state, peer, verdict(state, false, current), start));
        start = start + Millis(state.response_time as u64);
    }
    let peer = peers::find(upstream, peer_name(last_state));
    let last = attempt(last_state, peer, verdict(last_state, true, current), start);
    seen.push(Attempt { status: final_status(last_state, current), ..last });
}

/// What the client got at last, as far as this group can tell.
fn status_for_client(main: &ngx_http_request_t, group: &Group, last: &Attempt) -> u16 {
    if !bits::is_post_action(main) {
        return client_status(main);
    }
    // The client was answered before the action began, which may have asked an upstream of its own.
    let is_action = ptr::eq(main.upstream, group.upstream()) && !group.is_first();
    match last.verdict {
        _ if is_action => NGX_HTTP_OK as u16,
        // An answer without a status, which nginx passed on.
        Verdict::NoAnswer if u32::from(last.status) < NGX_HTTP_INTERNAL_SERVER_ERROR => 0,
        _ => last.status,
    }
}

fn attempt(state: &ngx_http_upstream_state_t, peer: &CachedPeer, verdict: Verdict, start: Millis) -> Attempt {
    Attempt { peer: peer.index, verdict, status: state.status as u16, start, to_header: state.header_time as u32 }
}

/// How an attempt ended. `is_last`: it is the last one of its group, so what nginx holds of a response is of this one.
fn verdict(state: &ngx_http_upstream_state_t, is_last: bool, current: &ngx_http_upstream_t) -> Verdict {
    let status = if is_last { final_status(state, current) } else { state.status as u16 };
    match (u32::from(status), state.header_time) {
        // nginx notes no status of what has no status line, if it may be cached.
        (0, time) if is_last && time != NEVER && current.headers_in.status_n == 0 => Verdict::NoAnswer,
        (0, _) => Verdict::Unfinished,
        (_, NEVER) if state.connect_time == NEVER && is_upstream_name(peer_name(state), current) => {
            Verdict::NoLiveUpstreams
        }
        (NGX_HTTP_GATEWAY_TIME_OUT, NEVER) if state.connect_time == NEVER => Verdict::ConnectTimedOut,
        (NGX_HTTP_GATEWAY_TIME_OUT, NEVER) => Verdict::TimedOut,
        // nginx counts the TLS handshake to the connection, so who failed at it looks like who refused to connect.
        (_, NEVER) if state.connect_time == NEVER && !TLS.contains(&current.schema.as_bytes()) => Verdict::Refused,
        (_, NEVER) => Verdict::NoAnswer,
        // nginx passes on what has no status line as it is.
        (status, _) if is_last && status != NGX_HTTP_NOT_MODIFIED && current.headers_in.status_n == 0 => {
            Verdict::NoAnswer
        }
        (NGX_HTTP_INTERNAL_SERVER_ERROR.., _) => Verdict::ServerError,
        _ if is_last => Verdict::Ok,
        _ => Verdict::Rejected,
    }
}

/// The status of the last attempt. nginx keeps the status of an early hint in the state, and none of a tunnel: then the
/// header's own counts.
fn final_status(state: &ngx_http_upstream_state_t, current: &ngx_http_upstream_t) -> u16 {
    let status = state.status as u32;
    let is_final = status >= NGX_HTTP_OK || status == NGX_HTTP_SWITCHING_PROTOCOLS;
    if is_final || state.header_time == NEVER || current.headers_in.status_n == 0 {
        return status as u16;
    }
    current.headers_in.status_n as u16
}

/// nginx found no available peer, and uses the upstream's own name.
fn is_upstream_name(peer: &ngx_str_t, current: &ngx_http_upstream_t) -> bool {
    // SAFETY: the configuration of the upstream, which outlives the request.
    unsafe { current.upstream.as_ref() }.is_some_and(|uscf| uscf.host.as_bytes() == peer.as_bytes())
}

/// Are the headers that nginx holds those of this attempt's own response?
///
/// They may also be those of an earlier attempt, if the last one got none, or of a cached response that a 304
/// confirmed. A response without a status line is invalid.
#[expect(clippy::inline_always, reason = "once for each request")]
#[inline(always)]
fn has_response(state: &ngx_http_upstream_state_t, current: &ngx_http_upstream_t) -> bool {
    state.header_time != NEVER && state.status as u32 != NGX_HTTP_NOT_MODIFIED && current.headers_in.status_n != 0
}

/// An example of a request to one upstream. `groups`: at least one.
fn example(seen: &Observation, groups: &[Group], now: Millis) -> Example {
    let Some(request) = groups.first().map(Group::request) else { return Example::default() };
    let states = || groups.iter().flat_map(Group::attempts);
    let uri = text::path_without_secrets(request.unparsed_uri.as_bytes());
    let answered = |attempt: &Attempt| match attempt.status {
        0 => b"-".to_vec(),
        code => code.to_string().into_bytes(),
    };
    let address = |state: &ngx_http_upstream_state_t| peer_name(state).as_bytes().to_vec();
    let time = |state: &ngx_http_upstream_state_t| {
        format!("{}.{:03}", state.response_time / 1000, state.response_time % 1000).into_bytes()
    };
    Example {
        at: now,
        status: seen.status,
        method: Text::new(request.method_name.as_bytes()),
        path: Text::shortened(uri.as_bytes()),
        upstream_status: listed(seen.attempts().iter().map(answered)),
        upstream_addr: listed(states().map(address)),
        upstream_response_time: listed(states().map(time)),
    }
}

/// A fact of each attempt, as nginx's variables list it.
fn listed<const N: usize>(facts: impl Iterator<Item = Vec<u8>>) -> Text<N> {
    Text::shortened(&facts.collect::<Vec<_>>().join(&b", "[..]))
}

/// nginx's `$status`: at most three digits.
fn client_status(request: &ngx_http_request_t) -> u16 {
    let status = if request.err_status == 0 { request.headers_out.status } else { request.err_status };
    status as u16
}

fn peer_name(state: &ngx_http_upstream_state_t) -> &ngx_str_t {
    // SAFETY: null only for the separators, which are no attempts; else a name that outlives the request.
    unsafe { state.peer.as_ref() }.unwrap_or(&NO_NAME)
}
