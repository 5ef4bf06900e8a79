//! From a line's arguments to values, or to the phrase nginx would use for the mistake.

use std::ops::RangeInclusive;

use crate::config::rules::{ErrorRateRules, RateOf};
use crate::directives::arguments::{fill, flag, halves, leading, name, single, span};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::url;
use crate::text::Text;
use crate::units::{Millis, Ratio};
use crate::window::MAX_REQUESTS;

/// Pages of the zone that nginx's slab allocator needs to be of use; nginx's own modules ask for as many.
const LEAST_ZONE: usize = 8 * 4096;

const CONFIRM: RangeInclusive<Millis> = Millis(10)..=Millis::from_secs(60);
const PERIOD: RangeInclusive<Millis> = Millis::from_secs(10)..=Millis::from_secs(3600);
const COOLDOWN: RangeInclusive<Millis> = Millis::ZERO..=Millis::from_secs(24 * 60 * 60);

/// The name of a response header, in lower case.
pub(super) fn header(args: &[&[u8]]) -> Result<String, Mistake> {
    let argument = single(args)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let fits = (1..=64).contains(&argument.len()) && argument.iter().all(allowed);
    if fits { Ok(shown(argument).to_ascii_lowercase()) } else { Err(Mistake::value(argument)) }
}

pub(super) fn cooldown(args: &[&[u8]]) -> Result<Millis, Mistake> {
    let argument = single(args)?;
    span(argument, &COOLDOWN).ok_or_else(|| Mistake::value(argument))
}

/// `on [confirm=time] | off`.
pub(super) fn failover(args: &[&[u8]]) -> Result<Option<Millis>, Mistake> {
    let (argument, parameters) = leading(args)?;
    let on = flag(argument).ok_or_else(|| Mistake::Flag(shown(argument)))?;
    let mut confirm = None;
    for parameter in parameters {
        let named = shown(parameter);
        match halves(parameter) {
            (b"confirm", value) if on => fill(&mut confirm, &named, span(value, &CONFIRM))?,
            _ => return Err(Mistake::Parameter(named)),
        }
    }
    Ok(on.then(|| confirm.unwrap_or(Millis::from_secs(1))))
}

/// `ratio [window=number] [period=time] [of=upstream|client] [resolve=ratio] | off`.
pub(super) fn error_rate(args: &[&[u8]]) -> Result<Option<ErrorRateRules>, Mistake> {
    let (ratio, parameters) = leading(args)?;
    if ratio == b"off" {
        return match parameters {
            [] => Ok(None),
            [parameter, ..] => Err(Mistake::Parameter(shown(parameter))),
        };
    }
    let threshold = Ratio::parse(ratio).ok_or_else(|| Mistake::value(ratio))?;
    let (mut window, mut period, mut of, mut resolve) = (None, None, None, None);
    for parameter in parameters {
        let named = shown(parameter);
        match halves(parameter) {
            (b"window", value) => fill(&mut window, &named, requests(value))?,
            (b"period", value) => fill(&mut period, &named, span(value, &PERIOD))?,
            (b"of", value) => fill(&mut of, &named, rate_of(value))?,
            (b"resolve", value) => fill(&mut resolve, &named, Ratio::parse(value))?,
            _ => return Err(Mistake::Parameter(named)),
        }
        if resolve > Some(threshold) {
            return Err(Mistake::Limit(named, shown(ratio)));
        }
    }
    let default = ErrorRateRules::default();
    Ok(Some(ErrorRateRules {
        threshold,
        resolve: resolve.unwrap_or(threshold.half()),
        // A period alone is watched alone.
        window: window.unwrap_or(if period.is_some() { 0 } else { default.window }),
        period: period.unwrap_or(default.period),
        of: of.unwrap_or(default.of),
    }))
}

fn requests(value: &[u8]) -> Option<u32> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
    (1..=MAX_REQUESTS).contains(&number).then_some(number)
}

fn rate_of(value: &[u8]) -> Option<RateOf> {
    match value {
        b"upstream" => Some(RateOf::Upstream),
        b"client" => Some(RateOf::Client),
        _ => None,
    }
}

/// A link that fits the alerts' place for it.
pub(super) fn runbook(args: &[&[u8]]) -> Result<Text<256>, Mistake> {
    let argument = single(args)?;
    let fits = argument.len() <= 256 && url::read(argument).is_some();
    if fits { Ok(Text::new(argument)) } else { Err(Mistake::value(argument)) }
}

/// `[write=on|off]`: may operators ask for something here?
pub(super) fn status(args: &[&[u8]]) -> Result<bool, Mistake> {
    let mut write = None;
    for parameter in args {
        let named = shown(parameter);
        match halves(parameter) {
            (b"write", value) => fill(&mut write, &named, flag(value))?,
            _ => return Err(Mistake::Parameter(named)),
        }
    }
    Ok(write.unwrap_or(false))
}

/// `poolwatch_zone`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLine {
    /// The zone's name.
    pub name: String,
    /// Its size in bytes; `None`: what it needs.
    pub size: Option<usize>,
    /// `state=`: the file that keeps the state while nginx does not run, as written; `None`: nothing does.
    pub state: Option<Vec<u8>>,
}

/// `name [size] [state=file]`, in nginx's own phrases for zones.
pub(super) fn zone(args: &[&[u8]]) -> Result<ZoneLine, Mistake> {
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

/// As nginx: bytes, or with `k` or `m`.
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
    use crate::directives::arguments::switch;

    fn args(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    /// What nginx would say of a line.
    fn mistake<T>(read: fn(&[&[u8]]) -> Result<T, Mistake>, line: &str) -> String {
        read(&args(line)).err().map(|mistake| mistake.in_directive("d")).unwrap_or_default()
    }

    #[test]
    fn an_error_rate_is_read_with_its_parameters() {
        let rules = error_rate(&args("0.5% window=100000 of=client resolve=0.001"));
        let expected = ErrorRateRules {
            threshold: Ratio::from_millionths(5000),
            resolve: Ratio::from_millionths(1000),
            window: 100_000,
            period: Millis::ZERO,
            of: RateOf::Client,
        };
        assert_eq!(rules, Ok(Some(expected)));
        let by_default = error_rate(&args("4%")).ok().flatten().unwrap_or_default();
        assert_eq!(by_default.resolve, Ratio::from_millionths(20_000), "half the threshold");
        assert_eq!(error_rate(&args("off")), Ok(None));
        let windows = |line| error_rate(&args(line)).ok().flatten().map(|rules| (rules.window, rules.period));
        assert_eq!(windows("2%"), Some((200, Millis::ZERO)));
        assert_eq!(windows("2% period=1m"), Some((0, Millis::from_secs(60))), "a period alone is watched alone");
        assert_eq!(windows("2% window=50 period=1m"), Some((50, Millis::from_secs(60))));
        assert!(error_rate(&args("0%")).is_ok());
        assert!(error_rate(&args("2% resolve=2%")).is_ok());
    }

    #[test]
    fn mistakes_in_an_error_rate_are_named() {
        for (line, expected) in [
            ("2x", "invalid value \"2x\" in \"d\""),
            ("2", "invalid value \"2\" in \"d\""),
            ("on", "invalid value \"on\" in \"d\""),
            ("101%", "invalid value \"101%\" in \"d\""),
            ("2% window=0", "invalid value \"window=0\" in \"d\""),
            ("2% window=100001", "invalid value \"window=100001\" in \"d\""),
            ("2% window=", "invalid value \"window=\" in \"d\""),
            ("2% window=+5", "invalid value \"window=+5\" in \"d\""),
            ("2% window", "invalid value \"window\" in \"d\""),
            ("2% of=all", "invalid value \"of=all\" in \"d\""),
            ("2% resolve=1", "invalid value \"resolve=1\" in \"d\""),
            ("2% resolve=3%", "invalid value \"resolve=3%\" in \"d\", it must not exceed \"2%\""),
            ("2% x=1", "invalid parameter \"x=1\""),
            ("2% period=9s", "invalid value \"period=9s\" in \"d\""),
            ("2% period=2h", "invalid value \"period=2h\" in \"d\""),
            ("2% window=1 window=1", "duplicate parameter \"window=1\""),
            ("off window=1", "invalid parameter \"window=1\""),
        ] {
            assert_eq!(mistake(error_rate, line), expected, "{line}");
        }
    }

    #[test]
    fn failover_is_on_with_a_confirmation_or_off() {
        assert_eq!(failover(&args("on")), Ok(Some(Millis(1000))));
        assert_eq!(failover(&args("on confirm=10ms")), Ok(Some(Millis(10))));
        assert_eq!(failover(&args("on confirm=1m")), Ok(Some(Millis(60_000))));
        assert_eq!(failover(&args("off")), Ok(None));
        for (line, expected) in [
            ("yes", "invalid value \"yes\" in \"d\" directive, it must be \"on\" or \"off\""),
            ("on confirm=9ms", "invalid value \"confirm=9ms\" in \"d\""),
            ("on confirm=61s", "invalid value \"confirm=61s\" in \"d\""),
            ("on confirm", "invalid value \"confirm\" in \"d\""),
            ("on confirm=1s confirm=1s", "duplicate parameter \"confirm=1s\""),
            ("on x=1", "invalid parameter \"x=1\""),
            ("off confirm=1s", "invalid parameter \"confirm=1s\""),
        ] {
            assert_eq!(mistake(failover, line), expected, "{line}");
        }
    }

    #[test]
    fn a_cooldown_lasts_up_to_a_day() {
        assert_eq!(cooldown(&args("0")), Ok(Millis::ZERO));
        assert_eq!(cooldown(&args("24h")), Ok(Millis(86_400_000)));
        for line in ["25h", "-1", "5 m", "soon"] {
            assert!(cooldown(&args(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn a_zone_has_a_name_and_may_have_a_size() {
        let plain = ZoneLine { name: "poolwatch".to_owned(), size: Some(1024 * 1024), state: None };
        assert_eq!(zone(&args("poolwatch 1m")), Ok(plain.clone()));
        assert_eq!(zone(&args("poolwatch")), Ok(ZoneLine { size: None, ..plain.clone() }));
        assert_eq!(
            zone(&args("poolwatch state=x")),
            Ok(ZoneLine { size: None, state: Some(b"x".to_vec()), ..plain.clone() })
        );
        assert_eq!(
            zone(&args("poolwatch 1m state=/var/lib/x")),
            Ok(ZoneLine { state: Some(b"/var/lib/x".to_vec()), ..plain })
        );
        assert_eq!(zone(&args("a 64K")).map(|line| line.size), Ok(Some(64 * 1024)));
        assert_eq!(zone(&args("a 65536")).map(|line| line.size), Ok(Some(65536)));
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
            assert_eq!(mistake(zone, line), expected, "{line}");
        }
    }

    #[test]
    fn names_and_headers_have_few_letters() {
        let long = "x".repeat(65);
        assert_eq!(name(&long.as_bytes()[1..]), Some(Text::new(&long.as_bytes()[1..])));
        for wrong in ["", "a b", "a/b", "\u{e9}", "<!here>", &long] {
            assert_eq!(name(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(header(&args("X-App_Pool")), Ok("x-app_pool".to_owned()));
        assert_eq!(mistake(header, "X-App:"), "invalid value \"X-App:\" in \"d\"");
    }

    #[test]
    fn a_runbook_is_a_url_that_fits() {
        assert!(runbook(&args("https://wiki/runbook.md#failover")).is_ok());
        let long = format!("https://wiki/{}", "x".repeat(256));
        for wrong in ["wiki", "javascript:alert(1)", "https://u:p@wiki/", &long] {
            assert!(runbook(&args(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn too_few_arguments_are_no_panic() {
        let words = "invalid number of arguments in \"d\" directive";
        assert_eq!(error_rate(&[]).err().map(|mistake| mistake.in_directive("d")).as_deref(), Some(words));
        assert!(failover(&[]).is_err() && zone(&[]).is_err() && switch(&[]).is_err() && header(&[]).is_err());
        assert_eq!(Mistake::Duplicate.in_directive("d"), "\"d\" directive is duplicate");
    }
}
