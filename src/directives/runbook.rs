//! `poolwatch_runbook`: the link in each alert.

use crate::directives::arguments::single;
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::Mistake;
use crate::directives::place::DirectiveLine;
use crate::directives::url;
use crate::text::Text;

/// `poolwatch_runbook`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_runbook",
    syntax: "URL",
    default: None,
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read, |to, from| to.rules.runbook = from.rules.runbook)),
    text: "Adds a link to each alert, `http` or `https`, of at most 256 bytes. Unless the URL has a fragment of its \
           own, be it an empty one (`https://wiki/page#`), the link leads to the section about the alert: \
           `#failover`, `#recovery`, `#planned-switch`, `#outage`, `#mixed-traffic`, `#flapping`, `#error-rate`, \
           `#no-longer-watched`, as the headings of this repository's runbook.md are.",
};

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let argument = single(line.args)?;
    let runbook = Text::new(argument);
    if runbook.as_bytes() != argument || url::read(argument).is_none() {
        return Err(Mistake::value(argument));
    }
    settings.rules.runbook = runbook;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn a_runbook_is_a_url_that_fits() {
        let link = "https://wiki/runbook.md#failover";
        assert_eq!(taken(read, link).rules.runbook, Text::new(link.as_bytes()));
        let longest = format!("https://wiki/{}", "x".repeat(243));
        assert_eq!(taken(read, &longest).rules.runbook.as_bytes(), longest.as_bytes());
        for wrong in ["wiki", "javascript:alert(1)", "https://u:p@wiki/", &format!("{longest}x")] {
            assert_eq!(mistake(read, wrong), format!("invalid value \"{wrong}\" in \"d\""));
        }
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&DIRECTIVE, "https://a/", "https://b/", |settings| settings.rules.runbook);
    }
}
