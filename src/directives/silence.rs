//! `poolwatch_silence`: alerts are held back.

use crate::directives::arguments::switch;
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::Mistake;
use crate::directives::place::DirectiveLine;

/// `poolwatch_silence`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_silence",
    syntax: "on | off",
    default: Some("off"),
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read, |to, from| to.rules.silenced = from.rules.silenced)),
    text: "Keeps watching, but holds alerts back, for maintenance. One message says that the silence has begun, \
           another one that it is over and how many requests failed meanwhile; what is still wrong then is sent. What \
           began and ended meanwhile is not.",
};

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    settings.rules.silenced = switch(line.args)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn a_silence_is_on_or_off() {
        assert!(taken(read, "on").rules.silenced);
        assert!(!taken(read, "off").rules.silenced);
        assert_eq!(mistake(read, "1h"), "invalid value \"1h\" in \"d\" directive, it must be \"on\" or \"off\"");
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&DIRECTIVE, "on", "off", |settings| settings.rules.silenced);
    }
}
