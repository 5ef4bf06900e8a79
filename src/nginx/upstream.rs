//! A watched upstream, as the event loop uses it: what is read of its answers, and what is remembered of them.

use std::cell::Cell;

use nginx_sys::ngx_http_upstream_srv_conf_t;

use crate::config::upstream::Watched;
use crate::nginx::headers::Headers;
use crate::nginx::peer_cache::PeerCache;
use crate::state::snapshot;
use crate::status::variables;
use crate::text::Text;
use crate::units::Millis;

/// A watched upstream as the log phase needs it.
pub(crate) struct EventLoopUpstream {
    /// Its place in `MainConf::upstreams`.
    pub(crate) index: u16,
    /// What the pipeline knows of it.
    pub(crate) watched: Watched,
    /// What the event loop remembers of it.
    pub(crate) peers: PeerCache,
    /// Which response headers are read.
    pub(crate) headers: Headers,
    /// What variables last told of it.
    pub(crate) variables: Cell<Option<VariableValues>>,
    /// Its peers stay what they are: no server is resolved again at run time.
    pub(crate) is_fixed: bool,
    /// nginx's own configuration of it.
    pub(crate) uscf: *const ngx_http_upstream_srv_conf_t,
}

/// What variables tell of an upstream, and when that was so.
#[derive(Clone, Copy)]
pub(crate) struct VariableValues {
    pub(crate) at: Millis,
    pub(crate) values: [Option<Text<256>>; VARIABLES.len()],
}

/// What makes a variable's value; `None`: it has none.
type Value = fn(&snapshot::Upstream, Millis) -> Option<String>;

/// The variables, each with what makes its value.
pub(crate) const VARIABLES: [(&str, Value); 4] = [
    ("poolwatch_state", |upstream, _| Some(variables::state(upstream).to_owned())),
    ("poolwatch_pool", |upstream, _| variables::pool(upstream)),
    ("poolwatch_release", |upstream, _| variables::release(upstream)),
    ("poolwatch_error_rate", variables::error_rate),
];

impl EventLoopUpstream {
    /// Is this its name, or one of its peers'?
    pub(crate) fn answers_to(&self, name: &[u8]) -> bool {
        self.watched.name.as_bytes() == name || self.watched.peer_index(name).is_some()
    }
}

impl VariableValues {
    /// Those of the zone's copy of the upstream at `now`.
    pub(crate) fn new(upstream: &snapshot::Upstream, now: Millis) -> Self {
        let value = |(_, value): (&str, Value)| value(upstream, now).map(|text| Text::new(text.as_bytes()));
        Self { at: now, values: VARIABLES.map(value) }
    }
}
