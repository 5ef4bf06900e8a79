//! `poolwatch_receiver`: where messages are sent. Its URL is a credential, so no message about a mistake quotes what
//! may be one.

mod files;
pub mod line;

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::receiver::ReceiverKind;
use crate::directives::arguments;
use crate::directives::block::Http;
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::DirectiveLine;
use crate::directives::receiver::line::{ReceiverLine, Secret};
use crate::directives::url;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::delivery_state::LEASE;
use crate::text::Text;
use crate::units::Millis;

/// `poolwatch_receiver`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_receiver",
    syntax: "slack env:NAME | file:path | URL [name=name] [send_resolved=on | off] [timeout=time] [ca_file=file] \
             [proxy=URL] [clear_text=on | off]",
    default: None,
    arguments: Arguments::TwoOrMore,
    context: Context::Http(read),
    text: "Sends alerts to a Slack incoming webhook. May be given up to 8 times.\n\n\
           The webhook's URL is a credential. `env:` reads it from nginx's environment when nginx starts: a reload \
           does not see a changed environment, and for an upgrade of the binary on the fly the main configuration \
           needs `env NAME;`. `file:` reads it from a file at every start and reload; a relative path starts at the \
           directory of `nginx.conf`. A file that every user of the machine can read earns a warning, except below \
           `/run/secrets/`, where containers mount theirs. An unset or empty variable, an unreadable or empty file, \
           and an invalid URL stop nginx from starting. To `nginx -t` an unset variable is a warning, since the shell \
           that runs it need not have nginx's environment. Plain `http` to another machine earns a warning, unless \
           `clear_text=on` is given.\n\n\
           * `name=` tells two receivers apart, in logs and over reloads; `slack` by default.\n\
           * `send_resolved=off` leaves out the messages that an incident is over.\n\
           * `timeout=` bounds one delivery as a whole, from 100ms to 25s; 10s by default. A failed delivery is \
           repeated.\n\
           * `ca_file=` names a PEM file with the only certificates to trust, instead of the public ones.\n\
           * `proxy=` goes through an HTTP proxy (`http://` or `https://`). Proxy variables of the environment are \
           ignored.\n\
           * `clear_text=on` suppresses the warning about plain `http`, for a receiver that is reached over a network \
           on which nobody else listens.",
};

/// The limits of `timeout=`. They are below the lease: when it ends, another worker may deliver the same message.
const TIMEOUT: RangeInclusive<Millis> = Millis(100)..=Millis::from_secs(25);
const _: () = assert!(TIMEOUT.end().0 < LEASE.0);

/// Without `timeout=`.
const DEFAULT_TIMEOUT: Millis = Millis::from_secs(10);

fn read(http: &mut Http, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let receiver = receiver(line.args)?;
    if http.receivers.iter().any(|other| other.value.name == receiver.name) {
        let name = shown(receiver.name.as_bytes());
        return Err(Mistake::Phrase(format!("duplicate receiver \"{name}\", give it another \"name=\"")));
    }
    if http.receivers.len() == MAX_RECEIVERS {
        return Err(Mistake::Phrase(format!("too many receivers, at most {MAX_RECEIVERS} are possible")));
    }
    http.receivers.push(line.placed(receiver));
    Ok(())
}

/// Reads the arguments. It opens no file.
fn receiver(args: &[&[u8]]) -> Result<ReceiverLine, Mistake> {
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
    Ok(ReceiverLine {
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

/// The argument for a message, without what may be a secret: an operator can write the webhook's URL in a wrong place.
/// Short words and numbers are not secret.
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::config::receiver::Endpoint;
    use crate::directives::place::Place;
    use crate::directives::receiver::line::Opened;
    use crate::text::Name;

    const URL: &str = "https://hooks.slack.com/services/T0/B0/secret";

    fn read(line: &str) -> Result<ReceiverLine, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        receiver(&args).map_err(|mistake| mistake.in_directive("poolwatch_receiver"))
    }

    fn mistake(line: &str) -> String {
        read(line).err().unwrap_or_default()
    }

    fn open(line: &str, prefix: &Path) -> Result<Opened, String> {
        read(line).and_then(|line| line.open(prefix, variable).map_err(|unopened| unopened.phrase()))
    }

    /// The environment of these tests.
    fn variable(name: &str) -> Option<OsString> {
        let value = match name {
            "URL" => URL,
            "NO_URL" => "poolwatch",
            "BLANK" => " \n",
            _ => return None,
        };
        Some(value.into())
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
        folder.write("full", &"x".repeat(1024 * 1024), 0o600);
        folder.write("large", &"x".repeat(1024 * 1024 + 1), 0o600);
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
        assert_eq!(failure("large"), format!("\"{path}/large\" is too large"));
        assert_eq!(failure("full"), "invalid URL from \"file:full\" in \"poolwatch_receiver\"", "read as a whole");
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
        let expected = "environment variable \"UNSET\" is not set";
        assert_eq!(open("slack env:UNSET", Path::new("/")).err().unwrap(), expected);
        let (line, path) = ("slack env:UNSET ca_file=none.pem", Path::new("/no/such"));
        let expected = "stat() \"/no/such/none.pem\" failed (2: No such file or directory)";
        assert_eq!(open(line, path).err().unwrap(), expected, "whatever can be checked is");
    }

    #[test]
    fn a_secret_comes_from_the_environment() {
        let open = |name: &str| open(&format!("slack env:{name}"), Path::new("/"));
        assert_eq!(open("URL").ok().unwrap().receiver.endpoint.url, URL);
        assert_eq!(open("BLANK").err().unwrap(), "environment variable \"BLANK\" is empty");
        let expected = "invalid URL from \"env:NO_URL\" in \"poolwatch_receiver\"";
        assert_eq!(open("NO_URL").err().unwrap(), expected);
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

    /// Reads these lines into one `http` block.
    fn read_all(lines: &[String]) -> Result<Http, String> {
        let mut http = Http::default();
        for line in lines {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            super::read(&mut http, &DirectiveLine { args: &args, place: &Place::default() })
                .map_err(|mistake| mistake.in_directive("poolwatch_receiver"))?;
        }
        Ok(http)
    }

    #[test]
    fn there_are_eight_receivers_at_most_each_with_a_name_of_its_own() {
        let lines = |count: usize| (1..=count).map(|number| format!("slack env:X name=n{number}")).collect::<Vec<_>>();
        assert_eq!(read_all(&lines(8)).map(|http| http.receivers.len()), Ok(8));
        assert_eq!(read_all(&lines(9)).err().unwrap(), "too many receivers, at most 8 are possible");
        let twice = ["slack env:X", "slack env:Y"].map(str::to_owned);
        let expected = "duplicate receiver \"slack\", give it another \"name=\"";
        assert_eq!(read_all(&twice).err().unwrap(), expected);
    }
}
