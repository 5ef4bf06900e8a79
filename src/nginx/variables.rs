//! `$poolwatch_state` and the other variables: the state of the upstream that a request went to, for logs and headers.
//!
//! For each upstream the zone is copied at most once per millisecond, without its lock, however many requests there
//! are.

use nginx_sys::{
    NGX_HTTP_VAR_NOCACHEABLE, ngx_conf_t, ngx_http_add_variable, ngx_http_get_variable_pt, ngx_http_request_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_str_t, ngx_uint_t,
};
use ngx::core::Status;

use crate::clock::Clock;
use crate::nginx::bits;
use crate::nginx::callback::caught;
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
use crate::nginx::upstream::{EventLoopUpstream, VARIABLES, VariableValues};
use crate::text::Text;

/// Adds the variables to nginx's.
pub(crate) fn add(cf: &mut ngx_conf_t) -> Result<(), ()> {
    for (index, (name, _)) in VARIABLES.iter().enumerate() {
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        let flags = NGX_HTTP_VAR_NOCACHEABLE as ngx_uint_t;
        // SAFETY: called while the configuration is read; nginx copies the name.
        let variable = unsafe { ngx_http_add_variable(cf, &raw mut name, flags) };
        // SAFETY: null, or a variable that nginx has just made.
        let variable = unsafe { variable.as_mut() }.ok_or(())?;
        let handler: ngx_http_get_variable_pt = Some(look);
        (variable.get_handler, variable.data) = (handler, index);
    }
    Ok(())
}

/// Called by nginx for the value of a variable; `data` is the variable's index.
unsafe extern "C" fn look(
    request: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the request that the value is for.
    let r = unsafe { &*request };
    // SAFETY: nginx passes the value's place.
    let value = unsafe { &mut *value };
    let text = caught(|| text(r, data)).flatten();
    // SAFETY: the request's pool, from which the text lives as long as the request.
    let copied = text.and_then(|text| unsafe { ngx_str_t::from_bytes(r.pool, text.as_bytes()) });
    bits::set_value(value, copied);
    Status::NGX_OK.into()
}

fn text(r: &ngx_http_request_t, index: usize) -> Option<Text<256>> {
    let conf = MainConf::of_request(r)?;
    // SAFETY: null before the request goes to an upstream.
    let upstream = unsafe { r.upstream.as_ref() }?;
    let watched = EventLoopUpstream::of(upstream.upstream)?;
    let zone = conf.zone.mapped.get()?;
    let now = SystemClock.now();
    let shown = watched.variables.get().filter(|shown| shown.at == now);
    let shown =
        shown.or_else(|| zone.upstream(&watched.watched.name).map(|upstream| VariableValues::new(&upstream, now)));
    watched.variables.set(shown);
    shown?.values.get(index).copied().flatten()
}
