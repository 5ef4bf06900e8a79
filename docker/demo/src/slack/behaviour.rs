//! How the mock treats webhook requests, as set with `/control`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How to treat a request. Modes without settings have braces, because serde would otherwise accept any setting for
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Mode {
    /// Like Slack. `enforce_rate`: a message within a second after the last one to the same path is answered 429.
    Ok {
        #[serde(default)]
        enforce_rate: bool,
    },
    /// Like Slack, after a delay.
    Slow { delay_ms: u64 },
    /// Never answers.
    Hang {},
    /// Accepts the message and never answers, so the sender cannot know.
    PostedNoAnswer {},
    /// Answers every request with this status.
    Refuse {
        status: u16,
        #[serde(default)]
        body: String,
    },
    /// Answers every second request with this status, beginning with the first.
    Flapping { status: u16 },
    /// Answers 429, with this `Retry-After` if there is one.
    RateLimited {
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Answers 200 with a page, like a proxy or a wrong URL.
    Html {},
    /// Answers 302.
    Redirect { location: String },
    /// Sends one byte of the body per second.
    Drip {},
    /// Sends a body without an end.
    Endless {},
    /// Refuses payloads with blocks, accepts plain ones.
    RefuseBlocks {},
    /// The answer to a message that came too soon; `/control` cannot set it.
    #[serde(skip)]
    TooSoon,
}

impl Default for Mode {
    fn default() -> Self {
        Self::Ok { enforce_rate: false }
    }
}

/// A mode, perhaps only for a number of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Behaviour {
    mode: Mode,
    /// For how many more requests the mode holds; then the mock is like Slack again. `None`: without an end.
    times: Option<u32>,
    /// Requests so far.
    count: u64,
    last_accepted: HashMap<String, Instant>,
}

impl Behaviour {
    /// How to treat the next request to this path.
    pub(super) fn next(&mut self, path: &str) -> Mode {
        match &mut self.times {
            Some(0) => (self.mode, self.times) = (Mode::default(), None),
            Some(times) => *times -= 1,
            None => {}
        }
        self.count += 1;
        if matches!(self.mode, Mode::Flapping { .. }) && self.count % 2 == 0 {
            return Mode::default();
        }
        if self.mode == (Mode::Ok { enforce_rate: true }) {
            let now = Instant::now();
            let last = self.last_accepted.get(path);
            if last.is_some_and(|last| now.duration_since(*last) < Duration::from_secs(1)) {
                return Mode::TooSoon;
            }
            self.last_accepted.insert(path.to_owned(), now);
        }
        self.mode.clone()
    }

    /// Does this mode hold requests without an answer?
    pub(super) fn holds(&self) -> bool {
        matches!(self.mode, Mode::Hang {} | Mode::PostedNoAnswer {})
    }

    pub(super) fn shown(&self) -> &Mode {
        &self.mode
    }
}

impl<'de> Deserialize<'de> for Behaviour {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let times = fields.remove("times").map(serde_json::from_value).transpose().map_err(serde::de::Error::custom)?;
        let mode = serde_json::from_value(fields.into()).map_err(serde::de::Error::custom)?;
        Ok(Self { mode, times, count: 0, last_accepted: HashMap::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_can_be_for_some_requests_only() {
        let mut behaviour: Behaviour =
            serde_json::from_str(r#"{"mode": "refuse", "status": 503, "times": 2}"#).expect("a behaviour");
        let refuse = Mode::Refuse { status: 503, body: String::new() };
        assert_eq!(behaviour.next("/a"), refuse);
        assert_eq!(behaviour.next("/a"), refuse);
        assert_eq!(behaviour.next("/a"), Mode::default());
    }

    #[test]
    fn a_flapping_receiver_refuses_every_second_request() {
        let mut behaviour: Behaviour =
            serde_json::from_str(r#"{"mode": "flapping", "status": 503}"#).expect("a behaviour");
        let flapping = Mode::Flapping { status: 503 };
        assert_eq!([(); 4].map(|()| behaviour.next("/a") == flapping), [true, false, true, false]);
    }

    #[test]
    fn unknown_modes_and_fields_are_refused() {
        assert!(serde_json::from_str::<Behaviour>(r#"{"mode": "dance"}"#).is_err());
        assert!(serde_json::from_str::<Behaviour>(r#"{"mode": "hang", "delay": 1}"#).is_err());
        assert!(serde_json::from_str::<Behaviour>(r#"{"mode": "too_soon"}"#).is_err());
    }
}
