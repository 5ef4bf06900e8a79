//! How a pool looks: each has a colour and a shape, so that nobody needs to see colours.

use super::words::hash;
use maud::{Markup, PreEscaped, html};

/// Looks by number; the style sheet has the colours. The first two are blue's and green's.
const SHAPES: [&str; 8] = [
    r#"<circle cx="8" cy="8" r="7"/>"#,
    r#"<rect x="1.5" y="1.5" width="13" height="13" rx="2.5"/>"#,
    r#"<path d="M8 .5 15.5 8 8 15.5.5 8z"/>"#,
    r#"<path d="M8 1.5 15.5 14.5H.5z"/>"#,
    r#"<path d="M4.2 1h7.6L15.6 8l-3.8 7H4.2L.4 8z"/>"#,
    r#"<path d="M.5 1.5h15L8 14.5z"/>"#,
    r#"<path d="m8 .6 2.2 4.9 5.3.6-4 3.6 1.1 5.3L8 12.3 3.4 15l1.1-5.3-4-3.6 5.3-.6z"/>"#,
    r#"<path d="M5.5 1h5v4.5H15v5h-4.5V15h-5v-4.5H1v-5h4.5z"/>"#,
];

/// Names of pools whose looks are fixed.
const OWNED: [&str; 2] = ["blue", "green"];

/// The number of looks for pools of other names.
const UNOWNED: usize = SHAPES.len() - OWNED.len();

/// The looks of an upstream's pools.
pub(super) struct Palette<'a> {
    looks: Vec<(&'a str, usize)>,
}

impl<'a> Palette<'a> {
    /// Blue and green have theirs. Another name has the same one everywhere, unless a pool before it has it already.
    pub(super) fn of(pools: impl IntoIterator<Item = &'a str>) -> Self {
        let mut palette = Self { looks: Vec::new() };
        for name in pools {
            let wanted = wanted(name);
            let others = (0..UNOWNED).map(|step| OWNED.len() + (wanted + step) % UNOWNED);
            let mut all = [wanted].into_iter().chain(others);
            let look = all.find(|&look| look < OWNED.len() || !palette.has(look)).unwrap_or(wanted);
            palette.looks.push((name, look));
        }
        palette
    }

    /// Its number, for the class `p0` to `p7`.
    pub(super) fn look(&self, pool: &str) -> usize {
        let known = self.looks.iter().find(|(name, _)| *name == pool);
        known.map_or_else(|| wanted(pool), |(_, look)| *look)
    }

    /// A pool's shape in its colour.
    pub(super) fn mark(&self, pool: &str) -> Markup {
        let look = self.look(pool);
        let shape = PreEscaped(SHAPES[look % SHAPES.len()]);
        html! {
            svg class={ "mark p" (look) } viewBox="0 0 16 16" aria-hidden="true" { (shape) }
        }
    }

    /// A pool's shape and name.
    pub(super) fn pool(&self, pool: &str) -> Markup {
        html! { span class={ "pool p" (self.look(pool)) } { (self.mark(pool)) bdi { (pool) } } }
    }

    fn has(&self, look: usize) -> bool {
        self.looks.iter().any(|(_, taken)| *taken == look)
    }
}

/// The look that a name has when nothing is in its way.
fn wanted(pool: &str) -> usize {
    let owned = OWNED.iter().position(|name| pool.eq_ignore_ascii_case(name));
    owned.unwrap_or_else(|| OWNED.len() + (hash(pool) % UNOWNED as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blue_and_green_look_like_it() {
        let palette = Palette::of(["Green", "blue"]);
        assert_eq!(["blue", "Green"].map(|name| palette.look(name)), [0, 1]);
    }

    #[test]
    fn a_name_looks_the_same_everywhere_and_no_two_of_an_upstream_look_alike() {
        let names = ["canary", "a", "b", "c", "d", "e", "blue", "green"];
        let palette = Palette::of(names);
        assert_eq!(palette.look("canary"), Palette::of(["canary"]).look("canary"));
        let mut looks = names.map(|name| palette.look(name));
        looks.sort_unstable();
        assert_eq!(looks, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn eight_pools_without_blue_or_green_end_too() {
        let many = Palette::of(["a", "b", "c", "d", "e", "f", "g", "h"]);
        assert!(many.looks.iter().all(|(_, look)| (2..8).contains(look)));
    }
}
