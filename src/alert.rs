//! What happened, in full: the owned facts that one message is written from.
//!
//! A [`Report`] is made from the zone's copy of an incident when a courier claims it. It holds raw bytes where the outside
//! world wrote them; each renderer makes them safe for its own reader.

use serde::{Deserialize, Serialize};

use crate::config::rules::RateOf;
use crate::units::{Millis, Ratio};

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// Another pool than the expected one serves.
    Failover,
    /// The expected pool serves again.
    Recovery,
    /// The expected pool was changed by the operator, and serves.
    PlannedSwitch,
    /// Nobody serves.
    Down,
    /// Several pools share the traffic although one should serve.
    Mixed,
    /// The serving pool changes again and again; until that ends, only outages are told one by one.
    Flapping,
    /// The error rate is above its threshold.
    ErrorRateFiring,
    /// The error rate is back below its resolve ratio.
    ErrorRateResolved,
    /// There is no traffic any more that could say whether the error rate is still above its threshold.
    ErrorRateNoData,
    /// The configuration does not name the upstream any more, and an incident of it was open.
    NoLongerWatched,
    /// Messages are held back from now on.
    SilenceBegan,
    /// Messages are sent again.
    SilenceEnded,
    /// Somebody wants to see whether messages arrive.
    Test,
}

impl Kind {
    /// What an upstream's state is told as.
    pub const INCIDENTS: [Self; 9] = [
        Self::Failover,
        Self::Recovery,
        Self::PlannedSwitch,
        Self::Down,
        Self::Mixed,
        Self::Flapping,
        Self::ErrorRateFiring,
        Self::ErrorRateResolved,
        Self::ErrorRateNoData,
    ];
}

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// Clients are spared, the reserve is used.
    Warning,
    /// Clients see errors.
    Critical,
}

/// A pool as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// Its name: from the configuration, a header, or the role (`primary`, `backup`). Raw bytes.
    pub name: Vec<u8>,
    /// Addresses of its peers that were seen, the most recent first.
    pub addresses: Vec<Vec<u8>>,
    /// The release that its last answer named; empty: none seen. Raw bytes.
    pub release: Vec<u8>,
}

/// Why attempts failed, counted since the incident began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[repr(C)]
pub struct Reasons {
    /// No connection: refused, unreachable, reset before a header.
    pub refused: u32,
    /// nginx's own 504.
    pub timed_out: u32,
    /// The application itself sent a 5xx.
    pub server_errors: u32,
    /// nginx had no usable server left.
    pub no_live_upstreams: u32,
}

impl Reasons {
    /// Counts more of them.
    pub(crate) fn add(&mut self, more: &Self) {
        self.refused = self.refused.saturating_add(more.refused);
        self.timed_out = self.timed_out.saturating_add(more.timed_out);
        self.server_errors = self.server_errors.saturating_add(more.server_errors);
        self.no_live_upstreams = self.no_live_upstreams.saturating_add(more.no_live_upstreams);
    }
}

/// Errors of requests; `requests` may be less than the window while it fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// Requests with an error.
    pub errors: u32,
    /// Requests counted.
    pub requests: u32,
}

/// Both rates over the same requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Over attempts: requests of which any attempt failed.
    pub upstream: Rate,
    /// Over clients' answers: requests that were answered with a 5xx.
    pub client: Rate,
}

impl Rates {
    /// Over the same requests: those of which an attempt failed, and those that were answered with a 5xx.
    pub fn new(requests: u32, upstream_errors: u32, client_errors: u32) -> Self {
        let rate = |errors| Rate { errors, requests };
        Self { upstream: rate(upstream_errors), client: rate(client_errors) }
    }
}

/// A firing error rate that is below its threshold now, and is not over yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Easing {
    /// The highest share of failed requests while it fired.
    pub peak: Ratio,
    /// Since when the share has been below the threshold, wall clock, milliseconds since the epoch.
    pub below_since_unix: u64,
    /// What is missing for the end.
    pub missing: Missing,
}

/// What a firing error rate still needs to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The share must fall below this.
    Share(Ratio),
    /// So many more requests must come, with the share as low as it is.
    Requests(u32),
    /// It must stay low for so long.
    Time(Millis),
}

/// What an error rate is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The share that is too much.
    pub ratio: Ratio,
    /// Of so many requests; 0: of those of the period.
    pub window: u32,
    /// Of the requests of this time; zero: of the window's.
    pub period: Millis,
}

/// One request as an example. All raw bytes; the query is gone already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The method.
    pub method: Vec<u8>,
    /// The path without query.
    pub path: Vec<u8>,
    /// The client's final status.
    pub status: u16,
    /// As nginx's `$upstream_status`: `502, 200`.
    pub upstream_status: Vec<u8>,
    /// As nginx's `$upstream_addr`.
    pub upstream_addr: Vec<u8>,
    /// As nginx's `$upstream_response_time`.
    pub upstream_response_time: Vec<u8>,
}

/// What was kept back since the last accepted message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// Changes of state that this message covers beside its own.
    pub changes: u64,
    /// How long the news waited (cooldown, silence, receiver down).
    pub delayed: Millis,
}

/// A silence that begins or ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SilenceFacts {
    /// When it ends by itself, wall clock, milliseconds since the epoch; `None`: by the configuration.
    pub ends_unix: Option<u64>,
    /// Why, in the operator's words. Raw bytes.
    pub comment: Vec<u8>,
    /// Of a silence that is over: upstreams of which requests failed meanwhile, or whose serving pool changed.
    pub during: Vec<During>,
}

/// What came of an upstream during a silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct During {
    /// The upstream's name. Raw bytes.
    pub upstream: Vec<u8>,
    /// Failed requests, of all.
    pub rate: Rate,
    /// From the last failed request to the silence's end.
    pub quiet: Millis,
    /// Changes of the serving pool.
    pub changes: u32,
}

/// One message's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is told.
    pub kind: Kind,
    /// How loud.
    pub severity: Severity,
    /// The upstream's name; empty, of a silence: all upstreams.
    pub upstream: Vec<u8>,
    /// The incident, `app/serving/7`: the same from its first message to its last.
    pub id: String,
    /// Which change of the incident this is, from 1: with the incident's name a duplicate is recognised by it.
    pub change: u64,
    /// The pool that served before (failover machine), if one did.
    pub from: Option<PoolFacts>,
    /// The pool that serves now, if one does.
    pub to: Option<PoolFacts>,
    /// When the told state began, wall clock, milliseconds since the epoch.
    pub since_unix: u64,
    /// When the message is written, wall clock, milliseconds since the epoch.
    pub now_unix: u64,
    /// How long the incident that ends here lasted (recovery, resolved).
    pub lasted: Option<Millis>,
    /// Of what ends or eases here: how loud it was.
    pub ended: Option<Severity>,
    /// The same state as in the message before, but now clients suffer.
    pub worsened: bool,
    /// The serving pool changes again and again.
    pub flapping: bool,
    /// Why, counted since the incident began.
    pub reasons: Reasons,
    /// Since the incident began.
    pub rates: Rates,
    /// Over the window or, where there is none, the period.
    pub window_rates: Rates,
    /// Of a firing error rate that is below its threshold again.
    pub easing: Option<Easing>,
    /// The threshold; `None`: the error rate is not watched.
    pub threshold: Option<Threshold>,
    /// Which of the two rates is held against the threshold.
    pub rate_of: RateOf,
    /// The expected pool serves.
    pub as_expected: bool,
    /// Changes of the serving pool in the last ten minutes.
    pub changes: u32,
    /// At most three requests.
    pub samples: Vec<Sample>,
    /// Of a silence.
    pub silence: Option<SilenceFacts>,
    /// The machine.
    pub host: String,
    /// A link; empty: none.
    pub runbook: String,
    /// What was kept back.
    pub suppressed: Suppressed,
}

impl Report {
    /// What a message is recognised by: `app/serving/7 change 2`.
    pub fn message_id(&self) -> String {
        format!("{} change {}", self.id, self.change)
    }

    /// A report with nothing but this known.
    pub fn about(kind: Kind, severity: Severity, upstream: &[u8], wall: u64, host: &str) -> Self {
        Self {
            kind,
            severity,
            upstream: upstream.to_vec(),
            id: String::new(),
            change: 0,
            from: None,
            to: None,
            since_unix: wall,
            now_unix: wall,
            lasted: None,
            ended: None,
            worsened: false,
            flapping: false,
            reasons: Reasons::default(),
            rates: Rates::default(),
            window_rates: Rates::default(),
            easing: None,
            threshold: None,
            rate_of: RateOf::Upstream,
            as_expected: false,
            changes: 0,
            samples: Vec::new(),
            silence: None,
            host: host.to_owned(),
            runbook: String::new(),
            suppressed: Suppressed::default(),
        }
    }

    /// The same report of a state that has lasted for `delayed` already, and that covers `changes` earlier ones which were not sent.
    #[must_use]
    pub fn covering(self, changes: u64, delayed: Millis) -> Self {
        Self { suppressed: Suppressed { changes, delayed }, ..self }
    }
}
