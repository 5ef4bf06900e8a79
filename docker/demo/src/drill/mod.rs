//! A host of its own on loopback: nginx with the module, blue, green, and a mock Slack, all ended when the host is
//! dropped. Or the whole stack in containers, which is taken down in the same way.

mod compose;
pub mod demo;
mod host;
mod load;
pub mod stack;
