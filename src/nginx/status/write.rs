//! Answers writes: reads the body, and sends an order to this worker's observer.

use nginx_sys::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_LOG_NOTICE, ngx_http_finalize_request,
    ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
};
use ngx::core::Status;

use super::{input, target};
use crate::clock::Clock;
use crate::nginx::callback::caught;
use crate::nginx::clock::SystemClock;
use crate::nginx::reply::{self, BUSY, Reply, code};
use crate::nginx::{error_log, process};
use crate::pipeline::order::Order;
use crate::state::announcements::MAX_SILENCES;
use crate::status::command::{self, Headers, LONGEST_BODY, RequestError, too_long};
use crate::status::json;
use crate::status::route::{Route, RouteError, route};
use crate::text::clean;

/// Checks a write before its body is read.
pub(super) fn may_write(r: &ngx_http_request_t, write: bool) -> Result<(), RequestError> {
    if !write {
        return Err(RequestError::new(403, "writes are off here, \"poolwatch_status write=on\" takes them"));
    }
    Headers::read(input::headers(r))?.check_source()?;
    if usize::try_from(r.headers_in.content_length_n).is_ok_and(|length| length > LONGEST_BODY) {
        return Err(too_long());
    }
    Ok(())
}

/// Has nginx read the body of a write, and then call [`handle_body`].
pub(super) fn read_body(r: &mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the request is being handled; the callback is called with it once its body is there.
    match unsafe { ngx_http_read_client_request_body(r, Some(handle_body)) } {
        // The callback finalises the request.
        code if code < self::code(NGX_HTTP_SPECIAL_RESPONSE) => Status::NGX_DONE.into(),
        code => code,
    }
}

/// Called by nginx when it has read the body.
unsafe extern "C" fn handle_body(request: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the request that asked for its body.
    let r = unsafe { &mut *request };
    let code = caught(|| {
        let reply = write(r).unwrap_or_else(|error| Reply::refused(&error));
        reply::send(r, &reply)
    });
    let code = code.unwrap_or(self::code(NGX_HTTP_INTERNAL_SERVER_ERROR));
    // SAFETY: nginx kept the request for this callback, which does not use it any more.
    unsafe { ngx_http_finalize_request(request, code) };
}

fn write(r: &ngx_http_request_t) -> Result<Reply, RequestError> {
    let unavailable = || RequestError::new(503, "this worker is not watching");
    let (conf, _) = target::confs(r).ok_or_else(unavailable)?;
    let route = target::below(r).ok_or(RouteError::NotFound).and_then(|path| route(r.method_name.as_bytes(), path));
    let body = input::body(r)?;
    let headers = Headers::read(input::headers(r))?;
    let zone = conf.zone.mapped.get().ok_or_else(unavailable)?;
    let announcements = zone.announcements().ok_or_else(|| RequestError::new(503, BUSY))?;
    let (order, id, what) = match route {
        Ok(Route::Silence) => {
            headers.check_type()?;
            let is_watched =
                |name: &[u8]| conf.upstreams.iter().any(|upstream| upstream.watched.name.as_bytes() == name);
            let silence = command::silence(&body, zone.next_silence(), SystemClock.now(), is_watched)?;
            if announcements.silences().count() == MAX_SILENCES {
                return Err(RequestError::new(409, format!("there are {MAX_SILENCES} silences already")));
            }
            let upstream = match silence.upstream.as_bytes() {
                b"" => "all upstreams".to_owned(),
                name => format!("upstream \"{}\"", clean(name, 256)),
            };
            let (id, comment) = (silence.id, clean(silence.comment.as_bytes(), 512));
            (Order::Silence(Box::new(silence)), Some(id), format!("silence {id} of {upstream} (\"{comment}\")"))
        }
        Ok(Route::EndSilence(id)) if announcements.silences().any(|silence| silence.id == id) => {
            (Order::EndSilence(id), Some(id), format!("the end of silence {id}"))
        }
        Ok(Route::Test) => {
            if !body.is_empty() {
                headers.check_type()?;
            }
            command::test(&body)?;
            (Order::Test, None, "a test message".to_owned())
        }
        _ => return Err(RequestError::new(404, "there is no such silence")),
    };
    if !process::pipeline().ok_or_else(unavailable)?.order(order) {
        return Err(RequestError::new(503, "too many orders wait"));
    }
    // nginx adds the client's address.
    // SAFETY: a request has its connection until it is freed.
    let connection = unsafe { r.connection.as_ref() };
    if let Some(connection) = connection {
        error_log::write(NGX_LOG_NOTICE, connection.log, &format!("{what} was asked for"));
    }
    Ok(Reply::json(202, json::accepted(id)))
}
