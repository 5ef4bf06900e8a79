//! `poolwatch_status`: a location that serves the status page.

use crate::directives::arguments::{fill, flag, halves};
use crate::directives::block::Location;
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::DirectiveLine;

/// `poolwatch_status`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_status",
    syntax: "[write=on | off]",
    default: None,
    arguments: Arguments::Any,
    context: Context::Location(read),
    text: "Serves below this prefix location what Poolwatch knows: a page (`/`), JSON (`api/v1/state` and its parts), \
           and metrics for Prometheus (`metrics`). It has no access rules of its own: `allow`, `deny` and \
           `auth_basic` say who may see it.\n\n\
           * `write=on` lets those who may see the page also begin and end silences and send test messages. In a \
           location without `allow`, `deny`, `auth_basic` or `auth_request` it earns a warning, even if something \
           else guards the location.",
};

fn read(location: &mut Location, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    if location.status.is_some() {
        return Err(Mistake::Duplicate);
    }
    let mut write = None;
    for parameter in line.args {
        let named = shown(parameter);
        match halves(parameter) {
            (b"write", value) => fill(&mut write, &named, flag(value))?,
            _ => return Err(Mistake::Parameter(named)),
        }
    }
    location.status = Some(line.placed(write.unwrap_or(false)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{mistake, read_twice, taken};

    #[test]
    fn a_page_takes_no_writes_unless_it_is_given_that() {
        let writes = |line| taken(read, line).status.map(|status| status.value);
        assert_eq!(writes(""), Some(false));
        assert_eq!(writes("write=off"), Some(false));
        assert_eq!(writes("write=on"), Some(true));
        assert_eq!(mistake(read, "write=maybe"), "invalid value \"write=maybe\" in \"d\"");
        assert_eq!(mistake(read, "read=on"), "invalid parameter \"read=on\"");
        assert_eq!(mistake(read, "write=on write=on"), "duplicate parameter \"write=on\"");
        assert_eq!(read_twice(read, "", ""), "\"d\" directive is duplicate");
    }
}
