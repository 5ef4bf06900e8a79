//! What the detectors of one upstream know, and how requests and time change that.

use crate::alert::Reasons;
use crate::config::upstream::{ConfiguredPeer, WatchedUpstream};
use crate::detect::error_rate::{ErrorRate, RateState};
use crate::detect::failover::{Evidence, Failover};
use crate::detect::first_choice::FirstChoice;
use crate::detect::flapping::Flapping;
use crate::detect::serving::Serving;
use crate::incident::{Incident, Key};
use crate::observation::{Observation, Verdict};
use crate::pools::directory::Directory;
use crate::pools::set::PoolMap;
use crate::state::failures::{Failures, reasons_of};
use crate::state::history::ChangeRecord;
use crate::state::lookup::ResolvedObservation;
use crate::state::setup::Setup;
use crate::text::{self, Text};
use crate::units::Millis;
use crate::window::{Entry, Period, Ring, Window};

/// What happened to an upstream while its messages were held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Silenced {
    /// When the last such time began; zero: there was none.
    pub(crate) since: Millis,
    /// When it ended; zero: it is going on.
    pub(crate) ended: Millis,
    pub(crate) requests: u32,
    pub(crate) failed: u32,
    /// When the last failed request ended; zero: none failed.
    pub(crate) last_failure: Millis,
    /// Changes of the serving pool.
    pub(crate) changes: u32,
}

impl Silenced {
    pub(super) fn is_going_on(&self) -> bool {
        self.since != Millis::ZERO && self.ended == Millis::ZERO
    }
}

/// What the detectors know; each batch changes it in one edit.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Detection {
    pub(crate) failover: Failover,
    /// Of a service.
    pub(crate) first_choice: FirstChoice,
    pub(crate) error_rate: ErrorRate,
    pub(crate) window: Window,
    pub(crate) period: Period,
    pub(crate) flapping: Flapping,
    /// By index, in the order of [`Key::ALL`].
    pub(crate) incidents: [Incident; 2],
    pub(crate) failures: Failures,
    /// Clients got errors since the last check whether an incident affects clients.
    pub(crate) clients_erred: bool,
    pub(crate) silenced: Silenced,
    pub(crate) releases: PoolMap<Text<64>>,
    /// During a planned switch, until the new expected pool answers: which pool served before. `Unknown`: no switch is
    /// under way.
    pub(crate) switching: Serving,
}

/// What a batch or a tick changed: to be sent and recorded once it is committed.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) now: Millis,
    pub(super) keys: Vec<Key>,
    pub(super) records: Vec<ChangeRecord>,
}

impl Detection {
    /// Counts a request and its errors.
    pub(super) fn count(&mut self, ring: &mut Ring, resolved: &ResolvedObservation<'_>, changes: &mut Changes) {
        let ResolvedObservation { seen, answered, failed, .. } = *resolved;
        let now = changes.now;
        if self.error_rate.level() == RateState::NoData {
            self.forget_errors_since(Millis::ZERO, changes);
        }
        let entry = Entry { upstream_error: failed, client_error: seen.is_client_error() };
        let reasons = if failed { reasons_of(seen) } else { Reasons::default() };
        self.clients_erred |= entry.client_error;
        self.failures.push(entry, &reasons, self.window.head, now);
        self.window.push(ring, entry);
        self.period.push(entry, now);
        self.error_rate.note_traffic(now);
        for incident in self.incidents.iter_mut().filter(|incident| !incident.revision.over) {
            incident.sums.push(entry, &reasons);
        }
        if self.silenced.is_going_on() {
            self.silenced.requests = self.silenced.requests.saturating_add(1);
            if entry != Entry::default() {
                self.silenced.failed = self.silenced.failed.saturating_add(1);
                self.silenced.last_failure = now;
            }
        }
        let release = answered.map(|pool| &mut self.releases[pool]);
        let named = seen.release();
        let is_new =
            |release: &&mut Text<64>| !named.is_empty() && !text::is_same(release.as_bytes(), named.as_bytes());
        if let Some(release) = release.filter(is_new) {
            *release = *named;
        }
    }

    /// Uses a request as evidence about which pool serves.
    pub(super) fn follow(
        &mut self,
        setup: &Setup,
        watched: &WatchedUpstream,
        resolved: &ResolvedObservation<'_>,
        ring: &Ring,
        changes: &mut Changes,
    ) {
        let Setup { directory, expected, .. } = setup;
        let ResolvedObservation { seen, answered, .. } = *resolved;
        let Some(last) = seen.attempts().last().filter(|last| last.verdict != Verdict::Unfinished) else { return };
        // What the configuration sends to another block says nothing about the pools that should serve.
        let is_elsewhere = setup.is_elsewhere(seen.block) && !answered.is_some_and(|pool| expected.includes(pool));
        let change = match answered {
            _ if is_elsewhere && (last.verdict != Verdict::Ok || self.failover.serving() == Serving::Down) => None,
            _ if is_elsewhere => self.failover.fold_stranger(last.start, *expected),
            None if last.verdict == Verdict::Ok => self.failover.fold_stranger(last.start, *expected),
            // A pool answered, and what its answer led to failed: no outage.
            None if seen.attempts().iter().any(|attempt| attempt.verdict == Verdict::Ok) => None,
            answered => {
                let evidence = Evidence {
                    answered,
                    start: last.start,
                    to_header: last.to_header,
                    ..marked(directory, watched, seen)
                };
                self.failover.fold(&evidence, *expected)
            }
        };
        if let Some(change) = change {
            self.note_serving(setup, change, ring, changes);
        }
    }

    pub(super) fn tick(&mut self, setup: &Setup, ring: &Ring, changes: &mut Changes) {
        let now = changes.now;
        let watched = setup.rules.failover.is_some();
        if let Some(change) = watched.then(|| self.failover.tick(&setup.rules, setup.expected, now)).flatten() {
            self.note_serving(setup, change, ring, changes);
        }
        let [incident, _] = &self.incidents;
        if self.flapping.ends(now) && incident.revision.state.is_flapping() {
            let (serving, since) = (self.failover.serving(), self.failover.since());
            self.put_serving(setup, self.kind_of(setup, serving), serving, since, ring, changes);
        }
        let rules = setup.rules.error_rate.as_ref();
        let level = rules.and_then(|rules| self.error_rate.tick(rules, &self.window, &self.period, now));
        if let Some(level) = level {
            self.note_level(setup, level, ring, changes);
        }
        // What may become an outage in a moment is sent as an outage.
        let may_be_outage = watched && self.failover.outage_due(&setup.rules).is_some();
        if self.clients_erred && !may_be_outage {
            self.clients_erred = false;
            self.worsen(&setup.rules, ring, changes);
        }
    }
}

/// What nginx's marks at a request say of the pools.
fn marked(directory: &Directory, watched: &WatchedUpstream, seen: &Observation) -> Evidence {
    let marks = seen.marks();
    if marks.are_empty() {
        return Evidence::default();
    }
    let unusable = directory.unusable(watched, marks.unusable);
    let not_asked = directory.unusable(watched, marks.unusable.with(marks.full));
    let full = not_asked.iter().filter(|&pool| !unusable.contains(pool)).collect();
    // Without a failure of its own the request is not waited for less: another worker may still have to report the one
    // for which nginx gave the pool up, and which says why.
    if !marks.is_shared || !seen.has_failure() {
        return Evidence { unusable_here: unusable, full, ..Evidence::default() };
    }
    let is_refused =
        |(index, peer): (usize, &ConfiguredPeer)| peer.is_name || peer.is_down || marks.unusable.contains(index);
    let is_every = !watched.peers.is_empty() && watched.peers.iter().enumerate().all(is_refused);
    let has_none = seen.attempts().last().is_some_and(|last| last.verdict == Verdict::NoLiveUpstreams);
    Evidence { unusable, full, exhausted: is_every && has_none, ..Evidence::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rules::Rules;
    use crate::config::upstream::Role;
    use crate::observation::{Attempt, Details, Marks};
    use crate::pools::set::PoolId;
    use crate::text::Name;
    use crate::window::WORDS;

    const BLUE: PoolId = PoolId::FIRST;
    const GREEN: PoolId = PoolId::new(1).expect("a pool");

    /// Blue has served for a while; then a request has these attempts, while nginx refuses to ask these peers. Which
    /// pool serves now, and is an outage possible?
    fn follow(times: usize, attempts: &[(u16, Verdict)], unusable_peers: &[usize]) -> (Serving, bool) {
        let peer = |address: &[u8], role| ConfiguredPeer { address: address.into(), role, ..ConfiguredPeer::default() };
        let watched = WatchedUpstream {
            name: Name::new(b"app"),
            rules: Rules::default(),
            pools: vec![],
            peers: vec![peer(b"1.1.1.1:1", Role::Primary), peer(b"2.2.2.2:2", Role::Backup)],
            ..WatchedUpstream::default()
        };
        let mut setup = Setup::default();
        setup.directory.adopt(&watched);
        let ring: Box<Ring> = vec![0; WORDS].into_boxed_slice().try_into().expect("the ring's length");
        let mut detection =
            Detection { failover: Failover::resume(Serving::Pool(BLUE), Millis(1_000)), ..Detection::default() };
        let marks = Marks { unusable: unusable_peers.iter().copied().collect(), is_shared: true, ..Marks::default() };
        let details = Some(Box::new(Details { marks, ..Details::default() }));
        let mut seen = Observation { details, ..Observation::default() };
        for &(peer, verdict) in attempts {
            seen.push(Attempt { peer, verdict, start: Millis(2_000), ..Attempt::default() });
        }
        let resolved = ResolvedObservation::new(&setup.directory, &watched, &seen);
        let mut changes = Changes { now: Millis(2_000), ..Changes::default() };
        for _ in 0..times {
            detection.follow(&setup, &watched, &resolved, &ring, &mut changes);
        }
        (detection.failover.serving(), detection.failover.outage_due(&setup.rules).is_some())
    }

    #[test]
    fn a_pool_that_nginx_refuses_to_ask_is_replaced_at_once_by_the_one_that_answers() {
        let retried = [(0, Verdict::Refused), (1, Verdict::Ok)];
        let serving = |unusable_peers: &[usize]| follow(1, &retried, unusable_peers).0;
        assert_eq!([&[][..], &[0], &[1]].map(serving), [BLUE, GREEN, BLUE].map(Serving::Pool));
        let direct = follow(1, &[(1, Verdict::Ok)], &[0]).0;
        assert_eq!(direct, Serving::Pool(BLUE), "another worker has to say why");
    }

    #[test]
    fn it_is_an_outage_at_once_if_nginx_refuses_to_ask_every_peer() {
        let serving = |verdict, unusable_peers: &[usize]| follow(1, &[(0, verdict)], unusable_peers).0;
        assert_eq!(serving(Verdict::NoLiveUpstreams, &[0, 1]), Serving::Down);
        assert_eq!(serving(Verdict::NoLiveUpstreams, &[0]), Serving::Pool(BLUE));
        assert_eq!(serving(Verdict::Refused, &[0, 1]), Serving::Pool(BLUE));
    }

    #[test]
    fn only_requests_that_no_server_answered_lead_to_an_outage() {
        let is_outage = |attempts: &[(u16, Verdict)]| follow(3, attempts, &[]).1;
        assert!(is_outage(&[(0, Verdict::Refused), (1, Verdict::TimedOut)]));
        assert!(is_outage(&[(0, Verdict::Rejected), (1, Verdict::Refused)]), "no client was answered");
        assert!(!is_outage(&[(0, Verdict::Ok), (1, Verdict::Refused)]), "an answer led to the failure");
        assert!(!is_outage(&[(0, Verdict::Refused), (1, Verdict::Unfinished)]));
        assert!(!is_outage(&[(Attempt::UNKNOWN_PEER, Verdict::Ok)]));
    }

    #[test]
    fn a_silence_goes_on_from_its_beginning_to_its_end() {
        let is_going_on =
            |since, ended| Silenced { since: Millis(since), ended: Millis(ended), ..Silenced::default() }.is_going_on();
        assert_eq!([is_going_on(0, 0), is_going_on(5, 0), is_going_on(5, 9)], [false, true, false]);
    }
}
