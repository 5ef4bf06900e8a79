//! What first choices mean for a service: which pools should serve, and when that is a planned switch.

use crate::config::blocks::{BlockSet, Choices};
use crate::detect::first_choice::Step;
use crate::detect::serving::Serving;
use crate::pools::set::Expected;
use crate::shared::double_buffer::DoubleBuffer;
use crate::state::detection::Detection;
use crate::state::setup::Setup;
use crate::units::Millis;

impl Detection {
    /// Counts requests of a service by the block that they were sent to first.
    pub(super) fn choose(&mut self, setup: &mut DoubleBuffer<Setup>, choices: &Choices, now: Millis) {
        let alone = self.first_choice.alone();
        let step = self.first_choice.count(choices, now);
        self.follow_choice(setup, step, alone, now);
    }

    /// Judges first choices when it is time to.
    pub(super) fn judge_choices(&mut self, setup: &mut DoubleBuffer<Setup>, now: Millis) {
        if self.first_choice.deadline().is_some_and(|due| due <= now) {
            let alone = self.first_choice.alone();
            let step = self.first_choice.tick(now);
            self.follow_choice(setup, step, alone, now);
        }
    }

    /// Expects what is chosen now. `alone`: what was chosen alone before.
    fn follow_choice(&mut self, setup: &mut DoubleBuffer<Setup>, step: Option<Step>, alone: BlockSet, now: Millis) {
        let Some(Step { is_switch }) = step else { return };
        let before = setup.live().expected;
        let expected = setup.edit(|setup| {
            setup.choose(self.first_choice.chosen());
            setup.expected
        });
        if expected == before {
            return;
        }
        let serving = self.failover.serving();
        let own = match serving {
            Serving::Pool(pool) if before.includes(pool) => Some(pool),
            _ => None,
        };
        if is_switch {
            // One of several pools stands for all of them. What the operator knows of is the one that was alone.
            let stands_for_several = own.is_some() && matches!(before, Expected::Several(_));
            let last = setup.live().pools_of(alone).first().filter(|_| stands_for_several);
            self.switching = match (last, serving) {
                (Some(last), _) => Serving::Pool(last),
                (None, Serving::Unknown) => self.switching,
                (None, serving) => serving,
            };
            self.failover.expect_anew(now);
        } else if own.is_some_and(|pool| !expected.includes(pool)) {
            self.failover.expect_anew(now);
        }
    }
}
