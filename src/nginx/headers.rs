//! Two headers of a response, found by hash.

use std::iter;
use std::ptr::NonNull;
use std::slice;

use nginx_sys::{ngx_hash_key, ngx_list_part_t, ngx_list_t, ngx_table_elt_t, ngx_uint_t};

use crate::text;

/// The headers that are looked for.
pub(crate) struct Headers {
    pool: Option<Header>,
    release: Header,
}

/// A header by its name.
struct Header {
    /// In lower case.
    lowcase: Vec<u8>,
    /// nginx's hash of it.
    hash: ngx_uint_t,
}

impl Headers {
    /// By their names in lower case; without a pool header only the other one is looked for.
    pub(crate) fn new(pool: Option<&str>, release: &str) -> Self {
        Self { pool: pool.map(Header::new), release: Header::new(release) }
    }

    /// The values of the pool header and of the release header; empty: there is none.
    pub(crate) fn values<'a>(&self, headers: &'a ngx_list_t) -> [&'a [u8]; 2] {
        [self.pool.as_ref().map_or(&[][..], |pool| pool.value(headers)), self.release.value(headers)]
    }
}

impl Header {
    fn new(lowcase: &str) -> Self {
        // SAFETY: reads the bytes.
        let hash = unsafe { ngx_hash_key(lowcase.as_ptr().cast_mut(), lowcase.len()) };
        Self { lowcase: lowcase.as_bytes().to_owned(), hash }
    }

    /// Of two the first counts, unless it is empty. Two short passes, one for each header, need fewer registers than one for both.
    #[expect(clippy::inline_always, reason = "twice for each request, and short")]
    #[inline(always)]
    fn value<'a>(&self, headers: &'a ngx_list_t) -> &'a [u8] {
        for part in parts(headers) {
            if let Some(header) = elements(part).iter().find(|header| self.is_name_of(header)) {
                return header.value.as_bytes();
            }
        }
        &[]
    }

    /// By hash, and for the one that matches by the name that nginx has in lower case already. An empty value says nothing.
    fn is_name_of(&self, header: &ngx_table_elt_t) -> bool {
        if header.hash != self.hash || header.key.len != self.lowcase.len() || header.lowcase_key.is_null() {
            return false;
        }
        // SAFETY: every protocol module of nginx keeps the key in lower case there, as long as the key itself.
        let lowcase = unsafe { slice::from_raw_parts(header.lowcase_key, header.key.len) };
        text::is_same(lowcase, &self.lowcase) && header.value.len > 0
    }
}

/// The parts of a list are linked, the last one by null.
fn parts(list: &ngx_list_t) -> impl Iterator<Item = &ngx_list_part_t> {
    // SAFETY: a part of the list, or null.
    iter::successors(Some(&list.part), |part| unsafe { part.next.as_ref() })
}

fn elements(part: &ngx_list_part_t) -> &[ngx_table_elt_t] {
    let Some(first) = NonNull::new(part.elts.cast::<ngx_table_elt_t>()) else { return &[] };
    // SAFETY: a part of a list of headers holds `nelts` of them.
    unsafe { slice::from_raw_parts(first.as_ptr(), part.nelts) }
}
