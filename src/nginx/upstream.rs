//! A watched upstream or service, as the event loop uses it: which headers of its responses are read, and what is cached.

use std::cell::Cell;
use std::sync::Arc;

use nginx_sys::{ngx_http_upstream_srv_conf_t, ngx_msec_t};

use crate::config::blocks::ChoiceCounter;
use crate::config::upstream::WatchedUpstream;
use crate::nginx::headers::Headers;
use crate::nginx::peer_cache::PeerCache;
use crate::state::snapshot;
use crate::status::variables;
use crate::text::Text;
use crate::units::Millis;

/// A watched upstream. It is part of the configuration, and each worker has its own copy.
pub(crate) struct EventLoopUpstream {
    /// Its index in `MainConf::upstreams`.
    pub(crate) index: u16,
    /// Its rules, pools and peers.
    pub(crate) watched: WatchedUpstream,
    /// Its peers, and what their last responses named.
    pub(crate) peers: PeerCache,
    /// Which headers of its responses are read.
    pub(crate) headers: Headers,
    /// The last values of the variables; `None`: none were asked for yet.
    pub(crate) variables: Cell<Option<VariableValues>>,
    /// Its block; of a service all of them, in its order.
    pub(crate) blocks: Vec<EventLoopBlock>,
    /// Of a service: what its requests chose first.
    pub(crate) choices: Arc<ChoiceCounter>,
}

/// A block of a watched upstream.
pub(crate) struct EventLoopBlock {
    /// nginx does not change its peers at run time: no server has `resolve`.
    pub(crate) is_fixed: bool,
    /// The balancer keeps nginx's own table of peers.
    pub(crate) has_table: bool,
    /// When nginx's table was last read because a backup server answered: nginx's milliseconds.
    pub(crate) marks_read: Cell<ngx_msec_t>,
    /// nginx's own configuration of it.
    pub(crate) uscf: *const ngx_http_upstream_srv_conf_t,
}

/// The values of the variables for an upstream at one moment.
#[derive(Clone, Copy)]
pub(crate) struct VariableValues {
    /// When, by the monotonic clock.
    pub(crate) at: Millis,
    /// In the order of [`VARIABLES`]; `None`: the variable is not found.
    pub(crate) values: [Option<Text<256>>; VARIABLES.len()],
}

/// Makes a variable's value; `None`: it is not found.
type Value = fn(&snapshot::Upstream, Millis) -> Option<String>;

/// The variables: the name, and the function that makes the value.
pub(crate) const VARIABLES: [(&str, Value); 4] = [
    ("poolwatch_state", |upstream, _| Some(variables::state(upstream).to_owned())),
    ("poolwatch_pool", |upstream, _| variables::pool(upstream)),
    ("poolwatch_release", |upstream, _| variables::release(upstream)),
    ("poolwatch_error_rate", variables::error_rate),
];

impl VariableValues {
    /// The values for this copy of the upstream, made at `now`.
    pub(crate) fn new(upstream: &snapshot::Upstream, now: Millis) -> Self {
        let value = |(_, value): (&str, Value)| value(upstream, now).map(|text| Text::new(text.as_bytes()));
        Self { at: now, values: VARIABLES.map(value) }
    }
}
