//! nginx's table of our directives, made from [`DIRECTIVES`], and the callback that reads each of them.

use std::ffi::{c_char, c_void};
use std::ptr;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_2MORE, NGX_CONF_ANY, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF, ngx_command_t,
    ngx_conf_t, ngx_str_t, ngx_uint_t,
};
use ngx::core::NGX_CONF_ERROR;

use crate::directives::DIRECTIVES;
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::place::DirectiveLine;
use crate::nginx::callback::caught;
use crate::nginx::conf::locations::LocConf;
use crate::nginx::conf::watched::SrvConf;
use crate::nginx::conf::{MainConf, log};
use crate::nginx::status;

/// A command for each directive, and an empty one that ends the table.
#[repr(transparent)]
pub(crate) struct Commands([ngx_command_t; DIRECTIVES.len() + 1]);

// SAFETY: the table is never written to.
unsafe impl Sync for Commands {}

/// The table.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse a panic")]
pub(crate) static COMMANDS: Commands = Commands({
    let mut commands = [ngx_command_t::empty(); DIRECTIVES.len() + 1];
    let mut index = 0;
    while index < DIRECTIVES.len() {
        commands[index] = command(&DIRECTIVES[index]);
        index += 1;
    }
    commands
});

const fn command(directive: &'static Directive) -> ngx_command_t {
    let name = directive.name.to_bytes();
    ngx_command_t {
        name: ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() },
        type_: (arguments(directive.arguments) | blocks(&directive.context)) as ngx_uint_t,
        set: Some(set),
        // Upstream blocks and `http` each have a server configuration of their own.
        conf: match directive.context {
            Context::Http(_) => NGX_HTTP_MAIN_CONF_OFFSET,
            Context::HttpAndUpstream(_) | Context::Upstream(_) => NGX_HTTP_SRV_CONF_OFFSET,
            Context::Location(_) => NGX_HTTP_LOC_CONF_OFFSET,
        },
        offset: 0,
        post: ptr::from_ref(directive).cast_mut().cast(),
    }
}

const fn arguments(arguments: Arguments) -> u32 {
    match arguments {
        Arguments::Any => NGX_CONF_ANY,
        Arguments::One => NGX_CONF_TAKE1,
        Arguments::OneOrMore => NGX_CONF_1MORE,
        Arguments::TwoOrMore => NGX_CONF_2MORE,
    }
}

/// The blocks in which nginx accepts the directive.
const fn blocks(context: &Context) -> u32 {
    match context {
        Context::Http(_) => NGX_HTTP_MAIN_CONF,
        Context::HttpAndUpstream(_) => NGX_HTTP_MAIN_CONF | NGX_HTTP_UPS_CONF,
        Context::Upstream(_) => NGX_HTTP_UPS_CONF,
        Context::Location(_) => NGX_HTTP_LOC_CONF,
    }
}

/// Called by nginx for each of our directives; `conf` is the configuration that the command's offset says.
unsafe extern "C" fn set(cf: *mut ngx_conf_t, command: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    // SAFETY: nginx passes the configuration being read.
    let Some(cf) = (unsafe { cf.as_mut() }) else { return NGX_CONF_ERROR };
    // SAFETY: nginx passes an entry of our table.
    let Some(command) = (unsafe { command.as_ref() }) else { return NGX_CONF_ERROR };
    match caught(|| read(cf, command, conf)) {
        Some(Ok(())) => return ptr::null_mut(),
        Some(Err(mistake)) => log::emerg(cf, &mistake),
        None => log::emerg(cf, "the directive's reader panicked"),
    }
    NGX_CONF_ERROR
}

fn read(cf: &ngx_conf_t, command: &ngx_command_t, conf: *mut c_void) -> Result<(), String> {
    // SAFETY: every command of our table points to its directive.
    let directive = unsafe { command.post.cast::<Directive>().as_ref() };
    // SAFETY: nginx splits a line into strings.
    let words = unsafe { cf.args.as_ref() };
    let (Some(directive), Some(words)) = (directive, words) else { return Err("no directive".to_owned()) };
    // SAFETY: as above.
    let words: &[ngx_str_t] = unsafe { words.as_slice() };
    let args: Vec<&[u8]> = words.iter().skip(1).map(ngx_str_t::as_bytes).collect();
    let line = DirectiveLine { args: &args, place: &log::place(cf) };
    let result = match directive.context {
        Context::Http(read) => {
            // SAFETY: the command's offset asks for the main configuration.
            unsafe { conf.cast::<MainConf>().as_mut() }.map(|conf| read(&mut conf.directives, &line))
        }
        Context::HttpAndUpstream(setting) | Context::Upstream(setting) => {
            // SAFETY: the command's offset asks for the server configuration.
            unsafe { conf.cast::<SrvConf>().as_mut() }.map(|conf| conf.directives.read(directive.name, setting, &line))
        }
        Context::Location(read) => {
            // SAFETY: the command's offset asks for the location's configuration.
            let read = unsafe { conf.cast::<LocConf>().as_mut() }.map(|conf| read(&mut conf.directives, &line));
            status::install(cf);
            read
        }
    };
    result.unwrap_or(Ok(())).map_err(|mistake| mistake.in_directive(directive.name()))
}
