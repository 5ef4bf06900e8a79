//! Which pool serves, and how that changes: the detector finds these states; all other modules store and show them.

use crate::pools::set::{Expected, MAX_POOLS, PoolId};
use crate::units::Millis;

/// Which pool serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, u8)]
pub enum Serving {
    /// No pool has answered yet.
    #[default]
    Unknown,
    /// This pool serves.
    Pool(PoolId),
    /// Several pools share the traffic, and none prevails.
    Mixed,
    /// No pool serves: an outage.
    Down,
}

impl Serving {
    /// The pool whose answers confirm this state; before the first answer, the expected pool. `None`: no pool's answers
    /// do.
    pub(crate) fn own_pool(self, expected: Expected) -> Option<PoolId> {
        match self {
            Self::Pool(own) => Some(expected.stand_in(own)),
            Self::Unknown => Some(expected.first()),
            Self::Mixed | Self::Down => None,
        }
    }

    /// The number of different values of [`Serving::index`].
    pub const COUNT: usize = MAX_POOLS + 3;

    /// A number below [`Serving::COUNT`] for each state, as an index of arrays.
    pub const fn index(self) -> usize {
        match self {
            Self::Pool(id) => id.index(),
            Self::Unknown => MAX_POOLS,
            Self::Mixed => MAX_POOLS + 1,
            Self::Down => MAX_POOLS + 2,
        }
    }

    /// The state with this [`Serving::index`]; `None`: no state has this index.
    pub fn from_index(index: usize) -> Option<Self> {
        let others = [Self::Unknown, Self::Mixed, Self::Down];
        let other = || others.into_iter().find(|other| other.index() == index);
        PoolId::new(index).map(Self::Pool).or_else(other)
    }
}

/// A change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state that ended.
    pub from: Serving,
    /// The state that holds now.
    pub to: Serving,
    /// When the state began to hold, which is before it was certain.
    pub since: Millis,
}
