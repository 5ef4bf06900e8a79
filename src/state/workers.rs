//! Whether each worker process watches its requests and, if not, why.

use std::io;

use crate::text;
use crate::units::Millis;

/// No process needs the lock of the table for this long.
const HELD_TOO_LONG: Millis = Millis::from_secs(2);

/// What a worker reports about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The worker waits for the lock of the table.
    Joining,
    /// The worker watches its requests.
    Watching,
    /// The worker cannot start a thread; `errno` of the error.
    NoThread(u16),
    /// The worker's observer panicked and pauses.
    Panicked,
    /// The table has no slot for some of the worker's upstreams.
    NoRoom,
}

/// The process that holds the lock of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The process id.
    pub process: u32,
    /// How long it has held the lock.
    pub span: Millis,
}

/// A worker that does not watch its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// The worker's process id; `None`: it has not reported yet.
    pub process: Option<u32>,
    /// Why, in a few words.
    pub reason: String,
}

/// All workers of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// How many workers should watch.
    pub expected: u64,
    /// The workers among them that do not watch.
    pub blind: Vec<Blind>,
}

impl Workers {
    /// The workers, from the reports of those that are alive. While one process keeps the lock for 2 s or longer, none
    /// watches.
    pub fn new(expected: u64, said: &[(u32, Condition)], held: Option<Held>) -> Self {
        let held = held.filter(|held| held.span >= HELD_TOO_LONG);
        let by_lock = held.map(|Held { process, span }| {
            format!("process {process} has held the lock of the zone for {} s", span.as_secs())
        });
        let blind = |&(process, condition): &(u32, Condition)| {
            let reason = condition.reason().or_else(|| by_lock.clone())?;
            Some(Blind { process: Some(process), reason })
        };
        let silent =
            (said.len() as u64..expected).map(|_| Blind { process: None, reason: "it has not begun to".to_owned() });
        Self { expected, blind: said.iter().filter_map(blind).chain(silent).collect() }
    }

    /// How many workers watch.
    pub fn watching(&self) -> u64 {
        self.expected.saturating_sub(self.blind.len() as u64)
    }
}

impl Condition {
    /// Why the worker does not watch; `None`: it watches.
    fn reason(self) -> Option<String> {
        match self {
            Self::Watching => None,
            Self::Joining => Some("it waits for the lock of the zone".to_owned()),
            Self::NoThread(number) => {
                let error = io::Error::from_raw_os_error(number.into());
                Some(format!("cannot start a thread ({})", text::os_error(&error)))
            }
            Self::Panicked => Some("its observer panicked".to_owned()),
            Self::NoRoom => Some("the zone has no room for all upstreams".to_owned()),
        }
    }

    /// The condition as a number other than 0.
    pub fn to_word(self) -> u32 {
        let (kind, number) = match self {
            Self::Joining => (1, 0),
            Self::Watching => (2, 0),
            Self::NoThread(number) => (3, number),
            Self::Panicked => (4, 0),
            Self::NoRoom => (5, 0),
        };
        kind << 16 | u32::from(number)
    }

    /// The condition of this number; `None`: no condition has it.
    pub fn from_word(word: u32) -> Option<Self> {
        match word >> 16 {
            1 => Some(Self::Joining),
            2 => Some(Self::Watching),
            3 => Some(Self::NoThread(word as u16)),
            4 => Some(Self::Panicked),
            5 => Some(Self::NoRoom),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_THREAD: Condition = Condition::NoThread(11);

    fn reasons(workers: &Workers) -> Vec<(Option<u32>, &str)> {
        workers.blind.iter().map(|blind| (blind.process, blind.reason.as_str())).collect()
    }

    #[test]
    fn workers_that_watch_have_no_reason() {
        let workers = Workers::new(2, &[(7, Condition::Watching), (8, Condition::Watching)], None);
        assert_eq!((workers.watching(), reasons(&workers)), (2, vec![]));
    }

    #[test]
    fn a_worker_that_cannot_watch_and_one_that_has_not_reported_differ() {
        let workers = Workers::new(3, &[(7, NO_THREAD), (8, Condition::Watching)], None);
        assert_eq!(workers.watching(), 1);
        let expected =
            [(Some(7), "cannot start a thread (11: Resource temporarily unavailable)"), (None, "it has not begun to")];
        assert_eq!(reasons(&workers), expected);
    }

    #[test]
    fn while_a_process_keeps_the_lock_nobody_watches() {
        let said = [(7, NO_THREAD), (8, Condition::Watching)];
        let held = |seconds| Some(Held { process: 9, span: Millis::from_secs(seconds) });
        assert_eq!(Workers::new(2, &said, held(1)).watching(), 1, "a moment is as it should be");
        let workers = Workers::new(2, &said, held(12));
        assert_eq!(workers.watching(), 0);
        assert_eq!(reasons(&workers)[1], (Some(8), "process 9 has held the lock of the zone for 12 s"));
    }

    #[test]
    fn more_reports_than_workers_make_no_negative_number() {
        let said = [(7, NO_THREAD), (8, NO_THREAD), (9, Condition::Watching)];
        assert_eq!(Workers::new(1, &said, None).watching(), 0);
    }

    #[test]
    fn conditions_are_numbers_and_back() {
        for condition in [
            Condition::Joining,
            Condition::Watching,
            Condition::NoThread(65535),
            Condition::Panicked,
            Condition::NoRoom,
        ] {
            assert_eq!(Condition::from_word(condition.to_word()), Some(condition));
        }
        assert_eq!(Condition::from_word(0), None);
    }
}
