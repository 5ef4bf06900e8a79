//! A response of `poolwatch_status`, and how it is sent through nginx's output filters.

use std::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_LAST, ngx_chain_t, ngx_create_temp_buf, ngx_http_discard_request_body, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_http_send_special, ngx_int_t, ngx_list_push, ngx_str_t,
    ngx_table_elt_t, ngx_uint_t,
};
use ngx::core::Status;

use crate::nginx::bits;
use crate::status::command::RequestError;
use crate::status::json;

/// A response.
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// `Content-Type`
    pub(crate) content_type: &'static str,
    /// `Allow`; empty: the header is left out.
    pub(crate) allow: &'static str,
    /// `Location`; empty: the header is left out.
    pub(crate) location: Vec<u8>,
    /// `Content-Security-Policy`
    pub(crate) policy: &'static str,
    /// Never empty.
    pub(crate) body: String,
}

/// The error if each copy of the zone was disturbed by writers.
pub(crate) const BUSY: &str = "the state changes too fast to be read, try again";

impl Reply {
    /// The reason why a request is refused, as JSON.
    pub(crate) fn refused(error: &RequestError) -> Self {
        Self::json(error.status, json::error(&error.text))
    }

    /// A response with this JSON body.
    pub(crate) fn json(status: u16, body: String) -> Self {
        let policy = "default-src 'none'; frame-ancestors 'none'";
        Self { status, content_type: "application/json", allow: "", location: Vec::new(), policy, body }
    }
}

/// An HTTP status, as nginx's handlers return it.
#[expect(clippy::cast_possible_wrap, reason = "a status has three digits")]
pub(crate) const fn code(status: u32) -> ngx_int_t {
    status as ngx_int_t
}

/// Sends a response; leaves the body out where HTTP has none. Returns what the handler returns to nginx.
///
/// An unread body of the request is discarded first, else nginx would take it for the client's next request.
pub(crate) fn send(r: &mut ngx_http_request_t, reply: &Reply) -> ngx_int_t {
    // SAFETY: the request is being handled.
    let discarded = unsafe { ngx_http_discard_request_body(r) };
    if discarded != ngx_int_t::from(Status::NGX_OK) {
        return discarded;
    }
    r.headers_out.status = reply.status.into();
    r.headers_out.content_length_n = i64::try_from(reply.body.len()).unwrap_or_default();
    r.headers_out.content_type = constant(reply.content_type);
    r.headers_out.content_type_len = reply.content_type.len();
    r.headers_out.content_type_lowcase = ptr::null_mut();
    if add_headers(r, reply).is_none() {
        return Status::NGX_ERROR.into();
    }
    // SAFETY: the request is being answered, and its header was not sent yet.
    let sent = unsafe { ngx_http_send_header(r) };
    // NGX_AGAIN: nginx buffers the header until the client reads, and the body after it.
    let is_sent = [Status::NGX_OK, Status::NGX_AGAIN].map(ngx_int_t::from).contains(&sent);
    if !is_sent || bits::is_header_only(r) {
        return sent;
    }
    send_body(r, reply.body.as_bytes()).unwrap_or_else(|| Status::NGX_ERROR.into())
}

/// Adds the response's headers. `None`: no memory.
fn add_headers(r: &mut ngx_http_request_t, reply: &Reply) -> Option<()> {
    let headers = [
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Content-Security-Policy", reply.policy),
        ("Allow", reply.allow),
    ];
    for (name, value) in headers {
        if !value.is_empty() {
            add_header(r, name, constant(value))?;
        }
    }
    if !reply.location.is_empty() {
        // SAFETY: the request's pool, which lives as long as the header.
        let location = unsafe { ngx_str_t::from_bytes(r.pool, &reply.location) }?;
        // nginx makes it an absolute URL, unless `absolute_redirect` is off.
        r.headers_out.location = add_header(r, "Location", location)?.as_ptr();
    }
    Some(())
}

fn send_body(r: &mut ngx_http_request_t, body: &[u8]) -> Option<ngx_int_t> {
    // SAFETY: the request's pool; the buffer lives as long.
    let buf = unsafe { ngx_create_temp_buf(r.pool, body.len()) };
    // SAFETY: null, or a fresh buffer.
    let fresh = unsafe { buf.as_mut() }?;
    // SAFETY: the buffer has room for the body, and nothing else uses it.
    unsafe { ptr::copy_nonoverlapping(body.as_ptr(), fresh.last, body.len()) };
    // SAFETY: as above.
    fresh.last = unsafe { fresh.last.add(body.len()) };
    let mut chain = ngx_chain_t { buf, next: ptr::null_mut() };
    // SAFETY: the header was sent. nginx copies the links of a chain that it cannot send at once.
    let sent = unsafe { ngx_http_output_filter(r, &raw mut chain) };
    if sent == ngx_int_t::from(Status::NGX_ERROR) {
        return Some(sent);
    }
    // `last_buf` is a bit-field: nginx sets it itself.
    // SAFETY: as above.
    Some(unsafe { ngx_http_send_special(r, NGX_HTTP_LAST as ngx_uint_t) })
}

fn add_header(r: &mut ngx_http_request_t, name: &'static str, value: ngx_str_t) -> Option<NonNull<ngx_table_elt_t>> {
    // SAFETY: nginx initialised the list with the request.
    let header = unsafe { ngx_list_push(&raw mut r.headers_out.headers) }.cast::<ngx_table_elt_t>();
    // SAFETY: all zero is an unused header, in every version.
    let mut fresh: ngx_table_elt_t = unsafe { std::mem::zeroed() };
    (fresh.hash, fresh.key, fresh.value) = (1, constant(name), value);
    let header = NonNull::new(header)?;
    // SAFETY: a fresh element of this type.
    unsafe { header.write(fresh) };
    Some(header)
}

fn constant(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
