//! Times and shares, each a type of its own, so that the compiler tells a threshold from a delay.
//!
//! Text becomes one of these types where it enters the program (`parse`). Instants and spans share [`Millis`], as
//! nginx's `ngx_msec_t` does: an instant counts from the boot of the machine (`CLOCK_MONOTONIC`), which all workers
//! share and which no change of the wall clock moves.

use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds: a span, or an instant since boot. Arithmetic saturates, so a clock that goes backwards gives a span of
/// 0 and only delays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// A span of no time; as an instant: never happened.
    pub const ZERO: Self = Self(0);

    /// An instant later than every other.
    pub const NEVER: Self = Self(u64::MAX);

    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The span in whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// `self` × `factor`, saturating.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// Reads a span as nginx does: `500ms`, `5m`, `1h30m`, `300` (seconds). Larger units come first, each at most once;
    /// a last number without a unit is in seconds. `None`: any other text, or a span of 2⁶⁴ ms or more.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut text = std::str::from_utf8(text).ok()?;
        let mut units = UNITS.as_slice();
        let mut total = 0_u64;
        loop {
            let (number, rest) = split_where(text, |letter| !letter.is_ascii_digit());
            let (unit, rest) = split_where(rest, |letter| !letter.is_ascii_alphabetic());
            let unit = if unit.is_empty() && rest.is_empty() { "s" } else { unit };
            let index = units.iter().position(|(name, _)| *name == unit)?;
            let (_, scale) = units[index];
            total = total.checked_add(digits(number)?.checked_mul(scale)?)?;
            (text, units) = (rest.trim_start_matches(' '), &units[index + 1..]);
            if text.is_empty() {
                return Some(Self(total));
            }
        }
    }
}

/// nginx's units of time below the month, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// The number that the text's decimal digits spell; `None`: any other text. Rust's own parser would accept a sign too.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// A share between 0 and 1, kept in millionths: exact for every value a person writes in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio {
    millionths: u32,
}

impl Ratio {
    /// The share with this many millionths; more than 1 000 000 become 1 000 000, the whole.
    pub const fn from_millionths(millionths: u32) -> Self {
        Self { millionths: if millionths > 1_000_000 { 1_000_000 } else { millionths } }
    }

    /// Reads `2%`, `0.5%` or `0.02`, up to `100%` or `1.0`. `None`: any other text, also a number that may be a
    /// percentage or a fraction (`2`), and a number finer than a millionth (`0.00001%`).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction, places) = match text.strip_suffix('%') {
            Some(percent) => percent.split_once('.').map_or((percent, "0", 4_u32), |(whole, rest)| (whole, rest, 4)),
            None => text.split_once('.').map(|(whole, rest)| (whole, rest, 6))?,
        };
        let missing = 10_u64.pow(u32::try_from(fraction.len()).ok().and_then(|given| places.checked_sub(given))?);
        let whole = digits(whole)?.checked_mul(10_u64.pow(places))?;
        let millionths = whole.checked_add(digits(fraction)? * missing)?;
        if millionths > 1_000_000 { None } else { Some(Self { millionths: millionths as u32 }) }
    }

    /// The share in millionths, 0 to 1 000 000.
    pub const fn millionths(self) -> u32 {
        self.millionths
    }

    /// Half of this share: the default share below which a firing error rate may resolve.
    #[must_use]
    pub const fn half(self) -> Self {
        Self { millionths: self.millionths / 2 }
    }

    /// Is `part` of `whole` more than this share? Exact integer arithmetic; 0 of 0 is not more than any share.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 > u128::from(whole) * u128::from(self.millionths)
    }

    /// Is `part` of `whole` less than this share? Exact integer arithmetic; 0 of 0 is not less than any share.
    pub fn is_above(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 < u128::from(whole) * u128::from(self.millionths)
    }
}

impl fmt::Display for Ratio {
    /// As a percentage with only the digits that it needs: `2%`, `0.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.millionths / 10_000;
        let rest = self.millionths % 10_000;
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{rest:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("300", 300_000),
            ("300s", 300_000),
            ("500ms", 500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1m30", 90_000),
            ("1s500ms", 1500),
            ("1w2d", 777_600_000),
        ] {
            assert_eq!(Millis::parse(text.as_bytes()), Some(Millis(expected)), "{text}");
        }
    }

    #[test]
    fn what_nginx_would_not_read_as_a_time_is_none() {
        for text in [
            "",
            "s",
            "ms",
            "-1",
            "+1",
            "1.5s",
            "1x",
            "30m1h",
            "1m1m",
            "1s5",
            " 1s",
            "1 s",
            "1S",
            "99999999999999999999",
        ] {
            assert_eq!(Millis::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Millis::parse(b"\xff1s"), None);
        assert_eq!(Millis::parse(b"99999999999999999w"), None, "overflows when scaled");
    }

    #[test]
    fn ratios_are_read_as_percentage_or_fraction() {
        for (text, expected) in [
            ("0%", 0),
            ("2%", 20_000),
            ("0.5%", 5000),
            ("2.50%", 25_000),
            ("0.0001%", 1),
            ("100%", 1_000_000),
            ("0.02", 20_000),
            ("0.000001", 1),
            ("1.0", 1_000_000),
        ] {
            assert_eq!(Ratio::parse(text.as_bytes()), Some(Ratio::from_millionths(expected)), "{text}");
        }
    }

    #[test]
    fn ratios_that_say_too_little_or_too_much_are_none() {
        for text in [
            "",
            "%",
            ".",
            "2",
            "0",
            "2x",
            "-1%",
            "+1%",
            "101%",
            "100.0001%",
            "1.1",
            "0.00001%",
            "0.0000001",
            ".5%",
            "5.%",
            "2 %",
            "2%%",
            "1.2.3",
            "NaN",
            "inf",
            "1e1%",
            "18446744073709551615%",
        ] {
            assert_eq!(Ratio::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_ratio_prints_as_it_is_read() {
        for text in ["0%", "0.5%", "2%", "12.3456%", "100%"] {
            assert_eq!(Ratio::parse(text.as_bytes()).map(|ratio| ratio.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_share_that_is_exactly_met_is_neither_above_nor_exceeded() {
        let ratio = Ratio::parse(b"1%").expect("a share");
        assert!(ratio.is_above(1, 200) && !ratio.is_exceeded_by(1, 200));
        assert!(!ratio.is_above(2, 200) && !ratio.is_exceeded_by(2, 200));
        assert!(!ratio.is_above(3, 200) && ratio.is_exceeded_by(3, 200));
    }
}
