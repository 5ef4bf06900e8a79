//! `poolwatch_status`: a location that serves the status page.

use crate::directives::arguments::{fill, flag, halves};
use crate::directives::mistake::{Mistake, shown};

/// `[write=on|off]`: may operators ask for something here?
pub(super) fn status(args: &[&[u8]]) -> Result<bool, Mistake> {
    let mut write = None;
    for parameter in args {
        let named = shown(parameter);
        match halves(parameter) {
            (b"write", value) => fill(&mut write, &named, flag(value))?,
            _ => return Err(Mistake::Parameter(named)),
        }
    }
    Ok(write.unwrap_or(false))
}
