//! Values that many members of a document have: dates, spans and foreign names.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::calendar;
use crate::text::clean;
use crate::units::{Millis, Ratio};

/// The longest text of a foreign name in bytes: each of its at most 64 bytes may be spelled `\xNN`.
const NAME: usize = 256;

/// The longest text of a comment, an error or an identifier in bytes.
const WORDS: usize = 512;

/// A date as documents and the page show it: whole seconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    /// Of milliseconds since the epoch.
    pub(crate) fn from_unix(millis: u64) -> Self {
        Self(millis / 1000)
    }

    /// Seconds since the epoch.
    pub(crate) fn seconds(self) -> f64 {
        self.0 as f64
    }

    /// Seconds from an earlier date to this one; 0: it is not earlier.
    pub(crate) fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64
    }

    /// Do both lie in the same day, in UTC?
    pub(crate) fn is_same_day(self, other: Self) -> bool {
        self.0 / 86_400 == other.0 / 86_400
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&calendar::rfc3339(self.0.saturating_mul(1000)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        calendar::unix(&text).map(Self::from_unix).ok_or_else(|| D::Error::custom("not a date in RFC 3339"))
    }
}

/// A name that the configuration or a header brought: safe to read, and never taken for another one in a label of the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ForeignName {
    shown: String,
    /// `None`: the same as `shown`.
    label: Option<String>,
}

impl ForeignName {
    /// Of the raw bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        // A name with a backslash may look like another one whose byte is spelled out.
        let is_ambiguous = bytes.contains(&b'\\');
        let label = || bytes.split(|&byte| byte == b'\\').map(name).collect::<Vec<_>>().join(r"\x5c");
        Self { shown: name(bytes), label: is_ambiguous.then(label) }
    }

    /// For people.
    pub(crate) fn as_str(&self) -> &str {
        &self.shown
    }

    /// For a label of the metrics: two different names have two different labels.
    pub(crate) fn label(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.shown)
    }
}

impl fmt::Display for ForeignName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl Serialize for ForeignName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

impl<'de> Deserialize<'de> for ForeignName {
    /// The text is taken as it is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { shown: String::deserialize(deserializer)?, label: None })
    }
}

/// A foreign name as people may read it.
pub(crate) fn name(bytes: &[u8]) -> String {
    readable(bytes, NAME)
}

/// A comment, an error or an identifier as people may read it.
pub(crate) fn words(bytes: &[u8]) -> String {
    readable(bytes, WORDS)
}

/// As [`clean`]. Most names are plain, and a history has hundreds of them: they are copied at once.
fn readable(bytes: &[u8], budget: usize) -> String {
    let is_plain = bytes.len() <= budget && bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    match std::str::from_utf8(bytes) {
        Ok(text) if is_plain => text.to_owned(),
        _ => clean(bytes, budget),
    }
}

/// A span in seconds.
pub(crate) fn seconds(span: Millis) -> f64 {
    span.0 as f64 / 1000.0
}

/// A ratio as a number from 0 to 1.
pub(crate) fn ratio(ratio: Ratio) -> f64 {
    f64::from(ratio.millionths()) / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_text_is_copied_and_the_rest_is_cleaned(plain in "[ -~]{0,12}", other in any::<Vec<u8>>()) {
            for bytes in [plain.as_bytes(), &other] {
                for budget in [0, 3, 8, NAME] {
                    prop_assert_eq!(readable(bytes, budget), clean(bytes, budget));
                }
            }
        }
    }

    #[test]
    fn a_name_is_spelled_out_for_people_and_cannot_be_mistaken_in_a_label() {
        let (byte, letters) = (ForeignName::new(b"\xff"), ForeignName::new(br"\xff"));
        assert_eq!([byte.as_str(), letters.as_str()], [r"\xff", r"\xff"]);
        assert_eq!([byte.label(), letters.label()], [r"\xff", r"\x5cxff"]);
        assert_eq!(ForeignName::new(b"blue").label(), "blue");
    }

    #[test]
    fn a_date_is_written_and_read_to_the_second() {
        let date = Timestamp::from_unix(1_795_441_703_999);
        assert_eq!(serde_json::to_string(&date).expect("JSON"), r#""2026-11-23T13:48:23Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(r#""2026-11-23T13:48:23Z""#).expect("a date"), date);
        assert!(serde_json::from_str::<Timestamp>(r#""yesterday""#).is_err());
    }

    #[test]
    fn days_begin_at_midnight_in_utc_and_no_span_is_negative() {
        let (midnight, before) = (Timestamp::from_unix(1_795_392_000_000), Timestamp::from_unix(1_795_391_999_000));
        assert!(!midnight.is_same_day(before) && midnight.is_same_day(Timestamp::from_unix(1_795_441_703_000)));
        assert_eq!((midnight.seconds_since(before), before.seconds_since(midnight)), (1.0, 0.0));
    }
}
