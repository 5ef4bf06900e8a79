//! Which upstream each group of a request's attempts went to.
//!
//! nginx keeps the attempts of all groups in one list, and only the last upstream (`r->upstream`), which may be another
//! one than that of the last group: after an internal redirect a cache may answer, or a host may have no address. For
//! subrequests there is no log phase. So each group of a watched upstream is noted in the main request when its first
//! peer is about to be chosen; the log phase of the main request reads the notes.
//!
//! The usual request has one group, whose note takes no memory of its own: only the pointer in the value of an indexed
//! variable, which subrequests share and redirects keep.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use nginx_sys::{
    NGX_HTTP_VAR_NOHASH, ngx_conf_t, ngx_http_add_variable, ngx_http_get_variable_index, ngx_http_request_t,
    ngx_http_upstream_state_t, ngx_http_upstream_t, ngx_http_variable_value_t, ngx_int_t, ngx_palloc, ngx_str_t,
    ngx_uint_t,
};
use ngx::core::Status;

/// The variable whose value holds the notes. The blank keeps configurations from naming it.
const VARIABLE: &str = "poolwatch groups";

/// Marks a pointer to a [`Group`]; without it, the pointer is that of the only group's upstream.
const MANY: usize = 1;

/// A group of attempts: what one location asked of one watched upstream.
pub(crate) struct Group {
    /// The main request or a subrequest.
    request: NonNull<ngx_http_request_t>,
    /// Its `r->upstream` at that time, which lives as long as the main request.
    upstream: NonNull<ngx_http_upstream_t>,
    /// How many attempts and separators of the request there were before.
    first: usize,
    /// The group that was noted before this one; null: there is none.
    before: *mut Group,
}

/// The place of a request's notes: the index of the variable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes(usize);

impl Notes {
    /// Adds the variable, before nginx reads the configuration.
    pub(crate) fn add_variable(cf: &mut ngx_conf_t) -> Result<(), ()> {
        let mut name = name();
        // SAFETY: called while the configuration is read; nginx copies the name.
        let variable = unsafe { ngx_http_add_variable(cf, &raw mut name, NGX_HTTP_VAR_NOHASH as ngx_uint_t) };
        // SAFETY: null, or a variable that nginx has just made.
        unsafe { variable.as_mut() }.ok_or(())?.get_handler = Some(no_value);
        Ok(())
    }

    /// Has nginx make a place for the notes in each request of this configuration.
    pub(crate) fn reserve(cf: &mut ngx_conf_t) -> Result<Self, ()> {
        let mut name = name();
        // SAFETY: called before nginx counts the indexed variables; nginx copies the name.
        let index = unsafe { ngx_http_get_variable_index(cf, &raw mut name) };
        usize::try_from(index).map(Self).map_err(|_| ())
    }

    /// Notes that a main request begins to ask its first upstream, `r->upstream`. `false`: it is a subrequest, or has
    /// asked another one before, and nothing is noted.
    #[expect(clippy::inline_always, reason = "once for each request, and short")]
    #[inline(always)]
    pub(crate) fn note_first(self, r: &ngx_http_request_t) -> bool {
        // SAFETY: the value belongs to this request and its subrequests, on nginx's only thread.
        let value = unsafe { self.value(r).as_mut() };
        // SAFETY: null, or an array of the request's pool.
        let is_empty = unsafe { r.upstream_states.as_ref() }.is_none_or(|states| states.nelts == 0);
        let is_first = value.data.is_null() && is_empty && ptr::eq(r.main, r);
        if is_first {
            value.data = r.upstream.cast();
        }
        is_first
    }

    /// Notes that a request begins to ask another upstream, its present `r->upstream`.
    pub(crate) fn note_next(self, r: &ngx_http_request_t) {
        let Some(upstream) = NonNull::new(r.upstream) else { return };
        let group = Group { request: NonNull::from(r), upstream, first: states(r).len(), before: ptr::null_mut() };
        // SAFETY: see `note_first`.
        note_more(unsafe { self.value(r).as_mut() }, group);
    }

    /// The upstream of the only group of a main request. `None`: there is no group, or there are more.
    #[expect(clippy::inline_always, reason = "once for each request, and short")]
    #[inline(always)]
    pub(crate) fn only(self, main: &ngx_http_request_t) -> Option<&ngx_http_upstream_t> {
        // SAFETY: see `note_first`.
        let data = unsafe { self.value(main).as_ref() }.data;
        if data.addr() & MANY != 0 {
            return None;
        }
        // SAFETY: null, or the noted upstream.
        unsafe { data.cast::<c_void>().cast::<ngx_http_upstream_t>().as_ref() }
    }

    /// Has this request, or subrequest, asked an upstream before of which this is true?
    pub(crate) fn has_asked(self, r: &ngx_http_request_t, is_it: impl Fn(&ngx_http_upstream_t) -> bool) -> bool {
        // SAFETY: the main request outlives its subrequests.
        let Some(main) = (unsafe { r.main.as_ref() }) else { return false };
        // SAFETY: see `note_first`.
        let groups = groups(main, unsafe { self.value(main).as_ref() });
        groups.iter().any(|group| ptr::eq(group.request(), r) && is_it(group.upstream()))
    }

    /// Takes the notes out of a main request. Groups that `is_taken` refuses stay noted.
    pub(crate) fn take(self, main: &ngx_http_request_t, mut is_taken: impl FnMut(&Group) -> bool) -> Vec<Group> {
        // SAFETY: see `note_first`.
        let value = unsafe { self.value(main).as_mut() };
        let (mut left, mut taken) = (Vec::new(), Vec::new());
        for group in groups(main, value) {
            if is_taken(&group) { taken.push(group) } else { left.push(group) }
        }
        if !taken.is_empty() {
            value.data = ptr::null_mut();
            // Oldest first.
            left.into_iter().rev().for_each(|group| note_more(value, group));
        }
        taken.reverse();
        taken
    }

    #[expect(clippy::inline_always, reason = "twice for each request, and short")]
    #[inline(always)]
    fn value(self, r: &ngx_http_request_t) -> NonNull<ngx_http_variable_value_t> {
        // SAFETY: nginx makes an array with a value for each indexed variable of the request's configuration.
        let values = unsafe { NonNull::new_unchecked(r.variables) };
        // SAFETY: as above.
        unsafe { values.add(self.0) }
    }
}

impl Group {
    /// The main request or a subrequest.
    pub(crate) fn request(&self) -> &ngx_http_request_t {
        // SAFETY: the pool of the main request holds it, and the notes are in that request.
        unsafe { self.request.as_ref() }
    }

    /// The upstream as nginx keeps it for this group.
    pub(crate) fn upstream(&self) -> &ngx_http_upstream_t {
        // SAFETY: as above.
        unsafe { self.upstream.as_ref() }
    }

    /// Is it the first group of its request?
    pub(crate) fn is_first(&self) -> bool {
        self.first == 0
    }

    /// Its attempts in their order. Empty: nginx did not get to the first one.
    pub(crate) fn attempts(&self) -> &[ngx_http_upstream_state_t] {
        let states = states(self.request()).get(self.first..).unwrap_or_default();
        // A separator stands before the attempts of the next group.
        states.split(|state| state.peer.is_null()).next().unwrap_or_default()
    }

    /// Will nginx make no further attempt for this group?
    pub(crate) fn is_over(&self) -> bool {
        self.upstream().cleanup.is_null()
    }
}

/// The attempts of a request, with a separator before each further group.
#[expect(clippy::inline_always, reason = "twice for each request, and short")]
#[inline(always)]
pub(crate) fn states(r: &ngx_http_request_t) -> &[ngx_http_upstream_state_t] {
    // SAFETY: null, or an array of the request's pool.
    let Some(states) = (unsafe { r.upstream_states.as_ref() }) else { return &[] };
    match NonNull::new(states.elts.cast::<ngx_http_upstream_state_t>()) {
        // SAFETY: the array holds `nelts` states.
        Some(first) => unsafe { slice::from_raw_parts(first.as_ptr(), states.nelts) },
        None => &[],
    }
}

/// The groups that a main request's value notes, newest first.
fn groups(main: &ngx_http_request_t, value: &ngx_http_variable_value_t) -> Vec<Group> {
    let mut groups = Vec::new();
    if value.data.addr() & MANY == 0 {
        let upstream = NonNull::new(value.data.cast::<c_void>().cast::<ngx_http_upstream_t>());
        groups.extend(upstream.map(|upstream| only(main, upstream)));
        return groups;
    }
    let mut next = value.data.map_addr(|address| address & !MANY).cast::<c_void>().cast::<Group>();
    // SAFETY: null, or a group that `note_more` has put into the main request's pool.
    while let Some(&Group { request, upstream, first, before }) = unsafe { next.as_ref() } {
        groups.push(Group { request, upstream, first, before });
        next = before;
    }
    groups
}

fn only(main: &ngx_http_request_t, upstream: NonNull<ngx_http_upstream_t>) -> Group {
    Group { request: NonNull::from(main), upstream, first: 0, before: ptr::null_mut() }
}

/// Notes a group that is not the only one.
fn note_more(value: &mut ngx_http_variable_value_t, mut group: Group) {
    // SAFETY: the main request outlives its subrequests.
    let Some(main) = (unsafe { group.request().main.as_ref() }) else { return };
    let one = NonNull::new(value.data.cast::<c_void>().cast::<ngx_http_upstream_t>())
        .filter(|one| one.addr().get() & MANY == 0);
    if let Some(upstream) = one {
        value.data = ptr::null_mut();
        put(main, value, only(main, upstream));
    }
    group.before = value.data.map_addr(|address| address & !MANY).cast::<c_void>().cast();
    put(main, value, group);
}

/// Without memory the group stays unseen.
fn put(main: &ngx_http_request_t, value: &mut ngx_http_variable_value_t, group: Group) {
    // SAFETY: the request's pool. It aligns for pointers, and a group has no other members.
    let place = unsafe { ngx_palloc(main.pool, size_of::<Group>()) }.cast::<Group>();
    if let Some(place) = NonNull::new(place) {
        // SAFETY: fresh memory of that size.
        unsafe { place.write(group) };
        value.data = place.as_ptr().map_addr(|address| address | MANY).cast();
    }
}

fn name() -> ngx_str_t {
    ngx_str_t { len: VARIABLE.len(), data: VARIABLE.as_ptr().cast_mut() }
}

/// nginx asks each indexed variable to have such a function. Nothing can call this one, and it leaves the notes alone.
unsafe extern "C" fn no_value(_: *mut ngx_http_request_t, _: *mut ngx_http_variable_value_t, _: usize) -> ngx_int_t {
    Status::NGX_DECLINED.into()
}
