//! The committed parts of an upstream as one value to ask: in the table under its lock, or copied out of it.

use crate::alert::{PoolFacts, Rate, Report, Sample, Threshold};
use crate::detect::error_rate;
use crate::detect::failover::Serving;
use crate::observation::Example;
use crate::outbox::Claim;
use crate::pools::{Expected, PoolId};
use crate::rules::RateOf;
use crate::state::slot::{Detection, Incident, Key, Setup, is_as_expected};
use crate::text::{Name, Text};
use crate::units::Millis;
use crate::window::Counts;

/// One upstream, as far as it is committed.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) name: &'a Name,
    pub(crate) setup: &'a Setup,
    pub(crate) detection: &'a Detection,
    /// The last failed requests, newest first.
    pub(crate) examples: &'a [Option<Example>],
}

impl<'a> View<'a> {
    /// A truth and what is to be told of it.
    pub(crate) fn incident(&self, key: Key) -> &'a Incident {
        let [serving, rate] = &self.detection.incidents;
        match key {
            Key::Serving => serving,
            Key::ErrorRate => rate,
        }
    }

    /// What messages about a key are recognised by.
    pub(crate) fn id(&self, key: Key) -> String {
        let about = match key {
            Key::Serving => "serving",
            Key::ErrorRate => "error-rate",
        };
        format!("{}/{about}", String::from_utf8_lossy(self.name.as_bytes()))
    }

    /// Does what serves now serve by the operator's will?
    pub(crate) fn is_as_expected(&self) -> bool {
        is_as_expected(self.detection.failover.serving(), self.setup.expected)
    }

    /// Does this pool serve, alone or as one of several that should?
    pub(crate) fn is_serving(&self, pool: PoolId) -> bool {
        let serving = self.detection.failover.serving();
        serving == Serving::Pool(pool) || (self.setup.expected.includes(pool) && self.is_as_expected())
    }

    /// Is this state that of several pools which serve together by configuration?
    pub(crate) fn is_several(&self, serving: Serving) -> bool {
        matches!(self.setup.expected, Expected::Several(_)) && is_as_expected(serving, self.setup.expected)
    }

    /// Requests and their errors, over the window or, where there is none, the period.
    pub(crate) fn counts(&self, now: Millis) -> Counts {
        let (window, period) = (&self.detection.window, &self.detection.period);
        let rate = self.setup.rules.error_rate.as_ref();
        rate.map_or_else(|| window.counts(), |rate| error_rate::shown(rate, window, period, now))
    }

    /// Everything to be told about a key's current state, and what the claim, if any, says about the past.
    pub(crate) fn report(&self, key: Key, claim: Option<&Claim>, now: Millis, wall: u64, host: &str) -> Report {
        let Self { setup, detection, .. } = *self;
        let incident = self.incident(key);
        let since = now - incident.since;
        let serving = detection.failover.serving();
        let (from, to) = match key {
            Key::Serving => (self.pool_facts(incident.from), self.pool_facts(serving)),
            Key::ErrorRate => (None, self.pool_facts(serving)),
        };
        let rate = setup.rules.error_rate.as_ref();
        let counts = self.counts(now);
        let severity = detection.severity(&setup.rules, incident.kind, now);
        let report = Report {
            id: format!("{}/{}", self.id(key), incident.truth.generation),
            from,
            to,
            since_unix: wall.saturating_sub(since.0),
            lasted: incident.truth.over.then_some(incident.since - incident.began),
            reasons: detection.reasons,
            upstream_rate: Rate { errors: counts.upstream_errors, requests: counts.requests },
            client_rate: Rate { errors: counts.client_errors, requests: counts.requests },
            threshold: rate.map(|rate| Threshold { ratio: rate.threshold, window: rate.window, period: rate.period }),
            rate_of: rate.map_or(RateOf::Upstream, |rate| rate.of),
            as_expected: self.is_as_expected(),
            changes: detection.flapping.changes(now),
            samples: self.examples.iter().flatten().filter(|_| !incident.truth.over).map(sample).collect(),
            runbook: String::from_utf8_lossy(setup.rules.runbook.as_bytes()).into_owned(),
            ..Report::about(incident.kind, severity, self.name.as_bytes(), wall, host)
        };
        match claim {
            Some(claim) => report.covering(claim.covered, since),
            None => report,
        }
    }

    /// `None`: nobody, or several pools.
    fn pool_facts(&self, serving: Serving) -> Option<PoolFacts> {
        let Setup { directory, expected, .. } = self.setup;
        let is_alone = |id: &PoolId| *expected == Expected::Pool(*id) || !expected.includes(*id);
        let id = if let Serving::Pool(id) = serving { Some(id).filter(is_alone) } else { None }?;
        let release = self.detection.releases.get(usize::from(id)).map_or(&[][..], Text::as_bytes);
        Some(PoolFacts {
            name: directory.name(id).to_vec(),
            addresses: directory.addresses(id).map(<[u8]>::to_vec).collect(),
            release: release.to_vec(),
        })
    }
}

fn sample(example: &Example) -> Sample {
    Sample {
        method: example.method.as_bytes().to_vec(),
        path: example.path.as_bytes().to_vec(),
        status: example.status,
        upstream_status: example.upstream_status.as_bytes().to_vec(),
        upstream_addr: example.upstream_addr.as_bytes().to_vec(),
        upstream_response_time: example.upstream_response_time.as_bytes().to_vec(),
    }
}
