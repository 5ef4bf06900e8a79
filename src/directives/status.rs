//! `poolwatch_status`: a location that serves the status page.

use crate::directives::arguments::{fill, flag, halves};
use crate::directives::block::Location;
use crate::directives::directive::{Arguments, Context, Directive, Read};
use crate::directives::mistake::{Mistake, shown};

/// `poolwatch_status`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_status",
    syntax: "[write=on | off]",
    default: None,
    contexts: &[Context::Location],
    arguments: Arguments::Any,
    text: "Serves below this prefix location what Poolwatch knows: a page (`/`), JSON (`api/v1/state` and its parts), and metrics for \
           Prometheus (`metrics`). It has no access rules of its own: who may look is for `allow`, `deny` and `auth_basic` to say.\n\n\
           * `write=on` lets whoever may look also begin and end silences and send test messages. In a location without `allow`, \
           `deny`, `auth_basic` or `auth_request` it earns a warning, even if something else guards it.",
    read: Read::Location(Location::status),
};

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
