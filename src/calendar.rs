//! Dates and spans of time as people and machines read them.

use crate::units::Millis;

/// The last second that is written with four digits of a year.
const LAST_SECOND: u64 = 253_402_300_799;

/// As people say it, in at most two units: `850 ms`, `41 s`, `2 min 5 s`, `3 h 4 min`, `2 d 1 h`.
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

/// Milliseconds since the epoch as RFC 3339 in UTC, to the second: `2026-11-24T10:57:31Z`. Beyond the year 9999 it stands still.
pub fn rfc3339(unix: u64) -> String {
    let secs = (unix / 1000).min(LAST_SECOND);
    let (days, time) = (secs / 86_400, secs % 86_400);
    // Years begin in March here, so that the leap day is the last of its year; 719 468 days lie between 0000-03-01 and the epoch.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
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
}
