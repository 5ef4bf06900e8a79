//! The table as text, by names and in wall-clock time: what outlives nginx, its shared memory and this module's layout.
//!
//! Told is what decides about messages: who serves, what is open, what each receiver has heard, silences. Counts and examples are not
//! kept. Instants count from boot inside the table and become dates here; those before the last boot come back as the boot itself.
//!
//! A pool is written as its place in the upstream's own list of names. Bytes of foreign names are written as the characters of the same
//! number, which loses none of them.

use serde::{Deserialize, Serialize};

use crate::alert::{Kind, Reasons};
use crate::config::upstream::Role;
use crate::detect::error_rate::{ErrorRate, Level};
use crate::detect::failover::{Failover, Serving};
use crate::detect::flapping::Flapping;
use crate::incident::{FLAPPING, Truth};
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::backoff;
use crate::outbox::debt::{Debt, TOLD, Told};
use crate::outbox::receiver::{Health, ReceiverState};
use crate::pools::directory::{Directory, Peer, Pool};
use crate::pools::set::{Expected, MAX_POOLS, PoolId};
use crate::state::failures::Sums;
use crate::state::notices::{Notice, Silence};
use crate::state::slot::{Detection, Incident, Key, LEFT, Setup, Slot};
use crate::state::table::{Need, Table};
use crate::text::{Name, Text};
use crate::units::Millis;

/// Configurations before the first that adopts what was restored.
pub const RESTORED: u64 = 1;

/// The same moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Since boot.
    pub now: Millis,
    /// Since the epoch, in milliseconds.
    pub wall: u64,
}

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// The zone that it is a copy of.
    pub zone: u64,
    receivers: Vec<SavedReceiver>,
    upstreams: Vec<SavedUpstream>,
    notices: Vec<SavedNotice>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedReceiver {
    name: String,
    health: Health,
    /// Nobody sends earlier.
    earliest: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedUpstream {
    name: String,
    /// The configuration names it no more.
    left: bool,
    pools: Vec<SavedPool>,
    peers: Vec<SavedPeer>,
    /// The pool that should serve, or several that should together.
    expected: Vec<String>,
    /// Who served before a planned switch that is under way.
    switching: Option<String>,
    serving: String,
    since: u64,
    /// The last request.
    seen: u64,
    error_rate: Level,
    error_rate_since: u64,
    flapping: bool,
    changes: Vec<u64>,
    /// In the order of [`Key::ALL`].
    incidents: Vec<SavedIncident>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedPool {
    name: String,
    /// The name is a role's.
    unnamed: bool,
    release: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedPeer {
    address: String,
    pool: PoolId,
    backup: bool,
    certain: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedIncident {
    generation: u64,
    kind: Option<Kind>,
    state: String,
    from: String,
    over: bool,
    /// Who served before.
    served: String,
    since: u64,
    began: u64,
    /// The generation with which it began.
    number: u64,
    planned: bool,
    critical: bool,
    /// What the log told, if that was something else than `kind`.
    change: Option<Kind>,
    requests: u64,
    upstream_errors: u32,
    client_errors: u32,
    reasons: Reasons,
    debts: Vec<SavedDebt>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedDebt {
    receiver: String,
    acked: u64,
    acked_state: String,
    /// `None`: whoever wrote this did not keep it.
    acked_open: Option<bool>,
    acked_critical: bool,
    owed_end: bool,
    refused: u64,
    plain: u64,
    repair: bool,
    told: Vec<(String, String, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SavedNotice {
    place: usize,
    generation: u64,
    kind: Option<Kind>,
    id: u64,
    upstream: String,
    comment: String,
    /// `None`: when the configuration says so.
    remaining: Option<u64>,
    began: u64,
    since: u64,
    debts: Vec<SavedDebt>,
}

impl Saved {
    /// Copies a table.
    pub fn of(table: &Table<'_>, zone: u64, times: Times) -> Self {
        let receivers = table.receivers.live();
        let named = receivers.iter().filter(|receiver| !receiver.name.is_empty());
        let slots = table.slots.iter().filter(|slot| !slot.name.is_empty());
        let notices = table.notices.live().list.iter().enumerate().filter(|(_, notice)| notice.truth.generation > 0);
        Self {
            zone,
            receivers: named.map(|receiver| SavedReceiver::of(receiver, times)).collect(),
            upstreams: slots.map(|slot| SavedUpstream::of(slot, receivers, times)).collect(),
            notices: notices.map(|(place, notice)| SavedNotice::of(place, notice, receivers, times)).collect(),
        }
    }

    /// One line of JSON.
    pub fn to_text(&self) -> String {
        // Numbers, strings and lists: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None`: not such a text. Fields that are not known are ignored, missing ones have their defaults.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// How many upstreams are not in `watched`, and something is still to be told of them.
    pub fn owing(&self, watched: &[Name]) -> usize {
        self.upstreams.iter().filter(|upstream| upstream.need(watched) == Need::Owing).count()
    }

    /// Fills a table that knows nothing. Should there be less room than before, upstreams in `watched` come first, and then those of
    /// which something is still to be told.
    pub fn restore(&self, table: &mut Table<'_>, watched: &[Name], times: Times) {
        *table.due = Millis::ZERO;
        self.restore_receivers(table, times);
        let receivers = *table.receivers.live();
        let mut upstreams: Vec<&SavedUpstream> = self.upstreams.iter().collect();
        upstreams.sort_by_key(|upstream| upstream.need(watched));
        let mut free = table.slots.iter_mut().filter(|slot| slot.name.is_empty());
        for upstream in upstreams {
            let Some(known) = upstream.known(None, &receivers, times) else { continue };
            let Some(slot) = free.next() else { return };
            known.fill(slot, upstream.name());
        }
        self.restore_notices(table, &receivers, times);
    }

    /// Another zone's keeper wrote this, and now it is this zone's turn. What the receivers have heard is in the text; what is
    /// true is what the zone saw last, unless the text is younger.
    pub fn merge(&self, table: &mut Table<'_>, times: Times) {
        *table.due = Millis::ZERO;
        self.restore_receivers(table, times);
        let receivers = *table.receivers.live();
        for slot in table.slots.iter_mut().filter(|slot| !slot.name.is_empty() && slot.left == 0) {
            let name = slot.name;
            let Some(upstream) = self.upstreams.iter().find(|upstream| upstream.name() == name) else { continue };
            let directory = slot.setup.edit(|setup| {
                upstream.pools.iter().for_each(|pool| setup.directory.admit(&name_of(&pool.name)));
                setup.directory
            });
            let Some(known) = upstream.known(Some(&directory), &receivers, times) else { continue };
            known.meet(slot);
        }
        self.restore_notices(table, &receivers, times);
    }

    fn restore_receivers(&self, table: &mut Table<'_>, times: Times) {
        table.receivers.edit(|receivers| {
            for saved in &self.receivers {
                let name = name_of(&saved.name);
                let known = receivers.iter().position(|receiver| receiver.name == name);
                let free = || receivers.iter().position(|receiver| receiver.name.is_empty());
                let Some(receiver) = known.or_else(free).and_then(|place| receivers.get_mut(place)) else { continue };
                if receiver.name.is_empty() {
                    *receiver = ReceiverState { name, adopted: RESTORED, ..ReceiverState::default() };
                }
                receiver.health = saved.health;
                let longest = times.now + backoff::LONGEST_PAUSE;
                receiver.earliest = receiver.earliest.max(times.due(saved.earliest).min(longest));
            }
        });
    }

    fn restore_notices(&self, table: &mut Table<'_>, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) {
        table.notices.edit(|notices| {
            for saved in &self.notices {
                let Some(known) = saved.known(receivers, times) else { continue };
                let place = notices.list.get_mut(saved.place);
                // A silence that was begun or ended here meanwhile stays so.
                if let Some(place) = place.filter(|place| place.truth.generation <= known.truth.generation) {
                    *place = known;
                }
            }
        });
    }
}

/// An upstream as it comes back: its pools, incidents and debts in the places of a table.
struct Known {
    left: bool,
    setup: Setup,
    detection: Detection,
    debts: [[Debt; MAX_RECEIVERS]; 2],
}

impl Known {
    /// Into a free slot.
    fn fill(self, slot: &mut Slot, name: Name) {
        slot.reset(name);
        slot.setup.edit(|setup| *setup = self.setup);
        slot.detection.edit(|detection| *detection = self.detection);
        slot.debts.edit(|debts| *debts = self.debts);
        (slot.adopted, slot.left) = (RESTORED, if self.left { RESTORED } else { 0 });
    }

    /// With what a slot knows of the same upstream.
    fn meet(self, slot: &mut Slot) {
        let own = *slot.detection.live();
        let mut merged = own;
        if own.error_rate.seen() < self.detection.error_rate.seen() {
            // No request has come here since: theirs is the younger truth.
            merged = Detection { window: own.window, period: own.period, ..self.detection };
        }
        let mut debts = self.debts;
        for ((incident, theirs), debts) in merged.incidents.iter_mut().zip(self.detection.incidents).zip(&mut debts) {
            let last = incident.truth.generation;
            let same = incident.truth.state == theirs.truth.state || (incident.truth.over && theirs.truth.over);
            if same {
                *incident = theirs;
                incident.truth.generation = theirs.truth.generation.max(last);
            } else {
                incident.truth.generation = (theirs.truth.generation + 1).max(last);
                incident.number = if theirs.truth.over { incident.truth.generation } else { theirs.number };
                incident.truth.from = theirs.truth.state;
                incident.since = if last == 0 { own.failover.since() } else { incident.since };
                incident.began = if theirs.truth.over { incident.since } else { theirs.began };
            }
            let heard = debts.iter_mut().filter(|debt| same && debt.acked == theirs.truth.generation);
            heard.for_each(|debt| debt.acked = incident.truth.generation);
        }
        slot.debts.edit(|debts_here| *debts_here = debts);
        slot.detection.edit(|detection| *detection = merged);
    }
}

impl SavedReceiver {
    fn of(receiver: &ReceiverState, times: Times) -> Self {
        let name = text_of(receiver.name.as_bytes());
        let waits = receiver.earliest > times.now;
        Self { name, health: receiver.health, earliest: if waits { times.date(receiver.earliest) } else { 0 } }
    }
}

impl SavedUpstream {
    fn of(slot: &Slot, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) -> Self {
        let (Setup { directory, expected, .. }, detection) = (slot.setup.live(), slot.detection.live());
        let pools = directory.pools().zip(&detection.releases).map(|(pool, release)| SavedPool {
            name: text_of(pool.name.as_bytes()),
            unnamed: pool.unnamed,
            release: text_of(release.as_bytes()),
        });
        let peers = directory.peers().map(|peer| SavedPeer {
            address: text_of(peer.address.as_bytes()),
            pool: peer.pool,
            backup: peer.role == Role::Backup,
            certain: peer.certain,
        });
        let incidents = Key::ALL.into_iter().zip(&detection.incidents).zip(slot.debts.live());
        let expected_pools = (0..MAX_POOLS as PoolId).filter(|&pool| expected.includes(pool));
        let serving = |serving: Serving| States::Serving.name(serving.index() as u8);
        let changes = detection.flapping.times().map(|time| times.date(time));
        Self {
            name: text_of(slot.name.as_bytes()),
            left: slot.left != 0,
            pools: pools.collect(),
            peers: peers.collect(),
            expected: expected_pools.map(|pool| States::Serving.name(pool)).collect(),
            switching: (detection.switching != Serving::Unknown).then(|| serving(detection.switching)),
            serving: serving(detection.failover.serving()),
            since: times.date(detection.failover.since()),
            seen: times.date(detection.error_rate.seen()),
            error_rate: detection.error_rate.level(),
            error_rate_since: times.date(detection.error_rate.since()),
            flapping: detection.flapping.is_on(),
            changes: changes.collect(),
            incidents: incidents
                .map(|((key, incident), debts)| SavedIncident::of(key, incident, debts, receivers, times))
                .collect(),
        }
    }

    fn name(&self) -> Name {
        name_of(&self.name)
    }

    fn need(&self, watched: &[Name]) -> Need {
        let is_owing =
            |incident: &SavedIncident| !incident.over || incident.debts.iter().any(|debt| incident.is_owed(debt));
        match watched.contains(&self.name()) {
            true => Need::Watched,
            false if self.incidents.iter().any(is_owing) => Need::Owing,
            false => Need::None,
        }
    }

    /// In the places of a table; of a directory that is there already, or else of its own. `None`: it contradicts itself.
    fn known(
        &self,
        directory: Option<&Directory>,
        receivers: &[ReceiverState; MAX_RECEIVERS],
        times: Times,
    ) -> Option<Known> {
        let own = self.directory();
        let directory = directory.unwrap_or(&own);
        // Places of pools here, by their places in the text.
        let places: Vec<Option<PoolId>> =
            self.pools.iter().map(|pool| directory.find(&name_of(&pool.name))).take(MAX_POOLS).collect();
        let serving = |text: &str| serving_of(States::Serving.index(text, &places)?);
        let mut detection = Detection {
            failover: Failover::resume(serving(&self.serving)?, times.instant(self.since)),
            error_rate: ErrorRate::resume(
                self.error_rate,
                times.instant(self.error_rate_since),
                times.instant(self.seen),
            ),
            flapping: Flapping::resume(self.flapping, self.changes.iter().map(|&time| times.instant(time))),
            switching: self.switching.as_deref().map_or(Some(Serving::Unknown), serving)?,
            ..Detection::default()
        };
        for (pool, place) in self.pools.iter().zip(&places) {
            if let Some(release) = place.and_then(|place| detection.releases.get_mut(usize::from(place))) {
                *release = Text::new(&bytes_of(&pool.release));
            }
        }
        let mut debts = [[Debt::default(); MAX_RECEIVERS]; 2];
        for (key, saved) in Key::ALL.into_iter().zip(&self.incidents) {
            let states = States::of(key);
            let incident = saved.known(states, &places, times)?;
            *detection.incidents.get_mut(key as usize)? = incident;
            *debts.get_mut(key as usize)? = debts_of(&saved.debts, states, &places, receivers, times)?;
        }
        let mut pools = 0;
        for pool in &self.expected {
            pools |= 1_u8.checked_shl(States::Serving.index(pool, &places)?.into())?;
        }
        let expected = if pools.count_ones() > 1 {
            Expected::Several(pools)
        } else {
            Expected::Pool(if pools == 0 { 0 } else { pools.trailing_zeros() as PoolId })
        };
        Some(Known { left: self.left, setup: Setup { directory: own, expected, ..Setup::default() }, detection, debts })
    }

    fn directory(&self) -> Directory {
        let pools = self.pools.iter().map(|pool| Pool { name: name_of(&pool.name), unnamed: pool.unnamed });
        let peers = self.peers.iter().map(|peer| Peer {
            address: Text::new(&bytes_of(&peer.address)),
            pool: peer.pool,
            role: if peer.backup { Role::Backup } else { Role::Primary },
            certain: peer.certain,
        });
        Directory::resume(pools, peers)
    }
}

impl SavedIncident {
    fn of(
        key: Key,
        incident: &Incident,
        debts: &[Debt; MAX_RECEIVERS],
        receivers: &[ReceiverState; MAX_RECEIVERS],
        times: Times,
    ) -> Self {
        let states = States::of(key);
        Self {
            generation: incident.truth.generation,
            kind: Some(incident.kind),
            state: states.name(incident.truth.state),
            from: states.name(incident.truth.from),
            over: incident.truth.over,
            served: States::Serving.name(incident.from.index() as u8),
            since: times.date(incident.since),
            began: times.date(incident.began),
            number: incident.number,
            planned: incident.truth.planned,
            critical: incident.critical,
            change: (incident.change != incident.kind).then_some(incident.change),
            requests: incident.sums.requests,
            upstream_errors: incident.sums.upstream_errors,
            client_errors: incident.sums.client_errors,
            reasons: incident.sums.reasons,
            debts: saved_debts(debts, states, receivers, times),
        }
    }

    fn known(&self, states: States, places: &[Option<PoolId>], times: Times) -> Option<Incident> {
        let kind = self.kind?;
        Some(Incident {
            truth: Truth {
                generation: self.generation,
                state: states.index(&self.state, places)?,
                from: states.index(&self.from, places)?,
                over: self.over,
                critical: self.critical && !self.over,
                planned: self.planned,
            },
            kind,
            change: self.change.unwrap_or(kind),
            from: serving_of(States::Serving.index(&self.served, places)?)?,
            since: times.instant(self.since),
            began: times.instant(self.began),
            // One that was written without it is as old as its last change.
            number: if self.number == 0 { self.generation } else { self.number.min(self.generation) },
            critical: self.critical,
            sums: Sums {
                requests: self.requests,
                upstream_errors: self.upstream_errors,
                client_errors: self.client_errors,
                reasons: self.reasons,
            },
            // Requests are counted from nothing again.
            first_request: 0,
            first_failure: Millis::ZERO,
        })
    }
}

impl SavedDebt {
    /// Does the receiver know of an open incident? If that was not kept, it may, if it has heard of anything.
    fn is_open(&self) -> bool {
        self.acked_open.unwrap_or(self.acked > 0)
    }
}

impl SavedIncident {
    /// As [`Debt::is_due`].
    fn is_owed(&self, debt: &SavedDebt) -> bool {
        let unheard = debt.acked != self.generation && debt.refused != self.generation;
        let ends_nothing = self.over && !self.planned && !debt.is_open() && !debt.owed_end;
        self.generation > 0 && (debt.repair || (unheard && !ends_nothing))
    }
}

impl SavedNotice {
    fn of(place: usize, notice: &Notice, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) -> Self {
        let Silence { id, upstream, until, comment } = notice.silence;
        Self {
            place,
            generation: notice.truth.generation,
            kind: Some(notice.kind),
            id,
            upstream: text_of(upstream.as_bytes()),
            comment: text_of(comment.as_bytes()),
            remaining: (until != Millis::NEVER).then_some((until - times.now).0),
            began: times.date(notice.began),
            since: times.date(notice.since),
            debts: saved_debts(&notice.debts, States::Notice, receivers, times),
        }
    }

    fn known(&self, receivers: &[ReceiverState; MAX_RECEIVERS], times: Times) -> Option<Notice> {
        let kind = self.kind?;
        let until = self.remaining.map_or(Millis::NEVER, |remaining| times.now + Millis(remaining));
        let (upstream, comment) = (name_of(&self.upstream), Text::new(&bytes_of(&self.comment)));
        Some(Notice {
            truth: Truth {
                generation: self.generation,
                state: kind as u8,
                over: kind == Kind::SilenceEnded,
                ..Truth::default()
            },
            debts: debts_of(&self.debts, States::Notice, &[], receivers, times)?,
            kind,
            silence: Silence { id: self.id, upstream, until, comment },
            began: times.instant(self.began),
            since: times.instant(self.since),
        })
    }
}

fn saved_debts(
    debts: &[Debt; MAX_RECEIVERS],
    states: States,
    receivers: &[ReceiverState; MAX_RECEIVERS],
    times: Times,
) -> Vec<SavedDebt> {
    let named = debts.iter().zip(receivers).filter(|(_, receiver)| !receiver.name.is_empty());
    let told = |debt: &Debt| {
        let told = debt.told.iter().filter(|told| told.at != Millis::ZERO);
        told.map(|told| (states.name(told.from), states.name(told.to), times.date(told.at))).collect()
    };
    named
        .map(|(debt, receiver)| SavedDebt {
            receiver: text_of(receiver.name.as_bytes()),
            acked: debt.acked,
            acked_state: states.name(debt.acked_state),
            acked_open: Some(debt.acked_open),
            acked_critical: debt.acked_critical,
            owed_end: debt.is_owed_end,
            refused: debt.refused,
            plain: debt.plain,
            repair: debt.repair > 0,
            told: told(debt),
        })
        .collect()
}

fn debts_of(
    saved: &[SavedDebt],
    states: States,
    places: &[Option<PoolId>],
    receivers: &[ReceiverState; MAX_RECEIVERS],
    times: Times,
) -> Option<[Debt; MAX_RECEIVERS]> {
    let mut debts = [Debt::default(); MAX_RECEIVERS];
    for saved in saved {
        let name = name_of(&saved.receiver);
        let place = receivers.iter().position(|receiver| receiver.name == name && !name.is_empty());
        let Some(debt) = place.and_then(|place| debts.get_mut(place)) else { continue };
        (debt.acked, debt.acked_state) = (saved.acked, states.index(&saved.acked_state, places)?);
        debt.acked_open = saved.is_open();
        (debt.acked_critical, debt.is_owed_end) = (saved.acked_critical, saved.owed_end);
        (debt.refused, debt.plain, debt.repair) = (saved.refused, saved.plain, u64::from(saved.repair));
        for (place, (from, to, at)) in debt.told.iter_mut().zip(saved.told.iter().take(TOLD)) {
            let (from, to) = (states.index(from, places)?, states.index(to, places)?);
            *place = Told { from, to, at: times.instant(*at) };
        }
    }
    Some(debts)
}

/// What a number of a state stands for.
#[derive(Clone, Copy)]
enum States {
    Serving,
    ErrorRate,
    Notice,
}

const POOL: &str = "pool ";

/// Before a state where the serving pool changes again and again.
const CHANGING: &str = "flapping ";

impl States {
    fn of(key: Key) -> Self {
        match key {
            Key::Serving => Self::Serving,
            Key::ErrorRate => Self::ErrorRate,
        }
    }

    /// Those that are no pool.
    fn named(self) -> &'static [(&'static str, u8)] {
        const NO_POOL: u8 = MAX_POOLS as u8;
        match self {
            Self::Serving => &[("unknown", NO_POOL), ("mixed", NO_POOL + 1), ("down", NO_POOL + 2), ("left", LEFT)],
            Self::ErrorRate => &[
                ("ok", Level::Ok as u8),
                ("firing", Level::Firing as u8),
                ("no data", Level::NoData as u8),
                ("left", LEFT),
            ],
            Self::Notice => &[
                ("silence began", Kind::SilenceBegan as u8),
                ("silence ended", Kind::SilenceEnded as u8),
                ("test", Kind::Test as u8),
            ],
        }
    }

    fn name(self, index: u8) -> String {
        if index & FLAPPING != 0 {
            return format!("{CHANGING}{}", self.name(index & !FLAPPING));
        }
        match self.named().iter().find(|(_, known)| *known == index) {
            Some((name, _)) => (*name).to_owned(),
            None => format!("{POOL}{index}"),
        }
    }

    fn index(self, name: &str, places: &[Option<PoolId>]) -> Option<u8> {
        if let Some(state) = name.strip_prefix(CHANGING) {
            return Some(self.index(state, places)? | FLAPPING);
        }
        // Written by a version that did not say where it stands.
        if name == CHANGING.trim_end() {
            return Some(Serving::Unknown.index() as u8 | FLAPPING);
        }
        if let Some((_, index)) = self.named().iter().find(|(known, _)| *known == name) {
            return Some(*index);
        }
        let place: usize = name.strip_prefix(POOL)?.parse().ok()?;
        // A state that was never reached is the first pool, which need not exist.
        if place == 0 && places.is_empty() { Some(0) } else { *places.get(place)? }
    }
}

fn serving_of(index: u8) -> Option<Serving> {
    let others = [Serving::Unknown, Serving::Mixed, Serving::Down];
    let other = others.into_iter().find(|serving| serving.index() == usize::from(index));
    other.or((usize::from(index) < MAX_POOLS).then_some(Serving::Pool(index)))
}

impl Times {
    /// An instant as a date; 0: never.
    fn date(self, instant: Millis) -> u64 {
        match instant {
            Millis::ZERO => 0,
            _ if instant > self.now => self.wall + (instant - self.now).0,
            _ => self.wall.saturating_sub((self.now - instant).0).max(1),
        }
    }

    /// A date of the past as an instant.
    fn instant(self, date: u64) -> Millis {
        if date == 0 { Millis::ZERO } else { (self.now - Millis(self.wall.saturating_sub(date))).max(Millis(1)) }
    }

    /// A date of the future as an instant; zero: it has passed.
    fn due(self, date: u64) -> Millis {
        if date > self.wall { self.now + Millis(date - self.wall) } else { Millis::ZERO }
    }
}

fn name_of(text: &str) -> Name {
    Name::new(&bytes_of(text))
}

fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect()
}
