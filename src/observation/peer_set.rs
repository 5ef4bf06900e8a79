//! Which of an upstream's configured peers: a set of indices.

/// Peers of one upstream that are told apart, by their index in the configuration.
pub const MAX_PEERS: usize = 256;

/// Bits of a word of the set.
const BITS: usize = u64::BITS as usize;

/// Some of the configured peers, by index; the default is none of them. A peer from index [`MAX_PEERS`] on is in no
/// set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PeerSet([u64; MAX_PEERS / BITS]);

impl PeerSet {
    /// No peer.
    pub const EMPTY: Self = Self([0; MAX_PEERS / BITS]);

    /// Adds the peer of this index. Does nothing if the index is [`MAX_PEERS`] or more.
    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / BITS) {
            *word |= 1 << (index % BITS);
        }
    }

    /// Is the peer of this index one of them?
    pub fn contains(self, index: usize) -> bool {
        self.0.get(index / BITS).is_some_and(|word| word >> (index % BITS) & 1 == 1)
    }

    /// Those that are in any of the two.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// Is it none of them?
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

impl FromIterator<usize> for PeerSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut set = Self::EMPTY;
        indices.into_iter().for_each(|index| set.insert(index));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_peers_that_were_put_into_it_and_no_others() {
        let indices = [0, 63, 64, 130, MAX_PEERS - 1];
        let set: PeerSet = indices.into_iter().collect();
        let found: Vec<usize> = (0..2 * MAX_PEERS).filter(|&index| set.contains(index)).collect();
        assert_eq!(found, indices);
        assert!(!set.is_empty());
        let both = PeerSet::from_iter([5, 64]).with(PeerSet::from_iter([64, 200]));
        assert_eq!(both, PeerSet::from_iter([5, 64, 200]));
    }

    #[test]
    fn a_peer_beyond_the_limit_is_in_no_set() {
        let set: PeerSet = [MAX_PEERS, usize::MAX].into_iter().collect();
        assert!(set.is_empty() && !set.contains(MAX_PEERS));
    }
}
