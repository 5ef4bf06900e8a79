//! Alerts and changes, and what became of the messages about them: open alerts, the history, deliveries to receivers.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::names::{Named, named, serialised};
use super::serving::ServingView;
use super::values::{ForeignName, Timestamp, seconds, words};
use crate::alert::{Kind, Severity};
use crate::incident::Key;
use crate::outbox::delivery_state::DeliveryState;
use crate::state::history::{ChangeRecord, Receipt};
use crate::state::snapshot::{ReceiverStatus, Snapshot, Upstream};
use crate::units::Millis;
use crate::wording;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AlertView {
    pub(crate) id: String,
    /// Which change of the incident the present state came with, from 1.
    pub(crate) change: u64,
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    pub(crate) title: String,
    pub(crate) since: Timestamp,
    pub(crate) deliveries: Vec<DeliveryView>,
}

/// What became of a message at one receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeliveryView {
    pub(crate) receiver: ForeignName,
    pub(crate) result: DeliveryResult,
}

/// See [`DeliveryView`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryResult {
    /// The receiver accepted the message.
    Accepted,
    /// The receiver refused the message in every form.
    Refused,
    /// The receiver has `send_resolved=off`, and the message is about the end of an incident.
    Skipped,
    /// A later message covers it, or no message is needed.
    Covered,
    /// It is not accepted yet.
    Pending,
}

named! {
    DeliveryResult {
        DeliveryResult::Accepted => "accepted",
        DeliveryResult::Refused => "refused",
        DeliveryResult::Skipped => "waived",
        DeliveryResult::Covered => "covered",
        DeliveryResult::Pending => "pending",
    }
}
serialised!(DeliveryResult);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChangeView {
    pub(crate) upstream: ForeignName,
    pub(crate) id: Option<String>,
    pub(crate) change: Option<u64>,
    pub(crate) kind: ChangeKind,
    pub(crate) severity: Severity,
    pub(crate) at: Timestamp,
    pub(crate) from: ServingView,
    pub(crate) to: ServingView,
    pub(crate) lasted_seconds: Option<f64>,
    pub(crate) deliveries: Vec<DeliveryView>,
}

/// What a change was reported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeKind {
    /// No message is sent about it.
    #[serde(rename = "untold")]
    Quiet,
    /// Receivers are sent a message about it.
    #[serde(untagged)]
    Announced(Kind),
}

/// The alert about a key's state, if one is open.
pub(super) fn alert(snapshot: &Snapshot, upstream: &Upstream, key: Key) -> Option<AlertView> {
    let view = upstream.view();
    let incident = view.incident(key);
    if incident.revision.over {
        return None;
    }
    let info = &snapshot.info;
    let alert = view.alert(key, info.times, &info.host);
    let number = incident.revision.number;
    let record = upstream.history.newest().find(|record| record.key() == key && record.revision() == number);
    Some(AlertView {
        id: words(alert.id.as_bytes()),
        change: alert.change,
        kind: alert.kind,
        severity: alert.severity,
        title: wording::headline(&alert),
        since: Timestamp::from_unix(alert.since_unix),
        deliveries: deliveries(snapshot, upstream, key, number, record),
    })
}

/// Of all upstreams, newest first.
pub(super) fn history(snapshot: &Snapshot) -> Vec<ChangeView> {
    let of = |upstream| move |record| (upstream, record);
    let mut all: Vec<(&Upstream, &ChangeRecord)> =
        snapshot.upstreams.iter().flat_map(|upstream| upstream.history.newest().map(of(upstream))).collect();
    all.retain(|(_, record)| record.at > Millis::ZERO);
    all.sort_by_key(|(_, record)| Reverse(record.at));
    all.iter().map(|(upstream, record)| change(snapshot, upstream, record)).collect()
}

fn change(snapshot: &Snapshot, upstream: &Upstream, record: &ChangeRecord) -> ChangeView {
    let (key, number) = (record.key(), record.revision());
    let kind = record.kind();
    let id = kind.map(|_| format!("{}/{}", upstream.view().id(key), record.incident_id()));
    ChangeView {
        upstream: ForeignName::new(upstream.name.as_bytes()),
        id: id.map(|id| words(id.as_bytes())),
        change: kind.map(|_| (number + 1).saturating_sub(record.incident_id())),
        kind: kind.map_or(ChangeKind::Quiet, ChangeKind::Announced),
        severity: record.severity(),
        at: Timestamp::from_unix(snapshot.date(record.at)),
        from: ServingView::new(upstream, record.from()),
        to: ServingView::new(upstream, record.to()),
        lasted_seconds: record.lasted().map(seconds),
        deliveries: kind.map_or_else(Vec::new, |_| deliveries(snapshot, upstream, key, number, Some(record))),
    }
}

/// What became of a message at each receiver. `record`: the change in the history; `None`: it is not kept any more, and
/// only the delivery states say it.
fn deliveries(
    snapshot: &Snapshot,
    upstream: &Upstream,
    key: Key,
    number: u64,
    record: Option<&ChangeRecord>,
) -> Vec<DeliveryView> {
    let revision = &upstream.view().incident(key).revision;
    let result = |receiver: &ReceiverStatus| {
        // What is settled, and what needs no message of its own, like the end of something that was never reported.
        let is_covered = |delivery: &DeliveryState| delivery.is_done(number) || !delivery.is_due(revision);
        let delivery = upstream.delivery(key, receiver.index);
        match record.map_or(Receipt::Pending, |record| record.receipt(receiver.index)) {
            Receipt::Absent => None,
            Receipt::Accepted => Some(DeliveryResult::Accepted),
            Receipt::Refused => Some(DeliveryResult::Refused),
            Receipt::Skipped => Some(DeliveryResult::Skipped),
            Receipt::Pending if delivery.is_some_and(is_covered) => Some(DeliveryResult::Covered),
            Receipt::Pending => Some(DeliveryResult::Pending),
        }
    };
    let view = |receiver: &ReceiverStatus| {
        Some(DeliveryView { result: result(receiver)?, receiver: ForeignName::new(receiver.state.name.as_bytes()) })
    };
    snapshot.receivers.iter().filter_map(view).collect()
}
