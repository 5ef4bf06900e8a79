//! How the table's states, names and bytes are spelled in the document.

use crate::alert::Kind;
use crate::detect::error_rate::Level;
use crate::detect::serving::Serving;
use crate::incident::{FLAPPING, Key, LEFT};
use crate::pools::set::{MAX_POOLS, PoolId};
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

impl States {
    pub(super) fn of(key: Key) -> Self {
        match key {
            Key::Serving => Self::Serving,
            Key::ErrorRate => Self::ErrorRate,
        }
    }

    /// The states that are not a pool, with their names.
    pub(super) fn named(self) -> &'static [(&'static str, u8)] {
        const NO_POOL: u8 = MAX_POOLS as u8;
        match self {
            Self::Serving => &[("unknown", NO_POOL), ("mixed", NO_POOL + 1), ("down", NO_POOL + 2), ("left", LEFT)],
            Self::ErrorRate => &[
                ("ok", Level::Ok as u8),
                ("firing", Level::Firing as u8),
                ("no data", Level::NoData as u8),
                ("left", LEFT),
            ],
            Self::Notice => &[
                ("silence began", Kind::SilenceBegan as u8),
                ("silence ended", Kind::SilenceEnded as u8),
                ("test", Kind::Test as u8),
            ],
        }
    }

    pub(super) fn name(self, index: u8) -> String {
        if index & FLAPPING != 0 {
            return format!("{CHANGING}{}", self.name(index & !FLAPPING));
        }
        match self.named().iter().find(|(_, known)| *known == index) {
            Some((name, _)) => (*name).to_owned(),
            None => format!("{POOL}{index}"),
        }
    }

    pub(super) fn index(self, name: &str, places: &[Option<PoolId>]) -> Option<u8> {
        if let Some(state) = name.strip_prefix(CHANGING) {
            return Some(self.index(state, places)? | FLAPPING);
        }
        // Written by a version that did not save the state at that moment.
        if name == CHANGING.trim_end() {
            return Some(Serving::Unknown.index() as u8 | FLAPPING);
        }
        if let Some((_, index)) = self.named().iter().find(|(known, _)| *known == name) {
            return Some(*index);
        }
        let place: usize = name.strip_prefix(POOL)?.parse().ok()?;
        // The state of a revision that does not exist is pool 0, even if there are no pools.
        if place == 0 && places.is_empty() { Some(0) } else { *places.get(place)? }
    }
}

pub(super) fn serving_of(index: u8) -> Option<Serving> {
    let others = [Serving::Unknown, Serving::Mixed, Serving::Down];
    let other = others.into_iter().find(|serving| serving.index() == usize::from(index));
    other.or((usize::from(index) < MAX_POOLS).then_some(Serving::Pool(index)))
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
