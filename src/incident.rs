//! Incidents: what a message can be about, which state holds, and how severe the state is.

use crate::alert::{Kind, Reasons, Severity};
use crate::detect::error_rate::RateState;
use crate::detect::serving::Serving;
use crate::pools::set::Expected;
use crate::units::Millis;
use crate::window::Entry;

/// A state of an incident key, or of an announcement, as a number; which state it is depends on the key. The outbox
/// only compares codes. Each byte is a valid code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct StateCode(u8);

impl StateCode {
    /// While the serving pool changes again and again, as far as messages tell states apart.
    pub const FLAPPING: Self = Self(0x40);

    /// The upstream is no longer watched; greater than each [`Serving::index`].
    pub(crate) const LEFT: Self = Self(Self::FLAPPING.0 - 1);

    /// The code with this number, where it only matters whether two codes differ.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Which pool serves.
    pub const fn serving(serving: Serving) -> Self {
        Self(serving.index() as u8)
    }

    /// How an error rate is judged.
    pub const fn error_rate(level: RateState) -> Self {
        Self(level as u8)
    }

    /// What an announcement says.
    pub const fn announcement(kind: Kind) -> Self {
        Self(kind as u8)
    }

    /// The number, where a code has no other name.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The same state, while the serving pool changes again and again.
    #[must_use]
    pub const fn flapping(self) -> Self {
        Self(self.0 | Self::FLAPPING.0)
    }

    /// The same state, when the serving pool no longer changes again and again.
    #[must_use]
    pub(crate) const fn settled(self) -> Self {
        Self(self.0 & !Self::FLAPPING.0)
    }

    /// Does the serving pool change again and again?
    pub(crate) const fn is_flapping(self) -> bool {
        self.0 & Self::FLAPPING.0 != 0
    }

    /// The state as far as messages tell states apart: while the serving pool changes again and again, all pools are
    /// one state.
    #[must_use]
    pub(crate) const fn whichever_pool(self) -> Self {
        if self.is_flapping() { Self::FLAPPING } else { self }
    }

    /// Which pool serves; `None`: the code is no state of the serving pool, or that pool changes again and again.
    pub(crate) fn to_serving(self) -> Option<Serving> {
        Serving::from_index(self.0.into())
    }
}

const _: () = assert!(Serving::COUNT <= StateCode::LEFT.0 as usize, "each state needs its number");

/// What a message can be about. The discriminant is the index of the key's revision and of its delivery states.
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

/// A revision: one numbered state of an incident key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Revision {
    /// The revision's number. Rises by one with each change that deserves a message; 0: no such change yet.
    pub number: u64,
    /// The state that holds.
    pub state: StateCode,
    /// The state of the revision before.
    pub from: StateCode,
    /// The state is the end of an incident, or no incident.
    pub over: bool,
    /// Clients get errors in this incident; `false` when it is over.
    pub critical: bool,
    /// The operator made this change; its message waits for no cooldown.
    pub planned: bool,
}

/// A revision, and the facts for its message.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Incident {
    pub(crate) revision: Revision,
    /// What the message reports.
    pub(crate) kind: Kind,
    /// What error.log reports: as `kind`, but while the serving pool changes again and again, each single change.
    pub(crate) change: Kind,
    pub(crate) from: Serving,
    pub(crate) since: Millis,
    /// When the incident began. `since` is when the present state of the incident began.
    pub(crate) began: Millis,
    /// The number of the incident's first revision: part of its name from the first message to the last.
    pub(crate) id: u64,
    /// Clients get errors, or got errors, in this incident.
    pub(crate) critical: bool,
    /// Requests and errors since the incident began, until it is over.
    pub(crate) sums: Sums,
    /// The number of the first request that `sums` counts.
    pub(crate) first_request: u64,
    /// When that request ended; [`Millis::NEVER`]: no failed request was known.
    pub(crate) first_failure: Millis,
}

impl Incident {
    /// Ends the incident because its upstream is no longer watched; how the state goes on stays unknown.
    pub(crate) fn leave(&mut self, now: Millis) {
        self.revision = Revision { state: StateCode::LEFT, over: true, ..self.next_revision() };
        (self.kind, self.change, self.since) = (Kind::NoLongerWatched, Kind::NoLongerWatched, now);
    }

    /// Makes the present revision the first of a new incident.
    pub(crate) fn begin(&mut self) {
        (self.began, self.id, self.critical) = (self.since, self.revision.number, false);
    }

    /// The revision after this one, with only its number and the state before filled in.
    pub(crate) fn next_revision(&self) -> Revision {
        Revision { number: self.revision.number + 1, from: self.revision.state, ..Revision::default() }
    }

    /// Did the incident begin with an earlier revision?
    pub(crate) fn is_continued(&self) -> bool {
        self.id != self.revision.number
    }
}

impl Default for Incident {
    fn default() -> Self {
        Self {
            revision: Revision { over: true, ..Revision::default() },
            kind: Kind::Recovery,
            change: Kind::Recovery,
            from: Serving::Unknown,
            since: Millis::ZERO,
            began: Millis::ZERO,
            id: 0,
            critical: false,
            sums: Sums::default(),
            first_request: 0,
            first_failure: Millis::ZERO,
        }
    }
}

/// Sums over the requests of an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Sums {
    /// Requests.
    pub(crate) requests: u64,
    /// Requests with a failed attempt.
    pub(crate) upstream_errors: u32,
    /// Requests that were answered with a 5xx.
    pub(crate) client_errors: u32,
    /// Why the attempts failed.
    pub(crate) reasons: Reasons,
}

impl Sums {
    /// Counts one request.
    pub(crate) fn push(&mut self, entry: Entry, reasons: &Reasons) {
        self.requests += 1;
        self.upstream_errors = self.upstream_errors.saturating_add(u32::from(entry.upstream_error));
        self.client_errors = self.client_errors.saturating_add(u32::from(entry.client_error));
        self.reasons.add(reasons);
    }
}

/// The severity of a change. A problem is critical if clients get errors, as in every outage, else it is a warning.
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

pub(crate) fn serves_expected_pool(serving: Serving, expected: Expected) -> bool {
    matches!(serving, Serving::Pool(pool) if expected.includes(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_severity_of_each_kind_without_and_with_errors_for_clients() {
        let [info, warning, critical] = [Severity::Info, Severity::Warning, Severity::Critical];
        for (kind, expected) in [
            (Kind::Failover, [warning, critical]),
            (Kind::Recovery, [info, info]),
            (Kind::PlannedSwitch, [info, info]),
            (Kind::Down, [critical, critical]),
            (Kind::Mixed, [warning, critical]),
            (Kind::Flapping, [warning, critical]),
            (Kind::ErrorRateFiring, [warning, critical]),
            (Kind::ErrorRateResolved, [info, info]),
            (Kind::ErrorRateNoData, [warning, warning]),
            (Kind::NoLongerWatched, [info, info]),
            (Kind::SilenceBegan, [info, info]),
            (Kind::SilenceEnded, [info, info]),
            (Kind::Test, [info, info]),
        ] {
            assert_eq!([false, true].map(|critical| severity(kind, critical)), expected, "{kind:?}");
        }
    }

    #[test]
    fn an_incident_whose_upstream_is_no_longer_watched_is_over_in_a_state_of_its_own() {
        let revision = Revision { number: 4, state: StateCode(1), ..Revision::default() };
        let mut incident = Incident { revision, id: 3, ..Incident::default() };
        incident.leave(Millis(7_000));
        let left =
            Revision { number: 5, state: StateCode::LEFT, from: StateCode(1), over: true, ..Revision::default() };
        assert_eq!((incident.revision, incident.kind, incident.since), (left, Kind::NoLongerWatched, Millis(7_000)));
    }

    #[test]
    fn sums_count_each_request_and_each_error_once() {
        let mut sums = Sums::default();
        for (upstream_error, client_error) in [(false, false), (true, false), (true, true)] {
            sums.push(Entry { upstream_error, client_error }, &Reasons::default());
        }
        assert_eq!((sums.requests, sums.upstream_errors, sums.client_errors), (3, 2, 1));
    }
}
