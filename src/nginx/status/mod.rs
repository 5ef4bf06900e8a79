//! `poolwatch_status`: answers requests on the event loop, without the zone's lock.
//!
//! [`crate::status`] decides what a request may do and what the answer is; these files connect it with nginx's request.
//! Writes become orders to this worker's observer, so that they need no lock either.

mod target;
mod input;
mod read;
mod write;

use std::ffi::c_void;
use std::ptr::NonNull;
use std::rc::Rc;

use nginx_sys::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_request_t,
    ngx_int_t,
};
use ngx::core::Status;

use crate::nginx::bits;
use crate::nginx::callback::caught;
use crate::nginx::conf::locations::{LocConf, StatusLocation};
use crate::nginx::conf::{MainConf, log, lookup};
use crate::nginx::reply::{self, Reply, code};
use crate::status::cache::StatusRequest;
use crate::status::json;
use crate::status::route::{Route, RouteError, route};

/// To be called when the directive has been read: makes us the location's handler, and remembers the location for the
/// check of its access rules.
pub(crate) fn install(cf: &ngx_conf_t) {
    // SAFETY: while a location is read, the context is that of the location.
    let Some(context) = (unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }) else { return };
    let core = handle_with(context.loc_conf);
    if let Some(core) = core {
        // SAFETY: the location's own configuration, which nothing else uses now.
        if unsafe { core.as_ref() }.name.as_bytes().ends_with(b"/") {
            bits::set_auto_redirect(core);
        }
    }
    if let Some(mut conf) = lookup::ours::<LocConf>(context.loc_conf) {
        // SAFETY: the location's own configuration, which nothing else uses now.
        unsafe { conf.as_mut() }.core = core;
    }
    if let (Some(mut conf), Some(core)) = (lookup::ours::<MainConf>(context.main_conf), core) {
        // SAFETY: as above.
        unsafe { conf.as_mut() }.status_locations.push(StatusLocation {
            loc_conf: context.loc_conf,
            core,
            place: log::place(cf),
        });
    }
}

/// Makes us the handler also of `limit_except` in our location: it has a configuration of its own for the methods that
/// it limits. Nested locations do not inherit the handler.
pub(crate) fn inherit_handler(cf: &ngx_conf_t, prev: &LocConf, conf: &mut LocConf) {
    let Some(core) = prev.core else { return };
    // SAFETY: while locations are merged, the context is that of the inner one.
    let Some(context) = (unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }) else { return };
    // SAFETY: nginx's configuration of the outer location, which lives as long as the cycle.
    if conf.core.is_none() && unsafe { core.as_ref() }.limit_except_loc_conf == context.loc_conf {
        conf.directives.status.clone_from(&prev.directives.status);
        handle_with(context.loc_conf);
    }
}

/// Makes us the content handler of a location. Returns nginx's own configuration of it.
fn handle_with(loc_conf: *mut *mut c_void) -> Option<NonNull<ngx_http_core_loc_conf_t>> {
    let mut core = lookup::core(loc_conf)?;
    // SAFETY: the location's own configuration, which nothing else uses now.
    unsafe { core.as_mut() }.handler = Some(handle);
    Some(core)
}

/// The content handler, called by nginx for each request of our locations.
unsafe extern "C" fn handle(request: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a request whose location is ours.
    let r = unsafe { &mut *request };
    caught(|| answer(r)).unwrap_or(code(NGX_HTTP_INTERNAL_SERVER_ERROR))
}

fn answer(r: &mut ngx_http_request_t) -> ngx_int_t {
    let Some((conf, write)) = target::confs(r) else { return Status::NGX_DECLINED.into() };
    let route = target::below(r).ok_or(RouteError::NotFound).and_then(|path| route(r.method_name.as_bytes(), path));
    let reply = match route {
        Ok(Route::Silence | Route::EndSilence(_) | Route::Test) => match write::may_write(r, write) {
            Ok(()) => return write::read_body(r),
            Err(error) => Rc::new(Reply::refused(&error)),
        },
        Ok(route) => {
            let query = if route == Route::Page { String::from_utf8_lossy(r.args.as_bytes()) } else { "".into() };
            read::answer(conf, StatusRequest { route, query: query.into_owned(), write })
        }
        Err(RouteError::SlashMissing) => Rc::new(moved(r)),
        Err(RouteError::NotFound) => Rc::new(Reply::json(404, json::error("not found"))),
        Err(RouteError::NotAllowed(allow)) => {
            Rc::new(Reply { allow, ..Reply::json(405, json::error("method not allowed")) })
        }
    };
    reply::send(r, &reply)
}

/// A redirect to the location's name with a slash and with the query, as nginx itself does for locations whose name
/// ends with one.
fn moved(r: &ngx_http_request_t) -> Reply {
    let name = target::core(r).map_or(&[][..], |core| core.escaped_name.as_bytes());
    let query = if r.args.is_empty() { [&b""[..]; 2] } else { [&b"?"[..], r.args.as_bytes()] };
    Reply { location: [name, b"/", query[0], query[1]].concat(), ..Reply::json(301, json::error("moved permanently")) }
}
