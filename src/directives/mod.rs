//! Every directive said once: its name, arguments, place, default, meaning, and how it is read.
//!
//! nginx's command table and the README's reference are both made from [`DIRECTIVES`], so neither can forget or misquote one.
//! Reading needs no nginx: a line's arguments go into a [`Block`] or [`Http`], and [`upstream`] makes rules of them once the
//! whole configuration is known.

pub mod place;
pub mod mistake;
mod arguments;
mod url;
mod zone;
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

use std::ffi::CStr;
use std::fmt::Write;

use crate::directives::block::{Block, Http, Location};
use crate::directives::mistake::Mistake;
use crate::directives::place::DirectiveLine;

/// A directive, all of it.
#[derive(Debug)]
pub struct Directive {
    /// Ended by a zero byte, as nginx compares names.
    pub name: &'static CStr,
    /// The arguments, as the reference writes them.
    pub syntax: &'static str,
    /// The arguments that have the effect of leaving the directive out; `None`: none have.
    pub default: Option<&'static str>,
    /// The blocks it may stand in.
    pub contexts: &'static [Context],
    /// How many arguments nginx lets through.
    pub arguments: Arguments,
    /// What it is for, in Markdown.
    pub text: &'static str,
    /// Puts the arguments of one line where they belong.
    pub read: Read,
}

/// A block of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `http {}`
    Http,
    /// `upstream {}` in it
    Upstream,
    /// `location {}` in a `server {}` of it
    Location,
}

/// How many arguments a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Any number, even none. What is too much, the reader names; nginx's own check would only count.
    Any,
    /// One.
    One,
    /// One or more, likewise.
    OneOrMore,
    /// Two or more, likewise.
    TwoOrMore,
}

/// What a directive writes to.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// What only the `http` block says.
    Http(Reader<Http>),
    /// What the `http` block says for all upstreams, and an `upstream` block for itself.
    Block(Reader<Block>),
    /// What a location says for itself.
    Location(Reader<Location>),
}

/// Reads a line into `T`.
pub type Reader<T> = fn(&mut T, &DirectiveLine<'_>) -> Result<(), Mistake>;

impl Directive {
    /// The name as text.
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or_default()
    }
}

const HTTP: &[Context] = &[Context::Http];
const UPSTREAM: &[Context] = &[Context::Upstream];
const LOCATION: &[Context] = &[Context::Location];
const BOTH: &[Context] = &[Context::Http, Context::Upstream];

/// All directives of this release, in the order of the reference.
pub static DIRECTIVES: [Directive; 13] = [
    Directive {
        name: c"poolwatch",
        syntax: "on | off",
        default: Some("off"),
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Watches an `upstream` block; at `http` level, all of them. Upstreams that are not blocks (`proxy_pass \
               http://host;`) have no second pool and are never watched.",
        read: Read::Block(Block::watch),
    },
    Directive {
        name: c"poolwatch_zone",
        syntax: "name [size] [state=file]",
        default: Some("poolwatch"),
        contexts: HTTP,
        arguments: Arguments::OneOrMore,
        text: "Names the shared memory zone in which all workers keep one state. The state survives a reload, also one that changes the \
               zone's size.\n\n\
               * Without a size the zone takes what the watched upstreams need, some 70 KiB each, rounded up to a multiple of 16 of them. A size \
               that is too small for them is refused with the size that they need; one of which they take more than three quarters \
               earns a warning, since upstreams that no longer fit keep nginx from loading a configuration.\n\
               * `state=` names a file that keeps the state while nginx does not run: who serves, open incidents, what each receiver \
               has heard, silences. A restart then repeats no alert and forgets none that is owed. It also lets the two process trees \
               of an upgrade of the binary on the fly agree on which one sends; without it both do. A relative path starts at nginx's \
               prefix. nginx opens the file as root; it must stand on a local file system, and each nginx needs one of its own: of two with \
               the same file one delivers, and the other one says after five seconds, in the error log and on the status page, that it does not. A file \
               that is neither empty nor made by Poolwatch is an error and left alone, and so is a link in a folder that others than root \
               may write to. A file that cannot be written or read, or whose content is damaged, is said in the error log, and nginx goes on \
               without it.",
        read: Read::Http(Http::zone),
    },
    Directive {
        name: c"poolwatch_receiver",
        syntax: "slack env:NAME | file:path | URL [name=name] [send_resolved=on | off] [timeout=time] [ca_file=file] \
                 [proxy=URL] [clear_text=on | off]",
        default: None,
        contexts: HTTP,
        arguments: Arguments::TwoOrMore,
        text: "Sends alerts to a Slack incoming webhook. May be given up to 8 times.\n\n\
               The webhook's URL is a credential. `env:` reads it from nginx's environment when nginx starts: a reload does not \
               see a changed environment, and for an upgrade of the binary on the fly the main configuration needs `env NAME;`. \
               `file:` reads it from a file at every start and reload; a relative path starts at the directory of `nginx.conf`. \
               A file that every user of the machine can read earns a warning, except below `/run/secrets/`, where containers \
               mount theirs. An unset or empty variable, an unreadable or empty file, and an invalid URL stop nginx from starting. \
               To `nginx -t` an unset variable is a warning, since nginx's environment need not be that of whoever asks. \
               Plain `http` to another machine earns a warning, unless `clear_text=on` says that it is meant.\n\n\
               * `name=` tells two receivers apart, in logs and over reloads; `slack` by default.\n\
               * `send_resolved=off` leaves out the messages that something is over.\n\
               * `timeout=` bounds one delivery as a whole, from 100ms to 25s; 10s by default. A failed delivery is repeated.\n\
               * `ca_file=` names a PEM file with the only certificates to trust, instead of the public ones.\n\
               * `proxy=` goes through an HTTP proxy (`http://` or `https://`). Proxy variables of the environment are ignored.\n\
               * `clear_text=on` takes the warning about plain `http` away: for a receiver that is reached over a network that nobody else listens to.",
        read: Read::Http(Http::receiver),
    },
    Directive {
        name: c"poolwatch_pool",
        syntax: "name server ...",
        default: None,
        contexts: UPSTREAM,
        arguments: Arguments::TwoOrMore,
        text: "Puts servers of the block into a named pool; up to 8 pools. A server is written as in its `server` directive, or as \
               one of its addresses; the port 80 may be left out. Without this directive pools are told apart by the response \
               header (`poolwatch_pool_header`), and before the first answer by primary and `backup`.",
        read: Read::Block(Block::pool),
    },
    Directive {
        name: c"poolwatch_active",
        syntax: "pool",
        default: None,
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Names the pool that should serve. By default it is the pool of the primary servers. Changing it by a reload \
               announces a planned switch. It moves no traffic: nginx asks the servers that are not `backup`. In `http` it speaks \
               for every watched upstream, also for one that has no such pool.",
        read: Read::Block(Block::active),
    },
    Directive {
        name: c"poolwatch_pool_header",
        syntax: "name",
        default: Some("X-App-Pool"),
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Names the response header in which the application tells its pool.",
        read: Read::Block(Block::pool_header),
    },
    Directive {
        name: c"poolwatch_release_header",
        syntax: "name",
        default: Some("X-Release-Id"),
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Names the response header in which the application tells its release.",
        read: Read::Block(Block::release_header),
    },
    Directive {
        name: c"poolwatch_failover",
        syntax: "on [confirm=time] | off",
        default: Some("on confirm=1s"),
        contexts: BOTH,
        arguments: Arguments::OneOrMore,
        text: "Reports when another pool serves than should, and when the expected one is back. `confirm=`, from 10ms to 60s, is \
               how long the other pool's answers must stand uncontradicted before that is believed; it is shortened when nginx \
               itself has given the pool up, or by many such answers.",
        read: Read::Block(Block::failover),
    },
    Directive {
        name: c"poolwatch_error_rate",
        syntax: "ratio [window=number] [period=time] [of=upstream | client] [resolve=ratio] | off",
        default: Some("2% window=200 of=upstream resolve=1%"),
        contexts: BOTH,
        arguments: Arguments::OneOrMore,
        text: "Reports when more than this share of the last requests failed. A ratio is a percentage (`2%`, `0.5%`) or a fraction \
               (`0.02`) between nothing and all; a bare `2` is refused, since it could mean either.\n\n\
               * `window=` is how many requests that is, from 1 to 100000. Errors count against the full window even while it \
               fills: 2% of 200 needs five errors, however few requests there were.\n\
               * `period=` watches the requests that ended within this time, from 10s to 1h, of which at least 50 and 5 errors are needed; instead of \
               a number of requests, or with `window=` beside it.\n\
               * `of=upstream` counts requests of which any attempt failed, even if another server spared the client; \
               `of=client` counts those that were answered with a 5xx.\n\
               * `resolve=` is the share below which it is over, at most the ratio itself; half the ratio by default.",
        read: Read::Block(Block::error_rate),
    },
    Directive {
        name: c"poolwatch_cooldown",
        syntax: "time",
        default: Some("300s"),
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Sets the least time between two messages of the same change, up to 24h. A change that is still true at its end is \
               told then; one that came and went meanwhile is counted in the next message. Different changes do not wait for each \
               other: the way back is told at once. A planned switch never waits, nor does that an incident reaches clients now.",
        read: Read::Block(Block::cooldown),
    },
    Directive {
        name: c"poolwatch_silence",
        syntax: "on | off",
        default: Some("off"),
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Keeps watching, but holds alerts back: for maintenance. That it is on is told, and when it is off again, that it is over, \
               how many requests failed meanwhile, and what is still true. What began and ended meanwhile is no alert.",
        read: Read::Block(Block::silence),
    },
    Directive {
        name: c"poolwatch_runbook",
        syntax: "URL",
        default: None,
        contexts: BOTH,
        arguments: Arguments::One,
        text: "Adds a link to each alert, `http` or `https`, of at most 256 bytes. Unless the URL has a fragment of its own, be it an empty one \
               (`https://wiki/page#`), the link leads to the section about the alert: `#failover`, `#recovery`, `#planned-switch`, `#outage`, \
               `#mixed-traffic`, `#flapping`, `#error-rate`, `#no-longer-watched`, as the headings of this repository's runbook.md are.",
        read: Read::Block(Block::runbook),
    },
    Directive {
        name: c"poolwatch_status",
        syntax: "[write=on | off]",
        default: None,
        contexts: LOCATION,
        arguments: Arguments::Any,
        text: "Serves below this prefix location what Poolwatch knows: a page (`/`), JSON (`api/v1/state` and its parts), and metrics for \
               Prometheus (`metrics`). It has no access rules of its own: who may look is for `allow`, `deny` and `auth_basic` to say.\n\n\
               * `write=on` lets whoever may look also begin and end silences and send test messages. In a location without `allow`, \
               `deny`, `auth_basic` or `auth_request` it earns a warning, even if something else guards it.",
        read: Read::Location(Location::status),
    },
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

impl Context {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Upstream => "upstream",
            Self::Location => "location",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::rules::Rules;
    use crate::directives::place::Place;
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
