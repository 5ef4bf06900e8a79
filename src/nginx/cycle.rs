//! nginx's own flags and settings: which kind of process this is, and which configuration (cycle) it uses.

use nginx_sys::{
    NGX_PROCESS_SIGNALLER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_core_conf_t, ngx_core_module, ngx_cycle,
    ngx_cycle_t, ngx_exiting, ngx_int_t, ngx_log_t, ngx_process, ngx_terminate, ngx_test_config, ngx_uint_t,
    ngx_worker,
};

/// The configuration that nginx uses. While a new one is loaded, this is still the old one.
pub(crate) fn current() -> Option<&'static ngx_cycle_t> {
    // SAFETY: set by nginx before it forks.
    let cycle = unsafe { ngx_cycle };
    // SAFETY: a worker has one cycle, for as long as it lives.
    unsafe { cycle.as_ref() }
}

/// The error log of the configuration that nginx uses; null: there is none yet.
pub(crate) fn log() -> *mut ngx_log_t {
    current().map_or(std::ptr::null_mut(), |cycle| cycle.log)
}

/// `worker_processes` of the configuration that nginx uses.
pub(crate) fn configured_workers() -> u64 {
    current().map_or(0, |cycle| u64::try_from(worker_processes(cycle)).unwrap_or_default())
}

/// The number of processes that should serve requests.
pub(crate) fn serving_processes() -> u64 {
    if is_single() { 1 } else { configured_workers() }
}

/// `worker_processes` of this configuration; below 1: it is not set.
pub(crate) fn worker_processes(cycle: &ngx_cycle_t) -> ngx_int_t {
    // SAFETY: the core module's index is set before any configuration is read.
    let index = unsafe { ngx_core_module.index };
    // SAFETY: a cycle has a configuration for each core module.
    let core = unsafe { cycle.conf_ctx.add(index) };
    // SAFETY: as above.
    let core = unsafe { *core }.cast::<ngx_core_conf_t>();
    // SAFETY: the core module's own configuration.
    unsafe { core.as_ref() }.map_or(0, |core| core.worker_processes)
}

/// Does this process serve requests?
pub(crate) fn serves_requests() -> bool {
    is_single() || is_process(NGX_PROCESS_WORKER)
}

/// Does nginx run without a master process (`master_process off`)?
pub(crate) fn is_single() -> bool {
    is_process(NGX_PROCESS_SINGLE)
}

/// Is this `nginx -s`? It runs in an operator's shell, without nginx's environment, and must still be able to stop
/// nginx.
pub(crate) fn is_signaller() -> bool {
    is_process(NGX_PROCESS_SIGNALLER)
}

fn is_process(kind: u32) -> bool {
    // SAFETY: set by nginx before it reads any configuration.
    (unsafe { ngx_process }) == kind as ngx_uint_t
}

/// Is this `nginx -t`? It runs in an operator's shell, whose environment need not be nginx's.
pub(crate) fn is_test() -> bool {
    // SAFETY: set by nginx before it reads any configuration.
    (unsafe { ngx_test_config }) != 0
}

/// Has nginx begun to shut this worker down? Its view of the peers then no longer counts: other workers serve.
pub(crate) fn is_exiting() -> bool {
    // SAFETY: nginx's own flag, read on its thread.
    (unsafe { ngx_exiting }) != 0
}

/// Is this a fast stop, which does not wait for running requests?
pub(crate) fn is_terminating() -> bool {
    // SAFETY: nginx's own flag, read on its thread.
    (unsafe { ngx_terminate }) != 0
}

/// This worker's number among the workers of its configuration, from 0.
pub(crate) fn worker_number() -> usize {
    // SAFETY: set by nginx when it forks.
    unsafe { ngx_worker }
}
