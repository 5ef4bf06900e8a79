//! `poolwatch_receiver`: who is told. Its URL is a credential, so a mistake in the line never quotes what may be one.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::receiver::{Endpoint, Receiver, ReceiverKind};
use crate::directives::arguments;
use crate::directives::mistake::{Mistake, shown};
use crate::directives::url;
use crate::outbox::debt::LEASE;
use crate::text::{self, Name, Text};
use crate::units::Millis;

/// Below the lease, which no exchange may outlive: a second worker would deliver again.
const TIMEOUT: RangeInclusive<Millis> = Millis(100)..=Millis::from_secs(25);
const _: () = assert!(TIMEOUT.end().0 < LEASE.0);

const DEFAULT_TIMEOUT: Millis = Millis::from_secs(10);

/// Larger files hold no URL, and no sensible list of certificates.
const MAX_FILE: u64 = 1024 * 1024;

/// Container runtimes mount secrets here, readable by everyone in the container.
const MOUNTED_SECRETS: &str = "/run/secrets/";

/// A line, with the secret and the certificates yet to be read.
pub struct ReceiverLine {
    /// `name=`, else the type's name.
    pub name: Name,
    kind: ReceiverKind,
    secret: Secret,
    send_resolved: bool,
    timeout: Millis,
    ca_file: Option<PathBuf>,
    proxy: String,
    /// The operator knows that the credential crosses a network unencrypted.
    clear_text: bool,
}

/// Where the URL is.
enum Secret {
    Here(String),
    Env(String),
    File(String),
}

/// A receiver, and what its operator should know.
pub struct Opened {
    /// Complete.
    pub receiver: Receiver,
    /// To be logged as warnings.
    pub warnings: Vec<String>,
}

/// Why there is no receiver.
#[derive(Debug)]
pub enum Unopened {
    /// Something is wrong.
    Mistake(String),
    /// This environment variable is not set in this process.
    Unset(String),
}

impl ReceiverLine {
    /// Reads the arguments; opens nothing.
    ///
    /// # Errors
    /// The phrase for what is wrong.
    pub(super) fn read(args: &[&[u8]]) -> Result<Self, Mistake> {
        let [kind, secret, parameters @ ..] = args else { return Err(Mistake::Arguments) };
        if *kind != b"slack" {
            return Err(Mistake::Phrase(format!("unknown receiver type \"{}\"", harmless(kind))));
        }
        let (mut name, mut send_resolved, mut timeout) = (None, None, None);
        let (mut ca_file, mut proxy, mut clear_text) = (None, None, None);
        for parameter in parameters {
            let named = harmless(parameter);
            match arguments::halves(parameter) {
                (b"name", value) => arguments::fill(&mut name, &named, arguments::name(value))?,
                (b"send_resolved", value) => arguments::fill(&mut send_resolved, &named, arguments::flag(value))?,
                (b"timeout", value) => arguments::fill(&mut timeout, &named, arguments::span(value, &TIMEOUT))?,
                (b"ca_file", value) => arguments::fill(&mut ca_file, &named, path(value))?,
                (b"proxy", value) => arguments::fill(&mut proxy, &named, proxy_url(value))?,
                (b"clear_text", value) => arguments::fill(&mut clear_text, &named, arguments::flag(value))?,
                _ => return Err(Mistake::Parameter(named)),
            }
        }
        Ok(Self {
            name: name.unwrap_or(Text::new(kind)),
            kind: ReceiverKind::Slack,
            secret: Secret::read(secret)?,
            send_resolved: send_resolved.unwrap_or(true),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            ca_file,
            proxy: proxy.unwrap_or_default(),
            clear_text: clear_text.unwrap_or(false),
        })
    }

    /// Reads the secret and the certificates, from files relative to `prefix` or from this process' environment.
    ///
    /// # Errors
    /// The phrase for what cannot be read, or is not what it should be. It holds no secret. That a variable is not set is told when
    /// nothing else is wrong.
    pub fn open(&self, prefix: &Path) -> Result<Opened, Unopened> {
        let mut warnings = Vec::new();
        let ca_pem = match &self.ca_file {
            Some(path) => read_certificates(&prefix.join(path))?,
            None => Vec::new(),
        };
        let text = match &self.secret {
            Secret::Here(text) => text.clone(),
            Secret::Env(variable) => read_variable(variable)?,
            Secret::File(path) => {
                let path = prefix.join(path);
                if is_open_to_all(&path) && !path.starts_with(MOUNTED_SECRETS) {
                    warnings.push(format!("\"{}\" holds a credential and can be read by every user", path.display()));
                }
                let text = read_file(&path)?;
                String::from_utf8_lossy(&text).into_owned()
            }
        };
        let text = text.trim();
        let uri = url::read(text.as_bytes()).ok_or_else(|| self.secret.is_invalid())?;
        if url::is_in_clear_text(&uri) && !self.clear_text {
            let host = uri.host().unwrap_or_default();
            let text =
                format!("\"poolwatch_receiver\" sends its credential to \"{host}\" in clear text, without https");
            warnings.push(text);
        }
        let endpoint = Endpoint { url: text.to_owned(), timeout: self.timeout, ca_pem, proxy: self.proxy.clone() };
        let receiver = Receiver { name: self.name, kind: self.kind, endpoint, send_resolved: self.send_resolved };
        Ok(Opened { receiver, warnings })
    }
}

impl Unopened {
    /// The phrase for it, at a start.
    pub fn phrase(&self) -> String {
        match self {
            Self::Mistake(phrase) => phrase.clone(),
            Self::Unset(variable) => format!("environment variable \"{variable}\" is not set"),
        }
    }
}

impl From<String> for Unopened {
    fn from(phrase: String) -> Self {
        Self::Mistake(phrase)
    }
}

impl Secret {
    fn read(argument: &[u8]) -> Result<Self, Mistake> {
        let rest = |prefix: &[u8]| argument.strip_prefix(prefix).map(shown);
        let secret = match (rest(b"env:"), rest(b"file:")) {
            (Some(variable), _) if !variable.is_empty() => Self::Env(variable),
            (_, Some(path)) if !path.is_empty() => Self::File(path),
            (None, None) => Self::Here(shown(argument)),
            _ => return Err(Mistake::value(argument)),
        };
        match &secret {
            Self::Here(text) if url::read(text.as_bytes()).is_none() => Err(Mistake::Phrase(secret.is_invalid())),
            _ => Ok(secret),
        }
    }

    fn is_invalid(&self) -> String {
        let from = match self {
            Self::Here(_) => String::new(),
            Self::Env(variable) => format!(" from \"env:{variable}\""),
            Self::File(path) => format!(" from \"file:{path}\""),
        };
        format!("invalid URL{from} in \"poolwatch_receiver\"")
    }
}

/// An argument without what may be a secret in it: the webhook's URL can stand where anything else belongs. Short words and
/// numbers are none.
fn harmless(argument: &[u8]) -> String {
    let (key, value) = arguments::halves(argument);
    let is_word = key.len() <= 16 && key.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    let is_short = value.len() <= 12 && value.iter().all(u8::is_ascii_alphanumeric);
    match (is_word, is_short) {
        (true, true) => shown(argument),
        (true, false) => format!("{}=...", shown(key)),
        (false, _) => "...".to_owned(),
    }
}

fn proxy_url(value: &[u8]) -> Option<String> {
    url::read_with_user(value).map(|_| shown(value))
}

fn path(value: &[u8]) -> Option<PathBuf> {
    (!value.is_empty()).then(|| PathBuf::from(shown(value)))
}

fn read_variable(variable: &str) -> Result<String, Unopened> {
    let value = std::env::var_os(variable).ok_or_else(|| Unopened::Unset(variable.to_owned()))?;
    let value = value.to_string_lossy().into_owned();
    if value.trim().is_empty() {
        Err(format!("environment variable \"{variable}\" is empty").into())
    } else {
        Ok(value)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    let pem = read_file(path)?;
    let is_certificate = |item| matches!(item, Ok(ureq::tls::PemItem::Certificate(_)));
    if ureq::tls::parse_pem(&pem).any(is_certificate) {
        Ok(pem)
    } else {
        Err(format!("no certificate in \"{}\"", path.display()))
    }
}

/// A whole file. Only a regular one: a pipe would hang nginx's start.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let metadata =
        path.metadata().map_err(|error| format!("stat() \"{shown}\" failed ({})", text::os_error(&error)))?;
    if !metadata.is_file() {
        return Err(format!("\"{shown}\" is not a regular file"));
    }
    let file = File::open(path).map_err(|error| format!("open() \"{shown}\" failed ({})", text::os_error(&error)))?;
    let mut content = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut content);
    read.map_err(|error| format!("read() \"{shown}\" failed ({})", text::os_error(&error)))?;
    match content.len() as u64 {
        0 => Err(format!("\"{shown}\" is empty")),
        1..=MAX_FILE => Ok(content),
        _ => Err(format!("\"{shown}\" is too large")),
    }
}

/// Can any user read the file, and reach it?
fn is_open_to_all(path: &Path) -> bool {
    let allows = |path: &Path, bit| path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & bit != 0);
    allows(path, 0o004) && path.ancestors().skip(1).all(|folder| allows(folder, 0o001))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const URL: &str = "https://hooks.slack.com/services/T0/B0/secret";

    fn read(line: &str) -> Result<ReceiverLine, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        ReceiverLine::read(&args).map_err(|mistake| mistake.in_directive("poolwatch_receiver"))
    }

    fn mistake(line: &str) -> String {
        read(line).err().unwrap_or_default()
    }

    fn open(line: &str, prefix: &Path) -> Result<Opened, String> {
        read(line).and_then(|line| line.open(prefix).map_err(|unopened| unopened.phrase()))
    }

    /// A folder of this test's own, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("poolwatch-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, content: &str, mode: u32) {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_line_with_everything_is_read() {
        let line = format!("slack {URL} name=ops send_resolved=off timeout=2s proxy=http://u:p@proxy:3128");
        let Opened { receiver, warnings } = open(&line, Path::new("/")).ok().unwrap();
        assert_eq!(receiver.name, Name::new(b"ops"));
        assert_eq!(receiver.kind, ReceiverKind::Slack);
        assert!(!receiver.send_resolved);
        let endpoint = Endpoint {
            url: URL.to_owned(),
            timeout: Millis(2000),
            ca_pem: Vec::new(),
            proxy: "http://u:p@proxy:3128".to_owned(),
        };
        assert!(receiver.endpoint == endpoint, "{}", receiver.endpoint);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let receiver = open(&format!("slack {URL}"), Path::new("/")).ok().unwrap().receiver;
        assert_eq!(receiver.name, Name::new(b"slack"));
        assert!(receiver.send_resolved);
        assert_eq!(receiver.endpoint.timeout, Millis::from_secs(10));
        assert!(receiver.endpoint.ca_pem.is_empty());
        assert!(receiver.endpoint.proxy.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (line, expected) in [
            ("webhook https://host/", "unknown receiver type \"webhook\""),
            ("alertmanager https://host/", "unknown receiver type \"alertmanager\""),
            ("slack env:", "invalid value \"env:\" in \"poolwatch_receiver\""),
            ("slack file:", "invalid value \"file:\" in \"poolwatch_receiver\""),
            ("slack env:X x=1", "invalid parameter \"x=1\""),
            ("slack env:X x", "invalid parameter \"x\""),
            ("slack env:X name=a!b", "invalid value \"name=...\" in \"poolwatch_receiver\""),
            ("slack env:X send_resolved=yes", "invalid value \"send_resolved=yes\" in \"poolwatch_receiver\""),
            ("slack env:X timeout=99ms", "invalid value \"timeout=99ms\" in \"poolwatch_receiver\""),
            ("slack env:X timeout=26s", "invalid value \"timeout=26s\" in \"poolwatch_receiver\""),
            ("slack env:X clear_text=yes", "invalid value \"clear_text=yes\" in \"poolwatch_receiver\""),
            ("slack env:X ca_file=", "invalid value \"ca_file=\" in \"poolwatch_receiver\""),
            ("slack env:X timeout=1s timeout=2s", "duplicate parameter \"timeout=2s\""),
        ] {
            assert_eq!(mistake(line), expected, "{line}");
        }
    }

    #[test]
    fn a_mistake_never_quotes_what_may_be_the_secret() {
        for line in [
            format!("{URL} slack"),
            format!("slack name=ops {URL}"),
            format!("slack env:X {URL}"),
            format!("slack env:X url={URL}"),
            format!("slack env:X name={URL}"),
            format!("slack env:X timeout={URL}"),
            "slack env:X proxy=ftp://user:secret@proxy".to_owned(),
            "slack ftp://host/secret".to_owned(),
            "slack https://user:secret@host/".to_owned(),
        ] {
            let said = mistake(&line);
            assert!(!said.is_empty() && !said.contains("secret") && !said.contains("T0"), "{line}: {said}");
        }
        assert_eq!(mistake("slack ftp://host/secret"), "invalid URL in \"poolwatch_receiver\"");
    }

    #[test]
    fn a_secret_comes_from_a_file_relative_to_the_configuration() {
        let folder = Folder::new("secret");
        folder.write("good", &format!("  {URL}\r\n\n"), 0o600);
        folder.write("empty", "", 0o600);
        folder.write("blank", " \n", 0o600);
        folder.write("bad", "not a secret", 0o600);
        fs::create_dir(folder.0.join("folder")).unwrap();
        let open = |name: &str| open(&format!("slack file:{name}"), &folder.0);
        let opened = open("good").ok().unwrap();
        assert_eq!(opened.receiver.endpoint.url, URL);
        assert!(opened.warnings.is_empty());
        let failure = |name| open(name).err().unwrap();
        let path = folder.0.display();
        assert_eq!(failure("none"), format!("stat() \"{path}/none\" failed (2: No such file or directory)"));
        assert_eq!(failure("empty"), format!("\"{path}/empty\" is empty"));
        assert_eq!(failure("folder"), format!("\"{path}/folder\" is not a regular file"));
        assert_eq!(failure("blank"), "invalid URL from \"file:blank\" in \"poolwatch_receiver\"");
        assert_eq!(failure("bad"), "invalid URL from \"file:bad\" in \"poolwatch_receiver\"");
    }

    #[test]
    fn a_secret_that_everyone_can_reach_earns_a_warning() {
        let folder = Folder::new("open");
        folder.write("secret", URL, 0o644);
        let warnings = |mode| {
            fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).unwrap();
            open("slack file:secret", &folder.0).ok().unwrap().warnings
        };
        assert_eq!(warnings(0o700), [""; 0], "nobody else gets into the folder");
        let expected = format!("\"{}/secret\" holds a credential and can be read by every user", folder.0.display());
        assert_eq!(warnings(0o755), [expected]);
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let expected = "environment variable \"POOLWATCH_NO_SUCH\" is not set";
        assert_eq!(open("slack env:POOLWATCH_NO_SUCH", Path::new("/")).err().unwrap(), expected);
        let (line, path) = ("slack env:POOLWATCH_NO_SUCH ca_file=none.pem", Path::new("/no/such"));
        let expected = "stat() \"/no/such/none.pem\" failed (2: No such file or directory)";
        assert_eq!(open(line, path).err().unwrap(), expected, "whatever can be checked is");
        // Cargo sets these for every test; the name is not a URL.
        let expected = "invalid URL from \"env:CARGO_PKG_NAME\" in \"poolwatch_receiver\"";
        assert_eq!(open("slack env:CARGO_PKG_NAME", Path::new("/")).err().unwrap(), expected);
    }

    #[test]
    fn plain_http_to_another_machine_earns_a_warning() {
        let warnings = |url: &str| open(&format!("slack {url}"), Path::new("/")).ok().unwrap().warnings;
        assert_eq!(warnings("http://127.0.0.1:9000/hook"), [""; 0]);
        let expected = "\"poolwatch_receiver\" sends its credential to \"mock\" in clear text, without https";
        assert_eq!(warnings("http://mock:9000/hook"), [expected]);
        assert_eq!(warnings("http://mock:9000/hook clear_text=off"), [expected]);
        assert_eq!(warnings("http://mock:9000/hook clear_text=on"), [""; 0]);
    }

    #[test]
    fn a_ca_file_holds_a_certificate() {
        let folder = Folder::new("ca");
        folder.write("none.pem", "no certificate\n", 0o644);
        folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", 0o644);
        let open = |file: &str| open(&format!("slack {URL} ca_file={file}"), &folder.0);
        assert!(open("ca.pem").ok().unwrap().receiver.endpoint.ca_pem.starts_with(b"-----BEGIN"));
        assert_eq!(open("none.pem").err().unwrap(), format!("no certificate in \"{}/none.pem\"", folder.0.display()));
    }
}
