//! Announcements: messages besides those about incidents, namely about silences, at both ends, and test messages.
//!
//! A silence holds back messages about its upstream and ends by itself. Its beginning and its end are announced even if
//! the upstream is silenced, so each announcement has its own delivery states, by the same protocol as an incident.

use crate::alert::{Alert, Kind, Severity, SilenceFacts};
use crate::clock::Times;
use crate::incident::{Revision, StateCode};
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::delivery_state::{Claim, DeliveryState};
use crate::text::{Name, Text};
use crate::units::Millis;

/// Silences that can hold at a time.
pub const MAX_SILENCES: usize = 8;

/// The longest silence that an operator can ask for.
pub const LONGEST_SILENCE: Millis = Millis::from_secs(24 * 60 * 60);

/// The index of the test message.
const TEST: usize = 0;
/// The index of the silence by `poolwatch_silence`; other silences follow.
const CONFIGURED: usize = 1;
const ANNOUNCEMENTS: usize = 2 + MAX_SILENCES;

/// A silence as an operator asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Silence {
    /// Unique while the zone lives; 0: the silence of `poolwatch_silence`.
    pub id: u64,
    /// The upstream's name; empty: all upstreams.
    pub upstream: Name,
    /// When the silence ends by itself; [`Millis::NEVER`]: when the configuration ends it.
    pub until: Millis,
    /// The operator's comment. Raw bytes.
    pub comment: Text<120>,
}

/// An announcement, and the delivery state of each receiver.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Announcement {
    pub(crate) revision: Revision,
    pub(crate) deliveries: [DeliveryState; MAX_RECEIVERS],
    pub(crate) kind: Kind,
    pub(crate) silence: Silence,
    pub(crate) began: Millis,
    pub(crate) since: Millis,
}

/// All announcements: fixed-size plain data.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Announcements {
    pub(crate) list: [Announcement; ANNOUNCEMENTS],
}

impl Default for Announcements {
    #[expect(clippy::large_stack_arrays, reason = "written into the table once, when that is made")]
    fn default() -> Self {
        Self { list: [Announcement::FREE; ANNOUNCEMENTS] }
    }
}

impl Announcements {
    /// Begins a silence. Returns its index; `None`: [`MAX_SILENCES`] silences hold already.
    pub(crate) fn begin(&mut self, silence: Silence, now: Millis) -> Option<usize> {
        let silences = || self.list.iter().enumerate().skip(CONFIGURED + 1);
        let free = silences().find(|(_, announcement)| announcement.revision.number == 0);
        // Of the silences that are over, the one that ended first: its end has had the most time to be sent.
        let over = || {
            silences()
                .filter(|(_, announcement)| announcement.revision.over)
                .min_by_key(|(_, announcement)| announcement.since)
        };
        let (index, _) = free.or_else(over)?;
        *self.list.get_mut(index)? = Announcement::FREE;
        self.change(index, Kind::SilenceBegan, silence, now);
        Some(index)
    }

    /// Ends a silence before its time. Returns its index; `None`: no such silence holds.
    pub(crate) fn end(&mut self, id: u64, now: Millis) -> Option<usize> {
        let index =
            self.list.iter().position(|announcement| announcement.is_silence() && announcement.silence.id == id)?;
        let silence = self.list.get(index)?.silence;
        self.change(index, Kind::SilenceEnded, silence, now);
        Some(index)
    }

    /// Notes whether `poolwatch_silence` is on for any upstream. Returns the index if that changed.
    pub(crate) fn configure(&mut self, silenced: bool, now: Millis) -> Option<usize> {
        if self.list.get(CONFIGURED)?.is_silence() == silenced {
            return None;
        }
        let kind = if silenced { Kind::SilenceBegan } else { Kind::SilenceEnded };
        self.change(CONFIGURED, kind, Silence { until: Millis::NEVER, ..Silence::NONE }, now);
        Some(CONFIGURED)
    }

    /// Asks for a test message to every receiver. Returns its index.
    pub(crate) fn test(&mut self, now: Millis) -> usize {
        self.change(TEST, Kind::Test, Silence::NONE, now);
        TEST
    }

    /// Ends one silence whose time is over. Returns its index; `None`: there is none.
    pub(crate) fn tick(&mut self, now: Millis) -> Option<usize> {
        let silence = self.silences().find(|silence| silence.until <= now)?.id;
        self.end(silence, now)
    }

    /// When the next silence ends by itself; `None`: none holds.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.silences().map(|silence| silence.until).min()
    }

    /// Until when messages about this upstream are silenced; zero: they are not. `poolwatch_silence` does not count
    /// here.
    pub(crate) fn silenced_until(&self, upstream: &Name) -> Millis {
        let holds = |silence: &&Silence| silence.upstream.is_empty() || silence.upstream == *upstream;
        self.silences().filter(holds).map(|silence| silence.until).max().unwrap_or_default()
    }

    /// The silences that hold, without `poolwatch_silence`.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.began().map(|(silence, _)| silence)
    }

    /// The silences that hold, each with the instant of its beginning.
    pub(crate) fn began(&self) -> impl Iterator<Item = (&Silence, Millis)> {
        let holding = self.list.iter().skip(CONFIGURED + 1).filter(|announcement| announcement.is_silence());
        holding.map(|announcement| (&announcement.silence, announcement.began))
    }

    /// How many announcements are still due to the receiver with this index.
    pub(crate) fn pending(&self, receiver: usize) -> usize {
        let deliveries = self
            .list
            .iter()
            .filter_map(|announcement| Some((&announcement.revision, announcement.deliveries.get(receiver)?)));
        deliveries.filter(|(revision, delivery)| delivery.is_due(revision)).count()
    }

    fn change(&mut self, index: usize, kind: Kind, silence: Silence, now: Millis) {
        let Some(announcement) = self.list.get_mut(index) else { return };
        let Revision { number, state, .. } = announcement.revision;
        let over = kind == Kind::SilenceEnded;
        announcement.revision = Revision {
            number: number + 1,
            state: StateCode::announcement(kind),
            from: state,
            over,
            ..Revision::default()
        };
        announcement.began = if over { announcement.began } else { now };
        (announcement.kind, announcement.silence, announcement.since) = (kind, silence, now);
    }
}

impl Silence {
    const NONE: Self = Self { id: 0, upstream: Name::EMPTY, until: Millis::ZERO, comment: Text::EMPTY };
}

impl Announcement {
    const FREE: Self = Self {
        revision: Revision {
            number: 0,
            state: StateCode::new(0),
            from: StateCode::new(0),
            over: true,
            critical: false,
            planned: false,
        },
        deliveries: [DeliveryState::NONE; MAX_RECEIVERS],
        kind: Kind::SilenceEnded,
        silence: Silence::NONE,
        began: Millis::ZERO,
        since: Millis::ZERO,
    };

    fn is_silence(&self) -> bool {
        self.kind == Kind::SilenceBegan
    }

    /// When a silence that is over ended; for other announcements, when they began.
    pub(crate) fn ended_at(&self) -> Millis {
        self.since
    }

    /// What names the announcement in its messages.
    pub(crate) fn id(&self) -> String {
        match (self.kind, self.silence.id) {
            (Kind::Test, _) => "test".to_owned(),
            (_, 0) => "silence/configuration".to_owned(),
            (_, id) => format!("silence/{id}"),
        }
    }

    /// The facts of the announcement; `claim` adds what was held back.
    pub(crate) fn alert(&self, claim: Option<&Claim>, times: Times, host: &str) -> Alert {
        let Self { revision, silence, .. } = self;
        let Times { now, wall } = times;
        let ends = (silence.until != Millis::NEVER).then(|| times.date(silence.until.max(now)));
        let alert = Alert {
            id: self.id(),
            change: revision.number,
            since_unix: times.date(self.since.min(now)),
            lasted: revision.over.then_some(self.since - self.began),
            silence: (self.kind != Kind::Test).then(|| SilenceFacts {
                ends_unix: ends,
                comment: silence.comment.as_bytes().to_vec(),
                during: Vec::new(),
            }),
            ..Alert::about(self.kind, Severity::Info, silence.upstream.as_bytes(), wall, host)
        };
        match claim {
            Some(claim) => alert.covering(claim.covered, now - self.since),
            None => alert,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(50_000);

    fn silence(id: u64, upstream: &str, seconds: u64) -> Silence {
        let upstream = Name::new(upstream.as_bytes());
        Silence { id, upstream, until: NOW + Millis::from_secs(seconds), comment: Text::EMPTY }
    }

    #[test]
    fn a_silence_holds_for_its_upstream_until_its_time_is_over() {
        let mut announcements = Announcements::default();
        announcements.begin(silence(1, "app", 60), NOW);
        let until =
            |announcements: &Announcements, name: &str| announcements.silenced_until(&Name::new(name.as_bytes()));
        assert_eq!(until(&announcements, "app"), NOW + Millis::from_secs(60));
        assert_eq!(until(&announcements, "api"), Millis::ZERO);
        assert_eq!(announcements.tick(NOW + Millis(59_999)), None);
        assert!(announcements.tick(NOW + Millis(60_000)).is_some());
        assert_eq!(until(&announcements, "app"), Millis::ZERO);
        assert_eq!(announcements.deadline(), None);
    }

    #[test]
    fn the_longest_of_several_silences_counts_and_one_may_be_over_all() {
        let mut announcements = Announcements::default();
        announcements.begin(silence(1, "app", 60), NOW);
        announcements.begin(silence(2, "", 30), NOW);
        let until =
            |announcements: &Announcements, name: &str| announcements.silenced_until(&Name::new(name.as_bytes()));
        assert_eq!(until(&announcements, "app"), NOW + Millis::from_secs(60));
        assert_eq!(until(&announcements, "api"), NOW + Millis::from_secs(30));
        assert!(announcements.end(1, NOW).is_some());
        assert_eq!(until(&announcements, "app"), NOW + Millis::from_secs(30));
        assert_eq!(announcements.end(1, NOW), None, "it is over already");
    }

    #[test]
    fn entries_of_silences_that_are_over_are_used_again_and_others_are_not() {
        let mut announcements = Announcements::default();
        for id in 1..=MAX_SILENCES as u64 {
            assert!(announcements.begin(silence(id, "app", 60), NOW).is_some());
        }
        assert_eq!(announcements.begin(silence(99, "app", 60), NOW), None);
        let freed = announcements.end(3, NOW);
        assert_eq!(announcements.begin(silence(99, "app", 60), NOW), freed);
        assert_eq!(announcements.silences().filter(|silence| silence.id == 99).count(), 1);
    }

    #[test]
    fn the_configured_silence_is_sent_when_it_begins_and_when_it_ends() {
        let mut announcements = Announcements::default();
        assert_eq!(announcements.configure(false, NOW), None);
        assert!(announcements.configure(true, NOW).is_some());
        assert_eq!(announcements.configure(true, NOW), None);
        assert_eq!(announcements.deadline(), None, "it does not end by itself");
        assert!(announcements.configure(false, NOW).is_some());
    }

    #[test]
    fn an_alert_says_until_when_and_why() {
        let mut announcements = Announcements::default();
        let asked = Silence { comment: Text::new(b"deploy"), ..silence(7, "app", 60) };
        let index = announcements.begin(asked, NOW).expect("there is room");
        let began = announcements.list[index].alert(None, Times { now: NOW + Millis(1000), wall: 1_000_000 }, "web1");
        assert_eq!((began.kind, began.id.as_str()), (Kind::SilenceBegan, "silence/7"));
        assert_eq!((began.change, began.since_unix), (announcements.list[index].revision.number, 999_000));
        assert_eq!(
            began.silence,
            Some(SilenceFacts { ends_unix: Some(1_059_000), comment: b"deploy".to_vec(), during: vec![] })
        );
        announcements.tick(NOW + Millis(60_000));
        let ended = announcements.list[index].alert(None, Times { now: NOW + Millis(60_000), wall: 1_059_000 }, "web1");
        assert_eq!((ended.kind, ended.lasted), (Kind::SilenceEnded, Some(Millis(60_000))));
    }

    #[test]
    fn the_silence_that_ended_first_gives_its_place_to_a_new_one() {
        let mut announcements = Announcements::default();
        for id in 1..=MAX_SILENCES as u64 {
            assert!(announcements.begin(silence(id, "app", 60), NOW).is_some());
        }
        announcements.end(3, NOW + Millis(2_000));
        let first = announcements.end(5, NOW + Millis(1_000));
        assert_eq!(announcements.begin(silence(99, "app", 60), NOW + Millis(3_000)), first);
    }
}
