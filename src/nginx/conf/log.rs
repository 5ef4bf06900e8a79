//! Logs errors and warnings of the configuration in nginx's form: `[emerg] ... in FILE:LINE`.

use std::ffi::CStr;
use std::ptr;

use nginx_sys::{
    NGX_LOG_EMERG, NGX_LOG_WARN, ngx_conf_log_error, ngx_conf_t, ngx_log_error_core, ngx_str_t, ngx_uint_t,
};

use crate::directives::place::{Place, Remark};

/// Takes a pointer to an [`ngx_str_t`]. nginx cuts the text to the length of its log lines.
const FORMAT: &CStr = c"%V";

/// The file and line of the directive that nginx is reading.
pub(crate) fn place(cf: &ngx_conf_t) -> Place {
    // SAFETY: null, or the file being read.
    match unsafe { cf.conf_file.as_ref() } {
        Some(file) if !file.file.name.is_empty() => Place { file: file.file.name.to_string(), line: file.line },
        _ => Place { file: "command line".to_owned(), line: 0 },
    }
}

/// Logs an error of the directive that is being read; nginx adds the place.
pub(crate) fn emerg(cf: &mut ngx_conf_t, text: &str) {
    let text = nginx_text(text);
    // SAFETY: the configuration being read, and what the format takes.
    unsafe { ngx_conf_log_error(NGX_LOG_EMERG as ngx_uint_t, cf, 0, FORMAT.as_ptr(), ptr::from_ref(&text)) };
}

/// Logs an error that was found after all directives were read.
pub(crate) fn emerg_at(cf: &ngx_conf_t, remark: &Remark) {
    write(NGX_LOG_EMERG, cf, remark);
}

/// Logs a warning: nginx can start with this configuration.
pub(crate) fn warn_at(cf: &ngx_conf_t, remark: &Remark) {
    write(NGX_LOG_WARN, cf, remark);
}

fn write(level: u32, cf: &ngx_conf_t, remark: &Remark) {
    let level = level as ngx_uint_t;
    // SAFETY: the log of the configuration being read.
    if unsafe { cf.log.as_ref() }.is_none_or(|log| log.log_level < level) {
        return;
    }
    let line = remark.to_string();
    let text = nginx_text(&line);
    // SAFETY: as above, and what the format takes.
    unsafe { ngx_log_error_core(level, cf.log, 0, FORMAT.as_ptr(), ptr::from_ref(&text)) };
}

fn nginx_text(text: &str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
