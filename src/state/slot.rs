//! Everything about one watched upstream, in one slot of the table.

use crate::alert::{During, Kind, Rate};
use crate::config::blocks::Choices;
use crate::config::upstream::WatchedUpstream;
use crate::crash;
use crate::detect::first_choice::FirstChoice;
use crate::detect::serving::Serving;
use crate::incident::{Key, Revision};
use crate::observation::{Attempt, Example, Observation};
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::delivery_state::DeliveryState;
use crate::shared::double_buffer::DoubleBuffer;
use crate::state::counters::{Counters, PeerCounts, Releases};
use crate::state::detection::{Changes, Detection, Silenced};
use crate::state::history::History;
use crate::state::lookup::{ResolveCache, ResolvedObservation};
use crate::state::series::Series;
use crate::state::setup::Setup;
use crate::state::view::View;
use crate::text::{Name, Text};
use crate::units::Millis;
use crate::window::{Ring, WORDS};

/// The longest time for which a firing error rate is held back to see whether it becomes an outage.
const OUTAGE_DECIDED: Millis = Millis::from_secs(3);

/// Failed requests that a message shows.
const EXAMPLES: usize = 3;

/// The last failed requests as examples, newest first.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Examples {
    list: [Option<Example>; EXAMPLES],
}

/// One watched upstream. Its parts change at different rates, so each has its own double buffer.
#[derive(Debug)]
#[repr(C)]
pub struct Slot {
    /// The upstream block's name; empty: a free slot.
    pub(crate) name: Name,
    /// The generation of the configuration that last named the upstream; 0: none yet.
    pub(crate) adopted: u64,
    /// The generation of the first configuration that no longer named the upstream; 0: it is watched.
    pub(crate) left: u64,
    pub(crate) setup: DoubleBuffer<Setup>,
    pub(crate) detection: DoubleBuffer<Detection>,
    examples: DoubleBuffer<Examples>,
    pub(crate) deliveries: DoubleBuffer<[[DeliveryState; MAX_RECEIVERS]; 2]>,
    pub(crate) counters: Counters,
    pub(crate) releases: DoubleBuffer<Releases>,
    pub(crate) history: History,
    pub(crate) series: Series,
    ring: Ring,
}

// An operator pays one slot of zone memory for each upstream.
const _: () = assert!(size_of::<Slot>() <= 94 * 1024, "an upstream takes more than 94 KiB of zone");

impl Slot {
    /// A free slot.
    #[expect(clippy::large_stack_arrays, reason = "written into the table once, when that is made")]
    pub fn empty() -> Self {
        Self {
            name: Name::EMPTY,
            adopted: 0,
            left: 0,
            setup: DoubleBuffer::new(Setup::default()),
            detection: DoubleBuffer::new(Detection::default()),
            examples: DoubleBuffer::new(Examples::default()),
            deliveries: DoubleBuffer::new([[DeliveryState::default(); MAX_RECEIVERS]; 2]),
            counters: Counters::default(),
            releases: DoubleBuffer::default(),
            history: History::empty(),
            series: Series::empty(),
            ring: [0; WORDS],
        }
    }

    /// Gives the slot to the upstream of this name, about which nothing is known yet. The name is written last, so that
    /// a killed worker never leaves a slot that mixes two upstreams.
    pub(crate) fn reset(&mut self, name: Name) {
        self.name = Name::EMPTY;
        crash::at("slot-unnamed");
        (self.adopted, self.left) = (0, 0);
        // Edited and not replaced: the number of edits rises, so that a reader without the lock notices the change.
        self.setup.edit(|setup| *setup = Setup::default());
        self.detection.edit(|detection| *detection = Detection::default());
        self.examples.edit(|examples| *examples = Examples::default());
        self.deliveries.edit(|deliveries| *deliveries = [[DeliveryState::default(); MAX_RECEIVERS]; 2]);
        self.forget_counts();
        crash::at("slot-forgotten");
        self.name = name;
        crash::at("slot-named");
    }

    /// Notes that a newer configuration no longer names this upstream. An open incident ends as no longer watched; from
    /// then on the detectors stand still.
    pub(crate) fn leave(&mut self, generation: u64, now: Millis, keys: &mut Vec<Key>) {
        let open = self.detection.edit(|detection| {
            let mut first = None;
            for (key, incident) in Key::ALL.into_iter().zip(&mut detection.incidents) {
                if !incident.revision.over {
                    incident.leave(now);
                    first.get_or_insert(key);
                }
            }
            first
        });
        // One line in error.log for all open incidents.
        keys.extend(open);
        self.left = generation;
    }

    /// Notes whether messages about the upstream are held back from now on. When that ends, the errors since its
    /// beginning are forgotten, so of what began meanwhile only what is still true is sent.
    pub(crate) fn follow_silence(&mut self, is_silenced: bool, now: Millis, keys: &mut Vec<Key>) {
        if self.detection.live().silenced.is_going_on() == is_silenced {
            return;
        }
        let mut changes = Changes { now, ..Changes::default() };
        self.detection.edit(|detection| {
            if is_silenced {
                detection.silenced = Silenced { since: now.max(Millis(1)), ..Silenced::default() };
            } else {
                detection.silenced.ended = now;
                detection.forget_errors_since(detection.silenced.since, &mut changes);
            }
        });
        self.note(changes, keys);
    }

    /// Notes that the upstream is configured again; its detection starts from nothing. Messages that are still due stay
    /// due, and the numbers of revisions go on.
    pub(crate) fn rejoin(&mut self) {
        self.detection.edit(|detection| {
            *detection = Detection { incidents: detection.incidents, ..Detection::default() };
        });
        self.examples.edit(|examples| *examples = Examples::default());
        // The pools and the addresses in them are still known.
        self.setup.edit(|setup| *setup = Setup { directory: setup.directory, ..Setup::default() });
        self.forget_counts();
        (self.adopted, self.left) = (0, 0);
    }

    fn forget_counts(&mut self) {
        self.counters = Counters::default();
        self.releases.edit(|releases| *releases = Releases::default());
        self.history.clear();
        self.series.clear();
    }

    /// Applies a configuration. The state stays; a changed expected pool begins a planned switch.
    pub(crate) fn adopt(&mut self, watched: &WatchedUpstream, generation: u64, now: Millis) {
        let first = self.adopted == 0;
        let before = *self.setup.live();
        let mut first_choice = self.detection.live().first_choice;
        let index = |old: usize| {
            let name = before.blocks.get(old).filter(|name| !name.is_empty())?;
            watched.blocks.iter().position(|block| block == name)
        };
        if watched.is_service() {
            first_choice.adopt(index);
        } else {
            first_choice = FirstChoice::default();
        }
        let expected = self.setup.edit(|setup| {
            setup.adopt(watched, first_choice.chosen(), first);
            setup.expected
        });
        let Self { setup, detection, counters, ring, .. } = self;
        let directory = &setup.live().directory;
        counters.follow(&before.directory, directory);
        detection.edit(|detection| {
            // The next servers whose pool is not known are others.
            for (_, release) in detection.releases.iter_mut().filter(|(id, _)| directory.is_left(*id)) {
                *release = Text::EMPTY;
            }
            detection.first_choice = first_choice;
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

    /// Folds a batch of this upstream's observations, all in one edit. `generation` is that of the configuration that
    /// made them. Appends the keys that changed to `keys`.
    pub(crate) fn fold(
        &mut self,
        watched: &WatchedUpstream,
        generation: u64,
        batch: &[Observation],
        now: Millis,
        keys: &mut Vec<Key>,
    ) {
        let is_current = generation >= self.adopted;
        let Self { setup, detection, examples, counters, releases, series, ring, .. } = self;
        let mut changes = Changes { now, ..Changes::default() };
        if is_current && setup.live().is_displaced(watched) {
            // A worker of an older configuration, which may have other blocks, learned something.
            setup.edit(|setup| {
                setup.place(watched);
                setup.expected = setup.expect();
            });
        }
        detection.edit(|detection| {
            detection.judge_choices(setup, now);
            let mut cache = ResolveCache::default();
            for seen in batch {
                for attempt in seen.attempts() {
                    if setup.live().directory.is_unresolved(watched, attempt) {
                        resolve(setup, counters, watched, attempt);
                        cache = ResolveCache::default();
                    }
                }
                let resolved = cache.get(seen).unwrap_or_else(|| {
                    if !seen.aborted && setup.live().directory.is_news(watched, seen) {
                        setup.edit(|setup| {
                            setup.directory.learn(watched, seen);
                            if is_current {
                                setup.place(watched);
                            }
                            setup.expected = setup.expect();
                        });
                        cache = ResolveCache::default();
                    }
                    let resolved = ResolvedObservation::new(&setup.live().directory, watched, seen);
                    cache.put(resolved);
                    resolved
                });
                let setup = setup.live();
                if let Some(over) = counters.note(&setup.directory, watched, releases, &resolved, now) {
                    series.push(over);
                }
                if seen.aborted {
                    continue;
                }
                if let Some(example) = seen.details.as_ref().and_then(|details| details.example) {
                    examples.edit(|examples| {
                        examples.list.rotate_right(1);
                        examples.list[0] = Some(example);
                    });
                }
                detection.count(ring, &resolved, &mut changes);
                // Workers of an older configuration only finish requests that began before, which say nothing about the
                // pool that serves now.
                if is_current && setup.rules.failover.is_some() {
                    detection.follow(setup, watched, &resolved, ring, &mut changes);
                }
            }
            detection.tick(setup.live(), ring, &mut changes);
        });
        self.note(changes, keys);
    }

    /// Lets the detectors act on time alone, without a request.
    pub(crate) fn tick(&mut self, now: Millis, keys: &mut Vec<Key>) {
        if self.deadline().is_some_and(|due| due <= now) {
            let Self { setup, detection, ring, .. } = self;
            let mut changes = Changes { now, ..Changes::default() };
            detection.edit(|detection| {
                detection.judge_choices(setup, now);
                detection.tick(setup.live(), ring, &mut changes);
            });
            self.note(changes, keys);
        }
    }

    /// Counts requests of a service by the block that they were sent to first. `generation`: that of the configuration
    /// that sent them there.
    pub(crate) fn choose(&mut self, generation: u64, choices: &Choices, now: Millis) {
        if generation >= self.adopted {
            let Self { setup, detection, .. } = self;
            detection.edit(|detection| detection.choose(setup, choices, now));
        }
    }

    /// When a [`Slot::tick`] may have something to do; `None`: only a request or a reload can change anything.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if self.left != 0 {
            return None;
        }
        let (setup, detection) = (self.setup.live(), self.detection.live());
        let failover = setup.rules.failover.and_then(|_| detection.failover.deadline(&setup.rules, setup.expected));
        let rules = setup.rules.error_rate.as_ref();
        let rate = rules.and_then(|rules| detection.error_rate.deadline(rules, &detection.window));
        let choice = detection.first_choice.deadline();
        failover.into_iter().chain(rate).chain(detection.flapping.deadline()).chain(choice).min()
    }

    /// The present revision of a key.
    pub(crate) fn revision(&self, key: Key) -> &Revision {
        &self.view().incident(key).revision
    }

    /// The kind of message for a key's present state.
    pub(crate) fn kind(&self, key: Key) -> Kind {
        self.view().incident(key).kind
    }

    /// What happened to the upstream during the silence that ended at `ended`; `None`: nothing, or the upstream's
    /// messages are still held back.
    pub(crate) fn during(&self, ended: Millis) -> Option<During> {
        let Silenced { ended: own, requests, failed, last_failure, changes, .. } = self.detection.live().silenced;
        (own == ended && (failed > 0 || changes > 0)).then(|| During {
            upstream: self.name.as_bytes().to_vec(),
            rate: Rate { errors: failed, requests },
            quiet: if failed > 0 { ended - last_failure } else { Millis::ZERO },
            changes,
        })
    }

    /// Until when an unsent message of this key waits for a message of another key that may cover it; zero: it does not
    /// wait, [`Millis::NEVER`]: as long as the outage lasts.
    pub(crate) fn covered_until(&self, key: Key) -> Millis {
        let (setup, detection) = (self.setup.live(), self.detection.live());
        let [_, rate] = &detection.incidents;
        match detection.failover.serving() {
            _ if key == Key::Serving || rate.revision.over || self.left != 0 => Millis::ZERO,
            // One outage is one message, and the errors are part of it.
            Serving::Down => Millis::NEVER,
            // So it is until the pool answers that the operator chose instead.
            Serving::Unknown if detection.switching == Serving::Down => Millis::NEVER,
            _ => {
                let decided = setup.rules.failover.and_then(|_| detection.failover.outage_due(&setup.rules));
                decided.map_or(Millis::ZERO, |due| due.min(rate.since + OUTAGE_DECIDED))
            }
        }
    }

    /// Which pool serves.
    pub fn serving(&self) -> Serving {
        self.detection.live().failover.serving()
    }

    /// Does the newest configuration watch the upstream?
    pub(crate) fn is_watched(&self) -> bool {
        !self.name.is_empty() && self.left == 0
    }

    /// The committed parts of the slot.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            name: &self.name,
            setup: self.setup.live(),
            detection: self.detection.live(),
            examples: &self.examples.live().list,
        }
    }

    /// Puts changes that are committed now into the history and the counters.
    fn note(&mut self, changes: Changes, keys: &mut Vec<Key>) {
        for record in changes.records {
            let (from, to) = (record.from(), record.to());
            if from != to && from != Serving::Unknown {
                let count = &mut self.counters.changes[from.index()][to.index()];
                *count = count.saturating_add(1);
            }
            self.history.push(record);
        }
        keys.extend(changes.keys);
    }
}

/// Adds an address to which nginx resolved a server at run time. If there is no room, it takes the place of the address
/// that is not configured and was not asked for longest.
#[cold]
fn resolve(setup: &mut DoubleBuffer<Setup>, counters: &mut Counters, watched: &WatchedUpstream, attempt: &Attempt) {
    let asked = counters.peers.iter().enumerate().map(|(index, peer)| (index, peer.at));
    let spare = asked.filter(|&(index, _)| setup.live().directory.is_spare(index)).min_by_key(|&(_, at)| at);
    let spare = spare.map(|(index, _)| index);
    let other = setup.edit(|setup| setup.directory.resolve(watched, attempt, spare));
    if let Some(counts) = other.and_then(|index| counters.peers.get_mut(index)) {
        *counts = PeerCounts::default();
    }
}

#[cfg(test)]
mod tests;
