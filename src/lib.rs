//! Poolwatch: nginx itself tells which blue/green pool really serves, and when its upstreams err.
//!
//! The modules stand in the order in which the data flow; each uses only what is declared above it.

#![cfg_attr(not(feature = "nginx"), forbid(unsafe_code))]
#![cfg_attr(feature = "nginx", deny(unsafe_code))]

// Vocabulary.
pub mod units;
pub mod text;
pub mod clock;
pub mod calendar;
pub mod crash;
// What is seen.
pub mod observation;
pub mod window;
pub mod shared;
// What it means.
pub mod config;
pub mod pools;
pub mod detect;
pub mod alert;
pub mod wording;
// Who is told, and what is owed.
pub mod incident;
pub mod outbox;
pub mod deliver;
pub mod state;
pub mod persist;
// What the configuration says of all this.
pub mod directives;
// What is known, for whoever asks.
pub mod status;
// The two loops.
pub mod pipeline;
// The skin. Unit tests do without it: a test program cannot link nginx's symbols.
#[cfg(all(feature = "nginx", not(test)))]
#[allow(unsafe_code, reason = "nginx is written in C")]
pub mod nginx;
