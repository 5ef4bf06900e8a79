//! Which pools: one, or several at once.

/// Pools of one upstream that are told apart; further names from headers are ignored.
pub const MAX_POOLS: usize = 8;

/// A pool's place in its upstream's directory. It never changes while the zone lives.
pub type PoolId = u8;

/// What should serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This pool.
    Pool(PoolId),
    /// Several pools at once, by configuration: none of them is the reserve of another. A bit each.
    Several(u8),
}

impl Expected {
    /// Should this pool serve, alone or with others?
    pub fn includes(self, pool: PoolId) -> bool {
        match self {
            Self::Pool(expected) => pool == expected,
            Self::Several(pools) => pools >> pool & 1 == 1,
        }
    }

    /// The expected pool; of several the first, which stands for all of them.
    pub fn first(self) -> PoolId {
        match self {
            Self::Pool(expected) => expected,
            Self::Several(pools) => pools.trailing_zeros() as PoolId,
        }
    }

    /// Pools that are expected together are one to whoever asks who serves.
    pub fn stand_in(self, pool: PoolId) -> PoolId {
        if self.includes(pool) { self.first() } else { pool }
    }
}
