//! Reads a request's headers, and its body from memory or a file.

use std::{iter, slice};

use nginx_sys::{ngx_buf_t, ngx_http_request_t, ngx_read_file};

use crate::nginx::{bits, list};
use crate::status::command::{LONGEST_BODY, RequestError, too_long};

/// The names and values of all headers, as the client sent them.
pub(super) fn headers(r: &ngx_http_request_t) -> impl Iterator<Item = (&[u8], &[u8])> {
    let headers = list::headers(&r.headers_in.headers).flatten();
    headers.map(|header| (header.key.as_bytes(), header.value.as_bytes()))
}

/// The body that nginx has read, at most [`LONGEST_BODY`] bytes. Parts of it may be in a file, as the configuration
/// says.
pub(super) fn body(r: &ngx_http_request_t) -> Result<Vec<u8>, RequestError> {
    let mut body = Vec::new();
    // SAFETY: null, or the body that nginx has read.
    let Some(read) = (unsafe { r.request_body.as_ref() }) else { return Ok(body) };
    // SAFETY: null, or the first link of the body's chain.
    let first = unsafe { read.bufs.as_ref() };
    // SAFETY: null, or a link of the body's chain.
    for link in iter::successors(first, |link| unsafe { link.next.as_ref() }) {
        // SAFETY: a link has its buffer.
        if let Some(buf) = unsafe { link.buf.as_ref() } {
            append(&mut body, buf)?;
        }
    }
    Ok(body)
}

fn append(body: &mut Vec<u8>, buf: &ngx_buf_t) -> Result<(), RequestError> {
    let unreadable = || RequestError::new(500, "the body cannot be read");
    let is_in_file = bits::is_in_file(buf);
    let length = if is_in_file {
        usize::try_from(buf.file_last - buf.file_pos).map_err(|_| unreadable())?
    } else {
        (buf.last as usize).checked_sub(buf.pos as usize).ok_or_else(unreadable)?
    };
    if body.len() + length > LONGEST_BODY {
        return Err(too_long());
    }
    if length == 0 {
        return Ok(());
    }
    if !is_in_file {
        // SAFETY: a buffer in memory contains the bytes between these two pointers.
        body.extend_from_slice(unsafe { slice::from_raw_parts(buf.pos, length) });
        return Ok(());
    }
    let mut part = vec![0; length];
    // nginx has just written the file, so this does not wait for a disk.
    // SAFETY: nginx's file of the body is open, and the vector has room for this many bytes.
    let read = unsafe { ngx_read_file(buf.file, part.as_mut_ptr(), length, buf.file_pos) };
    if usize::try_from(read) != Ok(length) {
        return Err(unreadable());
    }
    body.append(&mut part);
    Ok(())
}
