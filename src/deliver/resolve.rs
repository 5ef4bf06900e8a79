//! Names to addresses for one endpoint: one lookup at a time, bounded waiting, and the last good addresses when the
//! lookup fails.
//!
//! getaddrinfo(3) cannot be cancelled and may take half a minute. ureq's own resolver leaves a thread behind for each
//! lookup that it gave up, so with a dead name server and endless retries threads would pile up in a worker. Here a
//! post that comes while a lookup is under way waits for that lookup.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Addresses that are tried per post.
const ADDRESSES: usize = 8;

type Find = dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync;

/// The resolver of one agent, which only ever resolves one name: its endpoint's, or its proxy's.
#[derive(Clone)]
pub(super) struct LastGood {
    shared: Arc<Shared>,
}

struct Shared {
    find: Box<Find>,
    lookup: Mutex<Lookup>,
    done: Condvar,
}

#[derive(Default)]
struct Lookup {
    under_way: bool,
    /// The addresses that the last successful lookup found, and the `host:port` that it looked up.
    found: Vec<SocketAddr>,
    name: String,
}

impl LastGood {
    /// A resolver that asks the operating system.
    pub(super) fn new() -> Self {
        Self::with(|name| name.to_socket_addrs().map_or_else(|_| Vec::new(), Iterator::collect))
    }

    fn with(find: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static) -> Self {
        let (lookup, done) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { find: Box::new(find), lookup, done }) }
    }

    /// Starts a lookup, unless one is under way. Its thread inherits the caller's signal mask.
    #[expect(clippy::disallowed_methods, reason = "the caller is a thread of the skin, which has the signals blocked")]
    fn start(&self, lookup: &mut Lookup, name: &str) {
        if lookup.under_way {
            return;
        }
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let body = move || {
            let found = (shared.find)(&name);
            let mut lookup = shared.lock();
            lookup.under_way = false;
            if !found.is_empty() {
                (lookup.found, lookup.name) = (found, name);
            }
            shared.done.notify_all();
        };
        lookup.under_way = thread::Builder::new().name("poolwatch-resolve".to_owned()).spawn(body).is_ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lookup> {
        self.lookup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for LastGood {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let name = host_and_port(uri).ok_or(ureq::Error::HostNotFound)?;
        let mut addresses = self.empty();
        if let Ok(literal) = name.parse() {
            addresses.push(literal);
            return Ok(addresses);
        }
        let mut lookup = self.shared.lock();
        self.start(&mut lookup, &name);
        let waited = self.shared.done.wait_timeout_while(lookup, *timeout.after, |lookup| lookup.under_way);
        let (lookup, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let known = lookup.found.iter().filter(|_| lookup.name == name);
        known.take(ADDRESSES).for_each(|address| addresses.push(*address));
        match addresses.len() {
            0 => Err(ureq::Error::HostNotFound),
            _ => Ok(addresses),
        }
    }
}

impl fmt::Debug for LastGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastGood")
    }
}

fn host_and_port(uri: &Uri) -> Option<String> {
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let authority = uri.authority()?;
    Some(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time;

    use ureq::unversioned::transport::time::Duration;

    use super::*;

    const MOMENT: NextTimeout = within(20);
    const LONG: NextTimeout = within(60_000);

    const fn within(millis: u64) -> NextTimeout {
        let after = Duration::Exact(time::Duration::from_millis(millis));
        NextTimeout { after, reason: ureq::Timeout::Resolve, per_read: None, per_write: None }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn resolve(resolver: &LastGood, uri: &str, timeout: NextTimeout) -> Result<Vec<SocketAddr>, String> {
        let uri: Uri = uri.parse().expect("a URI");
        let answer = resolver.resolve(&uri, &Config::default(), timeout);
        answer.map(|addresses| addresses.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_literal_address_asks_nobody() {
        let resolver = LastGood::with(|name| panic!("asked for {name}"));
        assert_eq!(resolve(&resolver, "http://192.0.2.1/x", LONG), Ok(vec![address("192.0.2.1:80")]));
        assert_eq!(resolve(&resolver, "https://[2001:db8::1]/x", LONG), Ok(vec![address("[2001:db8::1]:443")]));
    }

    #[test]
    fn a_failed_lookup_gets_the_last_good_addresses() {
        let good = address("192.0.2.1:443");
        let lookups = AtomicUsize::new(0);
        let resolver = LastGood::with(move |name| {
            assert_eq!(name, "hooks.example:443");
            if lookups.fetch_add(1, Ordering::SeqCst) == 1 { vec![good] } else { vec![] }
        });
        assert_eq!(resolve(&resolver, "https://hooks.example/", LONG), Err("host not found".to_owned()));
        assert_eq!(resolve(&resolver, "https://hooks.example/", LONG), Ok(vec![good]));
        assert_eq!(resolve(&resolver, "https://hooks.example/", LONG), Ok(vec![good]));
    }

    #[test]
    fn while_a_lookup_hangs_no_other_is_started() {
        let (answer, answers) = mpsc::channel::<Vec<SocketAddr>>();
        let answers = Mutex::new(answers);
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        let resolver = LastGood::with(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            answers.lock().expect("no panic").recv().unwrap_or_default()
        });
        for _ in 0..3 {
            assert_eq!(resolve(&resolver, "https://hooks.example/", MOMENT), Err("host not found".to_owned()));
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        answer.send(vec![address("192.0.2.1:443")]).expect("a lookup waits");
        // If that lookup were over by now, the next one would find nothing instead of waiting.
        drop(answer);
        assert_eq!(resolve(&resolver, "https://hooks.example/", LONG), Ok(vec![address("192.0.2.1:443")]));
    }
}
