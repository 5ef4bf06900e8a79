//! The blue/green application: each response names its pool and release, and `/chaos` breaks it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

const POOL: HeaderName = HeaderName::from_static("x-app-pool");
const RELEASE: HeaderName = HeaderName::from_static("x-release-id");

/// The longest delay of `/delay`, in milliseconds.
const LONGEST_DELAY: u64 = 60_000;

/// How the application is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Chaos {
    /// The application works.
    #[default]
    None,
    /// The application answers 500.
    Error,
    /// The application does not answer.
    Timeout,
}

/// The pool and release of this application, and its state.
struct App {
    pool: HeaderValue,
    release: HeaderValue,
    chaos: watch::Sender<Chaos>,
}

/// The routes of the application.
///
/// # Errors
/// The pool or the release contains a byte that no header may have.
pub fn router(pool: &str, release: &str) -> Result<Router, String> {
    let value = |name, text: &str| {
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| format!("invalid value \"{text}\" in {name}"))
    };
    let app = Arc::new(App {
        pool: value("APP_POOL", pool)?,
        release: value("RELEASE_ID", release)?,
        chaos: watch::Sender::new(Chaos::None),
    });
    let work = Router::new()
        .route("/delay", get(delay))
        .route("/status/{status}", any(status))
        .route("/header", get(header))
        .route("/cacheable", get(cacheable))
        .fallback(version)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), fail_or_wait));
    let control = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/chaos/start", post(start))
        .route("/chaos/stop", post(stop));
    Ok(control.merge(work).layer(middleware::from_fn_with_state(Arc::clone(&app), introduce)).with_state(app))
}

/// Adds the pool and the release to every response.
async fn introduce(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(POOL).or_insert_with(|| app.pool.clone());
    headers.entry(RELEASE).or_insert_with(|| app.release.clone());
    response
}

/// While the application is broken, only the controls work.
async fn fail_or_wait(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut chaos = app.chaos.subscribe();
    let now = *chaos.borrow_and_update();
    match now {
        Chaos::None => {}
        Chaos::Error => return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "chaos"}))).into_response(),
        Chaos::Timeout => {
            // An error means that the sender is gone, and with it the application.
            let _ = chaos.wait_for(|chaos| *chaos != Chaos::Timeout).await;
        }
    }
    next.run(request).await
}

async fn version(State(app): State<Arc<App>>) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Json(json!({"pool": text(&app.pool), "release": text(&app.release)})).into_response()
}

#[derive(Deserialize)]
struct Start {
    #[serde(default = "Start::error")]
    mode: Chaos,
}

impl Start {
    fn error() -> Chaos {
        Chaos::Error
    }
}

async fn start(
    State(app): State<Arc<App>>,
    query: Result<Query<Start>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(Start { mode: mode @ (Chaos::Error | Chaos::Timeout) })) = query else {
        let error = Json(json!({"error": "mode must be \"error\" or \"timeout\""}));
        return (StatusCode::BAD_REQUEST, error).into_response();
    };
    app.chaos.send_replace(mode);
    Json(json!({"chaos": if mode == Chaos::Error { "error" } else { "timeout" }})).into_response()
}

async fn stop(State(app): State<Arc<App>>) -> Response {
    app.chaos.send_replace(Chaos::None);
    Json(json!({"chaos": null})).into_response()
}

#[derive(Deserialize)]
struct Delay {
    ms: u64,
}

async fn delay(state: State<Arc<App>>, Query(Delay { ms }): Query<Delay>) -> Response {
    tokio::time::sleep(Duration::from_millis(ms.min(LONGEST_DELAY))).await;
    version(state).await
}

async fn status(Path(status): Path<u16>) -> Response {
    match StatusCode::from_u16(status) {
        Ok(status) => (status, Json(json!({"status": status.as_u16()}))).into_response(),
        Err(_) => (StatusCode::BAD_REQUEST, Json(json!({"error": "not a status"}))).into_response(),
    }
}

#[derive(Deserialize)]
struct Header {
    pool: Option<String>,
    release: Option<String>,
}

/// Answers with any bytes as pool and release, percent-encoded once more than the query itself: `?pool=%2500` is a NUL
/// byte.
async fn header(Query(header): Query<Header>) -> Response {
    let mut response = "ok".into_response();
    for (name, text) in [(POOL, header.pool), (RELEASE, header.release)] {
        let Some(text) = text else { continue };
        let bytes: Vec<u8> = percent_decode_str(&text).collect();
        let Ok(value) = HeaderValue::from_bytes(&bytes) else {
            return (StatusCode::BAD_REQUEST, Json(json!({"error": "not a header value"}))).into_response();
        };
        response.headers_mut().insert(name, value);
    }
    response
}

async fn cacheable(state: State<Arc<App>>) -> Response {
    let mut response = version(state).await;
    response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
    response
}
