//! Checks that the module can be built for this nginx, and binds bit-fields again that nginx-sys gets wrong, checked
//! against C. Without the feature `nginx` the script does nothing and needs no nginx.

#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "so cargo and a build script talk")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_NGINX").is_none() {
        return Ok(());
    }
    for name in ["VERSION_NUMBER", "FEATURES", "INCLUDE", "CFLAGS"] {
        println!("cargo::rerun-if-env-changed=DEP_NGINX_{name}");
    }
    println!("cargo::rerun-if-env-changed=CC");
    check_nginx()?;
    let include = env::var_os("DEP_NGINX_INCLUDE").ok_or("nginx-sys did not say where nginx's headers are")?;
    let defines = env::var("DEP_NGINX_CFLAGS").unwrap_or_default();
    let mut flags: Vec<String> = env::split_paths(&include).map(|path| format!("-I{}", path.display())).collect();
    flags.extend(defines.split_whitespace().map(str::to_owned));
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not say where to write")?);
    bind_bits(&flags, &out)?;
    see_bits_in_c(&flags, &out)?;
    // nginx unloads modules when a worker exits, but a thread may then still be in a system call that returns to this
    // module.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    Ok(())
}

/// The oldest nginx that is supported, as nginx numbers versions: 1.22.0.
const OLDEST: u64 = 1_022_000;

/// Is this an nginx that the module can be built for?
fn check_nginx() -> Done {
    if env::var("DEP_NGINX_VERSION_NUMBER")?.parse::<u64>()? < OLDEST {
        return Err("Poolwatch needs nginx 1.22 or newer".into());
    }
    if !env::var("DEP_NGINX_FEATURES")?.split(',').any(|feature| feature == "http_upstream_zone") {
        let text = "Poolwatch reads the table of peers that workers share: nginx needs ngx_http_upstream_zone_module";
        return Err(text.into());
    }
    Ok(())
}

const HEADERS: &str = "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n";

/// nginx-sys 0.5 pins a bindgen that computes wrong positions for bit-fields behind a smaller member (fixed in bindgen
/// 0.73). So its bit-field accessors are not used, and the structs whose bits are needed are bound again here.
fn bind_bits(flags: &[String], out: &Path) -> Done {
    let mut bindings = bindgen::Builder::default()
        .header_contents("bits.h", HEADERS)
        .clang_args(flags)
        .allowlist_type("ngx_http_upstream_server_t|ngx_variable_value_t")
        .allowlist_recursively(false)
        // When the bindings are compiled, their sizes and offsets are compared with clang's.
        .layout_tests(true)
        .use_core()
        // The same text with and without rustfmt: the code below searches in it.
        .formatter(bindgen::Formatter::None)
        .generate()?
        .to_string();
    // These getters call only const functions. As const functions they can be checked at compile time.
    for getter in ["backup", "len", "valid", "no_cacheable", "not_found"] {
        let found = format!("pub fn {getter} (");
        if !bindings.contains(&found) {
            return Err(format!("bindgen wrote no \"{found}\"").into());
        }
        bindings = bindings.replace(&found, &format!("pub const fn {getter} ("));
    }
    Ok(fs::write(out.join("bits.rs"), bindings)?)
}

/// Layout tests do not cover bits. So a C program prints all bytes of a struct with some bits set, and
/// `src/nginx/bits.rs` compiles only if Rust finds the bits in the same places.
fn see_bits_in_c(flags: &[String], out: &Path) -> Done {
    let (source, program) = (out.join("bits.c"), out.join("bits"));
    fs::write(&source, format!("{HEADERS}{SHOW_BYTES}"))?;
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    // Optimised, so that nginx's unused inline functions are dropped and the program links without nginx.
    let compilation = Command::new(&compiler).args(flags).arg("-O1").arg(&source).arg("-o").arg(&program).status()?;
    if !compilation.success() {
        return Err(format!("{compiler} cannot compile {}", source.display()).into());
    }
    let shown = Command::new(&program).output()?;
    if !shown.status.success() {
        return Err(format!("{} failed", program.display()).into());
    }
    Ok(fs::write(out.join("bits_in_c.rs"), shown.stdout)?)
}

const SHOW_BYTES: &str = r#"
static void show(const char *name, const void *of, size_t size) {
    const unsigned char *bytes = of;
    printf("pub(super) const %s: [u8; %zu] = [", name, size);
    for (size_t i = 0; i < size; i++) printf("%u, ", bytes[i]);
    printf("];\n");
}

int main(void) {
    static ngx_http_upstream_server_t server;
    static ngx_variable_value_t value;
    static ngx_connection_t connection;
    static ngx_http_request_t request;
    static ngx_buf_t buf;
    static ngx_http_core_loc_conf_t location;
    static ngx_event_t event;
    server.backup = 1;
    show("BACKUP_SERVER", &server, sizeof(server));
    value.len = 0x5a5a5a5;
    value.valid = 1;
    value.not_found = 1;
    show("VALUE", &value, sizeof(value));
    connection.idle = 1;
    show("IDLE_CONNECTION", &connection, sizeof(connection));
    request.header_only = 1;
    show("HEADER_ONLY_REQUEST", &request, sizeof(request));
    request.header_only = 0;
    request.post_action = 1;
    show("POST_ACTION_REQUEST", &request, sizeof(request));
    buf.in_file = 1;
    show("IN_FILE_BUF", &buf, sizeof(buf));
    location.auto_redirect = 1;
    show("AUTO_REDIRECT_LOCATION", &location, sizeof(location));
    event.cancelable = 1;
    show("CANCELABLE_EVENT", &event, sizeof(event));
    return 0;
}
"#;
