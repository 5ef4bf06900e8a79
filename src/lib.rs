//! Poolwatch: nginx itself reports which blue/green pool serves, and when an upstream's error rate is too high.
//!
//! The modules stand in the order in which the data flows; each module uses only what is declared above it.

#![cfg_attr(not(feature = "nginx"), forbid(unsafe_code))]
#![cfg_attr(feature = "nginx", deny(unsafe_code))]
// src/nginx has its own, stricter list.
#![cfg_attr(
    all(not(test), not(feature = "nginx")),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::todo)
)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "unit tests use real threads and sockets"))]

// Vocabulary.
pub mod units;
pub mod text;
pub mod clock;
pub mod calendar;
pub mod crash;
// What a worker sees.
pub mod observation;
pub mod window;
pub mod shared;
// What the observations mean.
pub mod config;
pub mod pools;
pub mod detect;
pub mod alert;
pub mod wording;
// Which receiver is sent what, and the state behind that.
pub mod incident;
pub mod outbox;
pub mod deliver;
pub mod state;
pub mod persist;
// The directives of the configuration.
pub mod directives;
// The status pages: HTML, JSON, metrics.
pub mod status;
// The two loops: the observer and the courier.
pub mod pipeline;
// The code that touches nginx. Unit tests leave it out: a test program cannot link nginx's symbols.
#[cfg(all(feature = "nginx", not(test)))]
#[allow(unsafe_code, reason = "nginx is written in C")]
#[expect(clippy::disallowed_methods, reason = "clocks, threads and the environment are read here, and nowhere else")]
pub mod nginx;
