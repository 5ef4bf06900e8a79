//! What all callbacks share: no panic gets past one into C, and a result becomes one of nginx's statuses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nginx_sys::ngx_int_t;
use ngx::core::Status;

/// Runs safe code from a callback; `None`: it panicked, which the panic hook has reported on stderr, the error log.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// What nginx is to be told of a callback's result; `None`: it panicked.
pub(crate) fn status_of(result: Option<Result<(), ()>>) -> ngx_int_t {
    match result {
        Some(Ok(())) => Status::NGX_OK.into(),
        _ => Status::NGX_ERROR.into(),
    }
}
