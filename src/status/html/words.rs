//! Numbers, spans and times as the page says them.

use maud::{Markup, html};
use serde_json::Value;

use crate::calendar;
use crate::units::{Millis, Ratio};

/// A text member; none: empty.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A number; none: zero.
pub(super) fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_default()
}

/// A count; none: zero.
pub(super) fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

/// Is it said, and true?
pub(super) fn is(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or_default()
}

/// A list's items; none: nothing.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// `66,212`
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let comma = |(place, digit)| [(place > 0 && (digits.len() - place) % 3 == 0).then_some(','), Some(digit)];
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

/// A moment: the time in UTC for the eye (the script puts it into the reader's own zone) with the day where it is not
/// today's, and all of it for machines and on hovering.
pub(super) fn moment(at: &str, now: &str) -> Markup {
    let (day, time) = at.trim_end_matches('Z').split_once('T').unwrap_or_default();
    html! {
        time datetime=(at) title=(at) {
            @if !now.starts_with(day) { (day) " " }
            (time) " UTC"
        }
    }
}

/// Seconds since the epoch of an RFC 3339 time in UTC, as the API writes it.
pub(super) fn unix(time: &str) -> Option<f64> {
    let mut fields = time.strip_suffix('Z')?.split(['-', 'T', ':']).map(|field| field.parse::<i64>().ok());
    let mut next = || fields.next().flatten();
    let (year, month, day) = (next()?, next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    // Years begin in March here, as in `calendar::rfc3339`.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) as f64)
}

/// Seconds from one time to a later one; unreadable or not later: zero.
pub(super) fn between(earlier: &str, later: &str) -> f64 {
    match (unix(earlier), unix(later)) {
        (Some(earlier), Some(later)) => (later - earlier).max(0.0),
        _ => 0.0,
    }
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
    fn a_time_is_read_as_it_was_written() {
        for seconds in [0, 951_782_400, 951_868_799, 1_795_441_703, 4_102_444_799] {
            assert_eq!(unix(&calendar::rfc3339(seconds * 1000)), Some(seconds as f64));
        }
        assert_eq!(unix("yesterday"), None);
        let (earlier, later) = ("2026-11-24T11:39:32Z", "2026-11-24T11:40:13Z");
        assert_eq!([between(earlier, later), between(later, earlier)].map(span), ["41 s", "0 s"]);
    }

    #[test]
    fn another_days_time_names_the_day() {
        let now = "2026-11-24T11:40:13Z";
        assert!(moment("2026-11-24T11:39:32Z", now).into_string().ends_with(">11:39:32 UTC</time>"));
        assert!(moment("2026-11-23T11:39:32Z", now).into_string().ends_with(">2026-11-23 11:39:32 UTC</time>"));
    }
}
