//! What a change that a detector found means for the incidents: kind, severity, and whether it ends the incident.

use crate::alert::Kind;
use crate::config::rules::{RateOf, Rules};
use crate::detect::error_rate::{self, Easing, RateState};
use crate::detect::flapping::Flapping;
use crate::detect::serving::{Change, Serving};
use crate::incident::{Incident, Key, Revision, StateCode, Sums, serves_expected_pool, severity};
use crate::state::detection::{Changes, Detection};
use crate::state::history::ChangeRecord;
use crate::state::setup::Setup;
use crate::units::Millis;
use crate::window::Ring;

/// An error rate whose alert is this young when an outage begins is part of the outage.
const SAME_SECONDS: Millis = Millis::from_secs(5);

impl Detection {
    pub(super) fn note_serving(&mut self, setup: &Setup, change: Change, ring: &Ring, changes: &mut Changes) {
        let kind = self.kind_of(setup, change.to);
        let is_first = change.from == Serving::Unknown && [Serving::Unknown, change.to].contains(&self.switching);
        let [incident, _] = &mut self.incidents;
        if is_first && incident.revision.over && serves_expected_pool(change.to, setup.expected) {
            // The first answer of the expected pool is the normal state: no message, and no change.
            incident.revision.state = StateCode::serving(change.to);
            self.switching = Serving::Unknown;
            changes.records.push(ChangeRecord::unannounced(change));
            return;
        }
        let from = match (kind, change.from) {
            (Kind::PlannedSwitch, Serving::Unknown) => self.switching,
            // An outage right after the expected pool changed: the pool before was the last one that served.
            (Kind::Down, Serving::Unknown) if self.switching != Serving::Unknown => self.switching,
            (_, Serving::Unknown) => Serving::Pool(setup.expected.first()),
            (_, from) => from,
        };
        self.switching = Serving::Unknown;
        if kind == Kind::PlannedSwitch {
            // A change by the operator begins a new count of changes.
            self.flapping = Flapping::default();
        } else {
            self.flapping.note(changes.now);
        }
        if self.silenced.is_going_on() {
            self.silenced.changes = self.silenced.changes.saturating_add(1);
        }
        let outage_began = (incident.revision.state == StateCode::serving(Serving::Down)).then_some(incident.since);
        self.put_serving(setup, kind, from, change.since, ring, changes);
        if let Some(began) = outage_began {
            self.forget_errors_since(began - SAME_SECONDS, changes);
        }
    }

    /// The kind of message for a state of the failover detector.
    pub(super) fn kind_of(&self, setup: &Setup, serving: Serving) -> Kind {
        match serving {
            Serving::Down => Kind::Down,
            _ if serves_expected_pool(serving, setup.expected) => {
                // Without an incident there is nothing to recover from: a server was given to another pool.
                let [incident, _] = &self.incidents;
                let is_planned = self.switching != Serving::Unknown || incident.revision.over;
                if is_planned { Kind::PlannedSwitch } else { Kind::Recovery }
            }
            Serving::Mixed => Kind::Mixed,
            Serving::Unknown | Serving::Pool(_) => Kind::Failover,
        }
    }

    /// Makes the serving pool's state a new revision, which will be sent. While the serving pool changes again and
    /// again, only outages and their ends are sent as what they are.
    pub(super) fn put_serving(
        &mut self,
        setup: &Setup,
        change: Kind,
        from: Serving,
        since: Millis,
        ring: &Ring,
        changes: &mut Changes,
    ) {
        let serving = self.failover.serving();
        let [before, _] = self.incidents;
        let is_flapping = self.flapping.is_on() && change != Kind::Down;
        let ends_outage = before.revision.state == StateCode::serving(Serving::Down);
        let state = StateCode::serving(serving);
        let state = if is_flapping { state.flapping() } else { state };
        let planned = change == Kind::PlannedSwitch;
        let over = (change == Kind::Recovery && !is_flapping) || planned;
        let kind = if is_flapping && !ends_outage { Kind::Flapping } else { change };
        let mut incident = Incident { kind, change, since, ..before };
        incident.revision = Revision { state, over, planned, ..before.next_revision() };
        // A pool that the operator chose while it served already replaces no other pool.
        if before.revision.state == state {
            incident.revision.from = StateCode::serving(Serving::Unknown);
        }
        incident.from = if from == serving { Serving::Unknown } else { from };
        if before.revision.over {
            incident.begin();
            (incident.sums, incident.first_request, incident.first_failure) =
                self.failures.since(since, self.window.head);
        }
        if planned {
            incident.sums = Sums::default();
        }
        incident.critical = self.is_critical(&incident, &setup.rules, ring, changes.now);
        self.put_incident(Key::Serving, incident, (incident.from, serving), changes);
    }

    pub(super) fn note_level(&mut self, setup: &Setup, level: RateState, ring: &Ring, changes: &mut Changes) {
        let since = self.error_rate.since();
        let kind = match level {
            RateState::Ok => Kind::ErrorRateResolved,
            RateState::Firing => Kind::ErrorRateFiring,
            RateState::NoData => Kind::ErrorRateNoData,
        };
        let [_, before] = self.incidents;
        let mut incident = Incident { kind, change: kind, since, ..before };
        incident.revision = Revision {
            state: StateCode::error_rate(level),
            over: level != RateState::Firing,
            ..before.next_revision()
        };
        if before.revision.over {
            incident.begin();
            self.count_window(&mut incident, &setup.rules, changes.now);
        }
        let serving = self.failover.serving();
        incident.critical = self.is_critical(&incident, &setup.rules, ring, changes.now);
        self.put_incident(Key::ErrorRate, incident, (serving, serving), changes);
    }

    /// Sets the sums of an error rate that begins to fire: the requests and errors of its window or period.
    pub(super) fn count_window(&self, incident: &mut Incident, rules: &Rules, now: Millis) {
        let rate = rules.error_rate.unwrap_or_default();
        let counts = error_rate::shown(&rate, &self.window, &self.period, now);
        let first = self.window.head - u64::from(counts.requests).min(self.window.head);
        let (known, first_request, first_failure) = self.failures.since_number(first, self.window.head);
        (incident.first_request, incident.first_failure) = (first_request, first_failure);
        incident.sums = Sums {
            requests: counts.requests.into(),
            upstream_errors: counts.upstream_errors,
            client_errors: counts.client_errors,
            reasons: known.reasons,
        };
    }

    /// Forgets the errors counted so far, because those since `since` belong to something that is over. Does nothing if
    /// the error rate began to fire before `since`.
    pub(super) fn forget_errors_since(&mut self, since: Millis, changes: &mut Changes) {
        let [_, before] = self.incidents;
        if !before.revision.over {
            if before.began < since {
                return;
            }
            let kind = Kind::ErrorRateResolved;
            let revision =
                Revision { state: StateCode::error_rate(RateState::Ok), over: true, ..before.next_revision() };
            let serving = self.failover.serving();
            let incident = Incident { revision, kind, change: kind, since: changes.now, ..before };
            self.put_incident(Key::ErrorRate, incident, (serving, serving), changes);
        }
        self.error_rate.reset();
        self.window.clear();
        self.period.clear();
    }

    /// Sends an open incident once more if clients get errors in it now that they did not get before.
    pub(super) fn worsen(&mut self, rules: &Rules, ring: &Ring, changes: &mut Changes) {
        for key in Key::ALL {
            let incident = self.incidents[key as usize];
            // The errors of an outage belong to the outage.
            if key == Key::ErrorRate && self.failover.serving() == Serving::Down {
                continue;
            }
            if incident.revision.over || incident.critical || !self.is_critical(&incident, rules, ring, changes.now) {
                continue;
            }
            let state = incident.revision.state;
            let revision = Revision { state, ..incident.next_revision() };
            let incident = Incident { revision, critical: true, ..incident };
            let serving = self.failover.serving();
            self.put_incident(key, incident, (serving, serving), changes);
        }
    }

    /// Do clients get errors in this incident? Once they did, the incident stays critical until it is over.
    pub(super) fn is_critical(&self, incident: &Incident, rules: &Rules, ring: &Ring, now: Millis) -> bool {
        let rate = rules.error_rate.unwrap_or_default();
        let clients_get_errors = || {
            let (window, period) = (&self.window, &self.period);
            error_rate::do_clients_get_errors(&rate, window, period, ring, incident.first_request, now)
        };
        match incident.change {
            _ if incident.critical => true,
            Kind::Down => true,
            Kind::ErrorRateFiring => {
                rules.error_rate.is_some_and(|rate| rate.of == RateOf::Client) || clients_get_errors()
            }
            Kind::Failover | Kind::Mixed => clients_get_errors(),
            _ => incident.kind == Kind::Flapping && clients_get_errors(),
        }
    }

    /// Stores a new revision of an incident, and adds the change to the history and to the keys that have something to
    /// send. `moved`: which pool served before, and which serves now.
    pub(super) fn put_incident(
        &mut self,
        key: Key,
        mut incident: Incident,
        moved: (Serving, Serving),
        changes: &mut Changes,
    ) {
        incident.revision.critical = incident.critical && !incident.revision.over;
        let over = incident.revision.over;
        let lasted = (over && incident.is_continued()).then(|| incident.since - incident.began);
        let numbers = (incident.revision.number, incident.id);
        let severity = severity(incident.change, incident.critical);
        changes.records.push(ChangeRecord::announced(
            incident.change,
            severity,
            numbers,
            moved,
            incident.since,
            lasted,
        ));
        changes.keys.push(key);
        self.incidents[key as usize] = incident;
    }

    /// How far a firing error rate below its threshold is from its end; `None`: the rate does not fire, or is above its
    /// threshold.
    pub(crate) fn easing(&self, rules: &Rules, now: Millis) -> Option<Easing> {
        self.error_rate.easing(rules.error_rate.as_ref()?, &self.window, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::ErrorRateRules;
    use crate::detect::failover::Failover;
    use crate::pools::set::PoolId;
    use crate::window::WORDS;

    const ERROR_RATE: usize = Key::ErrorRate as usize;

    fn firing() -> Incident {
        let revision = Revision { number: 4, over: false, ..Revision::default() };
        let kind = Kind::ErrorRateFiring;
        Incident {
            revision,
            id: 3,
            kind,
            change: kind,
            began: Millis(1_000),
            since: Millis(5_000),
            ..Incident::default()
        }
    }

    #[test]
    fn a_change_that_ends_an_incident_says_how_long_it_lasted() {
        let lasted = |over, id| {
            let (mut detection, mut changes) = (Detection::default(), Changes::default());
            let incident = Incident { id, revision: Revision { over, ..firing().revision }, ..firing() };
            detection.put_incident(Key::ErrorRate, incident, (Serving::Unknown, Serving::Unknown), &mut changes);
            changes.records.first().and_then(ChangeRecord::lasted)
        };
        assert_eq!([lasted(true, 3), lasted(true, 4), lasted(false, 3)], [Some(Millis(4_000)), None, None]);
    }

    #[test]
    fn errors_since_the_beginning_of_what_is_over_are_forgotten_with_their_alert() {
        let kind_after = |since| {
            let mut detection = Detection::default();
            detection.incidents[ERROR_RATE] = firing();
            detection.forget_errors_since(Millis(since), &mut Changes::default());
            let incident = detection.incidents[ERROR_RATE];
            (incident.kind, incident.change, incident.revision.over)
        };
        let resolved = (Kind::ErrorRateResolved, Kind::ErrorRateResolved, true);
        assert_eq!([1_000, 500].map(kind_after), [resolved; 2]);
        assert_eq!(kind_after(1_001), (Kind::ErrorRateFiring, Kind::ErrorRateFiring, false), "it began before");
    }

    #[test]
    fn an_error_rate_that_reaches_clients_is_sent_once_more_but_not_during_an_outage() {
        let ring: Box<Ring> = vec![0; WORDS].into_boxed_slice().try_into().expect("the ring's length");
        let error_rate = Some(ErrorRateRules { of: RateOf::Client, ..ErrorRateRules::default() });
        let rules = Rules { error_rate, ..Rules::default() };
        let is_critical_with = |serving| {
            let mut detection = Detection { failover: Failover::resume(serving, Millis(1)), ..Detection::default() };
            detection.incidents[ERROR_RATE] = firing();
            detection.worsen(&rules, &ring, &mut Changes::default());
            detection.incidents[ERROR_RATE].critical
        };
        assert_eq!([Serving::Pool(PoolId::FIRST), Serving::Down].map(is_critical_with), [true, false]);
    }
}
