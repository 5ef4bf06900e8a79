//! `poolwatch_runbook`: a link for the alerts.

use crate::directives::arguments::single;
use crate::directives::mistake::Mistake;
use crate::directives::url;
use crate::text::Text;

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
