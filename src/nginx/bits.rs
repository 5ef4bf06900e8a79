//! Bit-fields of nginx's structs. nginx-sys misplaces some, so `build.rs` binds them again and compares them with a C
//! compiler's.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use nginx_sys::{
    ngx_buf_t, ngx_connection_t, ngx_event_t, ngx_http_core_loc_conf_t, ngx_http_request_t, ngx_http_upstream_server_t,
    ngx_str_t, ngx_variable_value_t,
};

/// As bindgen 0.73 binds them.
mod bound {
    #![allow(non_camel_case_types, dead_code, missing_docs, unreachable_pub, unknown_lints, reason = "made by bindgen")]
    #![allow(clippy::all, clippy::pedantic, clippy::restriction, reason = "made by bindgen")]

    use nginx_sys::{ngx_addr_t, ngx_msec_t, ngx_str_t, ngx_uint_t, time_t, u_char};

    include!(concat!(env!("OUT_DIR"), "/bits.rs"));
}

/// Structs as the C compiler lays them out: a server with only `backup` set, a variable's value with a length and two
/// of its flags, and others with a single bit set.
mod seen_by_c {
    #![allow(dead_code, reason = "Rust 1.85 does not count what an unnamed constant uses")]

    include!(concat!(env!("OUT_DIR"), "/bits_in_c.rs"));
}

const _: () = {
    // SAFETY: plain data, for which C has filled in every byte; transmute compares the sizes.
    let server: bound::ngx_http_upstream_server_t = unsafe { std::mem::transmute(seen_by_c::BACKUP_SERVER) };
    assert!(server.backup() == 1, "bindgen misplaces ngx_http_upstream_server_t.backup");
    // SAFETY: as above, without a bit set.
    let server: bound::ngx_http_upstream_server_t = unsafe { std::mem::zeroed() };
    assert!(server.backup() == 0, "bindgen misplaces ngx_http_upstream_server_t.backup");
};

const _: () = {
    // SAFETY: as above; a null pointer is a value of its pointer.
    let value: bound::ngx_variable_value_t = unsafe { std::mem::transmute(seen_by_c::VALUE) };
    assert!(value.len() == 0x5a5_a5a5 && value.valid() == 1, "bindgen misplaces ngx_variable_value_t.len");
    assert!(value.no_cacheable() == 0 && value.not_found() == 1, "bindgen misplaces ngx_variable_value_t.not_found");
};

/// Sets a variable's value to this text, which must live as long as the request; `None`: "not found".
pub(crate) fn set_value(value: &mut ngx_variable_value_t, text: Option<ngx_str_t>) {
    let value = ptr::from_mut(value).cast::<bound::ngx_variable_value_t>();
    // SAFETY: the same struct of the same headers.
    let Some(value) = (unsafe { value.as_mut() }) else { return };
    let text = text.map(|text| (text.data, u32::try_from(text.len).unwrap_or_default()));
    value.set_valid(text.is_some().into());
    value.set_no_cacheable(0);
    value.set_not_found(text.is_none().into());
    let (data, len) = text.unwrap_or((ptr::null_mut(), 0));
    value.set_len(len);
    value.data = data;
}

/// Does this `server` directive have `backup`?
pub(crate) fn is_backup(server: &ngx_http_upstream_server_t) -> bool {
    let server = ptr::from_ref(server).cast::<bound::ngx_http_upstream_server_t>();
    // SAFETY: the same struct of the same headers.
    unsafe { server.as_ref() }.is_some_and(|server| server.backup() != 0)
}

/// One bit of a struct: the offset of its byte, and its mask in that byte.
struct Bit<T> {
    offset: usize,
    mask: u8,
    of: PhantomData<fn(T)>,
}

impl<T> Bit<T> {
    /// The only bit that is set in these bytes, which C wrote for such a struct. Evaluated when the module is compiled.
    const fn set_in(bytes: &[u8]) -> Self {
        assert!(size_of::<T>() == bytes.len(), "another struct than in C");
        let mut bit = Self { offset: 0, mask: 0, of: PhantomData };
        let (mut offset, mut rest) = (0, bytes);
        while let [byte, others @ ..] = rest {
            if *byte != 0 {
                assert!(bit.mask == 0 && byte.is_power_of_two(), "more than one bit is set");
                (bit.offset, bit.mask) = (offset, *byte);
            }
            (offset, rest) = (offset + 1, others);
        }
        assert!(bit.mask != 0, "no bit is set");
        bit
    }

    fn is_set(&self, of: &T) -> bool {
        // SAFETY: a byte of the struct, by the check above.
        let byte = unsafe { ptr::from_ref(of).cast::<u8>().add(self.offset) };
        // SAFETY: as above.
        unsafe { byte.read() & self.mask != 0 }
    }

    fn set(&self, of: NonNull<T>) {
        // SAFETY: a byte of the struct, by the check above.
        let byte = unsafe { of.cast::<u8>().add(self.offset) };
        // SAFETY: as above; the struct is the caller's, on nginx's own thread.
        let before = unsafe { byte.read() };
        // SAFETY: as above.
        unsafe { byte.write(before | self.mask) };
    }
}

const IDLE: Bit<ngx_connection_t> = Bit::set_in(&seen_by_c::IDLE_CONNECTION);
const CANCELABLE: Bit<ngx_event_t> = Bit::set_in(&seen_by_c::CANCELABLE_EVENT);
const HEADER_ONLY: Bit<ngx_http_request_t> = Bit::set_in(&seen_by_c::HEADER_ONLY_REQUEST);
const POST_ACTION: Bit<ngx_http_request_t> = Bit::set_in(&seen_by_c::POST_ACTION_REQUEST);
const IN_FILE: Bit<ngx_buf_t> = Bit::set_in(&seen_by_c::IN_FILE_BUF);
const AUTO_REDIRECT: Bit<ngx_http_core_loc_conf_t> = Bit::set_in(&seen_by_c::AUTO_REDIRECT_LOCATION);

/// Marks a connection as idle: nginx calls the read handler of idle connections when a worker begins to shut down.
pub(crate) fn set_idle(connection: NonNull<ngx_connection_t>) {
    IDLE.set(connection);
}

/// Marks a timer as cancelable: nginx ends a worker without waiting for it.
pub(crate) fn set_cancelable(event: &mut ngx_event_t) {
    CANCELABLE.set(NonNull::from(event));
}

/// Is the response a header without a body? nginx sets this before the header is sent for subrequests whose body is not
/// wanted, and while it is sent for `HEAD` and for statuses that have no body.
pub(crate) fn is_header_only(r: &ngx_http_request_t) -> bool {
    HEADER_ONLY.is_set(r)
}

/// Has nginx begun the `post_action` of the request? Then the client has been answered, and the status that nginx keeps
/// is that of the action.
pub(crate) fn is_post_action(r: &ngx_http_request_t) -> bool {
    POST_ACTION.is_set(r)
}

/// Is the buffer's data in a file?
pub(crate) fn is_in_file(buf: &ngx_buf_t) -> bool {
    IN_FILE.is_set(buf)
}

/// Has nginx redirect from a location's name without its final slash to the name with it.
pub(crate) fn set_auto_redirect(core: NonNull<ngx_http_core_loc_conf_t>) {
    AUTO_REDIRECT.set(core);
}
