//! `poolwatch_cooldown`: the least time between two messages of the same change.

use std::ops::RangeInclusive;

use crate::directives::arguments::{single, span};
use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};
use crate::directives::mistake::Mistake;
use crate::units::Millis;

/// `poolwatch_cooldown`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_cooldown",
    syntax: "time",
    default: Some("300s"),
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Sets the least time between two messages of the same change, up to 24h. A change that is still true at its end is \
           told then; one that came and went meanwhile is counted in the next message. Different changes do not wait for each \
           other: the way back is told at once. A planned switch never waits, nor does that an incident reaches clients now.",
    read: Read::Block(Block::cooldown),
};

const COOLDOWN: RangeInclusive<Millis> = Millis::ZERO..=Millis::from_secs(24 * 60 * 60);

pub(super) fn cooldown(args: &[&[u8]]) -> Result<Millis, Mistake> {
    let argument = single(args)?;
    span(argument, &COOLDOWN).ok_or_else(|| Mistake::value(argument))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::args;

    #[test]
    fn a_cooldown_lasts_up_to_a_day() {
        assert_eq!(cooldown(&args("0")), Ok(Millis::ZERO));
        assert_eq!(cooldown(&args("24h")), Ok(Millis(86_400_000)));
        for line in ["25h", "-1", "5 m", "soon"] {
            assert!(cooldown(&args(line)).is_err(), "{line}");
        }
    }
}
