//! Bit-fields of nginx's structs, bound by our own build script and compared there with what C sees: see `build.rs` for why.

use nginx_sys::ngx_http_upstream_server_t;

/// As bindgen 0.73 binds them.
mod bound {
    #![allow(non_camel_case_types, dead_code, missing_docs, unreachable_pub, reason = "made by bindgen")]
    #![allow(clippy::all, clippy::pedantic, clippy::restriction, reason = "made by bindgen")]

    use nginx_sys::{ngx_addr_t, ngx_msec_t, ngx_str_t, ngx_uint_t, time_t};

    include!(concat!(env!("OUT_DIR"), "/bits.rs"));
}

/// A server with nothing but `backup` set, as the C compiler lays it out.
mod seen_by_c {
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

/// Does `backup` stand at this server?
pub(crate) fn is_backup(server: &ngx_http_upstream_server_t) -> bool {
    let server = std::ptr::from_ref(server).cast::<bound::ngx_http_upstream_server_t>();
    // SAFETY: the same struct of the same headers.
    unsafe { server.as_ref() }.is_some_and(|server| server.backup() != 0)
}
