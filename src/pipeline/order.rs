//! What an operator asks for at run time, and how the observer carries it out.

use crate::state::announcements::{MAX_SILENCES, Silence};
use crate::state::table::{Subject, Table};
use crate::units::Millis;

/// Orders that may wait at a time.
pub(super) const ORDERS: usize = 16;

/// What an operator asks for at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hold messages back for a while.
    Silence(Box<Silence>),
    /// End the silence with this number before its time.
    EndSilence(u64),
    /// Send a test message to every receiver.
    Test,
}

impl Order {
    /// The text for error.log when the order could not be carried out.
    pub(super) fn is_refused(&self) -> String {
        match self {
            Self::Silence(silence) => {
                format!("silence {} did not begin, there are {MAX_SILENCES} already", silence.id)
            }
            Self::EndSilence(id) => format!("silence {id} is over already"),
            Self::Test => "no test message was sent".to_owned(),
        }
    }
}

/// Carries an order out. Returns what that changed; nothing: the order cannot be carried out.
pub(super) fn carry_out(order: &Order, table: &mut Table<'_>, now: Millis) -> Vec<Subject> {
    match order {
        Order::Silence(silence) => table.begin_silence(**silence, now),
        Order::EndSilence(id) => table.end_silence(*id, now),
        Order::Test => vec![table.test(now)],
    }
}
