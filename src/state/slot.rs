//! Everything about one watched upstream, in one fixed place of the table.

use crate::alert::{During, Kind, Rate, Reasons, Severity};
use crate::config::rules::{RateOf, Rules};
use crate::config::upstream::Watched;
use crate::crash;
use crate::detect::error_rate::{self, Easing, ErrorRate, Level};
use crate::detect::failover::{Change, Evidence, Failover, Serving};
use crate::detect::flapping::Flapping;
use crate::incident::{FLAPPING, Truth};
use crate::observation::{Example, Observation, Verdict};
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::debt::Debt;
use crate::pools::directory::Directory;
use crate::pools::set::{Expected, MAX_POOLS, PoolId};
use crate::state::counters::{Counters, Releases, Series};
use crate::state::failures::{Failures, Sums, reasons_of};
use crate::state::history::{History, Record};
use crate::state::sighting::{Familiar, Sighting};
use crate::state::twin::Twin;
use crate::state::view::View;
use crate::text::{self, Name, Text};
use crate::units::Millis;
use crate::window::{Entry, Period, Ring, WORDS, Window};

/// Failed requests shown in a message.
const EXAMPLES: usize = 3;

/// The truth's state once the upstream is not watched any more; beyond all of [`Serving::index`].
pub(super) const LEFT: u8 = FLAPPING - 1;

const _: () = assert!(Serving::COUNT <= LEFT as usize, "each state needs its number");

/// An error rate whose alert is this young when an outage begins is the outage's own.
const SAME_SECONDS: Millis = Millis::from_secs(5);

/// The longest that a firing error rate is held back to see whether it is an outage.
const OUTAGE_DECIDED: Millis = Millis::from_secs(3);

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
    fn leave(&mut self, now: Millis) {
        self.truth = Truth { state: LEFT, over: true, ..self.next_truth() };
        (self.kind, self.change, self.since) = (Kind::NoLongerWatched, Kind::NoLongerWatched, now);
    }

    /// Its present change is its first.
    fn begin(&mut self) {
        (self.began, self.number, self.critical) = (self.since, self.truth.generation, false);
    }

    /// The truth after this one, with nothing but its place in time.
    fn next_truth(&self) -> Truth {
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

/// What came of an upstream while its messages were held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Silenced {
    /// When that began; zero: it never was.
    pub(crate) since: Millis,
    /// When it ended; zero: it is going on.
    pub(crate) ended: Millis,
    pub(crate) requests: u32,
    pub(crate) failed: u32,
    /// When the last failed request ended.
    pub(crate) last_failure: Millis,
    /// Changes of the serving pool.
    pub(crate) changes: u32,
}

impl Silenced {
    fn is_going_on(&self) -> bool {
        self.since != Millis::ZERO && self.ended == Millis::ZERO
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
    pub(crate) failures: Failures,
    /// Clients got errors since it was last looked whether an incident reaches them.
    pub(crate) clients_erred: bool,
    pub(crate) silenced: Silenced,
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
const _: () = assert!(size_of::<Slot>() <= 72 * 1024, "an upstream takes more than 72 KiB of zone");

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
        let open = self.detection.edit(|detection| {
            let mut first = None;
            for (key, incident) in Key::ALL.into_iter().zip(&mut detection.incidents) {
                if !incident.truth.over {
                    incident.leave(now);
                    first.get_or_insert(key);
                }
            }
            first
        });
        // One line for all that was open.
        changed.extend(open);
        self.left = generation;
    }

    /// Are messages about it held back from now on, or no longer? At the end what came since then is judged: of what began meanwhile
    /// only what still is true is told.
    pub(crate) fn follow_silence(&mut self, is_silenced: bool, now: Millis, changed: &mut Vec<Key>) {
        if self.detection.live().silenced.is_going_on() == is_silenced {
            return;
        }
        let mut news = News { now, ..News::default() };
        self.detection.edit(|detection| {
            if is_silenced {
                detection.silenced = Silenced { since: now.max(Millis(1)), ..Silenced::default() };
            } else {
                detection.silenced.ended = now;
                detection.forget_errors_since(detection.silenced.since, &mut news);
            }
        });
        self.note(news, changed);
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
                detection.count(ring, &sighting, &mut news);
                // The workers of an older configuration finish requests: who serves now they do not see.
                if is_current && setup.rules.failover.is_some() {
                    detection.follow(setup, watched, &sighting, ring, &mut news);
                }
            }
            detection.tick(setup.live(), ring, &mut news);
        });
        self.note(news, changed);
    }

    /// Moves the detectors on without a request.
    pub(crate) fn tick(&mut self, now: Millis, changed: &mut Vec<Key>) {
        if self.deadline().is_some_and(|due| due <= now) {
            let Self { setup, detection, ring, .. } = self;
            let mut news = News { now, ..News::default() };
            detection.edit(|detection| detection.tick(setup.live(), ring, &mut news));
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

    /// What came of it during a silence that ended at this moment; `None`: nothing, or messages are still held back.
    pub(crate) fn during(&self, ended: Millis) -> Option<During> {
        let Silenced { ended: own, requests, failed, last_failure, changes, .. } = self.detection.live().silenced;
        (own == ended && (failed > 0 || changes > 0)).then(|| During {
            upstream: self.name.as_bytes().to_vec(),
            rate: Rate { errors: failed, requests },
            quiet: if failed > 0 { ended - last_failure } else { Millis::ZERO },
            changes,
        })
    }

    /// Until when the news of a key, of which a receiver has not heard yet, waits for the news of another that may cover it.
    pub(crate) fn covered_until(&self, key: Key) -> Millis {
        let (setup, detection) = (self.setup.live(), self.detection.live());
        let [_, rate] = &detection.incidents;
        match detection.failover.serving() {
            _ if key == Key::Serving || rate.truth.over || self.left != 0 => Millis::ZERO,
            // One outage is one message: its errors are part of it.
            Serving::Down => Millis::NEVER,
            _ => {
                let decided = setup.rules.failover.and_then(|_| detection.failover.outage_due(&setup.rules));
                decided.map_or(Millis::ZERO, |due| due.min(rate.since + OUTAGE_DECIDED))
            }
        }
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
    fn count(&mut self, ring: &mut Ring, sighting: &Sighting<'_>, news: &mut News) {
        let Sighting { seen, answered, failed, .. } = *sighting;
        let now = news.now;
        if self.error_rate.level() == Level::NoData {
            self.forget_errors_since(Millis::ZERO, news);
        }
        let entry = Entry { upstream_error: failed, client_error: seen.status >= 500 };
        let reasons = if failed { reasons_of(seen) } else { Reasons::default() };
        self.clients_erred |= entry.client_error;
        self.failures.push(entry, &reasons, self.window.head, now);
        self.window.push(ring, entry);
        self.period.push(entry, now);
        self.error_rate.note_traffic(now);
        for incident in self.incidents.iter_mut().filter(|incident| !incident.truth.over) {
            incident.sums.push(entry, &reasons);
        }
        if self.silenced.is_going_on() {
            self.silenced.requests = self.silenced.requests.saturating_add(1);
            if entry != Entry::default() {
                self.silenced.failed = self.silenced.failed.saturating_add(1);
                self.silenced.last_failure = now;
            }
        }
        let release = answered.and_then(|pool| self.releases.get_mut(usize::from(pool)));
        let named = seen.release();
        let is_new =
            |release: &&mut Text<64>| !named.is_empty() && !text::is_same(release.as_bytes(), named.as_bytes());
        if let Some(release) = release.filter(is_new) {
            *release = *named;
        }
    }

    /// What a request says about who serves.
    fn follow(&mut self, setup: &Setup, watched: &Watched, sighting: &Sighting<'_>, ring: &Ring, news: &mut News) {
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
            self.note_serving(setup, change, ring, news);
        }
    }

    fn tick(&mut self, setup: &Setup, ring: &Ring, news: &mut News) {
        let now = news.now;
        let watched = setup.rules.failover.is_some();
        if let Some(change) = watched.then(|| self.failover.tick(&setup.rules, setup.expected, now)).flatten() {
            self.note_serving(setup, change, ring, news);
        }
        let [incident, _] = &self.incidents;
        if self.flapping.ends(now) && incident.truth.state & FLAPPING != 0 {
            let (serving, since) = (self.failover.serving(), self.failover.since());
            self.tell_serving(setup, self.kind_of(setup, serving), serving, since, ring, news);
        }
        let rules = setup.rules.error_rate.as_ref();
        let level = rules.and_then(|rules| self.error_rate.tick(rules, &self.window, &self.period, now));
        if let Some(level) = level {
            self.note_level(setup, level, ring, news);
        }
        // What may become an outage in a moment is told as that.
        let may_be_outage = watched && self.failover.outage_due(&setup.rules).is_some();
        if self.clients_erred && !may_be_outage {
            self.clients_erred = false;
            self.worsen(&setup.rules, ring, news);
        }
    }

    fn note_serving(&mut self, setup: &Setup, change: Change, ring: &Ring, news: &mut News) {
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
        if kind == Kind::PlannedSwitch {
            // The operator's act begins something new, in which nothing has changed yet.
            self.flapping = Flapping::default();
        } else {
            self.flapping.note(news.now);
        }
        if self.silenced.is_going_on() {
            self.silenced.changes = self.silenced.changes.saturating_add(1);
        }
        let outage_began = (incident.truth.state == Serving::Down.index() as u8).then_some(incident.since);
        self.tell_serving(setup, kind, from, change.since, ring, news);
        if let Some(began) = outage_began {
            self.forget_errors_since(began - SAME_SECONDS, news);
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

    /// Makes it the truth that the receivers are owed. While the serving pool changes again and again only outages and their ends are
    /// told as what they are.
    fn tell_serving(
        &mut self,
        setup: &Setup,
        change: Kind,
        from: Serving,
        since: Millis,
        ring: &Ring,
        news: &mut News,
    ) {
        let serving = self.failover.serving();
        let [before, _] = self.incidents;
        let is_flapping = self.flapping.is_on() && change != Kind::Down;
        let ends_outage = before.truth.state == Serving::Down.index() as u8;
        let state = serving.index() as u8 | if is_flapping { FLAPPING } else { 0 };
        let planned = change == Kind::PlannedSwitch;
        let over = (change == Kind::Recovery && !is_flapping) || planned;
        let kind = if is_flapping && !ends_outage { Kind::Flapping } else { change };
        let mut incident = Incident { kind, change, since, ..before };
        incident.truth = Truth { state, over, planned, ..before.next_truth() };
        // A pool that was chosen while it served already takes over from nobody.
        if before.truth.state == state {
            incident.truth.from = Serving::Unknown.index() as u8;
        }
        incident.from = if from == serving { Serving::Unknown } else { from };
        if before.truth.over {
            incident.begin();
            (incident.sums, incident.first_request, incident.first_failure) =
                self.failures.since(since, self.window.head);
        }
        if planned {
            incident.sums = Sums::default();
        }
        incident.critical = self.is_critical(&incident, &setup.rules, ring, news.now);
        self.put_incident(Key::Serving, incident, (incident.from, serving), news);
    }

    fn note_level(&mut self, setup: &Setup, level: Level, ring: &Ring, news: &mut News) {
        let since = self.error_rate.since();
        let kind = match level {
            Level::Ok => Kind::ErrorRateResolved,
            Level::Firing => Kind::ErrorRateFiring,
            Level::NoData => Kind::ErrorRateNoData,
        };
        let [_, before] = self.incidents;
        let mut incident = Incident { kind, change: kind, since, ..before };
        incident.truth = Truth { state: level as u8, over: level != Level::Firing, ..before.next_truth() };
        if before.truth.over {
            incident.begin();
            self.count_window(&mut incident, &setup.rules, news.now);
        }
        let serving = self.failover.serving();
        incident.critical = self.is_critical(&incident, &setup.rules, ring, news.now);
        self.put_incident(Key::ErrorRate, incident, (serving, serving), news);
    }

    /// The errors that made an error rate fire are its own: those of the window or the period.
    fn count_window(&self, incident: &mut Incident, rules: &Rules, now: Millis) {
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

    /// What failed from `since` on belongs to something that is over, and counts for nothing any more. An error rate that began to fire
    /// before goes on.
    fn forget_errors_since(&mut self, since: Millis, news: &mut News) {
        let [_, before] = self.incidents;
        if !before.truth.over {
            if before.began < since {
                return;
            }
            let kind = Kind::ErrorRateResolved;
            let truth = Truth { state: Level::Ok as u8, over: true, ..before.next_truth() };
            let serving = self.failover.serving();
            let incident = Incident { truth, kind, change: kind, since: news.now, ..before };
            self.put_incident(Key::ErrorRate, incident, (serving, serving), news);
        }
        self.error_rate.reset();
        self.window.clear();
        self.period.clear();
    }

    /// Clients suffer now from an open incident of which they were spared before: it is told again.
    fn worsen(&mut self, rules: &Rules, ring: &Ring, news: &mut News) {
        for key in Key::ALL {
            let incident = self.incidents[key as usize];
            // The errors of an outage are its own.
            if key == Key::ErrorRate && self.failover.serving() == Serving::Down {
                continue;
            }
            if incident.truth.over || incident.critical || !self.is_critical(&incident, rules, ring, news.now) {
                continue;
            }
            let state = incident.truth.state;
            let truth = Truth { state, ..incident.next_truth() };
            let incident = Incident { truth, critical: true, ..incident };
            let serving = self.failover.serving();
            self.put_incident(key, incident, (serving, serving), news);
        }
    }

    /// Do clients suffer from it? Once they did, it stays so until the incident is over.
    fn is_critical(&self, incident: &Incident, rules: &Rules, ring: &Ring, now: Millis) -> bool {
        let rate = rules.error_rate.unwrap_or_default();
        let suffer = || {
            let (window, period) = (&self.window, &self.period);
            error_rate::do_clients_suffer(&rate, window, period, ring, incident.first_request, now)
        };
        match incident.change {
            _ if incident.critical => true,
            Kind::Down => true,
            Kind::ErrorRateFiring => rules.error_rate.is_some_and(|rate| rate.of == RateOf::Client) || suffer(),
            Kind::Failover | Kind::Mixed => suffer(),
            _ => incident.kind == Kind::Flapping && suffer(),
        }
    }

    /// Puts a change of an incident in its place, with its severity, into the history and to those who tell it. `moved`: from and to whom.
    fn put_incident(&mut self, key: Key, mut incident: Incident, moved: (Serving, Serving), news: &mut News) {
        incident.truth.critical = incident.critical && !incident.truth.over;
        let over = incident.truth.over;
        let lasted = (over && incident.is_continued()).then(|| incident.since - incident.began);
        let numbers = (incident.truth.generation, incident.number);
        let severity = severity(incident.change, incident.critical);
        news.records.push(Record::told(incident.change, severity, numbers, moved, incident.since, lasted));
        news.keys.push(key);
        self.incidents[key as usize] = incident;
    }

    /// Of a firing error rate that is below its threshold: how far it is from its end.
    pub(crate) fn easing(&self, rules: &Rules, now: Millis) -> Option<Easing> {
        self.error_rate.easing(rules.error_rate.as_ref()?, &self.window, now)
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
