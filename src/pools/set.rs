//! Which pools: one, a value for each, or several at once.
//!
//! A pool's id is checked once, where it is made. So a map has a value for each id, and indexing it can neither fail
//! nor panic. Ids and sets lie in the zone as a byte, and each byte is a valid one.

use std::ops::{Index, IndexMut};

/// Pools of one upstream that are told apart; further names from headers are ignored.
pub const MAX_POOLS: usize = 8;

const _: () = assert!(MAX_POOLS.is_power_of_two() && MAX_POOLS <= u8::BITS as usize, "a bit for each pool in a byte");

/// A pool's index in its upstream's directory, below [`MAX_POOLS`]. It never changes while the zone lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PoolId(u8);

impl PoolId {
    /// The first pool of an upstream.
    pub const FIRST: Self = Self(0);

    /// The pool of this index; `None`: it is not below [`MAX_POOLS`].
    pub const fn new(index: usize) -> Option<Self> {
        if index < MAX_POOLS { Some(Self(index as u8)) } else { None }
    }

    /// All ids, in their order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..MAX_POOLS as u8).map(Self)
    }

    /// Below [`MAX_POOLS`], even if a foreign byte was read from the zone.
    pub const fn index(self) -> usize {
        self.0 as usize % MAX_POOLS
    }
}

/// Some of the pools; the default is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PoolSet(u8);

impl PoolSet {
    /// No pool.
    pub const EMPTY: Self = Self(0);

    /// Every pool that there may be.
    pub const ALL: Self = Self(u8::MAX >> (u8::BITS as usize - MAX_POOLS));

    /// Adds a pool.
    pub fn insert(&mut self, pool: PoolId) {
        self.0 |= 1 << pool.index();
    }

    /// Is this pool one of them?
    pub fn contains(self, pool: PoolId) -> bool {
        self.0 >> pool.index() & 1 == 1
    }

    /// Are all of these among them?
    pub fn contains_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// The first of them; `None`: there is none.
    pub fn first(self) -> Option<PoolId> {
        PoolId::new(self.0.trailing_zeros() as usize)
    }

    /// The pools in the set, in the order of their ids.
    pub fn iter(self) -> impl Iterator<Item = PoolId> {
        PoolId::all().filter(move |&pool| self.contains(pool))
    }
}

impl FromIterator<PoolId> for PoolSet {
    fn from_iter<I: IntoIterator<Item = PoolId>>(pools: I) -> Self {
        let mut set = Self::EMPTY;
        pools.into_iter().for_each(|pool| set.insert(pool));
        set
    }
}

/// A value for each pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PoolMap<T>([T; MAX_POOLS]);

impl<T> PoolMap<T> {
    /// The pools and their values, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (PoolId, &T)> {
        PoolId::all().zip(&self.0)
    }

    /// The same, to change the values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PoolId, &mut T)> {
        PoolId::all().zip(&mut self.0)
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// The values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }
}

impl<T> Index<PoolId> for PoolMap<T> {
    type Output = T;

    fn index(&self, pool: PoolId) -> &T {
        &self.0[pool.index()]
    }
}

impl<T> IndexMut<PoolId> for PoolMap<T> {
    fn index_mut(&mut self, pool: PoolId) -> &mut T {
        &mut self.0[pool.index()]
    }
}

/// What should serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This pool.
    Pool(PoolId),
    /// Several pools at once, by configuration: none of them is the reserve of another.
    Several(PoolSet),
}

impl Default for Expected {
    fn default() -> Self {
        Self::Pool(PoolId::FIRST)
    }
}

impl Expected {
    /// Should this pool serve, alone or with others?
    pub fn includes(self, pool: PoolId) -> bool {
        self.pools().contains(pool)
    }

    /// The expected pools.
    pub fn pools(self) -> PoolSet {
        match self {
            Self::Pool(expected) => PoolSet::from_iter([expected]),
            Self::Several(pools) => pools,
        }
    }

    /// The expected pool; of several the first, which stands for all of them.
    pub fn first(self) -> PoolId {
        match self {
            Self::Pool(expected) => expected,
            Self::Several(pools) => pools.first().unwrap_or_default(),
        }
    }

    /// Pools that are expected together count as one: the first of them stands for each.
    pub fn stand_in(self, pool: PoolId) -> PoolId {
        if self.includes(pool) { self.first() } else { pool }
    }

    /// All the pools for which this one stands; itself, if it is not expected with others.
    pub fn together_with(self, pool: PoolId) -> PoolSet {
        if self.includes(pool) { self.pools() } else { PoolSet::from_iter([pool]) }
    }
}

impl From<PoolSet> for Expected {
    /// These should serve; with an empty set it is the upstream's first pool.
    fn from(pools: PoolSet) -> Self {
        match (pools.first(), pools.iter().nth(1)) {
            (Some(_), Some(_)) => Self::Several(pools),
            (first, _) => Self::Pool(first.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(indices: &[usize]) -> PoolSet {
        indices.iter().filter_map(|&index| PoolId::new(index)).collect()
    }

    #[test]
    fn an_id_is_below_the_number_of_pools_whatever_byte_it_was() {
        assert_eq!(PoolId::new(MAX_POOLS), None);
        assert_eq!(PoolId::new(7).map(PoolId::index), Some(7));
        assert!((0..=u8::MAX).all(|byte| PoolId(byte).index() < MAX_POOLS));
    }

    #[test]
    fn a_set_has_what_was_put_into_it_in_the_order_of_the_ids() {
        let set = pools(&[5, 2, 2]);
        assert_eq!(set.iter().map(PoolId::index).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(set.first(), PoolId::new(2));
        assert_eq!(PoolSet::EMPTY.first(), None);
        assert!(set.contains_all(pools(&[5])) && set.contains_all(PoolSet::EMPTY) && !set.contains_all(pools(&[5, 6])));
        assert_eq!(PoolId::all().collect::<PoolSet>(), PoolSet::ALL);
    }

    #[test]
    fn one_pool_or_several_are_expected_and_never_none() {
        assert_eq!(Expected::from(PoolSet::EMPTY), Expected::Pool(PoolId::FIRST));
        assert_eq!(Expected::from(pools(&[3])), Expected::Pool(PoolId::new(3).expect("a pool")));
        let [one, three, four] = [1, 3, 4].map(|index| PoolId::new(index).expect("a pool"));
        let expected = Expected::from(pools(&[1, 3]));
        assert_eq!(expected, Expected::Several(pools(&[1, 3])));
        assert_eq!([one, three, four].map(|pool| expected.stand_in(pool)), [one, one, four]);
        assert_eq!([one, four].map(|pool| expected.together_with(pool)), [pools(&[1, 3]), pools(&[4])]);
    }
}
