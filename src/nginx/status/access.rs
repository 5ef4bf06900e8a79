//! Does anything say who may use a location? Asked when the configuration is complete, of the modules that nginx itself has for it.

use std::ffi::{CStr, c_void};
use std::ptr;

use nginx_sys::{NGX_HTTP_MODULE, ngx_conf_t, ngx_http_complex_value_t, ngx_module_t, ngx_uint_t};

use super::place;
use crate::directives::lines::{Place, Remark};
use crate::nginx::conf::LocConf;
use crate::nginx::loc_conf;

/// A location of `poolwatch_status`.
pub(crate) struct Page {
    /// Its configuration of each http module.
    pub(crate) loc_conf: *mut *mut c_void,
    /// Where the directive stands.
    pub(crate) place: Place,
}

impl Page {
    /// What is to be said of it: that it takes writes from everybody.
    pub(crate) fn remark(&self, cf: &ngx_conf_t) -> Option<Remark> {
        let conf = loc_conf::<LocConf>(self.loc_conf)?;
        // SAFETY: made for this location; nobody changes it now.
        let write = unsafe { conf.as_ref() }.said.status.as_ref().is_some_and(|status| status.value);
        let text = "\"poolwatch_status write=on\" stands in a location without \"allow\", \"deny\", \"auth_basic\" or \
                    \"auth_request\"";
        (write && !self.is_guarded(cf)).then(|| self.place.remark(text))
    }

    /// By the modules' own configurations of the location, after nginx has merged them. Their first members are known well enough.
    fn is_guarded(&self, cf: &ngx_conf_t) -> bool {
        // Rules for IPv4, IPv6 and sockets, each null without any. All three are there in every build that is common.
        let rules = self.words::<3>(cf, c"ngx_http_access_module");
        let realm = self.words::<1>(cf, c"ngx_http_auth_basic_module").map_or(ptr::null(), |[realm]| realm);
        // The length of its URI.
        let uri = self.words::<1>(cf, c"ngx_http_auth_request_module");
        // SAFETY: null, or the realm, for which nginx keeps a complex value.
        let realm = unsafe { realm.cast::<ngx_http_complex_value_t>().as_ref() };
        rules.is_some_and(|rules| rules.iter().any(|rules| !rules.is_null()))
            || realm.is_some_and(|realm| realm.value.as_bytes() != b"off")
            || uri.is_some_and(|[length]| !length.is_null())
    }

    /// The first words of a module's configuration; `None`: nginx was built without it.
    fn words<const N: usize>(&self, cf: &ngx_conf_t, module: &CStr) -> Option<[*const c_void; N]> {
        let conf = place::<[*const c_void; N]>(self.loc_conf, index(cf, module)?)?;
        // SAFETY: each of these configurations has that many words.
        Some(unsafe { conf.read() })
    }
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
