//! What serves in an upstream: its state, and the one pool that serves in it.

use serde::{Deserialize, Serialize};

use super::names::{Named, named, serialised};
use super::values::ForeignName;
use crate::detect::serving::Serving;
use crate::pools::set::PoolId;
use crate::state::snapshot::Upstream;

/// The state of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServingState {
    /// No answer was seen yet.
    #[default]
    Unknown,
    /// One pool serves.
    Pool,
    /// Several pools serve, as configured.
    Several,
    /// Several pools serve although one should.
    Mixed,
    /// No pool answers.
    Down,
}

named! {
    ServingState {
        ServingState::Unknown => "unknown",
        ServingState::Pool => "pool",
        ServingState::Several => "several",
        ServingState::Mixed => "mixed",
        ServingState::Down => "down",
    }
}
serialised!(ServingState);

/// What serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServingView {
    pub(crate) state: ServingState,
    pub(crate) pool: Option<ForeignName>,
}

impl ServingView {
    /// Of one of the states that the upstream has or had.
    pub(crate) fn new(upstream: &Upstream, serving: Serving) -> Self {
        let alone = |state| Self { state, pool: None };
        match serving {
            _ if upstream.view().is_several(serving) => alone(ServingState::Several),
            Serving::Unknown => alone(ServingState::Unknown),
            Serving::Pool(id) => Self { state: ServingState::Pool, pool: Some(pool(upstream, id)) },
            Serving::Mixed => alone(ServingState::Mixed),
            Serving::Down => alone(ServingState::Down),
        }
    }

    /// Of the present state.
    pub(crate) fn now(upstream: &Upstream) -> Self {
        Self::new(upstream, upstream.detection.failover.serving())
    }
}

/// A pool's name; empty: nothing named it yet.
pub(crate) fn pool(upstream: &Upstream, id: PoolId) -> ForeignName {
    ForeignName::new(upstream.setup.directory.name(id))
}
