//! The skin: nginx's side of Poolwatch, and the only folder with unsafe code in it.
//!
//! This file has the module's tables and callbacks. A callback turns pointers into references, calls safe code, and
//! turns its result into one of nginx's statuses; no panic leaves it. The files are declared in an order in which each
//! uses only those above it.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

// Used by all others: nginx's structs and lists, its processes, clocks and logs.
mod callback;
mod bits;
mod list;
mod clock;
mod cycle;
mod timer;
mod error_log;
mod thread;
#[cfg(feature = "crashpoints")]
mod crashpoints;
// The state, in memory that outlives a worker and in a file that outlives nginx.
mod zone;
mod state_file;
// What the event loop keeps of a watched upstream.
mod headers;
mod peer_cache;
mod upstream;
// What a request keeps of the upstreams that it asked.
mod groups;
// The configuration.
mod reply;
mod conf;
mod carry_over;
// A worker process: its threads, and what nginx's event loop calls in it.
mod process;
mod peers;
mod request;
mod variables;
mod status;
mod commands;

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_MODULE, NGX_LOG_ALERT, ngx_array_push, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_module_t,
    ngx_http_phases_NGX_HTTP_LOG_PHASE, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_module_t,
    ngx_uint_t,
};
use ngx::core::{NGX_CONF_ERROR, Pool, Status};

use callback::{caught, status_of};
use conf::locations::LocConf;
use conf::watched::{self, Hook, InitPeer, SrvConf};
use conf::{MainConf, lookup};
use groups::Notes;

/// The symbols that nginx looks up in a module's file.
mod exports {
    #![allow(unreachable_pub, reason = "ngx's macro writes it so")]

    use super::ngx_http_poolwatch_module;

    ngx::ngx_modules!(ngx_http_poolwatch_module);
}

/// The module, as nginx loads it. Not `#[used]`: the linker then leaves the skin out of test programs, which have no
/// nginx to link with. The module's file still contains it, since `ngx_modules` points to it.
#[allow(non_upper_case_globals, reason = "nginx names a module's static after the module")]
pub static mut ngx_http_poolwatch_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const CONTEXT).cast_mut().cast(),
    commands: (&raw const commands::COMMANDS).cast_mut().cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(create_loc_conf),
    merge_loc_conf: Some(merge_loc_conf),
};

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx sets the index before it creates any configuration, and calls this callback before all others of
    // `http`.
    lookup::set_index(unsafe { ngx_http_poolwatch_module.ctx_index });
    // SAFETY: nginx passes the configuration being read.
    unsafe { allocate::<MainConf>(cf) }
}

unsafe extern "C" fn create_srv_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes the configuration being read.
    unsafe { allocate::<SrvConf>(cf) }
}

unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes the configuration being read.
    unsafe { allocate::<LocConf>(cf) }
}

unsafe extern "C" fn merge_loc_conf(cf: *mut ngx_conf_t, prev: *mut c_void, conf: *mut c_void) -> *mut c_char {
    // SAFETY: nginx passes the configuration being read.
    let cf = unsafe { &*cf };
    // SAFETY: made by create_loc_conf for the outer location.
    let prev = unsafe { &*prev.cast::<LocConf>() };
    // SAFETY: made by create_loc_conf for the inner one.
    let conf = unsafe { &mut *conf.cast::<LocConf>() };
    match caught(|| status::inherit_handler(cf, prev, conf)) {
        Some(()) => ptr::null_mut(),
        None => NGX_CONF_ERROR,
    }
}

/// A default value in the configuration's pool, dropped with the pool; null: no memory.
///
/// # Safety
/// `cf` is the configuration being read.
unsafe fn allocate<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: the caller's promise.
    let pool = unsafe { (*cf).pool };
    // SAFETY: the configuration's pool.
    let pool = unsafe { Pool::from_ngx_pool(pool) };
    pool.allocate(T::default()).cast()
}

unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration being read.
    let cf = unsafe { &mut *cf };
    status_of(caught(|| variables::add(cf).and_then(|()| Notes::add_variable(cf))))
}

unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration being read.
    let cf = unsafe { &mut *cf };
    status_of(caught(|| {
        // SAFETY: while http {} is finished, the context is that of http {}.
        let context = unsafe { cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref() }.ok_or(())?;
        let mut conf = lookup::ours::<MainConf>(context.main_conf).ok_or(())?;
        // SAFETY: made by create_main_conf; nothing else refers to it now.
        let conf = unsafe { conf.as_mut() };
        conf.finish(cf, (&raw mut ngx_http_poolwatch_module).cast())?;
        if conf.upstreams.is_empty() {
            return Ok(());
        }
        watched::hook(&conf.upstreams, conf.notes, |upstream| {
            if upstream.watched.is_service() { init_peer_of_service } else { init_peer }
        });
        add_log_handler(context)
    }))
}

fn add_log_handler(context: &ngx_http_conf_ctx_t) -> Result<(), ()> {
    // SAFETY: set before any configuration is read.
    let index = unsafe { ngx_http_core_module.ctx_index };
    let mut core = lookup::of_module::<ngx_http_core_main_conf_t>(context.main_conf, index).ok_or(())?;
    // SAFETY: every http configuration has the core module's; nginx is single-threaded here.
    let core = unsafe { core.as_mut() };
    let phase = core.phases.get_mut(ngx_http_phases_NGX_HTTP_LOG_PHASE as usize).ok_or(())?;
    // SAFETY: nginx initialised the array before postconfiguration.
    let handler = unsafe { ngx_array_push(&raw mut phase.handlers) }.cast::<ngx_http_handler_pt>();
    let handler = NonNull::new(handler).ok_or(())?;
    // SAFETY: a fresh element of this type.
    unsafe { handler.write(Some(log_request)) };
    Ok(())
}

unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the cycle that has been loaded.
    let cycle = unsafe { &*cycle };
    // Whatever fails here, nginx must start: a new zone is then empty.
    caught(|| match (process::zone(), MainConf::of_cycle(cycle)) {
        (Some(used), _) => carry_over::keep_mapping(cycle, used),
        (None, Some(conf)) => carry_over::fill(cycle, conf),
        (None, None) => {}
    });
    Status::NGX_OK.into()
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the worker's cycle.
    let cycle = unsafe { &*cycle };
    let started = caught(|| {
        if let Some(conf) = MainConf::of_cycle(cycle) {
            process::start(cycle, conf);
        }
    });
    if started.is_none() {
        error_log::write(NGX_LOG_ALERT, cycle.log, "panicked at start, this worker is not watched");
    }
    // After an error here nginx would not start this worker again. A worker that does not watch is better than none.
    Status::NGX_OK.into()
}

unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx passes the worker's cycle.
    let cycle = unsafe { &*cycle };
    if caught(|| process::end(cycle)).is_none() {
        error_log::write(NGX_LOG_ALERT, cycle.log, "panicked at exit");
    }
}

/// Called by nginx when a request begins to ask a watched upstream. nginx's own function does what it did before.
unsafe extern "C" fn init_peer(request: *mut ngx_http_request_t, uscf: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration of the upstream.
    let Some(&Hook { notes, init_peer }) = watched::hooked(unsafe { &*uscf }) else { return Status::NGX_ERROR.into() };
    // SAFETY: nginx passes the request.
    if !notes.note_first(unsafe { &*request }) {
        return init_next_peer(request, uscf, notes, init_peer);
    }
    // SAFETY: nginx called the function with these before.
    unsafe { init_peer(request, uscf) }
}

/// The same of any other upstream than the first of a main request.
#[cold]
#[inline(never)]
fn init_next_peer(
    request: *mut ngx_http_request_t,
    uscf: *mut ngx_http_upstream_srv_conf_t,
    notes: Notes,
    init_peer: InitPeer,
) -> ngx_int_t {
    // SAFETY: as above.
    let r = unsafe { &*request };
    caught(|| request::begin_next(r, notes));
    // SAFETY: as above.
    unsafe { init_peer(request, uscf) }
}

/// The same of a block of a service.
unsafe extern "C" fn init_peer_of_service(
    request: *mut ngx_http_request_t,
    uscf: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the configuration of the upstream.
    if let Some(&Hook { notes, .. }) = watched::hooked(unsafe { &*uscf }) {
        // SAFETY: nginx passes the request.
        let r = unsafe { &*request };
        caught(|| request::note_choice(r, uscf, notes));
    }
    // SAFETY: nginx called the function with these.
    unsafe { init_peer(request, uscf) }
}

unsafe extern "C" fn log_request(request: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request that has ended.
    let r = unsafe { &*request };
    // With log_subrequest on, subrequests come here too. They are observed with their main request, which has the
    // client's status.
    if ptr::eq(r.main, r) {
        caught(|| request::observe(r));
    }
    Status::NGX_OK.into()
}
