//! `poolwatch_cooldown`: the least time between two messages of the same change.

use std::ops::RangeInclusive;

use crate::directives::arguments::{single, span};
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::Mistake;
use crate::directives::place::DirectiveLine;
use crate::units::Millis;

/// `poolwatch_cooldown`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_cooldown",
    syntax: "time",
    default: Some("300s"),
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read, |to, from| to.rules.cooldown = from.rules.cooldown)),
    text: "Sets the least time between two messages of the same change, up to 24h. A change that is still true when \
           the cooldown ends is sent then; one that came and went meanwhile is counted in the next message. The \
           cooldown is per kind of change: a recovery is sent at once. A planned switch never waits, nor does the \
           message that an incident now reaches clients.",
};

/// Zero: no message waits.
const LIMITS: RangeInclusive<Millis> = Millis::ZERO..=Millis::from_secs(24 * 60 * 60);

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let argument = single(line.args)?;
    settings.rules.cooldown = span(argument, &LIMITS).ok_or_else(|| Mistake::value(argument))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn a_cooldown_lasts_up_to_a_day() {
        assert_eq!(taken(read, "0").rules.cooldown, Millis::ZERO);
        assert_eq!(taken(read, "24h").rules.cooldown, Millis(86_400_000));
        for line in ["25h", "86400001ms", "-1", "soon"] {
            assert_eq!(mistake(read, line), format!("invalid value \"{line}\" in \"d\""));
        }
        assert_eq!(mistake(read, "5 m"), "invalid number of arguments in \"d\" directive");
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&DIRECTIVE, "1s", "2s", |settings| settings.rules.cooldown);
    }
}
