//! Alerts: the facts from which one message is written, complete and owned.
//!
//! A [`Alert`] is made from the zone's copy of an incident when a courier claims the incident. Text from outside stays
//! raw bytes; each renderer makes it safe for its own reader.

use serde::{Deserialize, Serialize};

use crate::config::rules::RateOf;
use crate::units::{Millis, Ratio};

/// What a message reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// A pool other than the expected one serves.
    Failover,
    /// The expected pool serves again.
    Recovery,
    /// The operator changed the expected pool, and it serves now.
    PlannedSwitch,
    /// No pool serves.
    Down,
    /// Several pools share the traffic although one should serve.
    Mixed,
    /// The serving pool changes again and again; until that ends, only outages are reported one by one.
    Flapping,
    /// The error rate is above its threshold.
    ErrorRateFiring,
    /// The error rate is back below its resolve ratio.
    ErrorRateResolved,
    /// The traffic ended while the error rate fired, so nothing shows whether it is still above its threshold.
    ErrorRateNoData,
    /// The configuration no longer names the upstream, and an incident of it was open.
    NoLongerWatched,
    /// A silence began: messages are held back from now on.
    SilenceBegan,
    /// A silence ended: messages are sent again.
    SilenceEnded,
    /// An operator asked for a test message.
    Test,
}

impl Kind {
    /// The kinds that an upstream's state can have.
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

/// How severe a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// No action is needed.
    Info,
    /// Something is wrong, but clients get no errors, as far as Poolwatch knows.
    Warning,
    /// Clients get errors.
    Critical,
}

/// What is known of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFacts {
    /// The pool's name: from the configuration, a header, or the role (`primary`, `backup`). Raw bytes.
    pub name: Vec<u8>,
    /// Addresses of the pool's configured peers, in the order of the configuration; if none is configured any more, those
    /// that were. Raw bytes.
    pub addresses: Vec<Vec<u8>>,
    /// The release that the pool's last answer named; empty: none. Raw bytes.
    pub release: Vec<u8>,
    /// Nobody knows yet which pool the servers with these addresses are.
    pub is_unknown: bool,
}

/// Why attempts failed: a count for each reason, since the incident began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[repr(C)]
pub struct Reasons {
    /// Attempts without a connection: refused, or unreachable.
    pub refused: u32,
    /// Attempts with a connection, but without a usable answer.
    pub no_answer: u32,
    /// Attempts that timed out before a connection stood.
    pub connect_timed_out: u32,
    /// Attempts that timed out while nginx waited for the response header.
    pub timed_out: u32,
    /// Attempts that the application answered with a 5xx.
    pub server_errors: u32,
    /// Attempts whose status below 500 made nginx ask another peer.
    pub rejected: u32,
    /// Requests for which nginx had no usable server left.
    pub no_live_upstreams: u32,
}

impl Reasons {
    /// Adds other counts.
    pub(crate) fn add(&mut self, more: &Self) {
        self.refused = self.refused.saturating_add(more.refused);
        self.no_answer = self.no_answer.saturating_add(more.no_answer);
        self.connect_timed_out = self.connect_timed_out.saturating_add(more.connect_timed_out);
        self.timed_out = self.timed_out.saturating_add(more.timed_out);
        self.server_errors = self.server_errors.saturating_add(more.server_errors);
        self.rejected = self.rejected.saturating_add(more.rejected);
        self.no_live_upstreams = self.no_live_upstreams.saturating_add(more.no_live_upstreams);
    }
}

/// Requests and errors among them. While a window fills, `requests` is less than its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// Requests with an error.
    pub errors: u32,
    /// Requests counted.
    pub requests: u32,
}

/// Both error rates over the same requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Errors are requests with a failed attempt.
    pub upstream: Rate,
    /// Errors are requests that were answered with a 5xx.
    pub client: Rate,
}

impl Rates {
    /// Both rates over `requests` requests, of which `upstream_errors` had a failed attempt and `client_errors` a 5xx.
    pub fn new(requests: u32, upstream_errors: u32, client_errors: u32) -> Self {
        let rate = |errors| Rate { errors, requests };
        Self { upstream: rate(upstream_errors), client: rate(client_errors) }
    }
}

/// A firing error rate that is below its threshold now, and not over yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Easing {
    /// The highest share of failed requests while the rate fired.
    pub peak: Ratio,
    /// Since when the share has been below the threshold, wall clock, milliseconds since the epoch.
    pub below_since_unix: u64,
    /// What is missing until the rate resolves.
    pub missing: Missing,
}

/// What is missing until a firing error rate resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The share must fall below this one.
    Share(Ratio),
    /// This many more requests must come while the share stays as low as it is.
    Requests(u32),
    /// The share must stay low for this long.
    Time(Millis),
}

/// The threshold of an error rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The share above which the rate fires.
    pub ratio: Ratio,
    /// Length of the window in requests; 0: no such window.
    pub window: u32,
    /// Length of the window in time; zero: no such window.
    pub period: Millis,
}

/// One request as an example. All texts are raw bytes, and the path has no query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExampleRequest {
    /// The method.
    pub method: Vec<u8>,
    /// The path without the query.
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

/// What was held back since the last accepted message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// Changes of state that this message covers besides its own.
    pub changes: u64,
    /// How long the message waited (cooldown, silence, receiver down).
    pub delayed: Millis,
}

/// A silence that begins or ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SilenceFacts {
    /// When the silence ends by itself, wall clock, milliseconds since the epoch; `None`: when the configuration ends
    /// it.
    pub ends_unix: Option<u64>,
    /// The operator's comment. Raw bytes.
    pub comment: Vec<u8>,
    /// For a silence that is over: upstreams with failed requests, or with changes of the serving pool, during the
    /// silence.
    pub during: Vec<During>,
}

/// What happened to an upstream during a silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct During {
    /// The upstream's name. Raw bytes.
    pub upstream: Vec<u8>,
    /// Requests, and failed requests among them.
    pub rate: Rate,
    /// The time from the last failed request to the end of the silence; zero: no request failed.
    pub quiet: Millis,
    /// Changes of the serving pool.
    pub changes: u32,
}

/// The facts of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What the message reports.
    pub kind: Kind,
    /// How severe it is.
    pub severity: Severity,
    /// The upstream's name; empty for a silence of all upstreams and for a test message. Raw bytes.
    pub upstream: Vec<u8>,
    /// The incident's name, `app/serving/7`: the same from its first message to its last.
    pub id: String,
    /// The number of the change within the incident, from 1. Incident and number together identify a message.
    pub change: u64,
    /// The pool that served before; `None`: none, several, or the message is about an error rate.
    pub from: Option<PoolFacts>,
    /// The pool that serves now; `None`: none, or several.
    pub to: Option<PoolFacts>,
    /// Of an outage: the pool that should serve, if it is not the one that served before; `None`: it is, or several pools
    /// should serve.
    pub wanted: Option<PoolFacts>,
    /// When the reported state began, wall clock, milliseconds since the epoch.
    pub since_unix: u64,
    /// When the message is written, wall clock, milliseconds since the epoch.
    pub now_unix: u64,
    /// How long the incident lasted; `None`: it is not over, or the message is its first.
    pub lasted: Option<Millis>,
    /// The severity of the incident that is over now; `None`: none is over.
    pub ended: Option<Severity>,
    /// The state is that of the message before, but now clients get errors.
    pub worsened: bool,
    /// The serving pool changes again and again.
    pub flapping: bool,
    /// Why attempts failed, counted since the incident began.
    pub reasons: Reasons,
    /// Error rates since the incident began.
    pub rates: Rates,
    /// Error rates over the window or, if there is none, over the period.
    pub window_rates: Rates,
    /// Set for a firing error rate that is below its threshold again.
    pub easing: Option<Easing>,
    /// The threshold; `None`: the error rate is not watched.
    pub threshold: Option<Threshold>,
    /// Which of the two rates is compared with the threshold.
    pub rate_of: RateOf,
    /// Does an expected pool serve?
    pub as_expected: bool,
    /// Changes of the serving pool in the last ten minutes.
    pub changes: u32,
    /// Failed requests of an open incident, at most three.
    pub examples: Vec<ExampleRequest>,
    /// Set for a silence.
    pub silence: Option<SilenceFacts>,
    /// The machine's name.
    pub host: String,
    /// The URL of the runbook; empty: none.
    pub runbook: String,
    /// What was held back.
    pub suppressed: Suppressed,
}

impl Alert {
    /// What identifies a message: `app/serving/7 change 2`.
    pub fn message_id(&self) -> String {
        format!("{} change {}", self.id, self.change)
    }

    /// An alert of which only this is known.
    pub fn about(kind: Kind, severity: Severity, upstream: &[u8], wall: u64, host: &str) -> Self {
        Self {
            kind,
            severity,
            upstream: upstream.to_vec(),
            id: String::new(),
            change: 0,
            from: None,
            to: None,
            wanted: None,
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
            examples: Vec::new(),
            silence: None,
            host: host.to_owned(),
            runbook: String::new(),
            suppressed: Suppressed::default(),
        }
    }

    /// The same alert for a state that has lasted for `delayed`, covering `changes` earlier changes that were not sent.
    #[must_use]
    pub fn covering(self, changes: u64, delayed: Millis) -> Self {
        Self { suppressed: Suppressed { changes, delayed }, ..self }
    }
}
