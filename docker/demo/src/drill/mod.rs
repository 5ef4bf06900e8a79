//! A host of its own on loopback: nginx with the module, blue, green, and a mock Slack, all ended when it is dropped.
//! Or the whole stack in containers, taken down likewise.

mod compose;
pub mod demo;
mod host;
mod load;
pub mod stack;
