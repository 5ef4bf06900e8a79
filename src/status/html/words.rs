//! Numbers, spans and times as the page says them.

use std::fmt::Display;

use maud::{Markup, html};

use crate::calendar;
use crate::detect::serving::Serving;
use crate::status::view::serving::ServingState;
use crate::status::view::values::Timestamp;
use crate::units::{Millis, Ratio};
use crate::wording;

/// `66,212`
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let comma = |(index, digit)| [(index > 0 && (digits.len() - index) % 3 == 0).then_some(','), Some(digit)];
    digits.chars().enumerate().flat_map(comma).flatten().collect()
}

/// `1 request`, `2,000 requests`
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// A share as a percentage, rounded to a hundredth of it: `3.64%`.
pub(super) fn percent(share: f64) -> String {
    Ratio::from_millionths(whole(share.min(1.0) * 10_000.0) as u32 * 100).to_string()
}

/// A share of counts; of nothing: a dash.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { percent(part as f64 / whole as f64) }
}

/// How long something took, to three digits: `850 µs`, `11.7 ms`, `1.24 s`; unknown: a dash.
pub(super) fn latency(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "–".to_owned() };
    let (value, unit) = if seconds < 1.0 { (seconds * 1000.0, "ms") } else { (seconds, "s") };
    let places = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let digits = format!("{value:.places$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits} {unit}")
}

/// How long something lasts or has lasted: `2 min 5 s`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 1.0 { "0 s".to_owned() } else { calendar::duration(Millis::from_secs(whole(seconds.floor()))) }
}

/// A span that ends now, behind `last`: `hour`, `3 h`.
pub(super) fn last(seconds: f64) -> String {
    let span = span(seconds);
    if span == "1 h" { "hour".to_owned() } else { span }
}

/// A date: the time in UTC (the script changes it to the reader's zone), with the day if it is not `now`'s; the whole
/// date is in the attributes.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let text = at.to_string();
    let (day, time) = text.trim_end_matches('Z').split_once('T').unwrap_or_default();
    html! {
        time datetime=(text) title=(text) {
            @if !at.is_same_day(now) { (day) " " }
            (time) " UTC"
        }
    }
}

/// A state in a few words; of a pool that serves, the words that follow its name.
pub(super) fn state(state: ServingState) -> &'static str {
    match state {
        ServingState::Pool => "serves",
        ServingState::Several => "several pools serve",
        ServingState::Unknown => wording::state(Serving::Unknown),
        ServingState::Mixed => wording::state(Serving::Mixed),
        ServingState::Down => wording::state(Serving::Down),
    }
}

/// As the first words of a title: `No pool answers`.
pub(super) fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The reasons that there are, each with its count: `70 answered 5xx, 12 refused`.
pub(super) fn reasons(all: impl IntoIterator<Item = (u64, impl Display)>) -> String {
    let given = all.into_iter().filter(|(count, _)| *count > 0);
    given.map(|(count, reason)| format!("{} {reason}", grouped(count))).collect::<Vec<_>>().join(", ")
}

/// To the nearest whole number; less than nothing is nothing.
#[expect(clippy::cast_sign_loss, reason = "a cast from a float saturates, at zero too")]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// A short name for an element, the same for the same text and not a guess for others (FNV-1a).
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_read_them() {
        assert_eq!(
            [0, 7, 999, 1000, 66_212, 1_234_567].map(grouped),
            ["0", "7", "999", "1,000", "66,212", "1,234,567"]
        );
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(0, "request"), "0 requests");
        assert_eq!([0.0, 0.01, 0.036_363, 1.0].map(percent), ["0%", "1%", "3.64%", "100%"]);
        assert_eq!([share(1, 3), share(0, 0)], ["33.33%", "–"]);
    }

    #[test]
    fn spans_and_response_times_keep_what_matters() {
        let latencies = [0.0, 0.0006, 0.0117, 0.12, 0.22, 1.0, 1.236, 10.0].map(|seconds| latency(Some(seconds)));
        assert_eq!(latencies, ["0 ms", "0.6 ms", "11.7 ms", "120 ms", "220 ms", "1 s", "1.24 s", "10 s"]);
        assert_eq!(latency(None), "–");
        assert_eq!([0.2, 41.2, 125.0].map(span), ["0 s", "41 s", "2 min 5 s"]);
    }

    #[test]
    fn another_days_time_names_the_day() {
        let at = |millis| moment(Timestamp::from_unix(millis), Timestamp::from_unix(1_795_520_413_000)).into_string();
        assert!(at(1_795_520_372_000).ends_with(">11:39:32 UTC</time>"));
        assert!(at(1_795_433_972_000).ends_with(">2026-11-23 11:39:32 UTC</time>"));
    }
}
