//! `poolwatch_active`: the pool that should serve.

use crate::config::upstream::{ConfiguredPeer, Role};
use crate::directives::arguments::{name, single};
use crate::directives::block::{Setting, Settings};
use crate::directives::directive::{Arguments, Context, Directive};
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::{DirectiveLine, Remark};
use crate::text::Name;

/// `poolwatch_active`
pub(super) const DIRECTIVE: Directive = Directive {
    name: c"poolwatch_active",
    syntax: "pool",
    default: None,
    arguments: Arguments::One,
    context: Context::HttpAndUpstream(Setting::once(read, inherit)),
    text: "Names the pool that should serve. By default it is the pool of the primary servers that are not \
           `down`. Changing it by a reload announces a planned switch, as moving `down` or `backup` does. It moves no \
           traffic: nginx asks the servers that are not `backup`. In `http` it applies to every watched upstream, also to one that has no such pool.",
};

fn read(settings: &mut Settings, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
    let argument = single(line.args)?;
    settings.rules.active = name(argument).ok_or_else(|| Mistake::value(argument))?;
    settings.active = Some(line.place.clone());
    Ok(())
}

fn inherit(to: &mut Settings, from: &Settings) {
    to.rules.active = from.rules.active;
    to.active.clone_from(&from.active);
}

/// Checks that the pool is one of these, if `poolwatch_pool` names pools. Else a response header may name it later.
///
/// # Errors
/// `poolwatch_pool` names other pools, and not this one.
pub(super) fn check_pool(settings: &Settings, pools: &[Name], upstream: &[u8]) -> Result<(), Remark> {
    let Some(place) = &settings.active else { return Ok(()) };
    let active = settings.rules.active;
    if settings.pools.is_empty() || pools.contains(&active) {
        return Ok(());
    }
    let (pool, upstream) = (shown(active.as_bytes()), shown(upstream));
    let text = format!("unknown pool \"{pool}\" of upstream \"{upstream}\" in \"poolwatch_active\"");
    Err(place.remark(text))
}

/// A warning if all servers of the pool are `backup`: nginx asks them only when no other server is left. `None`: it has
/// others, or `poolwatch_pool` does not name it.
pub(super) fn remark_on_reserve(settings: &Settings, upstream: &[u8], peers: &[ConfiguredPeer]) -> Option<Remark> {
    let place = settings.active.as_ref()?;
    let active = settings.rules.active;
    let index = settings.pools.iter().position(|pool| pool.value.name == active)?;
    let mut members = peers.iter().filter(|peer| peer.pool == Some(index)).peekable();
    members.peek()?;
    let (pool, upstream) = (shown(active.as_bytes()), shown(upstream));
    let text = format!("pool \"{pool}\" in \"poolwatch_active\" has only backup servers in upstream \"{upstream}\"");
    members.all(|peer| peer.role == Role::Backup).then(|| place.remark(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directives::testing::{assert_inherited, mistake, taken};

    #[test]
    fn a_pool_is_named() {
        let settings = taken(read, "green");
        assert_eq!(settings.rules.active, Name::new(b"green"));
        assert_eq!(settings.active.map(|place| place.line), Some(1));
        assert_eq!(mistake(read, "a/b"), "invalid value \"a/b\" in \"d\"");
    }

    #[test]
    fn a_block_overrules_http() {
        assert_inherited(&DIRECTIVE, "blue", "green", |settings| (settings.rules.active, settings.active.is_some()));
    }
}
