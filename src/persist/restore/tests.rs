//! What comes back from a document.

use super::*;
use crate::incident::StateCode;
use crate::persist::document::SavedReceiver;
use crate::state::table::fixture::Contents;

const TIMES: Times = Times { now: Millis(5_000_000), wall: 1_790_000_000_000 };

fn upstream(name: &str) -> SavedUpstream {
    SavedUpstream { name: name.into(), serving: "unknown".into(), left: true, ..SavedUpstream::default() }
}

fn incident(revision: u64, state: &str, over: bool) -> SavedIncident {
    let (state, unknown) = (state.to_owned(), || "unknown".to_owned());
    let kind = Some(Kind::Failover);
    SavedIncident { revision, kind, state, from: unknown(), served: unknown(), over, ..SavedIncident::default() }
}

#[test]
fn what_is_watched_comes_back_first_and_then_what_still_owes() {
    let owing = SavedUpstream { incidents: vec![incident(1, "down", false)], ..upstream("owing") };
    let saved = Saved { upstreams: vec![upstream("done"), owing, upstream("app")], ..Saved::default() };
    let mut contents = Contents::new(2);
    let table = &mut contents.table();
    saved.restore(table, &[Name::new(b"app")], TIMES);
    let names: Vec<_> = table.slots.iter().map(|slot| slot.name).collect();
    assert_eq!(names, [Name::new(b"app"), Name::new(b"owing")]);
}

#[test]
fn a_receivers_pause_is_kept_up_to_the_longest_that_it_may_ask_for() {
    let hour = 3_600_000;
    for (pause, kept) in [(60_000, Millis(60_000)), (hour, backoff::LONGEST_PAUSE)] {
        let receiver = SavedReceiver { name: "slack".into(), earliest: TIMES.wall + pause, ..SavedReceiver::default() };
        let saved = Saved { receivers: vec![receiver], ..Saved::default() };
        let mut contents = Contents::new(1);
        let table = &mut contents.table();
        saved.restore(table, &[], TIMES);
        assert_eq!(table.receivers.live()[0].earliest, TIMES.now + kept);
    }
}

#[test]
fn a_silence_that_was_ended_meanwhile_stays_ended() {
    let mut contents = Contents::new(1);
    let table = &mut contents.table();
    let until = TIMES.now + Millis::from_secs(60);
    table.begin_silence(Silence { id: 1, upstream: Name::EMPTY, until, comment: Text::EMPTY }, TIMES.now);
    let saved = Saved::of(table, 1, TIMES);
    table.end_silence(1, TIMES.now);
    saved.merge(table, TIMES);
    assert_eq!(table.announcements.live().silences().count(), 0);
    // In a table that knows of no silence it holds.
    let mut contents = Contents::new(1);
    let table = &mut contents.table();
    saved.merge(table, TIMES);
    assert_eq!(table.announcements.live().silences().count(), 1);
}

/// The number of the incident, and the last number that the receiver accepted, once a text with the number `theirs` came to a table
/// with the number `own`.
fn merged(own: (u64, bool), theirs: (u64, &str, bool)) -> (u64, u64) {
    let delivery = SavedDelivery {
        receiver: "slack".into(),
        acked: theirs.0,
        acked_state: theirs.1.into(),
        ..SavedDelivery::default()
    };
    let incident = SavedIncident { deliveries: vec![delivery], ..incident(theirs.0, theirs.1, theirs.2) };
    let receivers = vec![SavedReceiver { name: "slack".into(), ..SavedReceiver::default() }];
    let upstreams = vec![SavedUpstream { incidents: vec![incident], ..upstream("app") }];
    let mut contents = Contents::new(1);
    let table = &mut contents.table();
    table.slots[0].reset(Name::new(b"app"));
    let revision =
        Revision { number: own.0, over: own.1, state: StateCode::serving(Serving::Down), ..Revision::default() };
    table.slots[0].detection.edit(|detection| detection.incidents[0].revision = revision);
    Saved { receivers, upstreams, ..Saved::default() }.merge(table, TIMES);
    let slot = &table.slots[0];
    (slot.detection.live().incidents[0].revision.number, slot.deliveries.live()[0][0].acked)
}

#[test]
fn of_the_same_state_both_count_from_the_greater_number_on() {
    for theirs in [("down", false), ("mixed", true), ("down", true)] {
        let own = |number| (number, theirs.1);
        assert_eq!(merged(own(5), (3, theirs.0, theirs.1)), (5, 5), "{theirs:?}");
        assert_eq!(merged(own(5), (7, theirs.0, theirs.1)), (7, 7), "{theirs:?}");
    }
}

#[test]
fn another_state_is_a_revision_after_theirs_that_the_receiver_has_not_accepted() {
    assert_eq!(merged((5, false), (3, "mixed", false)), (5, 3));
    assert_eq!(merged((5, false), (7, "mixed", false)), (8, 7));
    assert_eq!(merged((5, false), (7, "unknown", true)), (8, 7));
}
