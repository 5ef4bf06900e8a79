//! Canaries, page loads, switches and reloads.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

const BLUE: usize = 0;
const GREEN: usize = 1;

fn set(blocks: &[usize]) -> BlockSet {
    blocks.iter().copied().collect()
}

/// A service, whose clock moves by one moment after the other.
struct Service {
    choice: FirstChoice,
    now: Millis,
    switches: Vec<BlockSet>,
    rng: TestRng,
}

impl Service {
    fn new() -> Self {
        Self {
            choice: FirstChoice::default(),
            now: Millis(1_000_000),
            switches: Vec::new(),
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
        }
    }

    /// Blue has been chosen for long.
    fn of_blue() -> Self {
        let mut service = Self::new();
        service.moments(BLUE, 200);
        service
    }

    fn note(&mut self, step: Option<Step>) {
        if step.is_some_and(|step| step.is_switch) {
            self.switches.push(self.choice.chosen());
        }
    }

    fn moment(&mut self, choices: [u32; 2]) {
        let mut all = Choices::default();
        (all[BLUE], all[GREEN]) = (choices[0], choices[1]);
        let step = self.choice.count(&all, self.now);
        self.note(step);
        self.now = self.now + MOMENT;
        let step = self.choice.tick(self.now);
        self.note(step);
    }

    fn moments(&mut self, block: usize, moments: usize) {
        let choices = if block == BLUE { [3, 0] } else { [0, 3] };
        (0..moments).for_each(|_| self.moment(choices));
    }

    /// Moments until a switch is certain.
    fn until_switch(&mut self, block: usize) -> usize {
        let before = self.switches.len();
        (1..1000)
            .find(|_| {
                self.moments(block, 1);
                self.switches.len() > before
            })
            .expect("a switch")
    }

    /// Moments with so many visitors on the average, each with so many requests; a share of them goes to green.
    fn canary(&mut self, green: f64, visitors: f64, requests: u32, moments: usize) {
        for _ in 0..moments {
            let mut choices = [0, 0];
            let mut left = visitors;
            while left > 0.0 {
                if left >= 1.0 || self.random() < left {
                    choices[usize::from(self.random() < green)] += requests;
                }
                left -= 1.0;
            }
            if choices == [0, 0] { self.now = self.now + MOMENT } else { self.moment(choices) }
        }
    }

    fn random(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }
}

#[test]
fn the_block_of_the_first_request_is_chosen_at_once_and_that_is_no_switch() {
    let mut service = Service::new();
    assert_eq!(service.choice.chosen(), BlockSet::EMPTY);
    service.choice.count(&[0, 1, 0, 0, 0, 0, 0, 0], service.now);
    assert_eq!((service.choice.chosen(), service.switches), (set(&[GREEN]), vec![]));
}

#[test]
fn eight_moments_of_another_block_are_a_switch_and_four_after_a_reload() {
    let mut service = Service::of_blue();
    assert_eq!(service.until_switch(GREEN), 8);
    let mut service = Service::of_blue();
    service.choice.adopt(Some);
    assert_eq!(service.until_switch(GREEN), 4);
    service.choice.adopt(Some);
    assert_eq!(service.until_switch(BLUE), 5);
    assert_eq!(service.switches, [set(&[GREEN]), set(&[BLUE])]);
}

#[test]
fn a_switch_after_a_few_requests_is_one_too() {
    for few in 1..10 {
        let mut service = Service::new();
        service.moments(BLUE, few);
        service.choice.adopt(Some);
        let moments = service.until_switch(GREEN);
        assert!(moments <= 6, "{moments} after {few}");
    }
}

#[test]
fn a_reload_that_switches_nothing_changes_nothing() {
    let mut service = Service::of_blue();
    service.choice.adopt(Some);
    service.moments(GREEN, 2);
    service.moments(BLUE, 5);
    service.moments(GREEN, 4);
    assert_eq!((service.choice.chosen(), service.switches), (set(&[BLUE]), vec![]));
}

#[test]
fn visitors_of_a_canary_in_a_quiet_night_are_no_switch_before_eight_moments() {
    let mut service = Service::of_blue();
    for _ in 0..20 {
        (0..7).for_each(|_| service.moment([0, 60]));
        service.moments(BLUE, 12);
    }
    assert_eq!(service.switches, []);
}

#[test]
fn a_block_that_left_the_service_is_followed_by_the_next_one_that_is_chosen() {
    let mut service = Service::of_blue();
    service.choice.adopt(|block| (block == GREEN).then_some(BLUE));
    assert_eq!(service.choice.chosen(), BlockSet::EMPTY);
    service.moments(BLUE, 1);
    assert_eq!(service.switches, [set(&[BLUE])]);
}

#[test]
fn blocks_keep_what_is_known_of_them_when_they_move() {
    let mut service = Service::of_blue();
    service.choice.adopt(|block| Some(1 - block.min(1)));
    assert_eq!((service.choice.chosen(), service.choice.alone()), (set(&[1]), set(&[1])));
    service.moments(1, 100);
    assert_eq!(service.switches, []);
}

#[test]
fn what_was_saved_holds_until_something_else_is_chosen() {
    let mut service = Service::new();
    service.choice = FirstChoice::resume(set(&[BLUE]), set(&[BLUE]));
    service.choice.adopt(Some);
    assert_eq!((service.choice.chosen(), service.until_switch(GREEN)), (set(&[BLUE]), 5));
}

#[test]
fn a_canary_that_grows_step_by_step_is_one_switch() {
    let mut service = Service::of_blue();
    let mut chosen = vec![];
    for share in [0.1, 0.3, 0.5, 0.9, 1.0] {
        service.canary(share, 1.0, 1, 2000);
        chosen.push(service.choice.chosen());
    }
    assert_eq!(chosen, [set(&[BLUE]), set(&[BLUE, GREEN]), set(&[BLUE, GREEN]), set(&[GREEN]), set(&[GREEN])]);
    assert_eq!(service.switches, [set(&[GREEN])]);
}

#[test]
fn a_canary_that_is_taken_back_is_no_switch() {
    let mut service = Service::of_blue();
    for share in [0.1, 0.5, 0.1, 0.0] {
        service.canary(share, 1.0, 1, 2000);
    }
    assert_eq!((service.choice.chosen(), service.switches), (set(&[BLUE]), vec![]));
}

#[test]
fn a_switch_of_busy_traffic_is_certain_within_a_second() {
    let mut service = Service::of_blue();
    service.canary(0.3, 50.0, 1, 2000);
    assert_eq!(service.choice.chosen(), set(&[BLUE, GREEN]));
    assert!(service.until_switch(GREEN) <= 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However a canary's traffic comes, and with reloads in between, it is no switch, and what is chosen is right.
    #[test]
    fn a_steady_canary_is_no_switch(
        green in prop_oneof![Just(0.0), Just(0.02), Just(0.1), Just(0.3), Just(0.5)],
        visitors in prop_oneof![Just(0.05), Just(0.3), Just(1.0), Just(4.0), Just(30.0)],
        requests in prop_oneof![Just(1_u32), Just(12), Just(60)],
        seed in any::<[u8; 32]>(),
    ) {
        let mut service = Service::new();
        service.rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        // Moments without a visitor count for nothing.
        let stretch = if visitors < 0.1 { 20 } else if visitors < 1.0 { 4 } else { 1 };
        service.canary(green, visitors, requests, 1000 * stretch);
        service.choice.adopt(Some);
        service.canary(green, visitors, requests, 2000 * stretch);
        prop_assert_eq!(&service.switches, &[]);
        let chosen = if green < 0.2 { set(&[BLUE]) } else { set(&[BLUE, GREEN]) };
        prop_assert_eq!(service.choice.chosen(), chosen);
    }

    /// What all requests are sent to is known in the end, whatever was before.
    #[test]
    fn what_all_requests_are_sent_to_is_chosen(
        before in proptest::collection::vec((0.0_f64..1.0, 1_usize..300), 1..6),
        visitors in prop_oneof![Just(0.3), Just(1.0), Just(30.0)],
    ) {
        let mut service = Service::new();
        for (green, moments) in before {
            service.canary(green, visitors, 1, moments);
            service.choice.adopt(Some);
        }
        service.moments(GREEN, 300);
        prop_assert_eq!(service.choice.chosen(), set(&[GREEN]));
        prop_assert_eq!(service.choice.alone(), set(&[GREEN]));
    }
}
