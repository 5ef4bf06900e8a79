//! Incidents: what a message can be about, what is true of it, and how severe that is.

use crate::alert::{Kind, Reasons, Severity};
use crate::detect::failover::Serving;
use crate::pools::set::Expected;
use crate::units::Millis;
use crate::window::Entry;

/// A bit of a state: the serving pool changes again and again, and the rest of the state says where it stands.
pub const FLAPPING: u8 = 0x40;

/// The truth's state once the upstream is not watched any more; beyond all of [`Serving::index`].
pub(crate) const LEFT: u8 = FLAPPING - 1;

const _: () = assert!(Serving::COUNT <= LEFT as usize, "each state needs its number");

/// What a message can be about. The discriminant is the place of its truth and its debts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// Which pool serves.
    Serving = 0,
    /// How often requests fail.
    ErrorRate = 1,
}

impl Key {
    /// All keys.
    pub const ALL: [Self; 2] = [Self::Serving, Self::ErrorRate];
}

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

/// A truth and what is to be told of it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Incident {
    pub(crate) truth: Truth,
    /// What the message tells.
    pub(crate) kind: Kind,
    /// What the log tells: as `kind`, but while the serving pool changes again and again each change by itself.
    pub(crate) change: Kind,
    pub(crate) from: Serving,
    pub(crate) since: Millis,
    /// When the incident began that this change continues or ends.
    pub(crate) began: Millis,
    /// The generation with which it began: its name from the first message to the last.
    pub(crate) number: u64,
    /// Clients suffer, or suffered, in this incident.
    pub(crate) critical: bool,
    /// What is counted since it began, until it is over.
    pub(crate) sums: Sums,
    /// The number of the first request that is counted, and when it ended.
    pub(crate) first_request: u64,
    pub(crate) first_failure: Millis,
}

impl Incident {
    /// Nobody will see how it ends.
    pub(crate) fn leave(&mut self, now: Millis) {
        self.truth = Truth { state: LEFT, over: true, ..self.next_truth() };
        (self.kind, self.change, self.since) = (Kind::NoLongerWatched, Kind::NoLongerWatched, now);
    }

    /// Its present change is its first.
    pub(crate) fn begin(&mut self) {
        (self.began, self.number, self.critical) = (self.since, self.truth.generation, false);
    }

    /// The truth after this one, with nothing but its place in time.
    pub(crate) fn next_truth(&self) -> Truth {
        Truth { generation: self.truth.generation + 1, from: self.truth.state, ..Truth::default() }
    }

    /// Does its present state continue or end what began with an earlier one?
    pub(crate) fn is_continued(&self) -> bool {
        self.number != self.truth.generation
    }
}

impl Default for Incident {
    fn default() -> Self {
        Self {
            truth: Truth { over: true, ..Truth::default() },
            kind: Kind::Recovery,
            change: Kind::Recovery,
            from: Serving::Unknown,
            since: Millis::ZERO,
            began: Millis::ZERO,
            number: 0,
            critical: false,
            sums: Sums::default(),
            first_request: 0,
            first_failure: Millis::ZERO,
        }
    }
}

/// Sums over requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sums {
    /// Requests.
    pub(crate) requests: u64,
    /// Those with a failed attempt.
    pub(crate) upstream_errors: u32,
    /// Those that were answered with a 5xx.
    pub(crate) client_errors: u32,
    /// Why attempts failed.
    pub(crate) reasons: Reasons,
}

impl Sums {
    /// Counts a request.
    pub(crate) fn push(&mut self, entry: Entry, reasons: &Reasons) {
        self.requests += 1;
        self.upstream_errors = self.upstream_errors.saturating_add(u32::from(entry.upstream_error));
        self.client_errors = self.client_errors.saturating_add(u32::from(entry.client_error));
        self.reasons.add(reasons);
    }
}

/// Clients that see errors make it critical, clients that are spared a warning.
pub(crate) fn severity(kind: Kind, critical: bool) -> Severity {
    match kind {
        Kind::Recovery
        | Kind::PlannedSwitch
        | Kind::ErrorRateResolved
        | Kind::NoLongerWatched
        | Kind::SilenceBegan
        | Kind::SilenceEnded
        | Kind::Test => Severity::Info,
        Kind::Down => Severity::Critical,
        Kind::Failover | Kind::Mixed | Kind::Flapping | Kind::ErrorRateFiring if critical => Severity::Critical,
        Kind::Failover | Kind::Mixed | Kind::Flapping | Kind::ErrorRateFiring | Kind::ErrorRateNoData => {
            Severity::Warning
        }
    }
}

pub(crate) fn is_as_expected(serving: Serving, expected: Expected) -> bool {
    matches!(serving, Serving::Pool(pool) if expected.includes(pool))
}

pub(crate) fn is_flapping(state: u8) -> bool {
    state & FLAPPING != 0
}

/// The state, without where it stands while the pool changes again and again.
pub(crate) fn whichever_pool(state: u8) -> u8 {
    if is_flapping(state) { FLAPPING } else { state }
}
