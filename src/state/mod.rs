//! What all workers share: fixed-size plain data with ordinary safe logic on it. Tests keep it in a box, nginx in a zone.

pub mod notices;
pub mod slot;
pub mod table;
pub mod twin;
