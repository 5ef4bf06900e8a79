//! `poolwatch_status`: what is asked for becomes an answer, on the event loop, without the zone's lock.
//!
//! What a request may do is decided by [`crate::status`]; here are nginx's request, its body and its answer. Writes become orders
//! to this worker's observer, so that even they wait for nobody.

mod input;

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use nginx_sys::{
    NGINX_VERSION, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_LOG_NOTICE, ngx_conf_t,
    ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_finalize_request, ngx_http_read_client_request_body,
    ngx_http_request_t, ngx_int_t,
};
use ngx::core::Status;

use crate::clock::Clock;
use crate::nginx::callback::caught;
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::locations::{LocConf, Page};
use crate::nginx::conf::{MainConf, log, lookup};
use crate::nginx::reply::{self, Reply};
use crate::nginx::zone::Zone;
use crate::nginx::{bits, cycle, error_log, process};
use crate::persist::restore::RESTORED;
use crate::pipeline::order::Order;
use crate::state::notices::MAX_SILENCES;
use crate::state::snapshot::{ModuleInfo, Snapshot};
use crate::state::workers::Workers;
use crate::status::cache::StatusRequest;
use crate::status::command::{self, Headers, LONGEST_BODY, RequestError, too_long};
use crate::status::route::{Route, RouteError, route};
use crate::status::view::StateView;
use crate::status::{html, json, prometheus};
use crate::text::clean;

/// The directive has been read: the location is ours, and is remembered for the check of its access rules.
pub(crate) fn install(cf: &ngx_conf_t) {
    // SAFETY: while a location is read, the context is that of the location.
    let Some(context) = (unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }) else { return };
    let core = handle_with(context.loc_conf);
    if let Some(core) = core {
        // SAFETY: the location's own configuration, which nobody else uses now.
        if unsafe { core.as_ref() }.name.as_bytes().ends_with(b"/") {
            bits::set_auto_redirect(core);
        }
    }
    if let Some(mut conf) = lookup::ours::<LocConf>(context.loc_conf) {
        // SAFETY: the location's own configuration, which nobody else uses now.
        unsafe { conf.as_mut() }.core = core;
    }
    if let (Some(mut conf), Some(core)) = (lookup::ours::<MainConf>(context.main_conf), core) {
        // SAFETY: as above.
        unsafe { conf.as_mut() }.pages.push(Page { loc_conf: context.loc_conf, core, place: log::place(cf) });
    }
}

/// `limit_except` gives the methods that it limits a configuration of their own: it is ours as well. Locations within ours are not.
pub(crate) fn inherit(cf: &ngx_conf_t, prev: &LocConf, conf: &mut LocConf) {
    let Some(core) = prev.core else { return };
    // SAFETY: while locations are merged, the context is that of the inner one.
    let Some(context) = (unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }) else { return };
    // SAFETY: nginx's configuration of the outer location, which lives as long as the cycle.
    if conf.core.is_none() && unsafe { core.as_ref() }.limit_except_loc_conf == context.loc_conf {
        conf.said.status.clone_from(&prev.said.status);
        handle_with(context.loc_conf);
    }
}

/// Makes us the handler of a location. Returns nginx's own configuration of it.
fn handle_with(loc_conf: *mut *mut c_void) -> Option<NonNull<ngx_http_core_loc_conf_t>> {
    let mut core = lookup::core(loc_conf)?;
    // SAFETY: the location's own configuration, which nobody else uses now.
    unsafe { core.as_mut() }.handler = Some(handle);
    Some(core)
}

/// The content handler.
unsafe extern "C" fn handle(request: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a request whose location is ours.
    let r = unsafe { &mut *request };
    caught(|| answer(r)).unwrap_or(code(NGX_HTTP_INTERNAL_SERVER_ERROR))
}

fn answer(r: &mut ngx_http_request_t) -> ngx_int_t {
    let Some((conf, write)) = confs(r) else { return Status::NGX_DECLINED.into() };
    let route = below(r).ok_or(RouteError::NotFound).and_then(|path| route(r.method_name.as_bytes(), path));
    let reply = match route {
        Ok(Route::Silence | Route::EndSilence(_) | Route::Test) => match may_write(r, write) {
            Ok(()) => return read_body(r),
            Err(error) => Rc::new(refused(&error)),
        },
        Ok(route) => {
            let query = if route == Route::Page { String::from_utf8_lossy(r.args.as_bytes()) } else { "".into() };
            read(conf, StatusRequest { route, query: query.into_owned(), write })
        }
        Err(RouteError::SlashMissing) => Rc::new(moved(r)),
        Err(RouteError::NotFound) => Rc::new(Reply::json(404, json::error("not found"))),
        Err(RouteError::NotAllowed(allow)) => {
            Rc::new(Reply { allow, ..Reply::json(405, json::error("method not allowed")) })
        }
    };
    reply::send(r, &reply)
}

/// Has nginx read the body of a write; the answer comes when it is there.
fn read_body(r: &mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the request is being handled; the callback is called with it once its body is there.
    match unsafe { ngx_http_read_client_request_body(r, Some(handle_body)) } {
        // The request is now the callback's.
        code if code < self::code(NGX_HTTP_SPECIAL_RESPONSE) => Status::NGX_DONE.into(),
        code => code,
    }
}

/// To the name of the location with a slash behind it, and with the query, as nginx does by itself where the name has the slash.
fn moved(r: &ngx_http_request_t) -> Reply {
    let name = core(r).map_or(&[][..], |core| core.escaped_name.as_bytes());
    let query = if r.args.is_empty() { [&b""[..]; 2] } else { [&b"?"[..], r.args.as_bytes()] };
    Reply { location: [name, b"/", query[0], query[1]].concat(), ..Reply::json(301, json::error("moved permanently")) }
}

fn read(conf: &MainConf, request: StatusRequest) -> Rc<Reply> {
    let changes = conf.zone.mapped.get().map_or(0, Zone::changes);
    let answer = conf.status_cache.borrow_mut().answer(request, SystemClock.now(), changes, || state(conf), render);
    answer.unwrap_or_else(|| Rc::new(Reply::json(503, json::error(BUSY))))
}

fn render(state: &StateView, request: &StatusRequest) -> Reply {
    match request.route {
        Route::Json(part) => Reply::json(200, json::body(part, state)),
        Route::Metrics => Reply { content_type: prometheus::CONTENT_TYPE, ..Reply::json(200, prometheus::body(state)) },
        _ => {
            let page = html::page(state, &request.query);
            Reply { content_type: "text/html; charset=utf-8", policy: html::POLICY, ..Reply::json(200, page) }
        }
    }
}

/// The body of a write is there.
unsafe extern "C" fn handle_body(request: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the request that asked for its body.
    let r = unsafe { &mut *request };
    let code = caught(|| {
        let reply = write(r).unwrap_or_else(|error| refused(&error));
        reply::send(r, &reply)
    });
    let code = code.unwrap_or(self::code(NGX_HTTP_INTERNAL_SERVER_ERROR));
    // SAFETY: the request was kept for this callback, which is done with it.
    unsafe { ngx_http_finalize_request(request, code) };
}

fn write(r: &ngx_http_request_t) -> Result<Reply, RequestError> {
    let unavailable = || RequestError::new(503, "this worker is not watching");
    let (conf, _) = confs(r).ok_or_else(unavailable)?;
    let route = below(r).ok_or(RouteError::NotFound).and_then(|path| route(r.method_name.as_bytes(), path));
    let body = input::body(r)?;
    let headers = Headers::read(input::headers(r))?;
    let zone = conf.zone.mapped.get().ok_or_else(unavailable)?;
    let notices = zone.notices().ok_or_else(|| RequestError::new(503, BUSY))?;
    let (order, id, what) = match route {
        Ok(Route::Silence) => {
            headers.check_type()?;
            let is_watched =
                |name: &[u8]| conf.upstreams.iter().any(|upstream| upstream.watched.name.as_bytes() == name);
            let silence = command::silence(&body, zone.next_silence(), SystemClock.now(), is_watched)?;
            if notices.silences().count() == MAX_SILENCES {
                return Err(RequestError::new(409, format!("there are {MAX_SILENCES} silences already")));
            }
            let upstream = match silence.upstream.as_bytes() {
                b"" => "all upstreams".to_owned(),
                name => format!("upstream \"{}\"", clean(name, 256)),
            };
            let (id, comment) = (silence.id, clean(silence.comment.as_bytes(), 512));
            (Order::Silence(Box::new(silence)), Some(id), format!("silence {id} of {upstream} (\"{comment}\")"))
        }
        Ok(Route::EndSilence(id)) if notices.silences().any(|silence| silence.id == id) => {
            (Order::EndSilence(id), Some(id), format!("the end of silence {id}"))
        }
        Ok(Route::Test) => {
            if !body.is_empty() {
                headers.check_type()?;
            }
            command::test(&body)?;
            (Order::Test, None, "a test message".to_owned())
        }
        _ => return Err(RequestError::new(404, "there is no such silence")),
    };
    if !process::running().ok_or_else(unavailable)?.order(order) {
        return Err(RequestError::new(503, "too many orders wait"));
    }
    // nginx adds the client's address.
    // SAFETY: a request has its connection until it is freed.
    let connection = unsafe { r.connection.as_ref() };
    if let Some(connection) = connection {
        error_log::write(NGX_LOG_NOTICE, connection.log, &format!("{what} was asked for"));
    }
    Ok(Reply::json(202, json::accepted(id)))
}

/// What can be said of a write before its body is read.
fn may_write(r: &ngx_http_request_t, write: bool) -> Result<(), RequestError> {
    if !write {
        return Err(RequestError::new(403, "writes are off here, \"poolwatch_status write=on\" takes them"));
    }
    Headers::read(input::headers(r))?.check_source()?;
    if usize::try_from(r.headers_in.content_length_n).is_ok_and(|length| length > LONGEST_BODY) {
        return Err(too_long());
    }
    Ok(())
}

/// As handlers return a status.
#[expect(clippy::cast_possible_wrap, reason = "a status has three digits")]
const fn code(status: u32) -> ngx_int_t {
    status as ngx_int_t
}

const BUSY: &str = "the state changes too fast to be read, try again";

fn refused(error: &RequestError) -> Reply {
    Reply::json(error.status, json::error(&error.text))
}

/// Everything at this moment; `None`: it could not be read. Without a watched upstream there is nothing in it.
fn state(conf: &MainConf) -> Option<StateView> {
    let snapshot = match conf.zone.mapped.get() {
        Some(zone) => Snapshot::new(zone.contents()?, &conf.receivers, module_info(conf)),
        None => Snapshot::empty(module_info(conf)),
    };
    Some(StateView::new(&snapshot, false))
}

fn module_info(conf: &MainConf) -> ModuleInfo {
    let zone = conf.zone.mapped.get();
    ModuleInfo {
        now: SystemClock.now(),
        wall: SystemClock.wall(),
        host: SystemClock.host(),
        nginx_version: NGINX_VERSION.to_string_lossy().into_owned(),
        worker_processes: cycle::configured_workers(),
        workers: zone.map_or_else(Workers::default, |zone| {
            let said = zone.workers().said(conf.zone.generation.get());
            Workers::new(cycle::serving_processes(), &said, zone.held())
        }),
        hindrance: zone.and_then(|zone| zone.hindrance(conf.zone.file.is_some())),
        configurations: conf.zone.generation.get().saturating_sub(RESTORED),
        dropped: zone.map_or(0, Zone::dropped),
        zone_size: conf.zone.size.get() as u64,
        zone_upstreams: zone.map_or(0, |zone| zone.capacity() as u64),
    }
}

/// The path behind the location's name, beginning with a slash; `None`: the location is no prefix of it.
fn below(r: &ngx_http_request_t) -> Option<&[u8]> {
    let name = core(r)?.name.as_bytes();
    r.uri.as_bytes().strip_prefix(name.strip_suffix(b"/").unwrap_or(name))
}

/// nginx's own configuration of the location.
fn core(r: &ngx_http_request_t) -> Option<&ngx_http_core_loc_conf_t> {
    let core = lookup::core(r.loc_conf)?;
    // SAFETY: the location's configuration outlives its requests, and is only read.
    Some(unsafe { core.as_ref() })
}

/// The configuration of a request, which outlives it, and whether its location takes writes.
fn confs<'a>(r: &ngx_http_request_t) -> Option<(&'a MainConf, bool)> {
    let conf = MainConf::of_request(r)?;
    let location = lookup::ours::<LocConf>(r.loc_conf)?;
    // SAFETY: the configuration outlives its requests, and is only read.
    let write = unsafe { location.as_ref() }.said.status.as_ref().is_some_and(|status| status.value);
    Some((conf, write))
}
