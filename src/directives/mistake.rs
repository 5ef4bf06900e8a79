//! What is wrong with a line, in nginx's own phrases.

use crate::text::clean;

/// What is wrong with a line. [`Mistake::in_directive`] gives the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The argument has an invalid value.
    Value(String),
    /// The argument is neither `on` nor `off`.
    Flag(String),
    /// The first argument is above the limit that the second one sets.
    Limit(String, String),
    /// There is no such parameter.
    Parameter(String),
    /// The parameter was given before, on the same line.
    Repeated(String),
    /// The directive was given before, in the same block.
    Duplicate,
    /// There are too few or too many arguments. nginx checks their number first.
    Arguments,
    /// The whole message.
    Phrase(String),
}

impl Mistake {
    /// The argument has an invalid value.
    pub(super) fn value(argument: &[u8]) -> Self {
        Self::Value(shown(argument))
    }

    /// The message, without ` in FILE:LINE`. It is one line: control characters of the configuration are escaped.
    pub fn in_directive(&self, name: &str) -> String {
        let words = match self {
            Self::Value(value) => format!("invalid value \"{value}\" in \"{name}\""),
            Self::Flag(value) => {
                format!("invalid value \"{value}\" in \"{name}\" directive, it must be \"on\" or \"off\"")
            }
            Self::Limit(value, limit) => {
                format!("invalid value \"{value}\" in \"{name}\", it must not exceed \"{limit}\"")
            }
            Self::Parameter(parameter) => format!("invalid parameter \"{parameter}\""),
            Self::Repeated(parameter) => format!("duplicate parameter \"{parameter}\""),
            Self::Duplicate => format!("\"{name}\" directive is duplicate"),
            Self::Arguments => format!("invalid number of arguments in \"{name}\" directive"),
            Self::Phrase(phrase) => phrase.clone(),
        };
        clean(words.as_bytes(), usize::MAX)
    }
}

/// Bytes of the configuration as text for a message.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line_whatever_the_configuration_holds() {
        let said = Mistake::value(b"2\n\x1b[31m").in_directive("poolwatch_cooldown");
        assert_eq!(said, r#"invalid value "2\x0a\x1b[31m" in "poolwatch_cooldown""#);
    }

    #[test]
    fn a_mistake_names_the_directive_as_nginx_does() {
        assert_eq!(Mistake::Duplicate.in_directive("d"), "\"d\" directive is duplicate");
        assert_eq!(Mistake::Arguments.in_directive("d"), "invalid number of arguments in \"d\" directive");
    }
}
