//! The requests that the webhook got, in order.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Requests that are kept; the oldest are dropped.
const KEPT: usize = 10_000;

/// One webhook request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Captured {
    /// The number of the request, from 1, without a gap.
    pub(super) seq: u64,
    /// When the body had been read, milliseconds since the epoch.
    pub(super) received_unix_ms: f64,
    pub(super) path: String,
    content_type: String,
    user_agent: String,
    /// Is the message now in the channel?
    pub(super) accepted: bool,
    pub(super) status: u16,
    pub(super) answer: String,
    /// Null if the body is not JSON.
    pub(super) body: Value,
    /// The body as received; invalid UTF-8 is replaced.
    raw: String,
}

/// Which requests are wanted; every condition that is set must hold.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    /// Only requests with a greater number. A text, because flattened query fields are texts.
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

/// The present time, in milliseconds since the epoch.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() * 1000.0)
}
