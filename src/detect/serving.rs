//! Who serves, and how that changes: what the detector finds, and everything else stores and shows.

use crate::pools::set::{Expected, MAX_POOLS, PoolId};
use crate::units::Millis;

/// Who serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, u8)]
pub enum Serving {
    /// Nothing has answered yet.
    #[default]
    Unknown,
    /// This pool.
    Pool(PoolId),
    /// Several pools share the traffic.
    Mixed,
    /// Nobody.
    Down,
}

impl Serving {
    /// The pool whose answers confirm the state; before the first answer that is the expected one. `None`: no pool's do.
    pub(crate) fn own_pool(self, expected: Expected) -> Option<PoolId> {
        match self {
            Self::Pool(own) => Some(expected.stand_in(own)),
            Self::Unknown => Some(expected.first()),
            Self::Mixed | Self::Down => None,
        }
    }

    /// Distinct values of [`Serving::index`].
    pub const COUNT: usize = MAX_POOLS + 3;

    /// A small number per state, to keep things per state in arrays.
    pub fn index(self) -> usize {
        match self {
            Self::Pool(id) => usize::from(id).min(MAX_POOLS - 1),
            Self::Unknown => MAX_POOLS,
            Self::Mixed => MAX_POOLS + 1,
            Self::Down => MAX_POOLS + 2,
        }
    }

    /// The state of a [`Serving::index`]; beyond all of them nothing is known.
    pub fn from_index(index: usize) -> Self {
        match index {
            0..MAX_POOLS => Self::Pool(index as PoolId),
            _ if index == Self::Mixed.index() => Self::Mixed,
            _ if index == Self::Down.index() => Self::Down,
            _ => Self::Unknown,
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state that ended.
    pub from: Serving,
    /// The state that holds now.
    pub to: Serving,
    /// When it began to hold, which is before it was certain.
    pub since: Millis,
}
