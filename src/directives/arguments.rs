//! What arguments of several directives have in common: flags, names, spans, and parameters, which are `key=value`.

use std::ops::RangeInclusive;

use crate::directives::mistake::{Mistake, shown};
use crate::text::{Name, Text};
use crate::units::Millis;

/// A `key=value` argument, in its two halves; without `=` it is all key.
pub(super) fn halves(parameter: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = parameter.splitn(2, |byte| *byte == b'=');
    (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
}

/// The only argument.
///
/// # Errors
/// There is none, or more than one.
pub(super) fn single<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], Mistake> {
    match args {
        [argument] => Ok(argument),
        _ => Err(Mistake::Arguments),
    }
}

/// The first argument and the parameters after it.
///
/// # Errors
/// There is no argument.
pub(super) fn leading<'a, 'b>(args: &'b [&'a [u8]]) -> Result<(&'a [u8], &'b [&'a [u8]]), Mistake> {
    args.split_first().map(|(first, rest)| (*first, rest)).ok_or(Mistake::Arguments)
}

/// Sets the value of a parameter that may be given once. `None` as the value: it is invalid.
///
/// # Errors
/// The parameter was given before on this line, or its value is invalid.
pub(super) fn fill<T>(slot: &mut Option<T>, parameter: &str, value: Option<T>) -> Result<(), Mistake> {
    if slot.is_some() {
        return Err(Mistake::Repeated(parameter.to_owned()));
    }
    *slot = Some(value.ok_or_else(|| Mistake::Value(parameter.to_owned()))?);
    Ok(())
}

/// `on` or `off`; `None`: something else.
pub(super) fn flag(argument: &[u8]) -> Option<bool> {
    match argument {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

/// A line of which `on` or `off` is the only argument.
///
/// # Errors
/// It is neither, or there are more arguments.
pub(super) fn switch(args: &[&[u8]]) -> Result<bool, Mistake> {
    let argument = single(args)?;
    flag(argument).ok_or_else(|| Mistake::Flag(shown(argument)))
}

/// The name of a pool, a receiver or a zone: 1 to 64 letters, digits, and `_.:-`; `None`: it is none.
pub(super) fn name(argument: &[u8]) -> Option<Name> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte);
    let fits = (1..=64).contains(&argument.len()) && argument.iter().all(allowed);
    fits.then(|| Text::new(argument))
}

/// A span of time within limits, both included; `None`: it is none.
pub(super) fn span(argument: &[u8], limits: &RangeInclusive<Millis>) -> Option<Millis> {
    Millis::parse(argument).filter(|span| limits.contains(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_few_letters() {
        let long = "x".repeat(65);
        assert_eq!(name(&long.as_bytes()[1..]), Some(Text::new(&long.as_bytes()[1..])));
        for wrong in ["", "a b", "a/b", "\u{e9}", "<!here>", &long] {
            assert_eq!(name(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn too_few_arguments_are_no_panic() {
        for mistake in [single(&[]).err(), leading(&[]).err(), switch(&[]).err()] {
            assert_eq!(mistake, Some(Mistake::Arguments));
        }
    }
}
