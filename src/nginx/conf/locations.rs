//! Locations with `poolwatch_status`, and the check that those with `write=on` limit who may use them. It reads the
//! configuration of nginx's access modules once all of it is known.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_DELETE, NGX_HTTP_MODULE, NGX_HTTP_POST, ngx_conf_t, ngx_http_complex_value_t, ngx_http_core_loc_conf_t,
    ngx_module_t, ngx_uint_t,
};

use super::lookup;
use crate::directives::block::Location;
use crate::directives::place::{Place, Remark};

/// Our configuration of one location.
#[derive(Default)]
pub(crate) struct LocConf {
    /// The location's directives.
    pub(crate) directives: Location,
    /// nginx's own configuration of the location, if `poolwatch_status` is in it.
    pub(crate) core: Option<NonNull<ngx_http_core_loc_conf_t>>,
}

/// A location of `poolwatch_status`.
pub(crate) struct StatusLocation {
    /// The configurations of all http modules for the location.
    pub(crate) loc_conf: *mut *mut c_void,
    /// nginx's own configuration among them.
    pub(crate) core: NonNull<ngx_http_core_loc_conf_t>,
    /// Where the directive is.
    pub(crate) place: Place,
}

impl StatusLocation {
    /// The warning about a location that accepts writes from everybody.
    pub(crate) fn remark(&self, cf: &ngx_conf_t) -> Option<Remark> {
        let conf = lookup::ours::<LocConf>(self.loc_conf)?;
        // SAFETY: made for this location; nothing changes it now.
        let write = unsafe { conf.as_ref() }.directives.status.as_ref().is_some_and(|status| status.value);
        let text = "\"poolwatch_status write=on\" stands in a location without \"allow\", \"deny\", \"auth_basic\" or \
                    \"auth_request\"";
        // SAFETY: nginx's configuration of the location, which nothing changes now.
        let core = unsafe { self.core.as_ref() };
        // For methods that `limit_except` limits, its rules count, merged with the location's.
        let writes = [NGX_HTTP_POST, NGX_HTTP_DELETE].into_iter();
        let limited = |method: u32| !core.limit_except_loc_conf.is_null() && core.limit_except & method != 0;
        let mut confs = writes.map(|method| if limited(method) { core.limit_except_loc_conf } else { self.loc_conf });
        (write && !confs.all(|confs| is_guarded(cf, confs))).then(|| self.place.remark(text))
    }
}

/// Does any access module limit who may use a location with these configurations? nginx exports no types for them, so
/// the first members are read by position.
fn is_guarded(cf: &ngx_conf_t, confs: *mut *mut c_void) -> bool {
    // The rules for IPv4, IPv6 and sockets, each null if there are none. Usual builds of nginx have all three.
    let rules = words::<3>(cf, confs, c"ngx_http_access_module");
    let realm = words::<1>(cf, confs, c"ngx_http_auth_basic_module").map_or(ptr::null(), |[realm]| realm);
    // The length of the URI.
    let uri = words::<1>(cf, confs, c"ngx_http_auth_request_module");
    // SAFETY: null, or the realm, for which nginx keeps a complex value.
    let realm = unsafe { realm.cast::<ngx_http_complex_value_t>().as_ref() };
    rules.is_some_and(|rules| rules.iter().any(|rules| !rules.is_null()))
        || realm.is_some_and(|realm| realm.value.as_bytes() != b"off")
        || uri.is_some_and(|[length]| !length.is_null())
}

/// The first `N` words of a module's configuration; `None`: nginx was built without the module.
fn words<const N: usize>(cf: &ngx_conf_t, confs: *mut *mut c_void, module: &CStr) -> Option<[*const c_void; N]> {
    let conf = lookup::of_module::<[*const c_void; N]>(confs, index(cf, module)?)?;
    // SAFETY: each of these configurations has that many words.
    Some(unsafe { conf.read() })
}

/// The index of an http module; `None`: nginx was built without it.
fn index(cf: &ngx_conf_t, name: &CStr) -> Option<ngx_uint_t> {
    // SAFETY: the cycle whose configuration is being read.
    let mut next = unsafe { cf.cycle.as_ref() }?.modules;
    loop {
        // SAFETY: the cycle's modules, the last one null.
        let module: *const ngx_module_t = unsafe { next.read() };
        // SAFETY: as above.
        let module = unsafe { module.as_ref() }?;
        // SAFETY: nginx names its modules by constant strings.
        let is_it = !module.name.is_null() && unsafe { CStr::from_ptr(module.name) } == name;
        if is_it && module.type_ == NGX_HTTP_MODULE as ngx_uint_t {
            return Some(module.ctx_index);
        }
        // SAFETY: this one was not the last.
        next = unsafe { next.add(1) };
    }
}
