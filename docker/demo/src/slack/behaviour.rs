//! How the mock treats webhook requests, as `/control` is told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A way to treat a request. Modes without settings have braces, or serde would take any setting for them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Mode {
    /// As Slack does. `enforce_rate`: more than one message a second to one path is answered 429.
    Ok {
        #[serde(default)]
        enforce_rate: bool,
    },
    /// As Slack does, after a while.
    Slow { delay_ms: u64 },
    /// Never answers.
    Hang {},
    /// Takes the message, and never answers: the sender cannot know.
    PostedNoAnswer {},
    /// This answer, whatever comes.
    Refuse {
        status: u16,
        #[serde(default)]
        body: String,
    },
    /// This answer to every second request, beginning with the first.
    Flapping { status: u16 },
    /// 429, with this `Retry-After` if any.
    RateLimited {
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 200 with a page, as a proxy or a wrong URL does.
    Html {},
    /// 302.
    Redirect { location: String },
    /// A byte of body a second.
    Drip {},
    /// A body without an end.
    Endless {},
    /// Refuses payloads with blocks, takes plain ones.
    RefuseBlocks {},
    /// The answer to a message that came too soon. Not for `/control`.
    #[serde(skip)]
    TooSoon,
}

impl Default for Mode {
    fn default() -> Self {
        Self::Ok { enforce_rate: false }
    }
}

/// A mode, perhaps for a number of requests only.
#[derive(Clone, Debug, Default)]
pub(super) struct Behaviour {
    mode: Mode,
    /// So many more; then as Slack does.
    times: Option<u32>,
    /// Requests so far.
    count: u64,
    last_accepted: HashMap<String, Instant>,
}

impl Behaviour {
    /// How the next request to this path is treated.
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

    /// Are requests held without an answer?
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
