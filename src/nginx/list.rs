//! nginx's `ngx_list_t`: arrays, each linked to the next.

use std::iter;
use std::ptr::NonNull;

use nginx_sys::{ngx_list_part_t, ngx_list_t, ngx_table_elt_t};

/// The arrays of a list whose elements are `T`, in their order.
#[expect(clippy::inline_always, reason = "a call would need registers saved")]
#[inline(always)]
pub(crate) fn parts<T>(list: &ngx_list_t) -> impl Iterator<Item = NonNull<[T]>> {
    // SAFETY: a part of the list, or null behind the last one.
    let parts = iter::successors(Some(&list.part), |part| unsafe { part.next.as_ref() });
    parts.map(|part: &ngx_list_part_t| match NonNull::new(part.elts.cast::<T>()) {
        Some(first) => NonNull::slice_from_raw_parts(first, part.nelts),
        None => NonNull::slice_from_raw_parts(NonNull::dangling(), 0),
    })
}

/// The arrays of a list of headers.
#[expect(clippy::inline_always, reason = "a call would need registers saved")]
#[inline(always)]
pub(crate) fn headers(list: &ngx_list_t) -> impl Iterator<Item = &[ngx_table_elt_t]> {
    // SAFETY: each part has `nelts` headers, for as long as the list lives.
    parts::<ngx_table_elt_t>(list).map(|part| unsafe { part.as_ref() })
}
