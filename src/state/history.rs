//! The last changes of one upstream: what happened, when, and what each receiver heard of it.

use crate::alert::{Kind, Severity};
use crate::detect::failover::{Change, Serving};
use crate::incident::Key;
use crate::outbox::MAX_RECEIVERS;
use crate::shared::ring_log::Journal;
use crate::units::Millis;

/// Changes that are kept.
pub const CHANGES: usize = 64;

/// The changes, newest first.
pub type History = Journal<Record, { CHANGES + 1 }>;

/// In the place of a kind: nobody is told.
const UNTOLD: u8 = u8::MAX;

/// In the place of a span: it is not over.
const ONGOING: u32 = u32::MAX;

/// What a receiver heard of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Heard {
    /// Not yet, or only together with a later change: the debt tells which.
    Nothing,
    /// It accepted the message.
    Accepted,
    /// It refused the message in every form.
    Refused,
    /// It does not want to hear when something is over.
    Waived,
    /// It was not there yet.
    Absent,
}

/// Bits of a [`Heard`].
const HEARD: u32 = 4;

/// A change, as small as it gets. Kept as numbers, so that whatever a reader catches half-way is still a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// When the state began that it led to.
    pub at: Millis,
    /// Of the message, as far as it fits.
    generation: u32,
    /// Of the incident's first message, as far as it fits.
    number: u32,
    /// Milliseconds that the incident lasted which it ended.
    lasted: u32,
    /// A [`Heard`] for each receiver's place.
    heard: u32,
    kind: u8,
    severity: u8,
    from: u8,
    to: u8,
}

impl Record {
    /// A change that the receivers are told.
    pub(crate) fn told(
        kind: Kind,
        severity: Severity,
        (generation, number): (u64, u64),
        (from, to): (Serving, Serving),
        at: Millis,
        lasted: Option<Millis>,
    ) -> Self {
        Self {
            at,
            generation: generation as u32,
            number: number as u32,
            lasted: lasted.map_or(ONGOING, |lasted| u32::try_from(lasted.0).unwrap_or(ONGOING - 1)),
            heard: 0,
            kind: kind as u8,
            severity: severity as u8,
            from: from.index() as u8,
            to: to.index() as u8,
        }
    }

    /// A change of the serving pool that is no news for anyone.
    pub(crate) fn untold(change: Change) -> Self {
        let move_ = (change.from, change.to);
        let told = Self::told(Kind::Recovery, Severity::Info, (0, 0), move_, change.since, None);
        Self { kind: UNTOLD, ..told }
    }

    /// What was told; `None`: nothing.
    pub fn kind(&self) -> Option<Kind> {
        Kind::INCIDENTS.into_iter().find(|kind| *kind as u8 == self.kind)
    }

    /// What it is about.
    pub fn key(&self) -> Key {
        match self.kind() {
            Some(Kind::ErrorRateFiring | Kind::ErrorRateResolved | Kind::ErrorRateNoData) => Key::ErrorRate,
            _ => Key::Serving,
        }
    }

    /// How loud.
    pub fn severity(&self) -> Severity {
        let all = [Severity::Info, Severity::Warning, Severity::Critical];
        all.into_iter().find(|severity| *severity as u8 == self.severity).unwrap_or(Severity::Info)
    }

    /// Of the message that tells of it; 0: none does.
    pub fn generation(&self) -> u64 {
        self.generation.into()
    }

    /// The generation with which its incident began.
    pub fn number(&self) -> u64 {
        self.number.into()
    }

    /// How long the incident lasted that it ended.
    pub fn lasted(&self) -> Option<Millis> {
        (self.lasted != ONGOING).then_some(Millis(self.lasted.into()))
    }

    /// Who served before.
    pub fn from(&self) -> Serving {
        Serving::from_index(self.from.into())
    }

    /// Who has served since.
    pub fn to(&self) -> Serving {
        Serving::from_index(self.to.into())
    }

    /// What the receiver at this place heard of it.
    pub fn heard(&self, receiver: usize) -> Heard {
        let bits = self.heard >> (receiver.min(MAX_RECEIVERS - 1) as u32 * HEARD) & ((1 << HEARD) - 1);
        match bits {
            1 => Heard::Accepted,
            2 => Heard::Refused,
            3 => Heard::Waived,
            4 => Heard::Absent,
            _ => Heard::Nothing,
        }
    }

    fn note(&mut self, receiver: usize, heard: Heard) {
        let shift = receiver.min(MAX_RECEIVERS - 1) as u32 * HEARD;
        self.heard = self.heard & !(((1 << HEARD) - 1) << shift) | (heard as u32) << shift;
    }
}

impl History {
    /// Notes what a receiver heard of a change, if the change is still known.
    pub(crate) fn note(&mut self, key: Key, generation: u64, receiver: usize, heard: Heard) {
        let it = |record: &&mut Record| record.generation() == generation && record.key() == key && generation != 0;
        if let Some(record) = self.entries_mut().find(it) {
            record.note(receiver, heard);
        }
    }

    /// A new receiver takes this place: it heard nothing of the past, and will not.
    pub(crate) fn welcome(&mut self, receiver: usize) {
        self.entries_mut().for_each(|record| record.note(receiver, Heard::Absent));
    }
}

const _: () = assert!(MAX_RECEIVERS as u32 * HEARD <= u32::BITS, "each receiver needs its bits");

#[cfg(test)]
mod tests {
    use super::Heard::{Absent, Accepted, Nothing, Refused, Waived};
    use super::*;

    #[test]
    fn a_record_says_what_it_was_made_of() {
        let moved = (Serving::Pool(1), Serving::Down);
        let record = Record::told(Kind::Down, Severity::Critical, (7, 7), moved, Millis(5), None);
        assert_eq!((record.kind(), record.severity(), record.generation()), (Some(Kind::Down), Severity::Critical, 7));
        assert_eq!((record.from(), record.to(), record.lasted()), (Serving::Pool(1), Serving::Down, None));
        let ends = Record::told(Kind::ErrorRateResolved, Severity::Info, (8, 8), moved, Millis(5), Some(Millis(1500)));
        assert_eq!((ends.key(), ends.lasted()), (Key::ErrorRate, Some(Millis(1500))));
        let change = Change { from: Serving::Unknown, to: Serving::Mixed, since: Millis(9) };
        let untold = Record::untold(change);
        assert_eq!(
            (untold.kind(), untold.key(), untold.from(), untold.at),
            (None, Key::Serving, Serving::Unknown, Millis(9))
        );
    }

    #[test]
    fn each_receiver_hears_for_itself_and_of_the_right_change() {
        let mut history = History::empty();
        let moved = (Serving::Pool(0), Serving::Pool(1));
        history.push(Record::told(Kind::Failover, Severity::Warning, (1, 1), moved, Millis(1), None));
        history.push(Record::told(Kind::ErrorRateFiring, Severity::Warning, (1, 1), moved, Millis(2), None));
        history.push(Record::untold(Change { from: moved.0, to: moved.1, since: Millis(3) }));
        history.note(Key::Serving, 1, 0, Heard::Accepted);
        history.note(Key::Serving, 1, 7, Heard::Refused);
        history.note(Key::ErrorRate, 1, 1, Heard::Waived);
        history.note(Key::Serving, 0, 2, Heard::Accepted);
        let heard: Vec<Vec<Heard>> =
            history.newest().map(|record| [0, 1, 2, 7].map(|receiver| record.heard(receiver)).to_vec()).collect();
        assert_eq!(heard[0], [Nothing; 4]);
        assert_eq!(heard[1], [Nothing, Waived, Nothing, Nothing]);
        assert_eq!(heard[2], [Accepted, Nothing, Nothing, Refused]);
        history.welcome(0);
        assert_eq!(history.newest().map(|record| record.heard(0)).collect::<Vec<_>>(), [Absent; 3]);
    }
}
