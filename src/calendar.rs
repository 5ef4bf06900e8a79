//! Dates and spans of time, as people and machines read them.

use std::time::{Duration, UNIX_EPOCH};

use crate::units::Millis;

/// The last second of the year 9999, the last year of four digits; seconds since the epoch.
const LAST_SECOND: u64 = 253_402_300_799;

/// A span as people write it, in at most two units: `850 ms`, `41 s`, `2 min 5 s`, `3 h 4 min`, `2 d 1 h`. Rounded
/// down.
pub fn duration(span: Millis) -> String {
    let secs = span.as_secs();
    let two = |large: u64, unit: &str, small: u64, rest: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {rest}"),
    };
    match secs {
        0 => format!("{} ms", span.0),
        1..60 => format!("{secs} s"),
        60..3600 => two(secs / 60, "min", secs % 60, "s"),
        3600..86_400 => two(secs / 3600, "h", secs / 60 % 60, "min"),
        _ => two(secs / 86_400, "d", secs / 3600 % 24, "h"),
    }
}

/// A date as RFC 3339 in UTC, rounded down to the second: `2026-11-24T10:57:31Z`. `unix`: milliseconds since the epoch;
/// every date after the year 9999 becomes the last second of that year.
pub fn rfc3339(unix: u64) -> String {
    let date = UNIX_EPOCH + Duration::from_secs((unix / 1000).min(LAST_SECOND));
    humantime::format_rfc3339_seconds(date).to_string()
}

/// Milliseconds since the epoch of an RFC 3339 date in UTC; `None`: the text is no such date, or the date is before the
/// epoch.
pub fn unix(date: &str) -> Option<u64> {
    let date = humantime::parse_rfc3339(date).ok()?;
    u64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        let said = |millis| duration(Millis(millis));
        assert_eq!(said(0), "0 ms");
        assert_eq!(said(999), "999 ms");
        assert_eq!(said(41_900), "41 s");
        assert_eq!(said(120_000), "2 min");
        assert_eq!(said(125_000), "2 min 5 s");
        assert_eq!(said(11_040_000), "3 h 4 min");
        assert_eq!(said(90_000_000), "1 d 1 h");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_790_000_000_000), "2026-09-21T14:13:20Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }

    proptest! {
        #[test]
        fn a_date_is_read_as_it_was_written(seconds in 0..=LAST_SECOND) {
            prop_assert_eq!(unix(&rfc3339(seconds * 1000)), Some(seconds * 1000));
        }
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in ["yesterday", "", "2026-11-24", "2026-13-24T10:57:31Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(unix(text), None, "{text}");
        }
    }
}
