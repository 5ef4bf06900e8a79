//! `poolwatch`: which upstreams are watched.

use crate::directives::arguments::switch;
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::Mistake;
use crate::directives::place::DirectiveLine;

/// `poolwatch`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch",
    syntax: "on | off",
    default: Some("off"),
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read, |to, from| to.watched.clone_from(&from.watched))),
    text: "Watches an `upstream` block; at `http` level, all of them. Upstreams that are not blocks (`proxy_pass \
           http://host;`) have no second pool and are never watched.",
};

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    settings.watched = switch(line.args)?.then(|| line.place.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn on_is_remembered_with_its_place() {
        assert_eq!(taken(read, "on").watched.map(|place| place.line), Some(1));
        assert_eq!(taken(read, "off").watched, None);
        assert_eq!(mistake(read, "yes"), "invalid value \"yes\" in \"d\" directive, it must be \"on\" or \"off\"");
        assert_eq!(mistake(read, "on off"), "invalid number of arguments in \"d\" directive");
    }

    #[test]
    fn a_block_can_leave_what_http_joined() {
        assert_inherited(&DIRECTIVE, "on", "off", |settings| settings.watched.is_some());
        assert_inherited(&DIRECTIVE, "off", "on", |settings| settings.watched.is_some());
    }
}
