//! The directives: the table of all of them, the reference made from it, and the values in effect for an upstream.
//!
//! A directive is said once, in a file of its own: its text, its reader, its default, its inheritance and its tests. To
//! add one that sets a value for an upstream, write that file, add it to the table here, and add the value to
//! [`crate::config::rules::Rules`].
//!
//! nginx's command table and the reference in docs/directives.md are both made from [`DIRECTIVES`], so neither can
//! forget or misquote a directive. Reading needs no nginx: a line is added to a [`Block`], to [`block::Http`] or to
//! [`block::Location`]. When the whole configuration is read, [`in_effect`] gives the values for an upstream, and
//! [`judge`] what is to be watched.

// What directives have in common.
pub mod place;
pub mod mistake;
mod arguments;
mod url;
pub mod upstream;
pub mod block;
pub mod directive;
// The directives, in the order of the reference.
mod watch;
mod service;
pub mod zone;
pub mod receiver;
mod pool;
mod active;
mod headers;
mod failover;
mod error_rate;
mod cooldown;
mod silence;
mod runbook;
mod status;
// All of them together.
pub mod judge;
pub mod members;
#[cfg(test)]
mod testing;

use std::fmt::Write;

use crate::directives::block::{Block, Settings};
use crate::directives::directive::Directive;
use crate::directives::place::{DirectiveLine, Place};

/// All directives of this release, in the order of the reference.
pub static DIRECTIVES: &[Directive] = &[
    watch::DIRECTIVE,
    service::DIRECTIVE,
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

/// The values in effect for an upstream: each is that of its block `own`, else that of `http`, else the default.
pub fn in_effect(own: &Block, http: &Block) -> Settings {
    Settings::of(&[&defaults(), http, own])
}

/// A block that has a line of each directive with a default: the default.
fn defaults() -> Block {
    let mut block = Block::default();
    let place = Place::default();
    for directive in DIRECTIVES {
        let (Some(setting), Some(default)) = (directive.context.setting(), directive.default) else { continue };
        let args: Vec<&[u8]> = default.split(' ').map(str::as_bytes).collect();
        // It is valid: a test reads each default.
        let _ = block.read(directive.name, setting, &DirectiveLine { args: &args, place: &place });
    }
    block
}

/// The reference of all directives in nginx.org's form, in Markdown.
pub fn reference() -> String {
    let mut page = String::new();
    for directive in DIRECTIVES {
        let name = directive.name();
        let default = directive.default.map_or_else(|| "–".to_owned(), |arguments| format!("`{name} {arguments};`"));
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "### {name}\n\n* **Syntax:** `{name} {};`\n* **Default:** {default}\n* **Context:** {}\n\n{}\n\n",
            directive.syntax,
            directive.context.names(),
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
    use crate::directives::block::{Http, Location};
    use crate::directives::directive::Context;

    #[test]
    fn what_the_reference_calls_a_default_is_in_effect_without_the_directive() {
        let settings = in_effect(&Block::default(), &Block::default());
        assert_eq!(settings.rules, Rules::default(), "the rules of an upstream that is in no configuration");
        assert_eq!(settings.watched, None);
        assert_eq!((settings.pool_header.as_str(), settings.release_header.as_str()), ("x-app-pool", "x-release-id"));
    }

    #[test]
    fn each_default_can_be_written_as_it_stands() {
        for directive in DIRECTIVES {
            let Some(default) = directive.default else { continue };
            let args: Vec<&[u8]> = default.split(' ').map(str::as_bytes).collect();
            let result = read(directive, &DirectiveLine { args: &args, place: &Place::default() });
            assert_eq!(result, Ok(()), "{} {default}", directive.name());
        }
    }

    /// Reads a line into a block that says nothing else.
    fn read(directive: &Directive, line: &DirectiveLine<'_>) -> Result<(), String> {
        let result = match directive.context {
            Context::Http(read) => read(&mut Http::default(), line),
            Context::HttpAndUpstream(setting) | Context::Upstream(setting) => {
                Block::default().read(directive.name, setting, line)
            }
            Context::Location(read) => read(&mut Location::default(), line),
        };
        result.map_err(|mistake| mistake.in_directive(directive.name()))
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
            for directive in DIRECTIVES {
                if let Err(mistake) = read(directive, &line) {
                    prop_assert!(!mistake.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_directive_is_given_once_in_a_block_unless_its_lines_add_up() {
        let lines = [("poolwatch", "on"), ("poolwatch_cooldown", "1s"), ("poolwatch_silence", "on")];
        for (name, argument) in lines {
            let directive = DIRECTIVES.iter().find(|directive| directive.name() == name).unwrap();
            let setting = directive.context.setting().unwrap();
            let line = DirectiveLine { args: &[argument.as_bytes()], place: &Place::default() };
            let mut block = Block::default();
            assert_eq!(block.read(directive.name, setting, &line), Ok(()));
            let again = DirectiveLine { args: &[b"nonsense"], ..line };
            let result = block.read(directive.name, setting, &again).map_err(|mistake| mistake.in_directive(name));
            assert_eq!(result, Err(format!("\"{name}\" directive is duplicate")), "and it is not read");
        }
    }

    #[test]
    fn the_reference_has_an_entry_of_each() {
        let page = reference();
        for directive in DIRECTIVES {
            assert_eq!(page.matches(&format!("### {}\n", directive.name())).count(), 1);
        }
        assert!(page.starts_with(
            "### poolwatch\n\n* **Syntax:** `poolwatch on | off;`\n* **Default:** `poolwatch off;`\n\
             * **Context:** http, upstream\n\nWatches"
        ));
    }
}
