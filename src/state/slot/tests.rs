//! Silences, counts and deadlines of one slot.

use super::*;
use crate::detect::failover::Failover;
use crate::detect::serving::Change;
use crate::state::history::ChangeRecord;
use crate::state::series::SeriesPoint;
use crate::text::Text;

#[test]
fn the_end_of_a_silence_says_what_failed_or_changed_meanwhile_and_for_how_long_nothing_failed() {
    let mut slot = Slot::empty();
    let mut during = |failed, changes, ended| {
        let silenced = Silenced {
            since: Millis(1_000),
            ended: Millis(9_000),
            last_failure: Millis(6_000),
            requests: 50,
            failed,
            changes,
        };
        slot.detection.edit(|detection| detection.silenced = silenced);
        slot.during(Millis(ended)).map(|during| (during.rate.errors, during.quiet, during.changes))
    };
    assert_eq!(during(0, 0, 9_000), None);
    assert_eq!(during(3, 0, 9_000), Some((3, Millis(3_000), 0)));
    assert_eq!(during(0, 2, 9_000), Some((0, Millis::ZERO, 2)));
    assert_eq!(during(3, 2, 8_000), None, "another silence ended then");
}

#[test]
fn a_slot_of_which_nothing_is_known_has_no_deadline() {
    assert_eq!(Slot::empty().deadline(), None);
}

#[test]
fn a_slot_that_another_upstream_gets_counts_from_nothing() {
    let mut slot = Slot::empty();
    slot.counters.changes[0][1] = 7;
    slot.releases.edit(|releases| releases[0].name = Text::new(b"v1"));
    let change = Change { from: Serving::Unknown, to: Serving::Mixed, since: Millis(9) };
    slot.history.push(ChangeRecord::unannounced(change));
    slot.series.push(SeriesPoint { requests: 5, ..SeriesPoint::default() });
    slot.reset(Name::new(b"app"));
    assert_eq!(slot.counters, Counters::default());
    assert_eq!(*slot.releases.live(), Releases::default());
    assert!(slot.history.newest().all(|record| *record == ChangeRecord::default()));
    assert!(slot.series.newest().all(|point| *point == SeriesPoint::default()));
}

#[test]
fn a_silence_is_followed_from_its_beginning_to_its_end() {
    let mut slot = Slot::empty();
    let mut follow = |is_silenced, now| {
        slot.follow_silence(is_silenced, Millis(now), &mut Vec::new());
        let Silenced { since, ended, .. } = slot.detection.live().silenced;
        (since.0, ended.0)
    };
    assert_eq!(follow(false, 4), (0, 0));
    assert_eq!(follow(true, 5), (5, 0));
    assert_eq!(follow(true, 6), (5, 0), "it goes on");
    assert_eq!(follow(false, 7), (5, 7));
    assert_eq!(follow(false, 8), (5, 7), "it is over");
}

#[test]
fn errors_wait_for_the_message_of_an_outage_and_for_nothing_else() {
    let mut slot = Slot::empty();
    let mut waits = |key, serving, over, left| {
        slot.left = left;
        slot.detection.edit(|detection| {
            detection.failover = Failover::resume(serving, Millis(1));
            detection.incidents[Key::ErrorRate as usize].revision.over = over;
        });
        slot.covered_until(key)
    };
    assert_eq!(waits(Key::ErrorRate, Serving::Down, false, 0), Millis::NEVER);
    assert_eq!(waits(Key::ErrorRate, Serving::Down, true, 0), Millis::ZERO);
    assert_eq!(waits(Key::ErrorRate, Serving::Down, false, 2), Millis::ZERO);
    assert_eq!(waits(Key::Serving, Serving::Down, false, 0), Millis::ZERO);
    assert_eq!(waits(Key::ErrorRate, Serving::Mixed, false, 0), Millis::ZERO);
}
