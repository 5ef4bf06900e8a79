//! `poolwatch_pool_header` and `poolwatch_release_header`: the response headers that name the pool and the release.

use crate::directives::arguments::single;
use crate::directives::block::Block;
use crate::directives::directive::{Arguments, Context, Directive, Read};
use crate::directives::mistake::{Mistake, shown};

/// `poolwatch_pool_header`
pub(super) const POOL_HEADER: Directive = Directive {
    name: c"poolwatch_pool_header",
    syntax: "name",
    default: Some("X-App-Pool"),
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Names the response header in which the application tells its pool.",
    read: Read::Block(Block::pool_header),
};

/// `poolwatch_release_header`
pub(super) const RELEASE_HEADER: Directive = Directive {
    name: c"poolwatch_release_header",
    syntax: "name",
    default: Some("X-Release-Id"),
    contexts: &[Context::Http, Context::Upstream],
    arguments: Arguments::One,
    text: "Names the response header in which the application tells its release.",
    read: Read::Block(Block::release_header),
};

/// The name of a response header, in lower case.
pub(super) fn header(args: &[&[u8]]) -> Result<String, Mistake> {
    let argument = single(args)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let fits = (1..=64).contains(&argument.len()) && argument.iter().all(allowed);
    if fits { Ok(shown(argument).to_ascii_lowercase()) } else { Err(Mistake::value(argument)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{args, mistake};

    #[test]
    fn the_names_of_headers_have_few_letters() {
        assert_eq!(header(&args("X-App_Pool")), Ok("x-app_pool".to_owned()));
        assert_eq!(mistake(header, "X-App:"), "invalid value \"X-App:\" in \"d\"");
    }
}
