//! A host of its own on loopback: nginx with the module, blue, green, and a mock Slack, all ended when it is dropped.

pub mod demo;
mod host;
pub mod latency;
mod load;
