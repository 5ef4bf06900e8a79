//! Starts and ends a server: settings from the environment, one line when it listens, no waiting when it ends.

use std::env;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The variable's value, or `default` if the variable is not set.
///
/// # Errors
/// The variable has a value of another type.
pub fn setting<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    match env::var(name) {
        Ok(value) => value.parse().map_err(|_| format!("invalid value \"{value}\" in {name}")),
        Err(_) => Ok(default),
    }
}

/// Serves until SIGTERM or SIGINT. Requests that hang at that time do not delay the end.
///
/// # Errors
/// The address cannot be bound.
pub async fn run(name: impl Display, host: &str, port: u16, router: Router) -> Result<(), String> {
    let listener =
        TcpListener::bind((host, port)).await.map_err(|error| format!("cannot listen on {host}:{port}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("{name} listening on {address}");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        served = axum::serve(listener, service) => served.map_err(|error| error.to_string()),
        () = told_to_end() => Ok(()),
    }
}

async fn told_to_end() {
    let ends = |kind| async move {
        if let Ok(mut signals) = signal(kind) {
            signals.recv().await;
        }
    };
    tokio::select! {
        () = ends(SignalKind::terminate()) => {}
        () = ends(SignalKind::interrupt()) => {}
    }
}
