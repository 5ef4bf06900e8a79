//! A table for unit tests, in no zone.

use super::*;

pub(crate) struct Contents {
    receivers: DoubleBuffer<[ReceiverState; MAX_RECEIVERS]>,
    announcements: DoubleBuffer<Announcements>,
    due: Millis,
    slots: Vec<Slot>,
}

impl Contents {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            receivers: DoubleBuffer::new([ReceiverState::default(); MAX_RECEIVERS]),
            announcements: DoubleBuffer::new(Announcements::default()),
            due: Millis::ZERO,
            slots: (0..slots).map(|_| Slot::empty()).collect(),
        }
    }

    pub(crate) fn table(&mut self) -> Table<'_> {
        let Self { receivers, announcements, due, slots } = self;
        Table { receivers, announcements, due, slots }
    }
}
