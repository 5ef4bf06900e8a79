//! What Poolwatch is shown and tested with: a blue/green application that can be broken, and a Slack that receives
//! messages.

pub mod app;
pub mod drill;
pub mod payload;
pub mod serve;
pub mod slack;
pub mod text;
