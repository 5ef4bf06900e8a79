//! Sets of pools: one pool, or several at once.

/// Pools that one upstream can have; further names from headers are ignored.
pub const MAX_POOLS: usize = 8;

/// The index of a pool in its upstream's directory. It never changes while the zone lives.
pub type PoolId = u8;

/// The pool or pools that should serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This pool.
    Pool(PoolId),
    /// Several pools at once, by configuration: none of them is a reserve for another. One bit per pool.
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

    /// The expected pool; if there are several, the one with the lowest index, which stands for all of them.
    pub fn first(self) -> PoolId {
        match self {
            Self::Pool(expected) => expected,
            Self::Several(pools) => pools.trailing_zeros() as PoolId,
        }
    }

    /// The pool that stands for this one: the first expected pool for every pool that is expected, else the pool
    /// itself. Pools that are expected together count as one.
    pub fn stand_in(self, pool: PoolId) -> PoolId {
        if self.includes(pool) { self.first() } else { pool }
    }
}
