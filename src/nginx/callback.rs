//! Shared by all callbacks: a panic does not reach C, and a result becomes one of nginx's statuses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nginx_sys::ngx_int_t;
use ngx::core::Status;

/// Runs safe code in a callback. `None`: it panicked, and the panic hook has written that to stderr, which is the error
/// log.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// The status that a callback returns for its result; `None`: it panicked, which is an error.
pub(crate) fn status_of(result: Option<Result<(), ()>>) -> ngx_int_t {
    match result {
        Some(Ok(())) => Status::NGX_OK.into(),
        _ => Status::NGX_ERROR.into(),
    }
}
