//! `poolwatch_failover`: whether an alert is sent when another pool serves than should.

use std::ops::RangeInclusive;

use crate::directives::arguments::{fill, flag, halves, leading, span};
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::DirectiveLine;
use crate::units::Millis;

/// `poolwatch_failover`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_failover",
    syntax: "on [confirm=time] | off",
    default: Some("on confirm=1s"),
    arguments: Arguments::OneOrMore,
    context: Context::HttpAndUpstream(Setting::once(read, |to, from| to.rules.failover = from.rules.failover)),
    text: "Reports when another pool serves than should, and when the expected one is back. `confirm=`, from 10ms to \
           60s, is how long the other pool must answer, with no answer of the expected one in between, before that is \
           reported. The time is shorter when nginx itself has given the expected pool up, or when there are many \
           such answers.",
};

/// The limits of `confirm=`.
const CONFIRM: RangeInclusive<Millis> = Millis(10)..=Millis::from_secs(60);
const DEFAULT_CONFIRM: Millis = Millis::from_secs(1);

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let (argument, parameters) = leading(line.args)?;
    let on = flag(argument).ok_or_else(|| Mistake::Flag(shown(argument)))?;
    let mut confirm = None;
    for parameter in parameters {
        let named = shown(parameter);
        match halves(parameter) {
            (b"confirm", value) if on => fill(&mut confirm, &named, span(value, &CONFIRM))?,
            _ => return Err(Mistake::Parameter(named)),
        }
    }
    settings.rules.failover = on.then(|| confirm.unwrap_or(DEFAULT_CONFIRM));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn failover_is_on_with_a_confirmation_or_off() {
        assert_eq!(taken(read, "on").rules.failover, Some(Millis(1000)));
        assert_eq!(taken(read, "on confirm=10ms").rules.failover, Some(Millis(10)));
        assert_eq!(taken(read, "on confirm=1m").rules.failover, Some(Millis(60_000)));
        assert_eq!(taken(read, "off").rules.failover, None);
        for (line, expected) in [
            ("yes", "invalid value \"yes\" in \"d\" directive, it must be \"on\" or \"off\""),
            ("on confirm=9ms", "invalid value \"confirm=9ms\" in \"d\""),
            ("on confirm=61s", "invalid value \"confirm=61s\" in \"d\""),
            ("on confirm", "invalid value \"confirm\" in \"d\""),
            ("on confirm=1s confirm=1s", "duplicate parameter \"confirm=1s\""),
            ("on x=1", "invalid parameter \"x=1\""),
            ("off confirm=1s", "invalid parameter \"confirm=1s\""),
        ] {
            assert_eq!(mistake(read, line), expected, "{line}");
        }
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&DIRECTIVE, "on confirm=2s", "off", |settings| settings.rules.failover);
    }
}
