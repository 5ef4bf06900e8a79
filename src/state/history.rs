//! The last changes of one upstream: what happened, when, and which receivers accepted the message about it.

use crate::alert::{Kind, Severity};
use crate::detect::serving::{Change, Serving};
use crate::incident::{Key, StateCode};
use crate::outbox::MAX_RECEIVERS;
use crate::shared::ring_log::RingLog;
use crate::units::Millis;

/// Changes that are kept.
pub const CHANGES: usize = 64;

/// The changes, newest first.
pub type History = RingLog<ChangeRecord, { CHANGES + 1 }>;

/// In place of a kind: no message is sent.
const UNANNOUNCED: u8 = u8::MAX;

/// In place of a span: the incident is not over.
const ONGOING: u32 = u32::MAX;

/// Whether a receiver accepted the message about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Receipt {
    /// Not yet, or only as part of a later change: the delivery state tells which.
    Pending,
    /// It accepted the message.
    Accepted,
    /// The receiver rejected the message in every form.
    Refused,
    /// The receiver does not want messages about the end of an incident, or another message says the same.
    Skipped,
    /// The receiver was not configured yet.
    Absent,
}

/// Bits that a [`Receipt`] takes.
const RECEIPT_BITS: u32 = 4;

/// A change, as small as possible. Every field is a number, so that a record which a reader sees half-written is still
/// a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ChangeRecord {
    /// When the state began to which the change led.
    pub at: Millis,
    /// The lower 32 bits of the revision's number.
    revision: u32,
    /// The lower 32 bits of the number of the incident's first revision.
    incident_id: u32,
    /// How long the incident lasted that the change ended, in milliseconds, at most 49 days.
    lasted: u32,
    /// A [`Receipt`] for each receiver, by the receiver's index.
    receipt: u32,
    kind: u8,
    severity: u8,
    from: StateCode,
    to: StateCode,
}

impl ChangeRecord {
    /// A change that is sent to the receivers.
    pub(crate) fn announced(
        kind: Kind,
        severity: Severity,
        (revision, incident_id): (u64, u64),
        (from, to): (Serving, Serving),
        at: Millis,
        lasted: Option<Millis>,
    ) -> Self {
        Self {
            at,
            revision: revision as u32,
            incident_id: incident_id as u32,
            lasted: lasted.map_or(ONGOING, |lasted| u32::try_from(lasted.0).unwrap_or(ONGOING - 1)),
            receipt: 0,
            kind: kind as u8,
            severity: severity as u8,
            from: StateCode::serving(from),
            to: StateCode::serving(to),
        }
    }

    /// A change of the serving pool about which no message is sent.
    pub(crate) fn unannounced(change: Change) -> Self {
        let move_ = (change.from, change.to);
        let announced = Self::announced(Kind::Recovery, Severity::Info, (0, 0), move_, change.since, None);
        Self { kind: UNANNOUNCED, ..announced }
    }

    /// The kind of the message; `None`: no message is sent.
    pub fn kind(&self) -> Option<Kind> {
        Kind::INCIDENTS.into_iter().find(|kind| *kind as u8 == self.kind)
    }

    /// The key of the change.
    pub fn key(&self) -> Key {
        match self.kind() {
            Some(Kind::ErrorRateFiring | Kind::ErrorRateResolved | Kind::ErrorRateNoData) => Key::ErrorRate,
            _ => Key::Serving,
        }
    }

    /// The severity of the message.
    pub fn severity(&self) -> Severity {
        let all = [Severity::Info, Severity::Warning, Severity::Critical];
        all.into_iter().find(|severity| *severity as u8 == self.severity).unwrap_or(Severity::Info)
    }

    /// The number of the change's revision; 0: no message is sent.
    pub fn revision(&self) -> u64 {
        self.revision.into()
    }

    /// The number of the incident's first revision.
    pub fn incident_id(&self) -> u64 {
        self.incident_id.into()
    }

    /// How long the incident lasted that the change ended; `None`: the change ended none.
    pub fn lasted(&self) -> Option<Millis> {
        (self.lasted != ONGOING).then_some(Millis(self.lasted.into()))
    }

    /// Which pool served before.
    pub fn from(&self) -> Serving {
        self.from.to_serving().unwrap_or_default()
    }

    /// Which pool has served since.
    pub fn to(&self) -> Serving {
        self.to.to_serving().unwrap_or_default()
    }

    /// Whether the receiver with this index accepted the message about the change.
    pub fn receipt(&self, receiver: usize) -> Receipt {
        let bits = self.receipt >> (receiver.min(MAX_RECEIVERS - 1) as u32 * RECEIPT_BITS) & ((1 << RECEIPT_BITS) - 1);
        match bits {
            1 => Receipt::Accepted,
            2 => Receipt::Refused,
            3 => Receipt::Skipped,
            4 => Receipt::Absent,
            _ => Receipt::Pending,
        }
    }

    fn note(&mut self, receiver: usize, receipt: Receipt) {
        let shift = receiver.min(MAX_RECEIVERS - 1) as u32 * RECEIPT_BITS;
        self.receipt = self.receipt & !(((1 << RECEIPT_BITS) - 1) << shift) | (receipt as u32) << shift;
    }
}

impl History {
    /// Notes whether a receiver accepted the message about a change, if the change is still kept.
    pub(crate) fn note(&mut self, key: Key, revision: u64, receiver: usize, receipt: Receipt) {
        let it = |record: &&mut ChangeRecord| record.revision() == revision && record.key() == key && revision != 0;
        if let Some(record) = self.entries_mut().find(it) {
            record.note(receiver, receipt);
        }
    }

    /// Notes for every past change that the receiver which has this index now was not configured then.
    pub(crate) fn welcome(&mut self, receiver: usize) {
        self.entries_mut().for_each(|record| record.note(receiver, Receipt::Absent));
    }
}

const _: () = assert!(MAX_RECEIVERS as u32 * RECEIPT_BITS <= u32::BITS, "each receiver needs its bits");

#[cfg(test)]
mod tests {
    use super::Receipt::{Absent, Accepted, Pending, Refused, Skipped};
    use super::*;
    use crate::pools::set::PoolId;

    const GREEN: PoolId = PoolId::new(1).expect("a pool");

    #[test]
    fn a_record_says_what_it_was_made_of() {
        let moved = (Serving::Pool(GREEN), Serving::Down);
        let record = ChangeRecord::announced(Kind::Down, Severity::Critical, (7, 7), moved, Millis(5), None);
        assert_eq!((record.kind(), record.severity(), record.revision()), (Some(Kind::Down), Severity::Critical, 7));
        assert_eq!((record.from(), record.to(), record.lasted()), (Serving::Pool(GREEN), Serving::Down, None));
        let ends = ChangeRecord::announced(
            Kind::ErrorRateResolved,
            Severity::Info,
            (8, 8),
            moved,
            Millis(5),
            Some(Millis(1500)),
        );
        assert_eq!((ends.key(), ends.lasted()), (Key::ErrorRate, Some(Millis(1500))));
        let change = Change { from: Serving::Unknown, to: Serving::Mixed, since: Millis(9) };
        let unannounced = ChangeRecord::unannounced(change);
        assert_eq!(
            (unannounced.kind(), unannounced.key(), unannounced.from(), unannounced.at),
            (None, Key::Serving, Serving::Unknown, Millis(9))
        );
    }

    #[test]
    fn each_receiver_has_a_result_of_its_own_for_the_right_change() {
        let mut history = History::empty();
        let moved = (Serving::Pool(PoolId::FIRST), Serving::Pool(GREEN));
        history.push(ChangeRecord::announced(Kind::Failover, Severity::Warning, (1, 1), moved, Millis(1), None));
        history.push(ChangeRecord::announced(Kind::ErrorRateFiring, Severity::Warning, (1, 1), moved, Millis(2), None));
        history.push(ChangeRecord::unannounced(Change { from: moved.0, to: moved.1, since: Millis(3) }));
        history.note(Key::Serving, 1, 0, Receipt::Accepted);
        history.note(Key::Serving, 1, 7, Receipt::Refused);
        history.note(Key::ErrorRate, 1, 1, Receipt::Skipped);
        history.note(Key::Serving, 0, 2, Receipt::Accepted);
        let receipt: Vec<Vec<Receipt>> =
            history.newest().map(|record| [0, 1, 2, 7].map(|receiver| record.receipt(receiver)).to_vec()).collect();
        assert_eq!(receipt[0], [Pending; 4]);
        assert_eq!(receipt[1], [Pending, Skipped, Pending, Pending]);
        assert_eq!(receipt[2], [Accepted, Pending, Pending, Refused]);
        history.welcome(0);
        assert_eq!(history.newest().map(|record| record.receipt(0)).collect::<Vec<_>>(), [Absent; 3]);
    }
}
