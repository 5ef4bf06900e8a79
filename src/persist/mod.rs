//! What outlives nginx: the document of a table, and the record in the file that holds it.

pub mod record;
mod states;
pub mod document;
mod save;
pub mod restore;
