//! The only socket: one POST with ureq, every limit set, and no error text that could hold the URL.

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::header::RETRY_AFTER;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy, Timeout};

use crate::config::receiver::Endpoint;
use crate::deliver::resolve::LastGood;
use crate::deliver::{Post, PostError, Reply};
use crate::text::clean;

/// Bytes that are read of an answer's body.
const BODY: u64 = 4096;

/// Bytes that an answer's header may have.
const HEADER: usize = 16 * 1024;

/// Bytes that are kept of an error text of the TLS library.
const REASON: usize = 200;

/// The longest time to connect, within the endpoint's own timeout.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time to resolve the name, within the endpoint's own timeout.
const RESOLVE: Duration = Duration::from_secs(3);

/// A client for any number of threads. It keeps an agent per endpoint, for the trusted roots and the last good
/// addresses. Connections are not kept, because alerts are rare.
#[derive(Default)]
pub struct Client {
    agents: Mutex<Agents>,
}

#[derive(Default)]
struct Agents {
    list: Vec<(Endpoint, Agent)>,
    closed: bool,
}

impl Client {
    /// Ends the exchanges that are under way: a thread that waits for an answer returns at once with an error, and so
    /// does every later post. A lookup or a connect under way ends only with its own timeout; the caller should not
    /// wait for it.
    pub fn shutdown(&self) {
        let mut agents = self.lock();
        agents.closed = true;
        for (_, agent) in agents.list.drain(..) {
            agent.shutdown();
        }
    }

    fn agent(&self, endpoint: &Endpoint) -> Result<Agent, PostError> {
        let mut agents = self.lock();
        if agents.closed {
            return Err(PostError::Exiting);
        }
        if let Some((_, agent)) = agents.list.iter().find(|(known, _)| known == endpoint) {
            return Ok(agent.clone());
        }
        let agent = Agent::with_parts(config(endpoint)?, DefaultConnector::default(), LastGood::new());
        agents.list.push((endpoint.clone(), agent.clone()));
        Ok(agent)
    }

    /// The part of the body that arrived in time. If the body broke off the status still counts, unless
    /// [`Client::shutdown`] ended the exchange.
    fn read(&self, body: Body) -> Result<String, PostError> {
        let mut bytes = Vec::new();
        let read = body.into_reader().take(BODY).read_to_end(&mut bytes);
        if read.is_err() && self.lock().closed {
            return Err(PostError::Exiting);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post for Client {
    fn post(&self, endpoint: &Endpoint, body: &str) -> Result<Reply, PostError> {
        let request = self.agent(endpoint)?.post(&endpoint.url).content_type("application/json; charset=utf-8");
        let response =
            request.send(body).map_err(|error| if self.lock().closed { PostError::Exiting } else { failure(error) })?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.map(|value| clean(value.as_bytes(), 64));
        let status = response.status().as_u16();
        let body = self.read(response.into_body())?;
        Ok(Reply { status, body, retry_after })
    }
}

fn config(endpoint: &Endpoint) -> Result<Config, PostError> {
    let whole = Duration::from_millis(endpoint.timeout.0);
    let proxy = match endpoint.proxy.as_str() {
        "" => None,
        url => Some(Proxy::new(url).map_err(failure)?),
    };
    Ok(Config::builder()
        .timeout_global(Some(whole))
        .timeout_connect(Some(whole.min(CONNECT)))
        .timeout_resolve(Some(whole.min(RESOLVE)))
        .http_status_as_error(false)
        // A redirect that is followed would turn the POST into a GET.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEADER)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        // Set even if there is no proxy, because ureq's default reads the environment.
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots(&endpoint.ca_pem)?).build())
        .user_agent(concat!("poolwatch/", env!("CARGO_PKG_VERSION")))
        .build())
}

fn roots(pem: &[u8]) -> Result<RootCerts, PostError> {
    if pem.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let mut roots = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(root)) => roots.push(root),
            Ok(_) => {}
            Err(_) => return Err(PostError::Tls("ca_file is not valid PEM".to_owned())),
        }
    }
    if roots.is_empty() { Err(PostError::Tls("ca_file holds no certificate".to_owned())) } else { Ok(roots.into()) }
}

/// The error in Poolwatch's words, because ureq's text may hold the URL, which is a credential. Only the TLS library's
/// text about a certificate is passed on.
fn failure(error: ureq::Error) -> PostError {
    match error {
        ureq::Error::HostNotFound | ureq::Error::Timeout(Timeout::Resolve) => PostError::Resolve,
        ureq::Error::Timeout(Timeout::Connect) => PostError::Connect("timed out".to_owned()),
        ureq::Error::Timeout(_) => PostError::TimedOut,
        ureq::Error::Tls(why) => PostError::Tls(why.to_owned()),
        ureq::Error::Rustls(error) => PostError::Tls(clean(error.to_string().as_bytes(), REASON)),
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::TimedOut => PostError::TimedOut,
            // rustls reports a failed handshake with this kind.
            io::ErrorKind::InvalidData => PostError::Tls(clean(error.to_string().as_bytes(), REASON)),
            kind => PostError::Connect(kind.to_string()),
        },
        ureq::Error::ConnectionFailed => PostError::Connect("no address answers".to_owned()),
        ureq::Error::ConnectProxyFailed(_) => PostError::Connect("the proxy refuses".to_owned()),
        ureq::Error::InvalidProxyUrl => PostError::Other("invalid proxy URL".to_owned()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => PostError::Other("invalid URL".to_owned()),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            PostError::Other("what came back is not HTTP".to_owned())
        }
        _ => PostError::Other("no usable answer".to_owned()),
    }
}

#[cfg(test)]
mod tests;
