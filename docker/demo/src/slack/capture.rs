//! What the webhook got, in order.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Requests kept; the oldest go first.
const KEPT: usize = 10_000;

/// One webhook request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Captured {
    /// Counts from 1 and never starts again.
    pub(super) seq: u64,
    /// When the body had been read, milliseconds since the epoch.
    pub(super) received_unix_ms: f64,
    pub(super) path: String,
    content_type: String,
    user_agent: String,
    /// The message is in the channel now.
    pub(super) accepted: bool,
    pub(super) status: u16,
    pub(super) answer: String,
    /// Null if it was no JSON.
    pub(super) body: Value,
    /// As received; bytes that are no UTF-8 replaced.
    raw: String,
}

/// Which of them; all that are given must match.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    /// Later than this number. A text, since flattened query fields are.
    after: Option<String>,
    accepted: Option<String>,
    path: Option<String>,
}

#[derive(Default)]
pub(super) struct Capture {
    requests: VecDeque<Captured>,
    count: u64,
}

impl Capture {
    #[expect(clippy::too_many_arguments, reason = "one request and its treatment, in the order of the fields")]
    pub(super) fn push(
        &mut self,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        received_unix_ms: f64,
        accepted: bool,
        status: StatusCode,
        answer: &str,
    ) {
        self.count += 1;
        if self.requests.len() == KEPT {
            self.requests.pop_front();
        }
        let header = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        self.requests.push_back(Captured {
            seq: self.count,
            received_unix_ms,
            path: uri.path().to_owned(),
            content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
            user_agent: header(header::USER_AGENT).unwrap_or_default(),
            accepted,
            status: status.as_u16(),
            answer: answer.to_owned(),
            body: serde_json::from_slice(body).unwrap_or_default(),
            raw: String::from_utf8_lossy(body).into_owned(),
        });
    }

    pub(super) fn matching(&self, filter: &Filter) -> Vec<Captured> {
        let after = filter.after.as_ref().and_then(|after| after.parse().ok()).unwrap_or(0);
        let accepted = filter.accepted.as_ref().and_then(|accepted| accepted.parse().ok());
        let matches = |request: &&Captured| {
            request.seq > after
                && accepted.is_none_or(|accepted: bool| request.accepted == accepted)
                && filter.path.as_ref().is_none_or(|path| request.path == *path)
        };
        self.requests.iter().filter(matches).cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
    }
}

/// Now, in milliseconds since the epoch.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0)
}
