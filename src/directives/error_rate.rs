//! `poolwatch_error_rate`: from which share of failed requests on an alert is sent.

use std::ops::RangeInclusive;

use crate::config::rules::{ErrorRateRules, RateOf};
use crate::directives::arguments::{fill, halves, leading, span};
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::DirectiveLine;
use crate::units::{Millis, Ratio};
use crate::window::MAX_REQUESTS;

/// `poolwatch_error_rate`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_error_rate",
    syntax: "ratio [window=number] [period=time] [of=upstream | client] [resolve=ratio] | off",
    default: Some("2% window=200 of=upstream resolve=1%"),
    arguments: Arguments::OneOrMore,
    context: Context::HttpAndUpstream(Setting::once(read, |to, from| to.rules.error_rate = from.rules.error_rate)),
    text: "Reports when more than this share of the last requests failed. A ratio is a percentage (`2%`, `0.5%`) or a \
           fraction (`0.02`) between nothing and all; a bare `2` is refused, since it could mean either.\n\n\
           * `window=` is how many requests that is, from 1 to 100000. Errors count against the full window even \
           while it fills: 2% of 200 requests needs five errors, however few requests there were.\n\
           * `period=` watches the requests that ended within this time, from 10s to 1h, of which at least 50 and 5 \
           errors are needed; instead of a number of requests, or with `window=` beside it.\n\
           * `of=upstream` counts requests of which any attempt failed, even if another server spared the client; \
           `of=client` counts those that were answered with a 5xx.\n\
           * `resolve=` is the share below which the alert is resolved, at most the ratio itself; half the ratio by \
           default.",
};

/// The limits of `period=`.
const PERIOD: RangeInclusive<Millis> = Millis::from_secs(10)..=Millis::from_secs(3600);

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    settings.rules.error_rate = rules(line.args)?;
    Ok(())
}

/// `None`: the error rate is not watched.
fn rules(args: &[&[u8]]) -> Result<Option<ErrorRateRules>, Mistake> {
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
        // With `period=` alone no number of requests is watched.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn an_error_rate_is_read_with_its_parameters() {
        let rules = |line| taken(read, line).rules.error_rate;
        let expected = ErrorRateRules {
            threshold: Ratio::from_millionths(5000),
            resolve: Ratio::from_millionths(1000),
            window: 100_000,
            period: Millis::ZERO,
            of: RateOf::Client,
        };
        assert_eq!(rules("0.5% window=100000 of=client resolve=0.001"), Some(expected));
        let by_default = rules("4%").unwrap();
        assert_eq!(by_default.resolve, Ratio::from_millionths(20_000), "half the threshold");
        assert_eq!(rules("off"), None);
        let windows = |line| rules(line).map(|rules| (rules.window, rules.period));
        assert_eq!(windows("2%"), Some((200, Millis::ZERO)));
        assert_eq!(windows("2% period=1m"), Some((0, Millis::from_secs(60))), "a period alone is watched alone");
        assert_eq!(windows("2% window=50 period=1m"), Some((50, Millis::from_secs(60))));
        assert!(rules("0%").is_some());
        assert!(rules("2% resolve=2%").is_some());
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
            assert_eq!(mistake(read, line), expected, "{line}");
        }
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&DIRECTIVE, "1%", "off", |settings| settings.rules.error_rate);
    }
}
