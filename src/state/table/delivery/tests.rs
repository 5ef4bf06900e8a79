//! Claims, outcomes and receipts in a table of one upstream and one receiver.

use super::*;
use crate::alert::Severity;
use crate::clock::Times;
use crate::clock::fixture::Processes;
use crate::detect::serving::Serving;
use crate::incident::{Incident, StateCode};
use crate::state::history::ChangeRecord;
use crate::state::table::fixture::Contents;

const NOW: Millis = Millis(1_000_000);
const RECEIVER: usize = 0;

/// All processes live.
const PROCESSES: Processes = Processes { dead: 0 };

fn at(now: Millis) -> Environment<'static> {
    Environment { me: 1, clock: &PROCESSES, times: Times { now, wall: now.0 } }
}

/// The upstream `app`, with open incidents of these keys.
fn contents(keys: &[Key]) -> Contents {
    let mut contents = Contents::new(1);
    let table = contents.table();
    let slack = ReceiverState { name: Name::new(b"slack"), adopted: 1, ..ReceiverState::default() };
    table.receivers.edit(|receivers| receivers[RECEIVER] = slack);
    let slot = &mut table.slots[0];
    slot.reset(Name::new(b"app"));
    slot.adopted = 1;
    for &key in keys {
        let kind = if key == Key::Serving { Kind::Failover } else { Kind::ErrorRateFiring };
        let revision = Revision { number: 1, state: StateCode::new(1), over: false, ..Revision::default() };
        let incident = Incident { revision, kind, change: kind, id: 1, since: NOW, began: NOW, ..Incident::default() };
        slot.detection.edit(|detection| detection.incidents[key as usize] = incident);
        let moved = (Serving::Unknown, Serving::Unknown);
        slot.history.push(ChangeRecord::announced(kind, Severity::Warning, (1, 1), moved, NOW, None));
    }
    contents
}

/// The receipt of the upstream's last change.
fn receipt(table: &Table<'_>) -> Option<Receipt> {
    table.slots[0].history.newest().next().map(|record| record.receipt(RECEIVER))
}

fn claim(table: &mut Table<'_>, now: Millis) -> Option<ClaimedDelivery> {
    table.claim(RECEIVER, true, &at(now))
}

fn settle(table: &mut Table<'_>, claimed: &ClaimedDelivery, outcome: &Outcome, now: Millis) -> Settled {
    assert!(table.may_send(claimed, &at(now)));
    table.settle(claimed, outcome, now, 0)
}

#[test]
fn a_message_that_is_rejected_in_every_form_is_refused_in_the_history() {
    let mut contents = contents(&[Key::Serving]);
    let mut table = contents.table();
    let rejected = Outcome::Rejected("invalid_blocks".into());
    for (now, expected) in [(NOW, Receipt::Pending), (NOW + Millis(2000), Receipt::Refused)] {
        let claimed = claim(&mut table, now).expect("a message is due");
        let settled = settle(&mut table, &claimed, &rejected, now);
        assert_eq!((settled.refused, receipt(&table)), (expected == Receipt::Refused, Some(expected)));
    }
    assert!(claim(&mut table, NOW + Millis(4000)).is_none());
}

#[test]
fn a_message_may_be_on_its_way_from_its_claim_to_its_outcome() {
    let mut contents = contents(&[Key::Serving]);
    let mut table = contents.table();
    assert!(!table.is_sending(&PROCESSES, NOW));
    let claimed = claim(&mut table, NOW).expect("a message is due");
    assert!(table.is_sending(&PROCESSES, NOW));
    settle(&mut table, &claimed, &Outcome::Accepted, NOW);
    assert_eq!((table.is_sending(&PROCESSES, NOW), receipt(&table)), (false, Some(Receipt::Accepted)));
    let now = NOW + Millis(2000);
    table.test(now);
    claim(&mut table, now).expect("the test message is due");
    assert!(table.is_sending(&PROCESSES, now));
    table.release(1);
    assert!(!table.is_sending(&PROCESSES, now));
}

#[test]
fn the_next_delivery_is_when_the_receivers_pause_ends() {
    let mut quiet = contents(&[]);
    assert_eq!(quiet.table().next_delivery(RECEIVER, &at(NOW)), None);
    let mut contents = contents(&[Key::ErrorRate]);
    let table = contents.table();
    table.receivers.edit(|receivers| receivers[RECEIVER].earliest = NOW + Millis(9000));
    assert_eq!(table.next_delivery(RECEIVER, &at(NOW)), Some(NOW + Millis(9000)));
}

#[test]
fn an_upstream_is_owed_as_long_as_a_present_receiver_misses_a_message() {
    let mut contents = contents(&[Key::ErrorRate]);
    let mut table = contents.table();
    assert!(table.owes(0));
    table.slots[0].left = 2;
    assert!(!table.owes(0), "the receiver left before the upstream did");
    table.slots[0].left = 1;
    assert!(table.owes(0));
    let claimed = claim(&mut table, NOW).expect("a message is due");
    settle(&mut table, &claimed, &Outcome::Accepted, NOW);
    assert!(!table.owes(0));
}

#[test]
fn that_an_upstream_left_is_sent_once_or_by_the_other_incident_if_the_first_was_rejected() {
    let left = || {
        let mut contents = contents(&Key::ALL);
        contents.table().slots[0].detection.edit(|detection| {
            detection.incidents.iter_mut().for_each(|incident| incident.leave(NOW));
        });
        contents.table().slots[0].deliveries.edit(|deliveries| {
            for keys in deliveries {
                keys[RECEIVER].must_send_end = true;
            }
        });
        contents
    };
    let mut both = left();
    let mut table = both.table();
    let claimed = claim(&mut table, NOW).expect("a message is due");
    assert_eq!(claimed.subject, Subject::Incident(0, Key::Serving));
    settle(&mut table, &claimed, &Outcome::Accepted, NOW);
    assert!(claim(&mut table, NOW + Millis(2000)).is_none(), "the other one says the same");

    let mut rejected = left();
    let mut table = rejected.table();
    table.slots[0].deliveries.edit(|deliveries| deliveries[Key::Serving as usize][RECEIVER].refused = 2);
    let claimed = claim(&mut table, NOW).expect("a message is due");
    assert_eq!(claimed.subject, Subject::Incident(0, Key::ErrorRate));

    let mut alone = contents(&Key::ALL);
    alone.table().slots[0].detection.edit(|detection| detection.incidents[Key::ErrorRate as usize].leave(NOW));
    let mut table = alone.table();
    let first = claim(&mut table, NOW).expect("a message is due");
    settle(&mut table, &first, &Outcome::Accepted, NOW);
    table.slots[0].deliveries.edit(|deliveries| deliveries[Key::ErrorRate as usize][RECEIVER].must_send_end = true);
    let second = claim(&mut table, NOW + Millis(2000)).map(|claimed| claimed.subject);
    assert_eq!(second, Some(Subject::Incident(0, Key::ErrorRate)), "the serving pool's incident goes on");
}

#[test]
fn a_message_about_what_is_no_longer_there_is_not_sent() {
    let mut contents = contents(&[Key::Serving]);
    let mut table = contents.table();
    let claimed = claim(&mut table, NOW).expect("a message is due");
    table.slots[0].name = Name::new(b"other");
    assert!(!table.may_send(&claimed, &at(NOW)));
    table.slots[0].name = Name::new(b"app");
    assert!(table.may_send(&claimed, &at(NOW)));

    let now = NOW + Millis(2000);
    table.settle(&claimed, &Outcome::Accepted, now, 0);
    table.test(now);
    let claimed = claim(&mut table, now).expect("the test message is due");
    table.test(now);
    assert!(!table.may_send(&claimed, &at(now)), "another test message took its place");
}
