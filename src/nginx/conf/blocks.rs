//! nginx's own configuration of upstream blocks, as plain values, and the folders that paths are relative to.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::slice;

use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_http_upstream_rr_peers_t, ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t,
    ngx_str_t,
};
use ngx::http::{HttpModuleMainConf, NgxHttpUpstreamModule};

use crate::config::upstream::Role;
use crate::directives::place::Place;
use crate::directives::upstream::{Server, UpstreamBlock};
use crate::nginx::bits;
use crate::units::Millis;

/// nginx's configurations of the upstream blocks. Implicit upstreams, as of `proxy_pass http://host;`, are left out:
/// other modules have no configuration of them.
pub(super) fn upstreams(cf: &ngx_conf_t) -> Vec<NonNull<ngx_http_upstream_srv_conf_t>> {
    let Some(umcf) = NgxHttpUpstreamModule::main_conf(cf) else { return Vec::new() };
    // SAFETY: nginx keeps pointers to the upstreams' configurations there.
    let all: &[*mut ngx_http_upstream_srv_conf_t] = unsafe { umcf.upstreams.as_slice() };
    // SAFETY: as above.
    let is_block = |uscf: &NonNull<ngx_http_upstream_srv_conf_t>| !unsafe { uscf.as_ref() }.srv_conf.is_null();
    all.iter().filter_map(|&uscf| NonNull::new(uscf)).filter(is_block).collect()
}

/// An upstream block and its `server` directives.
pub(super) fn read(uscf: &ngx_http_upstream_srv_conf_t) -> UpstreamBlock {
    // SAFETY: null, or the array of the block's `server` directives.
    let servers: &[ngx_http_upstream_server_t] = match unsafe { uscf.servers.as_ref() } {
        // SAFETY: as above.
        Some(servers) => unsafe { servers.as_slice() },
        None => &[],
    };
    let place = Place { file: file_name(uscf), line: uscf.line };
    UpstreamBlock { name: uscf.host.as_bytes().to_vec(), place, servers: servers.iter().map(server).collect() }
}

/// Are the balancer's data nginx's own table of peers? All of nginx's balancers keep it there. Those of other modules
/// keep what they like, but only this table refers to the name of the block at this place.
pub(super) fn has_table(uscf: &ngx_http_upstream_srv_conf_t) -> bool {
    let Some(table) = NonNull::new(uscf.peer.data.cast::<ngx_http_upstream_rr_peers_t>()) else { return false };
    // SAFETY: the address of a member, in memory of the configuration, whatever the data are.
    let name = unsafe { &raw const (*table.as_ptr()).name };
    // SAFETY: as above.
    ptr::eq(unsafe { name.read() }, &raw const uscf.host)
}

/// The folder of `nginx.conf`: paths of configuration files are relative to it.
pub(super) fn conf_prefix(cf: &ngx_conf_t) -> PathBuf {
    path(cf, |cycle| &cycle.conf_prefix)
}

/// nginx's prefix: paths of files that nginx writes are relative to it.
pub(super) fn prefix(cf: &ngx_conf_t) -> PathBuf {
    path(cf, |cycle| &cycle.prefix)
}

fn path(cf: &ngx_conf_t, which: impl Fn(&ngx_cycle_t) -> &ngx_str_t) -> PathBuf {
    // SAFETY: the cycle whose configuration is being read.
    let path = unsafe { cf.cycle.as_ref() }.map(|cycle| which(cycle).as_bytes());
    PathBuf::from(OsStr::from_bytes(path.unwrap_or_default()))
}

fn server(server: &ngx_http_upstream_server_t) -> Server {
    let addresses = match NonNull::new(server.addrs) {
        // SAFETY: nginx resolved the server to this many addresses.
        Some(first) => unsafe { slice::from_raw_parts(first.as_ptr(), server.naddrs) },
        None => &[],
    };
    Server {
        name: server.name.as_bytes().to_vec(),
        // A server that is resolved at run time has one address without a name.
        addresses: addresses
            .iter()
            .map(|address| address.name.as_bytes().to_vec())
            .filter(|name| !name.is_empty())
            .collect(),
        role: if bits::is_backup(server) { Role::Backup } else { Role::Primary },
        is_down: server.down != 0,
        fail_timeout: Millis::from_secs(u64::try_from(server.fail_timeout).unwrap_or_default()),
    }
}

fn file_name(uscf: &ngx_http_upstream_srv_conf_t) -> String {
    match NonNull::new(uscf.file_name) {
        // SAFETY: nginx's name of the file in which the block stands, ended by a zero byte.
        Some(name) => unsafe { CStr::from_ptr(name.as_ptr().cast()) }.to_string_lossy().into_owned(),
        None => String::new(),
    }
}
