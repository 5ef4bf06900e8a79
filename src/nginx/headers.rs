//! Finds the headers of a response that name its pool and its release, by nginx's hash.

use std::slice;

use nginx_sys::{ngx_hash_key, ngx_list_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t};

use crate::nginx::list;
use crate::text;

/// The headers of an upstream's responses that are read.
pub(crate) struct Headers {
    /// `poolwatch_pool_header`; `None`: the configuration names the pools.
    pub(crate) pool: Option<Header>,
    /// `poolwatch_pool_header`, if the configuration names the pools: it is looked at now and then, since it may
    /// contradict.
    pub(crate) other_pool: Option<Header>,
    /// `poolwatch_release_header`
    pub(crate) release: Header,
}

/// A header to look for.
pub(crate) struct Header {
    /// Its name in lower case.
    lowcase: Vec<u8>,
    /// nginx's hash of the name.
    hash: ngx_uint_t,
}

/// Where a header is in a list: the number of the list's part, and of the part's element, from 0.
#[derive(Clone, Copy, Default)]
pub(crate) struct Position {
    part: u16,
    element: u16,
}

impl Headers {
    /// Both names are in lower case. `are_pools_named`: by the configuration.
    pub(crate) fn new(pool: &str, are_pools_named: bool, release: &str) -> Self {
        let (pool, release) = (Some(Header::new(pool)), Header::new(release));
        let (pool, other_pool) = if are_pools_named { (None, pool) } else { (pool, None) };
        Self { pool, other_pool, release }
    }
}

impl Header {
    fn new(lowcase: &str) -> Self {
        // SAFETY: reads the bytes.
        let hash = unsafe { ngx_hash_key(lowcase.as_ptr().cast_mut(), lowcase.len()) };
        Self { lowcase: lowcase.as_bytes().to_owned(), hash }
    }

    /// The first value that is not empty, and its position. Empty: there is none.
    pub(crate) fn find<'a>(&self, headers: &'a ngx_list_t) -> (&'a [u8], Position) {
        for (part, elements) in (0..).zip(list::headers(headers)) {
            let found = (0..).zip(elements).find(|(_, header)| self.is_name_of(header));
            if let Some((element, header)) = found {
                return (header.value.as_bytes(), Position { part, element });
            }
        }
        (&[], Position::default())
    }

    /// Is the header still at the position where it was last found, with the same value? With an empty value: is there
    /// still none? A matching hash and value are taken as proof, since servers send their headers in the same order.
    #[expect(clippy::inline_always, reason = "twice for each request, and short")]
    #[inline(always)]
    pub(crate) fn is_still(&self, value: &[u8], position: Position, headers: &ngx_list_t) -> bool {
        if value.is_empty() {
            return self.is_absent(headers);
        }
        let part = list::headers(headers).nth(usize::from(position.part));
        match part.and_then(|part| part.get(usize::from(position.element))) {
            Some(header) => header.hash == self.hash && is_same(&header.value, value),
            None => false,
        }
    }

    #[expect(clippy::inline_always, reason = "a call would need registers saved")]
    #[inline(always)]
    fn is_absent(&self, headers: &ngx_list_t) -> bool {
        for part in list::headers(headers) {
            for header in part {
                if header.hash == self.hash {
                    return false;
                }
            }
        }
        true
    }

    /// Compares the hashes first, then the names in lower case. A header with an empty value does not count.
    fn is_name_of(&self, header: &ngx_table_elt_t) -> bool {
        if header.hash != self.hash || header.key.len != self.lowcase.len() || header.lowcase_key.is_null() {
            return false;
        }
        // SAFETY: nginx's protocol modules store the key in lower case there, with the key's length.
        let lowcase = unsafe { slice::from_raw_parts(header.lowcase_key, header.key.len) };
        lowcase == self.lowcase && header.value.len > 0
    }
}

/// Are these texts the same, and not empty?
#[expect(clippy::inline_always, reason = "a call would cost more")]
#[inline(always)]
pub(crate) fn is_same(one: &ngx_str_t, other: &[u8]) -> bool {
    if one.len != other.len() || other.is_empty() {
        return false;
    }
    // SAFETY: nginx's text, which is not empty.
    text::is_same(unsafe { slice::from_raw_parts(one.data, one.len) }, other)
}
