//! How the table's states, names and bytes are spelled in the document.

use crate::alert::Kind;
use crate::detect::error_rate::RateState;
use crate::detect::serving::Serving;
use crate::incident::{Key, StateCode};
use crate::pools::set::PoolId;
use crate::text::Name;

/// What the number of a state means.
#[derive(Clone, Copy)]
pub(super) enum States {
    Serving,
    ErrorRate,
    Announcement,
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
    ("ok", StateCode::error_rate(RateState::Ok)),
    ("firing", StateCode::error_rate(RateState::Firing)),
    ("no data", StateCode::error_rate(RateState::NoData)),
    ("left", StateCode::LEFT),
];

const ANNOUNCEMENT: &[(&str, StateCode)] = &[
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
            Self::Announcement => ANNOUNCEMENT,
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

    pub(super) fn code(self, name: &str, pool_ids: &[Option<PoolId>]) -> Option<StateCode> {
        if let Some(state) = name.strip_prefix(CHANGING) {
            return Some(self.code(state, pool_ids)?.flapping());
        }
        // Written by a version that did not save the state at that moment.
        if name == CHANGING.trim_end() {
            return Some(StateCode::serving(Serving::Unknown).flapping());
        }
        if let Some((_, code)) = self.named().iter().find(|(known, _)| *known == name) {
            return Some(*code);
        }
        let index: usize = name.strip_prefix(POOL)?.parse().ok()?;
        // The state of a revision that does not exist is pool 0, even if there are no pools.
        let pool = if index == 0 && pool_ids.is_empty() { Some(PoolId::FIRST) } else { *pool_ids.get(index)? };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_by_its_pools_place() {
        let pool_ids: Vec<Option<PoolId>> = PoolId::all().map(Some).collect();
        let pools = PoolId::all().map(Serving::Pool);
        for serving in pools.chain([Serving::Unknown, Serving::Mixed, Serving::Down]) {
            let code = StateCode::serving(serving);
            assert_eq!(code.to_serving(), Some(serving));
            assert_eq!(States::Serving.code(&States::Serving.name(code), &pool_ids), Some(code));
            let changing = States::Serving.name(code.flapping());
            assert_eq!(States::Serving.code(&changing, &pool_ids), Some(code.flapping()));
        }
        for states in [States::Serving, States::ErrorRate, States::Announcement] {
            for &(name, code) in states.named() {
                assert_eq!((states.name(code).as_str(), states.code(name, &[])), (name, Some(code)));
            }
        }
        let moved = [PoolId::new(1), None];
        assert_eq!(
            States::Serving.code("pool 0", &moved),
            PoolId::new(1).map(|id| StateCode::serving(Serving::Pool(id)))
        );
        assert_eq!((States::Serving.code("pool 1", &moved), States::Serving.code("pool 2", &moved)), (None, None));
    }

    #[test]
    fn a_state_has_the_name_that_older_files_have() {
        let name = |code: StateCode| States::Serving.name(code);
        let green = Serving::Pool(PoolId::new(1).expect("a pool"));
        assert_eq!(name(StateCode::serving(green)), "pool 1");
        assert_eq!(name(StateCode::serving(green).flapping()), "flapping pool 1");
        assert_eq!(name(StateCode::serving(Serving::Down)), "down");
        assert_eq!(name(StateCode::LEFT), "left");
        assert_eq!(States::ErrorRate.name(StateCode::default()), "ok");
        assert_eq!(States::Announcement.name(StateCode::default()), "pool 0");
    }
}
