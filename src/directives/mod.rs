//! Every directive said once: its name, arguments, place, default, meaning, and how it is read.
//!
//! nginx's command table and the README's reference are both made from [`DIRECTIVES`], so neither can forget or misquote one.
//! Reading needs no nginx: a line's arguments go into a [`Block`] or [`Http`], and [`upstream`] makes rules of them once the
//! whole configuration is known.

pub mod place;
pub mod mistake;
mod arguments;
mod url;
pub mod directive;
mod watch;
mod zone;
mod pool;
mod active;
mod silence;
mod headers;
mod failover;
mod error_rate;
mod cooldown;
mod runbook;
mod status;
pub mod receiver;
pub mod block;
pub mod upstream;
#[cfg(test)]
mod testing;

use std::fmt::Write;

use crate::directives::directive::Directive;

/// All directives of this release, in the order of the reference.
pub static DIRECTIVES: [Directive; 13] = [
    watch::DIRECTIVE,
    zone::DIRECTIVE,
    receiver::DIRECTIVE,
    pool::DIRECTIVE,
    active::DIRECTIVE,
    headers::POOL_HEADER,
    headers::RELEASE_HEADER,
    failover::DIRECTIVE,
    error_rate::DIRECTIVE,
    cooldown::DIRECTIVE,
    silence::DIRECTIVE,
    runbook::DIRECTIVE,
    status::DIRECTIVE,
];

/// The reference of all directives in nginx.org's form, in Markdown.
pub fn reference() -> String {
    let mut page = String::new();
    for directive in &DIRECTIVES {
        let name = directive.name();
        let default = directive.default.map_or_else(|| "–".to_owned(), |arguments| format!("`{name} {arguments};`"));
        let contexts: Vec<&str> = directive.contexts.iter().map(|context| context.name()).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "### {name}\n\n* **Syntax:** `{name} {};`\n* **Default:** {default}\n* **Context:** {}\n\n{}\n\n",
            directive.syntax,
            contexts.join(", "),
            directive.text
        );
    }
    page.truncate(page.trim_end().len());
    page
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::rules::Rules;
    use crate::directives::block::{Block, Http, Location};
    use crate::directives::directive::Read;
    use crate::directives::place::{DirectiveLine, Place};
    use crate::directives::upstream::effective;

    #[test]
    fn what_the_reference_calls_a_default_is_in_effect_without_the_directive() {
        let mut said = Block::default();
        for directive in &DIRECTIVES {
            let (Read::Block(read), Some(default)) = (directive.read, directive.default) else { continue };
            let args: Vec<&[u8]> = default.split(' ').map(str::as_bytes).collect();
            let result = read(&mut said, &DirectiveLine { args: &args, place: &Place::default() });
            assert!(result.is_ok(), "{} {default}: {result:?}", directive.name());
        }
        let unsaid = Block::default();
        assert_eq!(effective(&said, &unsaid), Rules::default());
        assert_eq!(effective(&unsaid, &unsaid), Rules::default());
        assert_eq!(said.headers(&unsaid), unsaid.headers(&unsaid));
        assert!(said.is_watched(&unsaid).is_none());
    }

    fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let known = "(slack|on|off|2%|env:X|file:x|https://h/|window=|confirm=|name=|timeout=|proxy=http://|resolve=)";
        let word = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20),
            (known, "[ -~]{0,9}").prop_map(|(known, rest)| (known + &rest).into_bytes()),
        ];
        proptest::collection::vec(word, 0..5)
    }

    proptest! {
        #[test]
        fn no_words_make_a_reader_panic(words in words()) {
            let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let line = DirectiveLine { args: &args, place: &Place::default() };
            for directive in &DIRECTIVES {
                let result = match directive.read {
                    Read::Http(read) => read(&mut Http::default(), &line),
                    Read::Block(read) => read(&mut Block::default(), &line),
                    Read::Location(read) => read(&mut Location::default(), &line),
                };
                if let Err(mistake) = result {
                    prop_assert!(!mistake.in_directive(directive.name()).is_empty());
                }
            }
        }
    }

    #[test]
    fn the_reference_has_an_entry_of_each() {
        let page = reference();
        for directive in &DIRECTIVES {
            assert_eq!(page.matches(&format!("### {}\n", directive.name())).count(), 1);
        }
        assert!(page.starts_with(
            "### poolwatch\n\n* **Syntax:** `poolwatch on | off;`\n* **Default:** `poolwatch off;`\n\
             * **Context:** http, upstream\n\nWatches"
        ));
    }
}
