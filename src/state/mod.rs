//! The state that all workers share: fixed-size plain data with ordinary safe logic. Tests keep it in a box, nginx in a
//! zone.

pub mod ending;
pub mod histogram;
pub mod series;
mod lookup;
pub mod counters;
pub mod history;
mod failures;
pub(crate) mod setup;
pub(crate) mod detection;
mod choices;
mod changes;
mod view;
pub mod announcements;
pub mod slot;
pub mod table;
pub mod snapshot;
pub mod workers;
