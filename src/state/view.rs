//! The committed parts of an upstream as one value, either in the table under its lock or copied out of it.

use crate::alert::{self, Alert, ExampleRequest, Kind, Missing, PoolFacts, Rates, Severity, Threshold};
use crate::clock::Times;
use crate::config::rules::RateOf;
use crate::detect::error_rate::{self, Easing};
use crate::detect::serving::Serving;
use crate::incident::{Incident, Key, serves_expected_pool, severity};
use crate::observation::Example;
use crate::outbox::delivery_state::Claim;
use crate::pools::set::{Expected, PoolId};
use crate::state::detection::Detection;
use crate::state::setup::Setup;
use crate::text::Name;
use crate::units::{Millis, Ratio};
use crate::window::Counts;

/// The log phase makes an example before its request is counted; up to this difference the two times count as the same
/// moment.
const SAME_SECOND: Millis = Millis::from_secs(1);

/// One upstream, as far as it is committed.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) name: &'a Name,
    pub(crate) setup: &'a Setup,
    pub(crate) detection: &'a Detection,
    /// The last failed requests as examples, newest first; empty in a copy.
    pub(crate) examples: &'a [Option<Example>],
}

impl<'a> View<'a> {
    /// The present revision of a key, and the facts for its message.
    pub(crate) fn incident(&self, key: Key) -> &'a Incident {
        let [serving, rate] = &self.detection.incidents;
        match key {
            Key::Serving => serving,
            Key::ErrorRate => rate,
        }
    }

    /// The beginning of the names of all incidents of a key: `app/serving`.
    pub(crate) fn id(&self, key: Key) -> String {
        let about = match key {
            Key::Serving => "serving",
            Key::ErrorRate => "error-rate",
        };
        format!("{}/{about}", String::from_utf8_lossy(self.name.as_bytes()))
    }

    /// Does an expected pool serve?
    pub(crate) fn serves_expected_pool(&self) -> bool {
        serves_expected_pool(self.detection.failover.serving(), self.setup.expected)
    }

    /// Does this pool serve, alone or as one of several that should?
    pub(crate) fn is_serving(&self, pool: PoolId) -> bool {
        let serving = self.detection.failover.serving();
        serving == Serving::Pool(pool) || (self.setup.expected.includes(pool) && self.serves_expected_pool())
    }

    /// Is this the state in which several pools serve together by configuration?
    pub(crate) fn is_several(&self, serving: Serving) -> bool {
        matches!(self.setup.expected, Expected::Several(_)) && serves_expected_pool(serving, self.setup.expected)
    }

    /// Requests and errors over the window or, if there is none, over the period.
    pub(crate) fn counts(&self, now: Millis) -> Counts {
        let (window, period) = (&self.detection.window, &self.detection.period);
        let rate = self.setup.rules.error_rate.as_ref();
        rate.map_or_else(|| window.counts(), |rate| error_rate::shown(rate, window, period, now))
    }

    /// A change of a key's state as error.log reports it: while the serving pool changes again and again, each single
    /// change.
    pub(crate) fn change(&self, key: Key, times: Times, host: &str) -> Alert {
        let alert = self.alert(key, times, host);
        let incident = self.incident(key);
        Alert { kind: incident.change, severity: severity(incident.change, incident.critical), ..alert }
    }

    /// A key's present state as an alert, with what the claim says about earlier revisions.
    pub(crate) fn message(&self, key: Key, claim: &Claim, times: Times, host: &str) -> Alert {
        self.alert(key, times, host).covering(claim.covered, times.now - self.incident(key).since)
    }

    /// All facts about a key's present state.
    pub(crate) fn alert(&self, key: Key, times: Times, host: &str) -> Alert {
        let (Self { setup, detection, .. }, Times { now, wall }) = (*self, times);
        let incident = self.incident(key);
        let unix = |instant: Millis| times.date(instant.min(now));
        let serving = detection.failover.serving();
        let (from, to) = match key {
            Key::Serving => (self.pool_facts(incident.from), self.pool_facts(serving)),
            // A pool whose servers a reload took away serves no more, even if no other has answered yet.
            Key::ErrorRate if matches!(serving, Serving::Pool(id) if !setup.directory.is_reachable(id)) => (None, None),
            Key::ErrorRate => (None, self.pool_facts(serving)),
        };
        let rate = setup.rules.error_rate.as_ref();
        let Incident { revision, kind, sums, critical, .. } = *incident;
        let severity = severity(kind, critical);
        let was = if critical { Severity::Critical } else { Severity::Warning };
        let easing = detection.easing(&setup.rules, now).filter(|_| kind == Kind::ErrorRateFiring);
        Alert {
            id: format!("{}/{}", self.id(key), incident.id),
            change: revision.number - incident.id + 1,
            wanted: self.wanted(kind).filter(|wanted| from.as_ref().is_none_or(|from| from.name != wanted.name)),
            from,
            to,
            since_unix: unix(incident.since),
            lasted: (revision.over && incident.is_continued()).then_some(incident.since - incident.began),
            ended: (severity == Severity::Info && incident.is_continued()).then_some(was),
            worsened: revision.critical && revision.from == revision.state && incident.is_continued(),
            flapping: detection.flapping.is_on(),
            reasons: sums.reasons,
            rates: Rates::new(
                u32::try_from(sums.requests).unwrap_or(u32::MAX),
                sums.upstream_errors,
                sums.client_errors,
            ),
            window_rates: self.window_rates(now),
            easing: easing.map(|easing| alert::Easing {
                peak: easing.peak,
                below_since_unix: unix(easing.below),
                missing: match easing {
                    _ if !easing.is_low => Missing::Share(rate.map_or_else(Ratio::default, |rate| rate.resolve)),
                    Easing { requests: 1.., .. } => Missing::Requests(easing.requests),
                    _ => Missing::Time(easing.time),
                },
            }),
            threshold: rate.map(|rate| Threshold { ratio: rate.threshold, window: rate.window, period: rate.period }),
            rate_of: rate.map_or(RateOf::Upstream, |rate| rate.of),
            as_expected: self.serves_expected_pool(),
            changes: detection.flapping.changes(now),
            examples: self.own_examples(incident).map(example_request).collect(),
            runbook: String::from_utf8_lossy(setup.rules.runbook.as_bytes()).into_owned(),
            ..Alert::about(kind, severity, self.name.as_bytes(), wall, host)
        }
    }

    /// The examples that belong to an incident, as long as it is open.
    fn own_examples(&self, incident: &Incident) -> impl Iterator<Item = &'a Example> {
        let (is_open, from) = (!incident.revision.over, incident.first_failure.min(incident.began));
        self.examples.iter().flatten().filter(move |example| is_open && example.at + SAME_SECOND >= from)
    }

    fn window_rates(&self, now: Millis) -> Rates {
        let counts = self.counts(now);
        Rates::new(counts.requests, counts.upstream_errors, counts.client_errors)
    }

    /// The pool that should serve, during an outage; `None`: several should, or it is no outage.
    fn wanted(&self, kind: Kind) -> Option<PoolFacts> {
        match self.setup.expected {
            Expected::Pool(id) if kind == Kind::Down => self.pool_facts(Serving::Pool(id)),
            _ => None,
        }
    }

    /// `None`: no pool serves, or several do.
    fn pool_facts(&self, serving: Serving) -> Option<PoolFacts> {
        let Setup { directory, expected, .. } = self.setup;
        let is_alone = |id: &PoolId| *expected == Expected::Pool(*id) || !expected.includes(*id);
        let id = if let Serving::Pool(id) = serving { Some(id).filter(is_alone) } else { None }?;
        let release = self.detection.releases[id].as_bytes();
        Some(PoolFacts {
            name: directory.name(id).to_vec(),
            addresses: directory.addresses(id).map(<[u8]>::to_vec).collect(),
            release: release.to_vec(),
            is_unknown: directory.is_unknown(id),
        })
    }
}

fn example_request(example: &Example) -> ExampleRequest {
    ExampleRequest {
        method: example.method.as_bytes().to_vec(),
        path: example.path.as_bytes().to_vec(),
        status: example.status,
        upstream_status: example.upstream_status.as_bytes().to_vec(),
        upstream_addr: example.upstream_addr.as_bytes().to_vec(),
        upstream_response_time: example.upstream_response_time.as_bytes().to_vec(),
    }
}
