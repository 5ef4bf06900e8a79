//! `poolwatch_zone`: the shared memory zone and the state file.

use crate::directives::arguments::{fill, halves, leading, name};
use crate::directives::block::{Http, ZoneLine};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::DirectiveLine;

/// `poolwatch_zone`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_zone",
    syntax: "name [size] [state=file]",
    default: Some(DEFAULT_NAME),
    arguments: Arguments::OneOrMore,
    context: Context::Http(read),
    text: "Names the shared memory zone in which all workers keep one state. The state survives a reload, also one \
           that changes the zone's size.\n\n\
           * Without a size the zone takes what the watched upstreams need, some 93 KiB each, rounded up to a \
           multiple of 16 of them. A size that is too small for them is refused with the size that they need; one of \
           which they take more than three quarters earns a warning, since upstreams that no longer fit keep nginx \
           from loading a configuration.\n\
           * `state=` names a file that keeps the state while nginx does not run: which pool serves, open incidents, \
           which messages each receiver has got, silences. After a restart no alert is repeated and no undelivered \
           one is lost. The file also lets the two process trees of an upgrade of the binary on the fly agree on \
           which one sends; without it both do. A relative path starts at nginx's prefix. nginx opens the file as \
           root; it must stand on a local file system, and each nginx needs one of its own: of two with the same file \
           one delivers, and after five seconds the other one reports in the error log and on the status page that it \
           does not. A file that is neither empty nor made by Poolwatch is an error and left alone, and so is a link \
           in a folder that others than root may write to. A file that cannot be written or read, or whose content is \
           damaged, is reported in the error log, and nginx goes on without it.",
};

/// The zone's name without the directive.
pub const DEFAULT_NAME: &str = "poolwatch";

/// The least size of a zone, in bytes: eight pages, as nginx's own modules ask for.
const LEAST_ZONE: usize = 8 * 4096;

fn read(http: &mut Http, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    if http.zone.is_some() {
        return Err(Mistake::Duplicate);
    }
    http.zone = Some(line.placed(zone(line.args)?));
    Ok(())
}

/// Mistakes in a size have nginx's own phrases for zones.
fn zone(args: &[&[u8]]) -> Result<ZoneLine, Mistake> {
    let (argument, rest) = leading(args)?;
    let name = name(argument).map(|_| shown(argument)).ok_or_else(|| Mistake::value(argument))?;
    let (size, parameters) = match rest {
        [first, parameters @ ..] if !first.contains(&b'=') => (Some(zone_size(&name, first)?), parameters),
        parameters => (None, parameters),
    };
    let mut state = None;
    for parameter in parameters {
        let named = shown(parameter);
        match halves(parameter) {
            (b"state", file) => fill(&mut state, &named, (!file.is_empty()).then(|| file.to_vec()))?,
            _ => return Err(Mistake::Parameter(named)),
        }
    }
    Ok(ZoneLine { name, size, state })
}

fn zone_size(name: &str, argument: &[u8]) -> Result<usize, Mistake> {
    match size(argument) {
        Some(size) if size >= LEAST_ZONE => Ok(size),
        Some(_) => Err(Mistake::Phrase(format!("zone \"{name}\" is too small"))),
        None => Err(Mistake::Phrase(format!("invalid zone size \"{}\"", shown(argument)))),
    }
}

/// A size as nginx reads it: bytes, or KiB with `k`, or MiB with `m`.
fn size(argument: &[u8]) -> Option<usize> {
    let (digits, scale) = match argument {
        [digits @ .., b'k' | b'K'] => (digits, 1024),
        [digits @ .., b'm' | b'M'] => (digits, 1024 * 1024),
        digits => (digits, 1),
    };
    let only_digits = digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| only_digits)?.parse::<usize>().ok()?;
    number.checked_mul(scale).filter(|size| isize::try_from(*size).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{mistake, read_twice, taken};

    fn zone(line: &str) -> ZoneLine {
        taken(read, line).zone.unwrap().value
    }

    #[test]
    fn a_zone_has_a_name_and_may_have_a_size() {
        let plain = ZoneLine { name: "poolwatch".to_owned(), size: Some(1024 * 1024), state: None };
        assert_eq!(zone("poolwatch 1m"), plain);
        assert_eq!(zone("poolwatch"), ZoneLine { size: None, ..plain.clone() });
        assert_eq!(zone("poolwatch state=x"), ZoneLine { size: None, state: Some(b"x".to_vec()), ..plain.clone() });
        assert_eq!(zone("poolwatch 1m state=/var/lib/x"), ZoneLine { state: Some(b"/var/lib/x".to_vec()), ..plain });
        assert_eq!(zone("a 64K").size, Some(64 * 1024));
        assert_eq!(zone("a 32k").size, Some(32 * 1024));
        assert_eq!(zone("a 65536").size, Some(65536));
        for (line, expected) in [
            ("a/b 1m", "invalid value \"a/b\" in \"d\""),
            ("a 1x", "invalid zone size \"1x\""),
            ("a k", "invalid zone size \"k\""),
            ("a -1k", "invalid zone size \"-1k\""),
            ("a 99999999999999999999", "invalid zone size \"99999999999999999999\""),
            ("a 18446744073709551615m", "invalid zone size \"18446744073709551615m\""),
            ("a 31k", "zone \"a\" is too small"),
            ("a 1m 2m", "invalid parameter \"2m\""),
            ("a state=x 1m", "invalid parameter \"1m\""),
            ("a 1m state=", "invalid value \"state=\" in \"d\""),
            ("a 1m state=x state=y", "duplicate parameter \"state=y\""),
            ("a 1m status=/x", "invalid parameter \"status=/x\""),
        ] {
            assert_eq!(mistake(read, line), expected, "{line}");
        }
        assert_eq!(read_twice(read, "a", "b"), "\"d\" directive is duplicate");
    }
}
