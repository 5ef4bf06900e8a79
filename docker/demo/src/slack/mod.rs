//! The mock: a webhook under `/services/`, its behaviour under `/control`, and the requests that it got under
//! `/messages`.

mod behaviour;
mod capture;
mod page;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::payload::validate;
use behaviour::{Behaviour, Mode};
use capture::{Captured, Filter};

/// Bytes of the largest body; larger ones are answered 413, as Slack does.
const LARGEST_BODY: usize = 1 << 20;

/// The longest time that `/messages` waits, in milliseconds.
const LONGEST_WAIT: u64 = 60_000;

#[derive(Default)]
struct Inner {
    /// By path; the empty path is for all others.
    behaviours: HashMap<String, Behaviour>,
    captured: capture::Capture,
}

/// The mock's state, with a notification when it changes.
struct Mock {
    state: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

impl Mock {
    fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// The routes of the mock.
pub fn router() -> Router {
    let mock = Arc::new(Mock { state: Mutex::default(), changes: watch::Sender::new(0) });
    Router::new()
        .route("/services/{*hook}", post(webhook))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .route("/control", get(show_control).put(control))
        .route("/messages", get(messages).delete(forget))
        .route("/healthz", get(|| async { "ok" }))
        .route("/text", get(text))
        .route("/", get(page))
        .with_state(mock)
}

async fn webhook(State(mock): State<Arc<Mock>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let behaviour = {
        let mut state = mock.state();
        let own = state.behaviours.contains_key(uri.path());
        let key = if own { uri.path().to_owned() } else { String::new() };
        state.behaviours.entry(key).or_default().next(uri.path())
    };
    let changes = mock.changes.subscribe();
    let received = capture::now();
    if let Mode::Slow { delay_ms } = behaviour {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    let (status, answer) = judge(&behaviour, &headers, &body);
    let accepted = status == StatusCode::OK && (answer == "ok" || matches!(behaviour, Mode::PostedNoAnswer {}));
    mock.state().captured.push(&uri, &headers, &body, received, accepted, status, &answer);
    mock.changed();
    match behaviour {
        Mode::Hang {} | Mode::PostedNoAnswer {} => {
            hold(&mock, changes).await;
            (StatusCode::SERVICE_UNAVAILABLE, "no longer hanging").into_response()
        }
        Mode::Drip {} => dripping(),
        Mode::Endless {} => endless(),
        Mode::Redirect { location } => (status, [(header::LOCATION, location)]).into_response(),
        Mode::RateLimited { retry_after: Some(seconds) } => {
            (status, [(header::RETRY_AFTER, seconds)], answer).into_response()
        }
        Mode::TooSoon => (status, [(header::RETRY_AFTER, "1")], answer).into_response(),
        _ => (status, [(header::CONTENT_TYPE, "text/html")], answer).into_response(),
    }
}

/// The status and body with which this behaviour answers this payload.
fn judge(behaviour: &Mode, headers: &HeaderMap, body: &[u8]) -> (StatusCode, String) {
    let rate_limited = || {
        let body = json!({"retry_after": 1, "ok": false, "error": "rate_limited"});
        (StatusCode::TOO_MANY_REQUESTS, body.to_string())
    };
    match behaviour {
        Mode::Refuse { status, body } => {
            (StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.clone())
        }
        Mode::Flapping { status } => {
            (StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), String::new())
        }
        Mode::RateLimited { .. } | Mode::TooSoon => rate_limited(),
        Mode::Html {} => (StatusCode::OK, "<!doctype html><title>Sign in</title>".to_owned()),
        Mode::Redirect { .. } => (StatusCode::FOUND, String::new()),
        Mode::Hang {} => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        Mode::Drip {} | Mode::Endless {} => (StatusCode::OK, String::new()),
        Mode::Ok { .. } | Mode::Slow { .. } | Mode::PostedNoAnswer {} | Mode::RefuseBlocks {} => {
            let json = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let payload = serde_json::from_slice::<Value>(body).ok();
            let Some(payload) = payload.filter(|_| json.is_some_and(|json| json.starts_with("application/json")))
            else {
                return (StatusCode::BAD_REQUEST, "invalid_payload".to_owned());
            };
            if matches!(behaviour, Mode::RefuseBlocks {}) && payload.get("blocks").is_some() {
                return (StatusCode::BAD_REQUEST, "invalid_blocks".to_owned());
            }
            match validate(&payload) {
                Ok(()) => (StatusCode::OK, "ok".to_owned()),
                Err(refusal) => (StatusCode::BAD_REQUEST, refusal.word().to_owned()),
            }
        }
    }
}

/// Holds the request until the behaviour changes, or until the client closes the connection.
async fn hold(mock: &Mock, mut changes: watch::Receiver<u64>) {
    while mock.state().behaviours.values().any(Behaviour::holds) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn dripping() -> Response {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"o")), ()))
    });
    Body::from_stream(bytes).into_response()
}

fn endless() -> Response {
    let bytes = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'o'; 1024])));
    Body::from_stream(bytes).into_response()
}

#[derive(Deserialize)]
struct ForPath {
    #[serde(default)]
    path: String,
}

async fn control(State(mock): State<Arc<Mock>>, Query(for_path): Query<ForPath>, body: Bytes) -> Response {
    match serde_json::from_slice::<Behaviour>(&body) {
        Ok(behaviour) => {
            mock.state().behaviours.insert(for_path.path, behaviour);
            mock.changed();
            show_control(State(mock)).await
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error.to_string()}))).into_response(),
    }
}

async fn show_control(State(mock): State<Arc<Mock>>) -> Response {
    let state = mock.state();
    let shown: HashMap<_, _> = state.behaviours.iter().map(|(path, behaviour)| (path, behaviour.shown())).collect();
    Json(json!(shown)).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(flatten)]
    filter: Filter,
    #[serde(default)]
    count: usize,
    #[serde(default)]
    wait_ms: u64,
}

/// The captured requests; waits until there are `count`, for at most `wait_ms`.
async fn messages(State(mock): State<Arc<Mock>>, Query(wanted): Query<Wanted>) -> Json<Vec<Captured>> {
    let mut changes = mock.changes.subscribe();
    let enough = async {
        while mock.state().captured.matching(&wanted.filter).len() < wanted.count {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // After the time limit the requests so far are returned.
    let _ = tokio::time::timeout(Duration::from_millis(wanted.wait_ms.min(LONGEST_WAIT)), enough).await;
    Json(mock.state().captured.matching(&wanted.filter))
}

async fn forget(State(mock): State<Arc<Mock>>) -> StatusCode {
    mock.state().captured.clear();
    StatusCode::NO_CONTENT
}

async fn page(State(mock): State<Arc<Mock>>) -> Html<String> {
    Html(page::html(&mock.state().captured.matching(&Filter::default())))
}

async fn text(State(mock): State<Arc<Mock>>) -> String {
    page::text(&mock.state().captured.matching(&Filter::default()))
}
