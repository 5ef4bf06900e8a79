//! What was told and to whom: open alerts, the history, receivers, silences.

use std::cmp::Reverse;

use serde::Serialize;

use super::{ServingView, WORDS, instant, seconds, serving, time};
use crate::alert::{Kind, Severity};
use crate::calendar::rfc3339;
use crate::incident::Key;
use crate::outbox::debt::Debt;
use crate::outbox::receiver::Health;
use crate::outbox::tally::Tally;
use crate::state::history::{Heard, Record};
use crate::state::notices::Silence;
use crate::state::snapshot::{ReceiverStatus, Snapshot, Upstream};
use crate::status::name;
use crate::text::clean;
use crate::units::Millis;
use crate::wording;

/// Bytes of a host and its port.
const HOST: usize = 260;

#[derive(Serialize)]
pub(in crate::status) struct AlertView {
    id: String,
    /// Which change of the incident the present state came with, from 1.
    change: u64,
    kind: Kind,
    severity: &'static str,
    title: String,
    since: String,
    deliveries: Vec<DeliveryView>,
}

#[derive(Serialize)]
struct DeliveryView {
    receiver: String,
    result: &'static str,
}

#[derive(Serialize)]
pub(in crate::status) struct ChangeView {
    upstream: String,
    id: Option<String>,
    change: Option<u64>,
    kind: KindView,
    severity: &'static str,
    at: String,
    from: ServingView,
    to: ServingView,
    lasted_seconds: Option<f64>,
    deliveries: Vec<DeliveryView>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum KindView {
    Told(Kind),
    Untold(&'static str),
}

#[derive(Serialize)]
pub(in crate::status) struct ReceiverView {
    name: String,
    kind: &'static str,
    host: String,
    send_resolved: bool,
    health: Health,
    sent: u64,
    failed: FailedView,
    pending: usize,
    last_accepted: Option<String>,
    last_error: Option<LastErrorView>,
    retry_seconds: Option<f64>,
}

#[derive(Serialize)]
struct FailedView {
    unavailable: u64,
    rate_limited: u64,
    rejected: u64,
    broken: u64,
}

#[derive(Serialize)]
struct LastErrorView {
    text: String,
    at: String,
}

#[derive(Serialize)]
pub(in crate::status) struct SilenceView {
    id: String,
    upstream: Option<String>,
    since: String,
    until: String,
    remaining_seconds: f64,
    comment: String,
}

pub(in crate::status) fn alert(snapshot: &Snapshot, upstream: &Upstream, key: Key) -> Option<AlertView> {
    let view = upstream.view();
    let incident = view.incident(key);
    if incident.truth.over {
        return None;
    }
    let info = &snapshot.info;
    let report = view.report(key, info.now, info.wall, &info.host);
    let generation = incident.truth.generation;
    let record = upstream.history.newest().find(|record| record.key() == key && record.generation() == generation);
    Some(AlertView {
        id: clean(report.id.as_bytes(), WORDS),
        change: report.change,
        kind: report.kind,
        severity: severity(report.severity),
        title: wording::headline(&report),
        since: rfc3339(report.since_unix),
        deliveries: deliveries(snapshot, upstream, key, generation, record),
    })
}

/// What each receiver heard of a message. Without its record only the debts can tell.
fn deliveries(
    snapshot: &Snapshot,
    upstream: &Upstream,
    key: Key,
    generation: u64,
    record: Option<&Record>,
) -> Vec<DeliveryView> {
    let truth = &upstream.view().incident(key).truth;
    let result = |status: &ReceiverStatus| {
        // What is settled, and what is not worth a message of its own, like the end of something that was never told.
        let is_covered = |debt: &Debt| debt.has_settled(generation) || !debt.is_due(truth);
        let debt = upstream.debt(key, status.place);
        match record.map_or(Heard::Nothing, |record| record.heard(status.place)) {
            Heard::Absent => None,
            Heard::Accepted => Some("accepted"),
            Heard::Refused => Some("refused"),
            Heard::Waived => Some("waived"),
            Heard::Nothing if debt.is_some_and(is_covered) => Some("covered"),
            Heard::Nothing => Some("pending"),
        }
    };
    let view = |status: &ReceiverStatus| {
        Some(DeliveryView { receiver: name(status.state.name.as_bytes()), result: result(status)? })
    };
    snapshot.receivers.iter().filter_map(view).collect()
}

/// Of all upstreams, newest first.
pub(in crate::status) fn history(snapshot: &Snapshot) -> Vec<ChangeView> {
    let of = |upstream| move |record| (upstream, record);
    let mut all: Vec<(&Upstream, &Record)> =
        snapshot.upstreams.iter().flat_map(|upstream| upstream.history.newest().map(of(upstream))).collect();
    all.retain(|(_, record)| record.at > Millis::ZERO);
    all.sort_by_key(|(_, record)| Reverse(record.at));
    all.iter().map(|(upstream, record)| change(snapshot, upstream, record)).collect()
}

fn change(snapshot: &Snapshot, upstream: &Upstream, record: &Record) -> ChangeView {
    let (key, generation) = (record.key(), record.generation());
    let kind = record.kind();
    let id = kind.map(|_| format!("{}/{}", upstream.view().id(key), record.number()));
    ChangeView {
        upstream: name(upstream.name.as_bytes()),
        id: id.map(|id| clean(id.as_bytes(), WORDS)),
        change: kind.map(|_| (generation + 1).saturating_sub(record.number())),
        kind: kind.map_or(KindView::Untold("untold"), KindView::Told),
        severity: severity(record.severity()),
        at: time(snapshot, record.at),
        from: serving(upstream, record.from()),
        to: serving(upstream, record.to()),
        lasted_seconds: record.lasted().map(seconds),
        deliveries: kind.map_or_else(Vec::new, |_| deliveries(snapshot, upstream, key, generation, Some(record))),
    }
}

pub(in crate::status) fn receivers(snapshot: &Snapshot) -> Vec<ReceiverView> {
    snapshot.receivers.iter().map(|status| receiver(snapshot, status)).collect()
}

fn receiver(snapshot: &Snapshot, status: &ReceiverStatus) -> ReceiverView {
    let ReceiverStatus { receiver, place, state } = status;
    let Tally { sent, failed: [unavailable, rate_limited, rejected, broken], last_accepted, last_failed, last_error } =
        &state.tally;
    let owes = |upstream: &Upstream, key| {
        let truth = &upstream.view().incident(key).truth;
        upstream.debt(key, *place).is_some_and(|debt| debt.is_due(truth))
    };
    let pending = snapshot.upstreams.iter().flat_map(|upstream| Key::ALL.map(|key| owes(upstream, key)));
    let held = state.earliest.max(state.rests);
    ReceiverView {
        name: name(state.name.as_bytes()),
        kind: receiver.kind.name(),
        host: clean(receiver.host.as_bytes(), HOST),
        send_resolved: receiver.send_resolved,
        health: state.health,
        sent: *sent,
        failed: FailedView {
            unavailable: *unavailable,
            rate_limited: *rate_limited,
            rejected: *rejected,
            broken: *broken,
        },
        pending: pending.filter(|&owed| owed).count() + snapshot.notices.owed(*place),
        last_accepted: instant(snapshot, *last_accepted),
        last_error: instant(snapshot, *last_failed)
            .map(|at| LastErrorView { text: clean(last_error.as_bytes(), WORDS), at }),
        retry_seconds: (held > snapshot.info.now).then(|| seconds(held - snapshot.info.now)),
    }
}

pub(in crate::status) fn silences(snapshot: &Snapshot) -> Vec<SilenceView> {
    let now = snapshot.info.now;
    let holding = snapshot.notices.began().filter(|(silence, _)| silence.until > now);
    let view = |(silence, began): (&Silence, Millis)| SilenceView {
        id: silence.id.to_string(),
        upstream: (!silence.upstream.is_empty()).then(|| name(silence.upstream.as_bytes())),
        since: time(snapshot, began),
        until: time(snapshot, silence.until),
        remaining_seconds: seconds(silence.until - now),
        comment: clean(silence.comment.as_bytes(), WORDS),
    };
    holding.map(view).collect()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
