//! `poolwatch_runbook`: a link for the alerts.

use crate::directives::arguments::single;
use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};
use crate::directives::mistake::Mistake;
use crate::directives::url;
use crate::text::Text;

/// `poolwatch_runbook`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_runbook",
    syntax: "URL",
    default: None,
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Adds a link to each alert, `http` or `https`, of at most 256 bytes. Unless the URL has a fragment of its own, be it an empty one \
           (`https://wiki/page#`), the link leads to the section about the alert: `#failover`, `#recovery`, `#planned-switch`, `#outage`, \
           `#mixed-traffic`, `#flapping`, `#error-rate`, `#no-longer-watched`, as the headings of this repository's runbook.md are.",
    read: Read::Block(Block::runbook),
};

/// A link that fits the alerts' place for it.
pub(super) fn runbook(args: &[&[u8]]) -> Result<Text<256>, Mistake> {
    let argument = single(args)?;
    let fits = argument.len() <= 256 && url::read(argument).is_some();
    if fits { Ok(Text::new(argument)) } else { Err(Mistake::value(argument)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::args;

    #[test]
    fn a_runbook_is_a_url_that_fits() {
        assert!(runbook(&args("https://wiki/runbook.md#failover")).is_ok());
        let long = format!("https://wiki/{}", "x".repeat(256));
        for wrong in ["wiki", "javascript:alert(1)", "https://u:p@wiki/", &long] {
            assert!(runbook(&args(wrong)).is_err(), "{wrong}");
        }
    }
}
