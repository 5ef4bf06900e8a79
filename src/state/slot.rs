//! Everything about one watched upstream, in one fixed place of the table.

use crate::alert::{Kind, Reasons, Severity};
use crate::crash;
use crate::detect::error_rate::{self, ErrorRate, Level};
use crate::detect::failover::{Change, Evidence, Failover, Serving};
use crate::detect::flapping::Flapping;
use crate::observation::{Example, Observation, Verdict};
use crate::outbox::{Debt, MAX_RECEIVERS, Truth};
use crate::pools::{Directory, Expected, MAX_POOLS, PoolId, Watched};
use crate::rules::{RateOf, Rules};
use crate::state::counters::{Counters, Releases, Series};
use crate::state::history::{History, Record};
use crate::state::sighting::{Familiar, Sighting};
use crate::state::twin::Twin;
use crate::state::view::View;
use crate::text::{self, Name, Text};
use crate::units::Millis;
use crate::window::{Entry, Period, Ring, WORDS, Window};

/// Failed requests shown in a message.
const EXAMPLES: usize = 3;

/// While the expected pool serves, reasons for failures are forgotten after this long, so that a message tells of its own
/// incident and not of last week's.
const REASONS_KEPT: Millis = Millis::from_secs(60);

/// The truth's state while single changes are not told; beyond all of [`Serving::index`].
pub(super) const FLAPPING: u8 = Serving::COUNT as u8;

/// The truth's state once the upstream is not watched any more.
pub(super) const LEFT: u8 = FLAPPING + 1;

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

/// The configuration of an upstream, and what its pools are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    pub(crate) directory: Directory,
    pub(crate) expected: Expected,
}

impl Default for Setup {
    fn default() -> Self {
        Self { rules: Rules::default(), directory: Directory::default(), expected: Expected::Pool(0) }
    }
}

/// A truth and what is to be told of it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Incident {
    pub(crate) truth: Truth,
    pub(crate) kind: Kind,
    pub(crate) from: Serving,
    pub(crate) since: Millis,
    /// When the incident began that this change continues or ends.
    pub(crate) began: Millis,
}

impl Incident {
    /// Nobody will see how it ends.
    fn leave(&mut self, now: Millis) {
        let Truth { generation, state, .. } = self.truth;
        self.truth = Truth { generation: generation + 1, state: LEFT, from: state, over: true };
        (self.kind, self.since) = (Kind::NoLongerWatched, now);
    }
}

impl Default for Incident {
    fn default() -> Self {
        let truth = Truth { over: true, ..Truth::default() };
        Self { truth, kind: Kind::Recovery, from: Serving::Unknown, since: Millis::ZERO, began: Millis::ZERO }
    }
}

/// What the detectors know, changed with each batch.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Detection {
    pub(crate) failover: Failover,
    pub(crate) error_rate: ErrorRate,
    pub(crate) window: Window,
    pub(crate) period: Period,
    pub(crate) flapping: Flapping,
    /// In the order of [`Key::ALL`].
    pub(crate) incidents: [Incident; 2],
    pub(crate) reasons: Reasons,
    pub(crate) reasons_since: Millis,
    pub(crate) releases: [Text<64>; MAX_POOLS],
    /// The operator chose another expected pool, which has not answered yet: who served before. Unknown: no switch is under way.
    pub(crate) switching: Serving,
}

/// The last failed requests, newest first.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Examples {
    list: [Option<Example>; EXAMPLES],
}

/// One watched upstream. The parts change at different rates, so each has its own twin.
#[derive(Debug)]
#[repr(C)]
pub struct Slot {
    /// The upstream block's name; empty: a free slot.
    pub(crate) name: Name,
    /// The configuration that last named it.
    pub(crate) adopted: u64,
    /// The first configuration that named it no more; 0: it is watched.
    pub(crate) left: u64,
    pub(crate) setup: Twin<Setup>,
    pub(crate) detection: Twin<Detection>,
    examples: Twin<Examples>,
    pub(crate) debts: Twin<[[Debt; MAX_RECEIVERS]; 2]>,
    pub(crate) counters: Counters,
    pub(crate) releases: Twin<Releases>,
    pub(crate) history: History,
    pub(crate) series: Series,
    ring: Ring,
}

// A slot is what an operator pays for an upstream.
const _: () = assert!(size_of::<Slot>() <= 64 * 1024, "an upstream takes more than 64 KiB of zone");

/// What came of a batch or a tick, to be told and to be remembered once it is committed.
#[derive(Default)]
struct News {
    now: Millis,
    keys: Vec<Key>,
    records: Vec<Record>,
}

impl Slot {
    /// A free slot.
    #[expect(clippy::large_stack_arrays, reason = "written into the table once, when that is made")]
    pub fn empty() -> Self {
        Self {
            name: Name::EMPTY,
            adopted: 0,
            left: 0,
            setup: Twin::new(Setup::default()),
            detection: Twin::new(Detection::default()),
            examples: Twin::new(Examples::default()),
            debts: Twin::new([[Debt::default(); MAX_RECEIVERS]; 2]),
            counters: Counters::default(),
            releases: Twin::default(),
            history: History::empty(),
            series: Series::empty(),
            ring: [0; WORDS],
        }
    }

    /// Makes the slot this upstream's own, with nothing known of it. The name comes last: a slot is never half another's.
    pub(crate) fn reset(&mut self, name: Name) {
        self.name = Name::EMPTY;
        crash::at("slot-unnamed");
        (self.adopted, self.left) = (0, 0);
        // Edited, not made anew: their commits rise, so that a reader on the way notices.
        self.setup.edit(|setup| *setup = Setup::default());
        self.detection.edit(|detection| *detection = Detection::default());
        self.examples.edit(|examples| *examples = Examples::default());
        self.debts.edit(|debts| *debts = [[Debt::default(); MAX_RECEIVERS]; 2]);
        self.forget_counts();
        crash::at("slot-forgotten");
        self.name = name;
        crash::at("slot-named");
    }

    /// A newer configuration names this upstream no more. What was open is told as no longer watched; told or not, the slot
    /// stands still.
    pub(crate) fn leave(&mut self, generation: u64, now: Millis, changed: &mut Vec<Key>) {
        self.detection.edit(|detection| {
            for (key, incident) in Key::ALL.into_iter().zip(&mut detection.incidents) {
                if !incident.truth.over {
                    incident.leave(now);
                    changed.push(key);
                }
            }
        });
        self.left = generation;
    }

    /// The upstream is named again, and begins anew. What is owed of its past still is, and its generations go on.
    pub(crate) fn rejoin(&mut self) {
        self.detection.edit(|detection| {
            *detection = Detection { incidents: detection.incidents, ..Detection::default() };
        });
        self.examples.edit(|examples| *examples = Examples::default());
        self.setup.edit(|setup| *setup = Setup::default());
        // Pools get new places now.
        self.forget_counts();
        (self.adopted, self.left) = (0, 0);
    }

    fn forget_counts(&mut self) {
        self.counters = Counters::default();
        self.releases.edit(|releases| *releases = Releases::default());
        self.history.clear();
        self.series.clear();
    }

    /// Takes over a configuration. The state stays; a changed expected pool begins a planned switch.
    pub(crate) fn adopt(&mut self, watched: &Watched, generation: u64, now: Millis) {
        let first = self.adopted == 0;
        let before = *self.setup.live();
        let expected = self.setup.edit(|setup| {
            setup.rules = watched.rules;
            setup.directory.adopt(watched);
            setup.expected = setup.directory.expected(&setup.rules);
            setup.expected
        });
        let Self { setup, detection, counters, ring, .. } = self;
        counters.follow(&before.directory, &setup.live().directory);
        detection.edit(|detection| {
            detection.failover.set_rules(&watched.rules);
            if let Some(rules) = watched.rules.error_rate {
                if rules.window > 0 {
                    detection.window.resize(ring, rules.window);
                }
                detection.period.set_span(rules.period);
            }
            if !first && expected != before.expected {
                if detection.failover.serving() != Serving::Unknown {
                    detection.switching = detection.failover.serving();
                }
                detection.failover.expect_anew(now);
            }
        });
        crash::at("slot-configured");
        self.adopted = generation;
        crash::at("slot-adopted");
    }

    /// Folds a batch of this upstream's observations, all under one commit. `generation`: of the configuration that made them.
    pub(crate) fn fold(
        &mut self,
        watched: &Watched,
        generation: u64,
        batch: &[Observation],
        now: Millis,
        changed: &mut Vec<Key>,
    ) {
        let is_current = generation >= self.adopted;
        let Self { setup, detection, examples, counters, releases, series, ring, .. } = self;
        let mut news = News { now, ..News::default() };
        detection.edit(|detection| {
            let mut familiar = Familiar::default();
            for seen in batch {
                let sighting = familiar.recognise(seen).unwrap_or_else(|| {
                    if !seen.aborted && setup.live().directory.is_news(watched, seen) {
                        setup.edit(|setup| {
                            setup.directory.learn(watched, seen);
                            setup.expected = setup.directory.expected(&setup.rules);
                        });
                        familiar = Familiar::default();
                    }
                    let sighting = Sighting::new(&setup.live().directory, watched, seen);
                    familiar.remember(sighting);
                    sighting
                });
                let setup = setup.live();
                if let Some(over) = counters.note(&setup.directory, watched, releases, &sighting, now) {
                    series.push(over);
                }
                if seen.aborted {
                    continue;
                }
                if let Some(example) = seen.failure.as_ref().and_then(|failure| failure.example) {
                    examples.edit(|examples| {
                        examples.list.rotate_right(1);
                        examples.list[0] = Some(example);
                    });
                }
                detection.count(setup, ring, &sighting, now);
                // The workers of an older configuration finish requests: who serves now they do not see.
                if is_current && setup.rules.failover.is_some() {
                    detection.follow(setup, watched, &sighting, &mut news);
                }
            }
            detection.tick(setup.live(), now, &mut news);
        });
        self.note(news, changed);
    }

    /// Moves the detectors on without a request.
    pub(crate) fn tick(&mut self, now: Millis, changed: &mut Vec<Key>) {
        if self.deadline().is_some_and(|due| due <= now) {
            let Self { setup, detection, .. } = self;
            let mut news = News { now, ..News::default() };
            detection.edit(|detection| detection.tick(setup.live(), now, &mut news));
            self.note(news, changed);
        }
    }

    /// When a [`Slot::tick`] may have something to do.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if self.left != 0 {
            return None;
        }
        let (setup, detection) = (self.setup.live(), self.detection.live());
        let failover = setup.rules.failover.and_then(|_| detection.failover.deadline(&setup.rules, setup.expected));
        let rules = setup.rules.error_rate.as_ref();
        let rate = rules.and_then(|rules| detection.error_rate.deadline(rules, &detection.window));
        failover.into_iter().chain(rate).chain(detection.flapping.deadline()).min()
    }

    /// The truth of a key.
    pub(crate) fn truth(&self, key: Key) -> &Truth {
        &self.view().incident(key).truth
    }

    /// What the current state of a key is told as.
    pub(crate) fn kind(&self, key: Key) -> Kind {
        self.view().incident(key).kind
    }

    /// Who serves.
    pub fn serving(&self) -> Serving {
        self.detection.live().failover.serving()
    }

    /// Does the newest configuration watch it?
    pub(crate) fn is_watched(&self) -> bool {
        !self.name.is_empty() && self.left == 0
    }

    /// The committed parts.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            name: &self.name,
            setup: self.setup.live(),
            detection: self.detection.live(),
            examples: &self.examples.live().list,
        }
    }

    /// Remembers what is committed now.
    fn note(&mut self, news: News, changed: &mut Vec<Key>) {
        for record in news.records {
            let (from, to) = (record.from(), record.to());
            if from != to && from != Serving::Unknown {
                let count = &mut self.counters.changes[from.index()][to.index()];
                *count = count.saturating_add(1);
            }
            self.history.push(record);
        }
        changed.extend(news.keys);
    }
}

impl Detection {
    /// What a request says about errors.
    fn count(&mut self, setup: &Setup, ring: &mut Ring, sighting: &Sighting<'_>, now: Millis) {
        let Sighting { seen, answered, failed, .. } = *sighting;
        if failed {
            self.count_reasons(setup, seen);
        }
        let entry = Entry { upstream_error: failed, client_error: seen.status >= 500 };
        self.window.push(ring, entry);
        self.period.push(entry, now);
        self.error_rate.note_traffic(now);
        let release = answered.and_then(|pool| self.releases.get_mut(usize::from(pool)));
        let named = seen.release();
        let is_new =
            |release: &&mut Text<64>| !named.is_empty() && !text::is_same(release.as_bytes(), named.as_bytes());
        if let Some(release) = release.filter(is_new) {
            *release = *named;
        }
    }

    /// What a request says about who serves.
    fn follow(&mut self, setup: &Setup, watched: &Watched, sighting: &Sighting<'_>, news: &mut News) {
        let Setup { directory, expected, .. } = setup;
        let Sighting { seen, answered, .. } = *sighting;
        let Some(last) = seen.attempts().last().filter(|last| last.verdict != Verdict::Unfinished) else { return };
        let change = match answered {
            None if last.verdict == Verdict::Ok => self.failover.fold_stranger(last.start, *expected),
            // A pool answered, and nginx asked another one all the same (`proxy_next_upstream http_404`): no outage.
            None if seen.attempts().iter().any(|attempt| attempt.verdict == Verdict::Ok) => None,
            answered => {
                let unusable_peers = seen.unusable_peers();
                let pools = if unusable_peers == 0 { 0..0 } else { 0..MAX_POOLS as PoolId };
                let unusable = pools
                    .filter(|&pool| directory.is_unusable(watched, unusable_peers, pool))
                    .fold(0, |pools, pool| pools | 1 << pool);
                let every_peer = u64::MAX >> (64 - watched.peers.len().clamp(1, 64));
                let evidence = Evidence {
                    answered,
                    start: last.start,
                    to_header: last.to_header,
                    unusable,
                    exhausted: unusable_peers == every_peer && last.verdict == Verdict::NoLiveUpstreams,
                };
                self.failover.fold(&evidence, *expected)
            }
        };
        if let Some(change) = change {
            self.note_serving(setup, change, news);
        }
    }

    fn tick(&mut self, setup: &Setup, now: Millis, news: &mut News) {
        let watched = setup.rules.failover.is_some();
        if let Some(change) = watched.then(|| self.failover.tick(&setup.rules, setup.expected, now)).flatten() {
            self.note_serving(setup, change, news);
        }
        if self.flapping.ends(now) {
            let (serving, since) = (self.failover.serving(), self.failover.since());
            self.tell_serving(setup, self.kind_of(setup, serving), serving, since, news);
        }
        let rules = setup.rules.error_rate.as_ref();
        let level = rules.and_then(|rules| self.error_rate.tick(rules, &self.window, &self.period, now));
        if let Some(level) = level {
            self.note_level(setup, level, news);
        }
    }

    fn note_serving(&mut self, setup: &Setup, change: Change, news: &mut News) {
        let kind = self.kind_of(setup, change.to);
        let is_first = change.from == Serving::Unknown && [Serving::Unknown, change.to].contains(&self.switching);
        let [incident, _] = &mut self.incidents;
        if is_first && incident.truth.over && is_as_expected(change.to, setup.expected) {
            // The first answer of the expected pool is how things should be: no news, and no change.
            incident.truth.state = change.to.index() as u8;
            self.switching = Serving::Unknown;
            news.records.push(Record::untold(change));
            return;
        }
        let from = match (kind, change.from) {
            (Kind::PlannedSwitch, Serving::Unknown) => self.switching,
            (_, Serving::Unknown) => Serving::Pool(setup.expected.first()),
            (_, from) => from,
        };
        self.switching = Serving::Unknown;
        if self.flapping.note(news.now) {
            self.tell_serving(setup, Kind::Flapping, from, news.now, news);
        } else if !self.flapping.is_on() {
            self.tell_serving(setup, kind, from, change.since, news);
        } else {
            news.records.push(Record::untold(change));
        }
    }

    /// What a state of the failover machine is told as.
    fn kind_of(&self, setup: &Setup, serving: Serving) -> Kind {
        match serving {
            Serving::Down => Kind::Down,
            _ if is_as_expected(serving, setup.expected) => {
                // Without an incident there is nothing to recover from: a server was given to another pool.
                let [incident, _] = &self.incidents;
                let is_planned = self.switching != Serving::Unknown || incident.truth.over;
                if is_planned { Kind::PlannedSwitch } else { Kind::Recovery }
            }
            Serving::Mixed => Kind::Mixed,
            Serving::Unknown | Serving::Pool(_) => Kind::Failover,
        }
    }

    /// Makes it the truth that the receivers are owed.
    fn tell_serving(&mut self, setup: &Setup, kind: Kind, from: Serving, since: Millis, news: &mut News) {
        let state = if kind == Kind::Flapping { FLAPPING } else { self.failover.serving().index() as u8 };
        let over = matches!(kind, Kind::Recovery | Kind::PlannedSwitch);
        let severity = self.severity(&setup.rules, kind, news.now);
        let serving = self.failover.serving();
        let [incident, _] = &mut self.incidents;
        // A pool that was chosen while it served already takes over from nobody.
        let is_same = incident.truth.state == state;
        let from_state = if is_same { Serving::Unknown.index() as u8 } else { incident.truth.state };
        let from = if from == serving { Serving::Unknown } else { from };
        let truth = Truth { generation: incident.truth.generation + 1, state, from: from_state, over };
        *incident =
            Incident { truth, kind, from, since, began: if incident.truth.over { since } else { incident.began } };
        let lasted = over.then(|| since - incident.began);
        news.records.push(Record::told(kind, severity, truth.generation, (from, serving), since, lasted));
        if over {
            self.reasons_since = Millis::ZERO;
        }
        news.keys.push(Key::Serving);
    }

    fn note_level(&mut self, setup: &Setup, level: Level, news: &mut News) {
        let since = self.error_rate.since();
        let kind = match level {
            Level::Ok => Kind::ErrorRateResolved,
            Level::Firing => Kind::ErrorRateFiring,
            Level::NoData => Kind::ErrorRateNoData,
        };
        let severity = self.severity(&setup.rules, kind, news.now);
        let serving = self.failover.serving();
        let [_, incident] = &mut self.incidents;
        let over = level == Level::Ok;
        let generation = incident.truth.generation + 1;
        *incident = Incident {
            truth: Truth { generation, state: level as u8, from: incident.truth.state, over },
            kind,
            from: Serving::Unknown,
            since,
            began: if incident.truth.over { since } else { incident.began },
        };
        let lasted = over.then(|| since - incident.began);
        news.records.push(Record::told(kind, severity, generation, (serving, serving), since, lasted));
        news.keys.push(Key::ErrorRate);
    }

    fn count_reasons(&mut self, setup: &Setup, seen: &Observation) {
        let is_served = setup.rules.failover.is_none() || is_as_expected(self.failover.serving(), setup.expected);
        let quiet = is_served && self.error_rate.level() == Level::Ok;
        let at = seen.attempts().first().map_or(Millis::ZERO, |attempt| attempt.start);
        if self.reasons_since == Millis::ZERO || (quiet && at - self.reasons_since > REASONS_KEPT) {
            self.reasons = Reasons::default();
            self.reasons_since = at;
        }
        for attempt in seen.failures() {
            let count = match attempt.verdict {
                Verdict::Ok | Verdict::Unfinished => continue,
                Verdict::Refused => &mut self.reasons.refused,
                Verdict::TimedOut => &mut self.reasons.timed_out,
                Verdict::ServerError => &mut self.reasons.server_errors,
                Verdict::NoLiveUpstreams => &mut self.reasons.no_live_upstreams,
            };
            *count = count.saturating_add(1);
        }
    }

    /// Clients that see errors make it critical, clients that are spared a warning.
    pub(crate) fn severity(&self, rules: &Rules, kind: Kind, now: Millis) -> Severity {
        let rate = rules.error_rate.unwrap_or_default();
        let clients_suffer = error_rate::do_clients_suffer(&rate, &self.window, &self.period, now);
        match kind {
            Kind::Recovery
            | Kind::PlannedSwitch
            | Kind::ErrorRateResolved
            | Kind::NoLongerWatched
            | Kind::SilenceBegan
            | Kind::SilenceEnded
            | Kind::Test => Severity::Info,
            Kind::Down => Severity::Critical,
            Kind::ErrorRateFiring if rules.error_rate.is_some_and(|rate| rate.of == RateOf::Client) => {
                Severity::Critical
            }
            Kind::Failover | Kind::Mixed | Kind::Flapping | Kind::ErrorRateFiring if clients_suffer => {
                Severity::Critical
            }
            Kind::Failover | Kind::Mixed | Kind::Flapping | Kind::ErrorRateFiring | Kind::ErrorRateNoData => {
                Severity::Warning
            }
        }
    }
}

pub(crate) fn is_as_expected(serving: Serving, expected: Expected) -> bool {
    matches!(serving, Serving::Pool(pool) if expected.includes(pool))
}
