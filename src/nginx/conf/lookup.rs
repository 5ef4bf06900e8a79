//! Where nginx keeps a module's configuration: in arrays with a place for each http module, found by the module's index.

use std::ffi::c_void;
use std::ptr::NonNull;

use nginx_sys::{ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_uint_t};
use once_cell::sync::OnceCell;

/// Our module's index, which nginx never changes. It is copied here so that nothing beneath the module's own table needs the table.
static INDEX: OnceCell<ngx_uint_t> = OnceCell::new();

/// Notes our module's index. nginx has given it one before it has a configuration made.
pub(crate) fn set_index(index: ngx_uint_t) {
    // Set by an earlier configuration already: it is the same.
    let _ = INDEX.set(index);
}

/// Our configuration in one of these arrays; `T` is what we made for this kind of array.
#[expect(clippy::inline_always, reason = "once for each request, and short")]
#[inline(always)]
pub(crate) fn ours<T>(confs: *mut *mut c_void) -> Option<NonNull<T>> {
    of_module(confs, *INDEX.get()?)
}

/// nginx's own configuration of a location.
pub(crate) fn core(loc_confs: *mut *mut c_void) -> Option<NonNull<ngx_http_core_loc_conf_t>> {
    // SAFETY: set before any configuration is read.
    of_module(loc_confs, unsafe { ngx_http_core_module.ctx_index })
}

/// The configuration of the module with this index; `None`: there is no array, or nothing in its place for this module.
#[expect(clippy::inline_always, reason = "once for each request, and short")]
#[inline(always)]
pub(crate) fn of_module<T>(confs: *mut *mut c_void, index: ngx_uint_t) -> Option<NonNull<T>> {
    let confs = NonNull::new(confs)?;
    // SAFETY: an array with a place for every http module.
    let conf = unsafe { confs.add(index) };
    // SAFETY: as above.
    NonNull::new(unsafe { conf.read() }.cast())
}
