//! Which blocks of a service the configuration sends requests to first, and when that moves.
//!
//! Requests are counted when they are sent, by the block. Time is cut into moments; of a moment counts only which share
//! of its requests each block got, since a page's requests come together, and are often one visitor's. A block has a
//! moment if four fifths of its requests were the block's.
//!
//! * **A switch**: a block has one moment after the other although it had few before. Each moment that it has raises its
//!   score by ln(0.95 / p), each other one changes it by ln(0.05 / (1 − p)), where p is its share of the last moments
//!   that it had; at [`CERTAIN`] it is a switch (a CUSUM test). A canary that gets each tenth request needs nine moments
//!   in a row for that, a block that never got any eight. A reload is the usual way to switch, so it gives each score a
//!   [`HEAD_START`]: then five, or four, are enough, unless other moments take the head start away again.
//! * **Together**: a block that keeps more than a fifth of the requests over [`STEADY`] moments is chosen beside others;
//!   one that keeps less than an eighth is not any more.
//!
//! `cargo test --lib first_choice` plays canaries of all shares, page loads, and switches.

use crate::config::blocks::{BlockSet, Choices, MAX_BLOCKS};
use crate::units::Millis;

/// The length of a moment.
const MOMENT: Millis = Millis(100);

/// Until so many moments were seen, what is chosen is what was chosen so far.
const LEARNED: u32 = 32;

/// Of how many moments shares are about the average.
const MEMORY: u32 = 128;

/// So many moments in a row make a share that rises or falls a steady one.
const STEADY: u16 = 64;

/// A score of a switch.
const CERTAIN: f64 = 20.0;

/// What a reload gives each score.
const HEAD_START: f64 = 10.0;

/// The most that one moment raises a score.
const STEP: f64 = 2.5;

/// What was seen of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
struct Seen {
    /// The average share of a moment's requests.
    share: f64,
    /// The share of moments that it had.
    had: f64,
    score: f64,
    /// Moments in a row in which `share` asked for another place in the set.
    drift: u16,
}

/// A change of the chosen blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The configuration sends requests elsewhere; `false`: its first requests or a changed share only showed more of
    /// what it did before.
    pub is_switch: bool,
}

/// The first choices of a service: fixed-size plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct FirstChoice {
    chosen: BlockSet,
    /// The block that was chosen alone last; empty: none.
    alone: BlockSet,
    blocks: [Seen; MAX_BLOCKS],
    /// When the moment began in which requests are counted; zero: none are.
    begin: Millis,
    counts: Choices,
    /// Moments that were seen, at most [`MEMORY`].
    moments: u32,
    /// Blocks were chosen that are not in the service any more.
    has_left: bool,
}

impl FirstChoice {
    /// What was saved before a restart.
    pub fn resume(chosen: BlockSet, alone: BlockSet) -> Self {
        let mut choice = Self::default();
        choice.settle(chosen, alone);
        choice
    }

    /// The blocks that are chosen; empty: nothing is known.
    pub fn chosen(&self) -> BlockSet {
        self.chosen
    }

    /// The block that was chosen alone last; empty: none was.
    pub fn alone(&self) -> BlockSet {
        self.alone
    }

    /// Takes another configuration. `index`: that of a block, by its index in the configuration before; `None`: the
    /// block is not in the service any more.
    pub fn adopt(&mut self, index: impl Fn(usize) -> Option<usize>) {
        let before = *self;
        let moved = |set: BlockSet| set.iter().filter_map(&index).collect::<BlockSet>();
        (self.chosen, self.alone) = (moved(before.chosen), moved(before.alone));
        (self.counts, self.begin, self.blocks) = (Choices::default(), Millis::ZERO, Default::default());
        for (old, seen) in before.blocks.iter().enumerate() {
            if let Some(block) = index(old).and_then(|new| self.blocks.get_mut(new)) {
                *block = *seen;
            }
        }
        if self.chosen == BlockSet::EMPTY {
            self.moments = 0;
            self.has_left |= before.chosen != BlockSet::EMPTY;
        } else {
            // What is learned from here on may be the operator's doing.
            self.moments = self.moments.max(LEARNED);
        }
        for block in &mut self.blocks {
            (block.score, block.drift) = (block.score.max(HEAD_START), 0);
        }
    }

    /// Counts requests that were sent until now. Returns what [`FirstChoice::tick`] does.
    pub fn count(&mut self, choices: &Choices, now: Millis) -> Option<Step> {
        let step = self.tick(now);
        if self.begin == Millis::ZERO {
            self.begin = now.max(Millis(1));
        }
        for (count, more) in self.counts.iter_mut().zip(choices) {
            *count = count.saturating_add(*more);
        }
        // The very first one is all that is known.
        let first = choices.iter().enumerate().max_by_key(|(_, count)| **count).map(|(block, _)| block);
        match first {
            Some(first) if self.chosen == BlockSet::EMPTY => {
                let is_switch = std::mem::take(&mut self.has_left);
                self.settle_on([first].into_iter().collect());
                Some(Step { is_switch })
            }
            _ => step,
        }
    }

    /// Judges a moment that is over. Returns the change of the chosen blocks, if that makes one.
    pub fn tick(&mut self, now: Millis) -> Option<Step> {
        self.deadline().filter(|&due| due <= now)?;
        let counts = std::mem::take(&mut self.counts);
        self.begin = Millis::ZERO;
        let all = counts.iter().map(|&count| f64::from(count)).sum::<f64>();
        if all == 0.0 {
            return None;
        }
        let (seen, alone) = (self.moments, self.chosen.only());
        self.moments = (seen + 1).min(MEMORY);
        let mut switch = None;
        for (index, (block, count)) in self.blocks.iter_mut().zip(counts).enumerate() {
            let share = f64::from(count) / all;
            let had = share >= 0.8;
            let expected = (block.had * f64::from(seen) + 1.0) / (f64::from(seen) + 2.0);
            let step = if had { (0.95 / expected).ln().min(STEP) } else { (0.05 / (1.0 - expected)).ln() };
            // There is no switch to what is chosen.
            block.score = if alone == Some(index) { 0.0 } else { (block.score + step).max(0.0) };
            let weight = 1.0 / f64::from(self.moments);
            block.share += (share - block.share) * weight;
            block.had += (f64::from(u8::from(had)) - block.had) * weight;
            if block.score >= CERTAIN {
                switch = Some(index);
            }
        }
        match switch {
            Some(index) => Some(self.switch(index)),
            None => self.drift(),
        }
    }

    /// When a moment is over; `None`: no requests are counted.
    pub fn deadline(&self) -> Option<Millis> {
        (self.begin != Millis::ZERO).then(|| self.begin + MOMENT)
    }

    fn switch(&mut self, block: usize) -> Step {
        let to: BlockSet = [block].into_iter().collect();
        let is_switch = self.alone != to;
        self.settle(to, to);
        Step { is_switch }
    }

    /// Judges the shares.
    fn drift(&mut self) -> Option<Step> {
        let (is_learning, chosen) = (self.moments < LEARNED, self.chosen);
        let mut drifted = chosen;
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let is_chosen = chosen.contains(index);
            let is_other = if is_chosen { block.share < 0.125 } else { block.share > 0.2 };
            block.drift = if is_other { block.drift.saturating_add(1) } else { 0 };
            if is_other && (is_learning || block.drift >= STEADY) {
                block.drift = 0;
                drifted = if is_chosen {
                    drifted.iter().filter(|&other| other != index).collect()
                } else {
                    drifted.iter().chain([index]).collect()
                };
            }
        }
        if drifted == chosen || drifted == BlockSet::EMPTY {
            return None;
        }
        let is_switch = !is_learning && drifted.only().is_some() && self.alone != drifted;
        self.settle_on(drifted);
        Some(Step { is_switch })
    }

    fn settle_on(&mut self, chosen: BlockSet) {
        self.chosen = chosen;
        if chosen.only().is_some() {
            self.alone = chosen;
        }
    }

    /// These are chosen, as if they had always been.
    fn settle(&mut self, chosen: BlockSet, alone: BlockSet) {
        (self.chosen, self.alone) = (chosen, alone);
        self.moments = if chosen == BlockSet::EMPTY { 0 } else { LEARNED };
        let share = 1.0 / chosen.iter().count().max(1) as f64;
        for (index, block) in self.blocks.iter_mut().enumerate() {
            *block =
                if chosen.contains(index) { Seen { share, had: share, ..Seen::default() } } else { Seen::default() };
        }
    }
}

#[cfg(test)]
mod tests;
