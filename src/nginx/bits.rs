//! Bit-fields of nginx's structs, bound by our own build script and compared there with what C sees: see `build.rs` for why.

use std::ptr::NonNull;

use nginx_sys::{ngx_connection_t, ngx_http_upstream_server_t, ngx_str_t, ngx_variable_value_t};

/// As bindgen 0.73 binds them.
mod bound {
    #![allow(non_camel_case_types, dead_code, missing_docs, unreachable_pub, unknown_lints, reason = "made by bindgen")]
    #![allow(clippy::all, clippy::pedantic, clippy::restriction, reason = "made by bindgen")]

    use nginx_sys::{ngx_addr_t, ngx_msec_t, ngx_str_t, ngx_uint_t, time_t, u_char};

    include!(concat!(env!("OUT_DIR"), "/bits.rs"));
}

/// A server with nothing but `backup` set, a value of a variable with a length and two of its marks, and a connection with nothing
/// but `idle` set, as the C compiler lays them out.
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

/// Makes a variable's value this text, which lives as long as the request; `None`: there is none.
pub(crate) fn set_value(value: &mut ngx_variable_value_t, text: Option<ngx_str_t>) {
    let value = std::ptr::from_mut(value).cast::<bound::ngx_variable_value_t>();
    // SAFETY: the same struct of the same headers.
    let Some(value) = (unsafe { value.as_mut() }) else { return };
    let text = text.map(|text| (text.data, u32::try_from(text.len).unwrap_or_default()));
    value.set_valid(text.is_some().into());
    value.set_no_cacheable(0);
    value.set_not_found(text.is_none().into());
    let (data, len) = text.unwrap_or((std::ptr::null_mut(), 0));
    value.set_len(len);
    value.data = data;
}

/// Does `backup` stand at this server?
pub(crate) fn is_backup(server: &ngx_http_upstream_server_t) -> bool {
    let server = std::ptr::from_ref(server).cast::<bound::ngx_http_upstream_server_t>();
    // SAFETY: the same struct of the same headers.
    unsafe { server.as_ref() }.is_some_and(|server| server.backup() != 0)
}

/// Where `idle` is in a connection: the byte, and the bit in it.
const IDLE: (usize, u8) = {
    let (mut place, mut found) = (0, None);
    while place < seen_by_c::IDLE_CONNECTION.len() {
        if seen_by_c::IDLE_CONNECTION[place] != 0 {
            assert!(found.is_none(), "more than one byte is set");
            found = Some((place, seen_by_c::IDLE_CONNECTION[place]));
        }
        place += 1;
    }
    assert!(size_of::<ngx_connection_t>() == seen_by_c::IDLE_CONNECTION.len(), "another struct than in C");
    found.expect("no byte is set")
};

/// Calls a connection idle: nginx then calls its handler when the worker begins to end.
pub(crate) fn set_idle(connection: NonNull<ngx_connection_t>) {
    let (place, bit) = IDLE;
    // SAFETY: a byte of the struct, by the check above.
    let byte = unsafe { connection.cast::<u8>().add(place) };
    // SAFETY: as above; the connection is the caller's, on nginx's own thread.
    let before = unsafe { byte.read() };
    // SAFETY: as above.
    unsafe { byte.write(before | bit) };
}
