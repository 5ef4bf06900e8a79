//! Two headers of a response, found by hash.

use std::slice;

use nginx_sys::{ngx_hash_key, ngx_list_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t};

use crate::nginx::list;
use crate::text;

/// The headers that are looked for.
pub(crate) struct Headers {
    pub(crate) pool: Option<Header>,
    pub(crate) release: Header,
}

/// A header by its name.
pub(crate) struct Header {
    /// In lower case.
    lowcase: Vec<u8>,
    /// nginx's hash of it.
    hash: ngx_uint_t,
}

/// Where a header stands in a list: the part, and the element of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Position {
    part: u16,
    element: u16,
}

impl Headers {
    /// By their names in lower case; without a pool header only the other one is looked for.
    pub(crate) fn new(pool: Option<&str>, release: &str) -> Self {
        Self { pool: pool.map(Header::new), release: Header::new(release) }
    }
}

impl Header {
    fn new(lowcase: &str) -> Self {
        // SAFETY: reads the bytes.
        let hash = unsafe { ngx_hash_key(lowcase.as_ptr().cast_mut(), lowcase.len()) };
        Self { lowcase: lowcase.as_bytes().to_owned(), hash }
    }

    /// The value, and where it was found; of two the first one that is not empty. Empty: there is none.
    pub(crate) fn find<'a>(&self, headers: &'a ngx_list_t) -> (&'a [u8], Position) {
        for (part, elements) in (0..).zip(list::headers(headers)) {
            let found = (0..).zip(elements).find(|(_, header)| self.is_name_of(header));
            if let Some((element, header)) = found {
                return (header.value.as_bytes(), Position { part, element });
            }
        }
        (&[], Position::default())
    }

    /// Does the header still stand at its place with this value, or is there still none? Servers send their headers in the same
    /// order, and that the hash and the value are the same is enough.
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

    /// By hash, and for the one that matches by the name that nginx has in lower case already. An empty value says nothing.
    fn is_name_of(&self, header: &ngx_table_elt_t) -> bool {
        if header.hash != self.hash || header.key.len != self.lowcase.len() || header.lowcase_key.is_null() {
            return false;
        }
        // SAFETY: every protocol module of nginx keeps the key in lower case there, as long as the key itself.
        let lowcase = unsafe { slice::from_raw_parts(header.lowcase_key, header.key.len) };
        lowcase == self.lowcase && header.value.len > 0
    }
}

/// Are these the same, and not empty?
#[expect(clippy::inline_always, reason = "a call would cost more")]
#[inline(always)]
pub(crate) fn is_same(one: &ngx_str_t, other: &[u8]) -> bool {
    if one.len != other.len() || other.is_empty() {
        return false;
    }
    // SAFETY: nginx's text, which is not empty.
    text::is_same(unsafe { slice::from_raw_parts(one.data, one.len) }, other)
}
