//! `poolwatch_cooldown`: the least time between two messages of the same change.

use std::ops::RangeInclusive;

use crate::directives::arguments::{single, span};
use crate::directives::mistake::Mistake;
use crate::units::Millis;

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
