//! Does anything say who may use a location? Asked when the configuration is complete, of the modules that nginx itself has for it.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_DELETE, NGX_HTTP_MODULE, NGX_HTTP_POST, ngx_conf_t, ngx_http_complex_value_t, ngx_http_core_loc_conf_t,
    ngx_module_t, ngx_uint_t,
};

use super::lookup;
use crate::directives::block::Location;
use crate::directives::place::{Place, Remark};

/// The configuration of one location.
#[derive(Default)]
pub(crate) struct LocConf {
    /// The location's lines.
    pub(crate) said: Location,
    /// nginx's own configuration of it, where `poolwatch_status` stands.
    pub(crate) core: Option<NonNull<ngx_http_core_loc_conf_t>>,
}

/// A location of `poolwatch_status`.
pub(crate) struct StatusLocation {
    /// Its configuration of each http module.
    pub(crate) loc_conf: *mut *mut c_void,
    /// nginx's own among them.
    pub(crate) core: NonNull<ngx_http_core_loc_conf_t>,
    /// Where the directive stands.
    pub(crate) place: Place,
}

impl StatusLocation {
    /// What is to be said of it: that it takes writes from everybody.
    pub(crate) fn remark(&self, cf: &ngx_conf_t) -> Option<Remark> {
        let conf = lookup::ours::<LocConf>(self.loc_conf)?;
        // SAFETY: made for this location; nobody changes it now.
        let write = unsafe { conf.as_ref() }.said.status.as_ref().is_some_and(|status| status.value);
        let text = "\"poolwatch_status write=on\" stands in a location without \"allow\", \"deny\", \"auth_basic\" or \
                    \"auth_request\"";
        // SAFETY: nginx's configuration of the location, which nobody changes now.
        let core = unsafe { self.core.as_ref() };
        // Writes that `limit_except` limits have its rules, merged with the location's.
        let writes = [NGX_HTTP_POST, NGX_HTTP_DELETE].into_iter();
        let limited = |method: u32| !core.limit_except_loc_conf.is_null() && core.limit_except & method != 0;
        let mut confs = writes.map(|method| if limited(method) { core.limit_except_loc_conf } else { self.loc_conf });
        (write && !confs.all(|confs| is_guarded(cf, confs))).then(|| self.place.remark(text))
    }
}

/// By the modules' own configurations of a location, after nginx has merged them. Their first members are known well enough.
fn is_guarded(cf: &ngx_conf_t, confs: *mut *mut c_void) -> bool {
    // Rules for IPv4, IPv6 and sockets, each null without any. All three are there in every build that is common.
    let rules = words::<3>(cf, confs, c"ngx_http_access_module");
    let realm = words::<1>(cf, confs, c"ngx_http_auth_basic_module").map_or(ptr::null(), |[realm]| realm);
    // The length of its URI.
    let uri = words::<1>(cf, confs, c"ngx_http_auth_request_module");
    // SAFETY: null, or the realm, for which nginx keeps a complex value.
    let realm = unsafe { realm.cast::<ngx_http_complex_value_t>().as_ref() };
    rules.is_some_and(|rules| rules.iter().any(|rules| !rules.is_null()))
        || realm.is_some_and(|realm| realm.value.as_bytes() != b"off")
        || uri.is_some_and(|[length]| !length.is_null())
}

/// The first words of a module's configuration; `None`: nginx was built without it.
fn words<const N: usize>(cf: &ngx_conf_t, confs: *mut *mut c_void, module: &CStr) -> Option<[*const c_void; N]> {
    let conf = lookup::of_module::<[*const c_void; N]>(confs, index(cf, module)?)?;
    // SAFETY: each of these configurations has that many words.
    Some(unsafe { conf.read() })
}

/// Where an http module has its configurations.
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
