//! How the table's states, names and bytes are spelled in the document.

use crate::alert::Kind;
use crate::detect::error_rate::Level;
use crate::detect::serving::Serving;
use crate::incident::{Key, StateCode};
use crate::pools::set::PoolId;
use crate::text::Name;

/// What the number of a state means.
#[derive(Clone, Copy)]
pub(super) enum States {
    Serving,
    ErrorRate,
    Notice,
}

const POOL: &str = "pool ";

/// Precedes a state while the serving pool changes again and again.
const CHANGING: &str = "flapping ";

const SERVING: &[(&str, StateCode)] = &[
    ("unknown", StateCode::serving(Serving::Unknown)),
    ("mixed", StateCode::serving(Serving::Mixed)),
    ("down", StateCode::serving(Serving::Down)),
    ("left", StateCode::LEFT),
];

const ERROR_RATE: &[(&str, StateCode)] = &[
    ("ok", StateCode::error_rate(Level::Ok)),
    ("firing", StateCode::error_rate(Level::Firing)),
    ("no data", StateCode::error_rate(Level::NoData)),
    ("left", StateCode::LEFT),
];

const NOTICE: &[(&str, StateCode)] = &[
    ("silence began", StateCode::announcement(Kind::SilenceBegan)),
    ("silence ended", StateCode::announcement(Kind::SilenceEnded)),
    ("test", StateCode::announcement(Kind::Test)),
];

impl States {
    pub(super) fn of(key: Key) -> Self {
        match key {
            Key::Serving => Self::Serving,
            Key::ErrorRate => Self::ErrorRate,
        }
    }

    /// The states that are not a pool, with their names.
    fn named(self) -> &'static [(&'static str, StateCode)] {
        match self {
            Self::Serving => SERVING,
            Self::ErrorRate => ERROR_RATE,
            Self::Notice => NOTICE,
        }
    }

    pub(super) fn name(self, code: StateCode) -> String {
        if code.is_flapping() {
            return format!("{CHANGING}{}", self.name(code.settled()));
        }
        match self.named().iter().find(|(_, known)| *known == code) {
            Some((name, _)) => (*name).to_owned(),
            None => format!("{POOL}{}", code.number()),
        }
    }

    pub(super) fn index(self, name: &str, places: &[Option<PoolId>]) -> Option<StateCode> {
        if let Some(state) = name.strip_prefix(CHANGING) {
            return Some(self.index(state, places)?.flapping());
        }
        // Written by a version that did not save the state at that moment.
        if name == CHANGING.trim_end() {
            return Some(StateCode::serving(Serving::Unknown).flapping());
        }
        if let Some((_, code)) = self.named().iter().find(|(known, _)| *known == name) {
            return Some(*code);
        }
        let place: usize = name.strip_prefix(POOL)?.parse().ok()?;
        // The state of a revision that does not exist is pool 0, even if there are no pools.
        let pool = if place == 0 && places.is_empty() { Some(PoolId::FIRST) } else { *places.get(place)? };
        Some(StateCode::serving(Serving::Pool(pool?)))
    }
}

pub(super) fn name_of(text: &str) -> Name {
    Name::new(&bytes_of(text))
}

pub(super) fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect()
}
