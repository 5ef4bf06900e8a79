//! What Poolwatch is shown and tested with: a blue/green application to break, and a Slack to tell about it.

pub mod app;
pub mod drill;
pub mod payload;
pub mod serve;
pub mod slack;
pub mod text;
