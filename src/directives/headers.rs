//! `poolwatch_pool_header` and `poolwatch_release_header`: the response headers that name the pool and the release.

use crate::directives::arguments::single;
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::DirectiveLine;

/// `poolwatch_pool_header`
pub(super) const POOL_HEADER: Directive = Directive {
    name: c"poolwatch_pool_header",
    syntax: "name",
    default: Some("X-App-Pool"),
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read_pool_header, |to, from| {
        to.pool_header.clone_from(&from.pool_header);
    })),
    text: "Names the response header in which the application tells its pool. Where `poolwatch_pool` names the pools, it \
           decides; a header that names another one of them is a warning in the error log, once for each address, and \
           stands in the status.",
};

/// `poolwatch_release_header`
pub(super) const RELEASE_HEADER: Directive = Directive {
    name: c"poolwatch_release_header",
    syntax: "name",
    default: Some("X-Release-Id"),
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read_release_header, |to, from| {
        to.release_header.clone_from(&from.release_header);
    })),
    text: "Names the response header in which the application tells its release.",
};

fn read_pool_header(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    settings.pool_header = header(line.args)?;
    Ok(())
}

fn read_release_header(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    settings.release_header = header(line.args)?;
    Ok(())
}

/// The name of a response header, 1 to 64 letters, digits, and `_-`, in lower case.
fn header(args: &[&[u8]]) -> Result<String, Mistake> {
    let argument = single(args)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let fits = (1..=64).contains(&argument.len()) && argument.iter().all(allowed);
    if fits { Ok(shown(argument).to_ascii_lowercase()) } else { Err(Mistake::value(argument)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn the_names_of_headers_have_few_letters() {
        assert_eq!(taken(read_pool_header, "X-App_Pool").pool_header, "x-app_pool");
        assert_eq!(taken(read_release_header, "X-Release").release_header, "x-release");
        let longest = "x".repeat(64);
        assert_eq!(taken(read_pool_header, &longest).pool_header, longest);
        for wrong in ["X-App:", "X.App", "X App", "", &format!("{longest}x")] {
            let line = format!("\"{wrong}\"");
            assert_eq!(mistake(read_pool_header, &line), format!("invalid value \"{wrong}\" in \"d\""));
        }
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&POOL_HEADER, "X-A", "X-B", |settings| settings.pool_header.clone());
        assert_inherited(&RELEASE_HEADER, "X-A", "X-B", |settings| settings.release_header.clone());
    }
}
