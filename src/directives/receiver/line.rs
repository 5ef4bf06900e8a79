//! A `poolwatch_receiver` line, and the receiver that is made of it when its secret and its certificates are read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::receiver::{Endpoint, Receiver, ReceiverKind};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::receiver::files;
use crate::directives::url;
use crate::text::Name;
use crate::units::Millis;

/// The folder where container runtimes mount secrets, readable by every user in the container.
const MOUNTED_SECRETS: &str = "/run/secrets/";

/// A line. The secret and the certificates are not read yet.
pub struct ReceiverLine {
    /// `name=`, else the type's name.
    pub name: Name,
    pub(super) kind: ReceiverKind,
    pub(super) secret: Secret,
    pub(super) send_resolved: bool,
    pub(super) timeout: Millis,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) proxy: String,
    /// The operator knows that the credential crosses a network unencrypted.
    pub(super) clear_text: bool,
}

/// Where the URL is: in the line, in a variable of the environment, or in a file.
pub(super) enum Secret {
    Here(String),
    Env(String),
    File(String),
}

/// A receiver, and what its operator should know.
pub struct Opened {
    /// The receiver.
    pub receiver: Receiver,
    /// Each is to be logged as a warning.
    pub warnings: Vec<String>,
}

/// Why there is no receiver.
#[derive(Debug)]
pub enum Unopened {
    /// The phrase for what is wrong.
    Mistake(String),
    /// This environment variable is not set in this process.
    Unset(String),
}

impl ReceiverLine {
    /// Reads the secret and the certificates. Relative paths begin at `prefix`; `variable` reads the environment.
    ///
    /// # Errors
    /// The phrase for what cannot be read or is invalid, without a secret. That a variable is not set is returned only
    /// if the certificates can be read.
    pub fn open(&self, prefix: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Result<Opened, Unopened> {
        let mut warnings = Vec::new();
        let ca_pem = match &self.ca_file {
            Some(path) => files::read_certificates(&prefix.join(path))?,
            None => Vec::new(),
        };
        let text = match &self.secret {
            Secret::Here(text) => text.clone(),
            Secret::Env(name) => not_empty(name, variable(name))?,
            Secret::File(path) => {
                let path = prefix.join(path);
                if files::is_open_to_all(&path) && !path.starts_with(MOUNTED_SECRETS) {
                    warnings.push(format!("\"{}\" holds a credential and can be read by every user", path.display()));
                }
                let text = files::read_file(&path)?;
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
    /// The phrase for it when nginx starts.
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
    pub(super) fn read(argument: &[u8]) -> Result<Self, Mistake> {
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

/// The value of the environment's variable `name`.
fn not_empty(name: &str, value: Option<OsString>) -> Result<String, Unopened> {
    let value = value.ok_or_else(|| Unopened::Unset(name.to_owned()))?;
    let value = value.to_string_lossy().into_owned();
    if value.trim().is_empty() { Err(format!("environment variable \"{name}\" is empty").into()) } else { Ok(value) }
}
