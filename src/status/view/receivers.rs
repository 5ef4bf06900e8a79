//! Receivers and whether they take messages, and the silences that hold messages back.

use serde::{Deserialize, Serialize};

use super::values::{ForeignName, Timestamp, seconds, words};
use crate::incident::Key;
use crate::outbox::receiver::Health;
use crate::outbox::tally::{REASONS, Tally};
use crate::state::announcements::Silence;
use crate::state::snapshot::{ReceiverStatus, Snapshot, Upstream};
use crate::text::clean;
use crate::units::Millis;

/// The longest text of a host and its port in bytes.
const HOST: usize = 260;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReceiverView {
    pub(crate) name: ForeignName,
    pub(crate) kind: String,
    pub(crate) host: String,
    pub(crate) send_resolved: bool,
    pub(crate) health: Health,
    pub(crate) sent: u64,
    pub(crate) failed: FailedView,
    pub(crate) pending: usize,
    pub(crate) last_accepted: Option<Timestamp>,
    pub(crate) last_error: Option<LastErrorView>,
    pub(crate) retry_seconds: Option<f64>,
}

/// Failed deliveries, each attempt, by reason.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FailedView {
    pub(crate) unavailable: u64,
    pub(crate) rate_limited: u64,
    pub(crate) rejected: u64,
    pub(crate) broken: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LastErrorView {
    pub(crate) text: String,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SilenceView {
    pub(crate) id: String,
    pub(crate) upstream: Option<ForeignName>,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) remaining_seconds: f64,
    pub(crate) comment: String,
}

impl FailedView {
    fn new(counts: [u64; REASONS.len()]) -> Self {
        let [unavailable, rate_limited, rejected, broken] = counts;
        Self { unavailable, rate_limited, rejected, broken }
    }

    /// The name of each reason with its count.
    pub(crate) fn by_reason(&self) -> [(&'static str, u64); REASONS.len()] {
        let Self { unavailable, rate_limited, rejected, broken } = *self;
        let [unavailable_name, rate_limited_name, rejected_name, broken_name] = REASONS;
        [
            (unavailable_name, unavailable),
            (rate_limited_name, rate_limited),
            (rejected_name, rejected),
            (broken_name, broken),
        ]
    }
}

/// In the order of the configuration.
pub(super) fn receivers(snapshot: &Snapshot) -> Vec<ReceiverView> {
    snapshot.receivers.iter().map(|status| receiver(snapshot, status)).collect()
}

fn receiver(snapshot: &Snapshot, status: &ReceiverStatus) -> ReceiverView {
    let ReceiverStatus { receiver, index, state } = status;
    let Tally { sent, failed, last_accepted, last_failed, last_error } = &state.tally;
    let owes = |upstream: &Upstream, key| {
        let revision = &upstream.view().incident(key).revision;
        upstream.delivery(key, *index).is_some_and(|delivery| delivery.is_due(revision))
    };
    let pending = snapshot.upstreams.iter().flat_map(|upstream| Key::ALL.map(|key| owes(upstream, key)));
    let date = |instant: Millis| (instant > Millis::ZERO).then(|| Timestamp::from_unix(snapshot.date(instant)));
    let held = state.opens();
    ReceiverView {
        name: ForeignName::new(state.name.as_bytes()),
        kind: receiver.kind.name().to_owned(),
        host: clean(receiver.host.as_bytes(), HOST),
        send_resolved: receiver.send_resolved,
        health: state.health,
        sent: *sent,
        failed: FailedView::new(*failed),
        pending: pending.filter(|&owed| owed).count() + snapshot.announcements.pending(*index),
        last_accepted: date(*last_accepted),
        last_error: date(*last_failed).map(|at| LastErrorView { text: words(last_error.as_bytes()), at }),
        retry_seconds: (held > snapshot.info.times.now).then(|| seconds(held - snapshot.info.times.now)),
    }
}

/// Those that hold messages back now.
pub(super) fn silences(snapshot: &Snapshot) -> Vec<SilenceView> {
    let now = snapshot.info.times.now;
    let date = |instant: Millis| Timestamp::from_unix(snapshot.date(instant));
    let holding = snapshot.announcements.began().filter(|(silence, _)| silence.until > now);
    let view = |(silence, began): (&Silence, Millis)| SilenceView {
        id: silence.id.to_string(),
        upstream: (!silence.upstream.is_empty()).then(|| ForeignName::new(silence.upstream.as_bytes())),
        since: date(began),
        until: date(silence.until),
        remaining_seconds: seconds(silence.until - now),
        comment: words(silence.comment.as_bytes()),
    };
    holding.map(view).collect()
}
