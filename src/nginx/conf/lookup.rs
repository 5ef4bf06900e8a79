//! Finds a module's configuration in nginx's arrays, which have an element for each http module, by the module's index.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::{ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_uint_t};

/// The index of our module, which nginx never changes. A copy: so that files below `mod.rs` do not need the module's
/// static in it. An atomic, since it is read several times for each request, and is set before all of them.
static INDEX: AtomicUsize = AtomicUsize::new(0);

/// Sets our module's index. To be called when nginx creates our main configuration, before any lookup.
pub(crate) fn set_index(index: ngx_uint_t) {
    INDEX.store(index, Ordering::Relaxed);
}

/// Our configuration in an array of configurations. `T` is the type that we allocate for this kind of array.
#[expect(clippy::inline_always, reason = "once for each request, and short")]
#[inline(always)]
pub(crate) fn ours<T>(confs: *mut *mut c_void) -> Option<NonNull<T>> {
    of_module(confs, INDEX.load(Ordering::Relaxed))
}

/// nginx's own configuration of a location.
pub(crate) fn core(loc_confs: *mut *mut c_void) -> Option<NonNull<ngx_http_core_loc_conf_t>> {
    // SAFETY: set before any configuration is read.
    of_module(loc_confs, unsafe { ngx_http_core_module.ctx_index })
}

/// The configuration of the module with this index; `None`: there is no array, or the module has no configuration in
/// it.
#[expect(clippy::inline_always, reason = "once for each request, and short")]
#[inline(always)]
pub(crate) fn of_module<T>(confs: *mut *mut c_void, index: ngx_uint_t) -> Option<NonNull<T>> {
    let confs = NonNull::new(confs)?;
    // SAFETY: an array with a place for every http module.
    let conf = unsafe { confs.add(index) };
    // SAFETY: as above.
    NonNull::new(unsafe { conf.read() }.cast())
}
