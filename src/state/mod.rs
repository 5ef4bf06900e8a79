//! What all workers share: fixed-size plain data with ordinary safe logic on it. Tests keep it in a box, nginx in a zone.

pub mod counters;
mod failures;
pub mod history;
pub mod journal;
pub mod notices;
pub mod record;
pub mod saved;
mod sighting;
pub mod slot;
pub mod table;
pub mod snapshot;
pub mod twin;
mod view;
pub mod workers;
