//! The words of the API: values of the module's enumerations by the names that documents, labels of the metrics and the page share.

use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::alert::Severity;
use crate::config::rules::RateOf;
use crate::config::upstream::Role;
use crate::detect::error_rate::RateState;
use crate::observation::Verdict;
use crate::outbox::receiver::Health;
use crate::pools::directory::Origin;

/// A value that has a name in the API.
pub(crate) trait Named: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];

    /// The name, the same in all versions of the API.
    fn name(self) -> &'static str;
}

macro_rules! named {
    ($($type:ty { $($value:path => $name:literal),+ $(,)? })+) => {$(
        impl Named for $type {
            const ALL: &'static [Self] = &[$($value),+];

            fn name(self) -> &'static str {
                match self { $($value => $name),+ }
            }
        }
    )+};
}

/// Has documents write values by their names.
macro_rules! serialised {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::status::view::names::Named::name(*self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::status::view::names::read(deserializer)
            }
        }
    )+};
}

/// Reads a value by its name.
pub(super) fn read<'de, T: Named, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let name = Cow::<str>::deserialize(deserializer)?;
    let known = T::ALL.iter().find(|value| value.name() == name);
    known.copied().ok_or_else(|| D::Error::custom(format_args!("unknown name \"{name}\"")))
}

pub(super) use {named, serialised};

named! {
    Severity { Severity::Info => "info", Severity::Warning => "warning", Severity::Critical => "critical" }
    Role { Role::Primary => "primary", Role::Backup => "backup" }
    Origin {
        Origin::Configuration => "configuration",
        Origin::Header => "header",
        Origin::Role => "role",
        Origin::Unknown => "unknown",
    }
    RateOf { RateOf::Upstream => "upstream", RateOf::Client => "client" }
    RateState { RateState::Ok => "ok", RateState::Firing => "firing", RateState::NoData => "no_data" }
    Health { Health::Up => "up", Health::Failing => "failing", Health::Broken => "broken" }
    Verdict {
        Verdict::Unfinished => "unfinished",
        Verdict::Ok => "ok",
        Verdict::Rejected => "rejected",
        Verdict::ServerError => "server_error",
        Verdict::Refused => "refused",
        Verdict::NoAnswer => "no_answer",
        Verdict::ConnectTimedOut => "connect_timed_out",
        Verdict::TimedOut => "timed_out",
        Verdict::NoLiveUpstreams => "no_live_upstreams",
    }
}
serialised!(Severity, Role, Origin, RateOf, Verdict);

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::{from_value, json};

    use super::*;
    use crate::state::ending::{Ending, RESULTS};

    /// Documents call each value by its name, and it is read back.
    fn check<T: Named + Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>() {
        for &value in T::ALL {
            assert_eq!(json!(value), value.name());
            assert_eq!(from_value::<T>(json!(value.name())).expect("a name"), value);
        }
        assert!(from_value::<T>(json!("nobody's name")).is_err());
    }

    #[test]
    fn documents_have_the_same_names_as_labels_and_the_page() {
        check::<Severity>();
        check::<Role>();
        check::<Origin>();
        check::<RateOf>();
        check::<RateState>();
        check::<Health>();
        check::<Verdict>();
    }

    #[test]
    fn results_of_attempts_are_called_as_where_they_are_counted() {
        assert!(RESULTS.iter().all(|(verdict, name)| verdict.name() == *name));
        assert_eq!(Verdict::NoLiveUpstreams.name(), Ending::NoLiveUpstreams.name());
    }
}
