//! What is true of one incident key.

/// A bit of a state: the serving pool changes again and again, and the rest of the state says where it stands.
pub const FLAPPING: u8 = 0x40;

/// What is true of one incident key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Truth {
    /// Rises by one with each change worth telling; 0: there was none yet.
    pub generation: u64,
    /// Which state holds: `Serving::index`, perhaps with [`FLAPPING`], or the error rate's level.
    pub state: u8,
    /// Which state held before.
    pub from: u8,
    /// The state is the end of an incident.
    pub over: bool,
    /// Clients suffer in this incident.
    pub critical: bool,
    /// The state is the operator's own act, which is told at once.
    pub planned: bool,
}

pub(crate) fn is_flapping(state: u8) -> bool {
    state & FLAPPING != 0
}

/// The state, without where it stands while the pool changes again and again.
pub(crate) fn whichever_pool(state: u8) -> u8 {
    if is_flapping(state) { FLAPPING } else { state }
}
