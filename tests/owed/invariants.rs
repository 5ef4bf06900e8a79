//! What must hold when all has come right. The numbers are those of docs/invariants.md; 5, 6, 7 and 10 are looked at
//! whenever a message leaves.

use std::collections::HashMap;

use ngx_http_poolwatch_module::incident::Revision;

use crate::world::{Book, Post, SUBJECTS, World};

impl World {
    /// Checks what one receiver got. `before` is the number of messages when every one should have been sent.
    pub(crate) fn check(&mut self, receiver: usize, before: usize) {
        let book = self.books[receiver].clone();
        if book.posts.len() != before {
            self.violated("2: something was sent although nothing was owed");
        }
        for subject in 0..SUBJECTS {
            let revision = self.revisions[subject];
            let posts = book.posts.iter().copied().filter(|post| post.subject == subject && post.accepted);
            let accepted: Vec<Post> = posts.collect();
            let of_subject = book.sent.iter().filter(|(sent, _)| *sent == subject);
            let sent: Vec<u64> = of_subject.map(|&(_, number)| number).collect();
            let checks = [
                last_is_the_present_revision(&accepted, &revision, book.refused[subject], &sent),
                nothing_is_left_out(&accepted, &revision, book.refused[subject], &sent),
                no_older_after_newer(&accepted),
                duplicates_are_bounded(&accepted, &book, subject),
                no_end_without_a_beginning(&accepted, &book, subject),
            ];
            for violation in checks.into_iter().filter_map(Result::err) {
                self.violated(&format!("{violation} (receiver {receiver}, subject {subject})"));
            }
        }
    }
}

fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(violation()) }
}

/// Is there nothing to send? True if no incident is open, the last accepted message was of none that is open, and no
/// newer message was sent.
fn is_at_peace(accepted: &[Post], revision: &Revision, sent: &[u64]) -> bool {
    let newest = accepted.iter().map(|post| post.revision.number).max().unwrap_or(0);
    let was_sent = sent.iter().any(|&number| number > newest);
    revision.over && !was_sent && accepted.last().is_none_or(|post| post.revision.over)
}

/// The last accepted message is the present revision, unless the receiver rejected that in every form.
fn last_is_the_present_revision(
    accepted: &[Post],
    revision: &Revision,
    refused: u64,
    sent: &[u64],
) -> Result<(), String> {
    let last = revision.number;
    let was = accepted.last().map_or(0, |post| post.revision.number);
    ensure(was == last || refused == last || is_at_peace(accepted, revision, sent), || {
        format!("1: the last accepted message is about {was}, the present revision is {last}")
    })
}

fn nothing_is_left_out(accepted: &[Post], revision: &Revision, refused: u64, sent: &[u64]) -> Result<(), String> {
    let last = revision.number;
    let is_accepted = |number: u64| {
        accepted.iter().any(|post| {
            let newest = post.revision.number;
            (newest.saturating_sub(post.covered)..=newest).contains(&number)
        })
    };
    // A revision that was rejected last, or an incident that began and ended unsent, may wait to be counted by a later
    // message.
    let waits = refused == last || is_at_peace(accepted, revision, sent);
    let end = if waits { accepted.iter().map(|post| post.revision.number).max().unwrap_or(0) } else { last };
    let gap = (1..=end).find(|&number| !is_accepted(number));
    ensure(gap.is_none(), || format!("3: revision {gap:?} was neither accepted nor covered"))
}

/// An older revision only follows a newer one if the sender was overtaken; then the present one must be sent once more.
fn no_older_after_newer(accepted: &[Post]) -> Result<(), String> {
    let mut newest = 0;
    for (index, post) in accepted.iter().enumerate() {
        let number = post.revision.number;
        let is_made_good = || accepted.iter().skip(index).any(|later| later.revision.number >= newest);
        ensure(number >= newest || (post.overtaken && is_made_good()), || {
            format!("4: {number} was accepted after {newest}")
        })?;
        newest = newest.max(number);
    }
    Ok(())
}

/// A duplicate needs a reason: an answer that did not arrive, a kill, an exit, a sender that was overtaken, or the
/// repair for such a sender.
fn duplicates_are_bounded(accepted: &[Post], book: &Book, subject: usize) -> Result<(), String> {
    let mut times_of: HashMap<u64, (usize, usize)> = HashMap::new();
    for post in accepted {
        let (times, repairs) = times_of.entry(post.revision.number).or_default();
        *times += 1;
        *repairs += usize::from(post.repair);
    }
    for (number, (times, repairs)) in &times_of {
        let excused = 1 + repairs + book.unsure.get(&(subject, *number)).copied().unwrap_or(0);
        ensure(*times <= excused, || format!("8: {number} was accepted {times} times, {excused} are excused"))?;
    }
    let repairs: usize = times_of.values().map(|(_, repairs)| repairs).sum();
    let excused = book.overtaken[subject] + book.unsure_repairs[subject];
    ensure(repairs <= excused, || format!("8: {repairs} repairs, {excused} are excused"))
}

/// The end of an incident only follows its beginning, unless a beginning was sent and not accepted, or a repair was
/// sent.
fn no_end_without_a_beginning(accepted: &[Post], book: &Book, subject: usize) -> Result<(), String> {
    let mut over = true;
    let mut newest = 0;
    for post in accepted.iter().filter(|post| !post.overtaken) {
        let number = post.revision.number;
        if number > newest {
            let was_sent = (newest..number).any(|earlier| book.sent.contains(&(subject, earlier)));
            ensure(!(post.revision.over && over) || was_sent || post.repair || book.overtaken[subject] > 0, || {
                format!("18: the end {number} of nothing was accepted")
            })?;
            (over, newest) = (post.revision.over, number);
        }
    }
    Ok(())
}
