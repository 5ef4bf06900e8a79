//! The location of a request of `poolwatch_status`: its configuration, and the path below its name.

use nginx_sys::{ngx_http_core_loc_conf_t, ngx_http_request_t};

use crate::nginx::conf::locations::LocConf;
use crate::nginx::conf::{MainConf, lookup};

/// The path after the location's name, beginning with a slash or empty; `None`: the path does not begin with the name.
pub(super) fn below(r: &ngx_http_request_t) -> Option<&[u8]> {
    let name = core(r)?.name.as_bytes();
    r.uri.as_bytes().strip_prefix(name.strip_suffix(b"/").unwrap_or(name))
}

/// nginx's own configuration of the request's location.
pub(super) fn core(r: &ngx_http_request_t) -> Option<&ngx_http_core_loc_conf_t> {
    let core = lookup::core(r.loc_conf)?;
    // SAFETY: the location's configuration outlives its requests, and is only read.
    Some(unsafe { core.as_ref() })
}

/// The configuration of a request, which outlives it, and whether the location accepts writes.
pub(super) fn confs<'a>(r: &ngx_http_request_t) -> Option<(&'a MainConf, bool)> {
    let conf = MainConf::of_request(r)?;
    let location = lookup::ours::<LocConf>(r.loc_conf)?;
    // SAFETY: the configuration outlives its requests, and is only read.
    let write = unsafe { location.as_ref() }.directives.status.as_ref().is_some_and(|status| status.value);
    Some((conf, write))
}
