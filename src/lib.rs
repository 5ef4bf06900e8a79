//! Poolwatch: nginx itself reports which blue/green pool serves, and when an upstream's error rate is too high.
//!
//! The modules stand in the order in which the data flows; each module uses only what is declared above it.

#![cfg_attr(not(feature = "nginx"), forbid(unsafe_code))]
#![cfg_attr(feature = "nginx", deny(unsafe_code))]

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
pub mod nginx;
