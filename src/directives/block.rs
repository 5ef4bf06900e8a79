//! What each block of the configuration says, before anyone judges the blocks together.

use crate::config::rules::ErrorRateRules;
use crate::directives::mistake::{Mistake, shown};
use crate::directives::place::{DirectiveLine, Placed};
use crate::directives::receiver::{self, line::ReceiverLine};
use crate::directives::zone::{self, ZoneLine};
use crate::directives::{arguments, cooldown, error_rate, failover, headers, runbook, status};
use crate::outbox::MAX_RECEIVERS;
use crate::pools::set::MAX_POOLS;
use crate::text::{Name, Text};
use crate::units::Millis;

/// What the `http` block says once.
#[derive(Default)]
pub struct Http {
    /// `poolwatch_zone`
    pub zone: Option<Placed<ZoneLine>>,
    /// `poolwatch_receiver`
    pub receivers: Vec<Placed<ReceiverLine>>,
}

/// What one location says.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// `poolwatch_status`: are writes taken?
    pub status: Option<Placed<bool>>,
}

/// What one block says of how upstreams are watched; `None`: nothing.
#[derive(Clone, Debug, Default)]
#[expect(clippy::option_option, reason = "unsaid, off, or on with what")]
pub struct Block {
    pub(super) watch: Option<Placed<bool>>,
    pub(super) pools: Vec<Placed<PoolLine>>,
    pub(super) active: Option<Placed<Name>>,
    pub(super) pool_header: Option<String>,
    pub(super) release_header: Option<String>,
    pub(super) failover: Option<Option<Millis>>,
    pub(super) error_rate: Option<Option<ErrorRateRules>>,
    pub(super) cooldown: Option<Millis>,
    pub(super) silenced: Option<bool>,
    pub(super) runbook: Option<Text<256>>,
}

/// `poolwatch_pool`
#[derive(Clone, Debug)]
pub(super) struct PoolLine {
    pub(super) name: Name,
    /// As written.
    pub(super) servers: Vec<String>,
}

impl Http {
    pub(super) fn zone(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.zone, || Ok(line.placed(zone::zone(line.args)?)))
    }

    pub(super) fn receiver(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        let receiver = receiver::read(line.args)?;
        if self.receivers.iter().any(|other| other.value.name == receiver.name) {
            let name = shown(receiver.name.as_bytes());
            return Err(Mistake::Phrase(format!("duplicate receiver \"{name}\", give it another \"name=\"")));
        }
        if self.receivers.len() == MAX_RECEIVERS {
            return Err(Mistake::Phrase(format!("too many receivers, at most {MAX_RECEIVERS} are possible")));
        }
        self.receivers.push(line.placed(receiver));
        Ok(())
    }
}

impl Block {
    pub(super) fn watch(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.watch, || Ok(line.placed(arguments::switch(line.args)?)))
    }

    pub(super) fn pool(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        let (argument, servers) = arguments::leading(line.args)?;
        let name = arguments::name(argument).ok_or_else(|| Mistake::value(argument))?;
        if self.pools.iter().any(|other| other.value.name == name) {
            return Err(Mistake::Phrase(format!("duplicate pool \"{}\"", shown(argument))));
        }
        if self.pools.len() == MAX_POOLS {
            return Err(Mistake::Phrase(format!("too many pools, at most {MAX_POOLS} are possible")));
        }
        let servers = servers.iter().map(|server| shown(server)).collect();
        self.pools.push(line.placed(PoolLine { name, servers }));
        Ok(())
    }

    pub(super) fn active(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        let read = |argument| arguments::name(argument).ok_or_else(|| Mistake::value(argument));
        once(&mut self.active, || Ok(line.placed(read(arguments::single(line.args)?)?)))
    }

    pub(super) fn pool_header(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.pool_header, || headers::header(line.args))
    }

    pub(super) fn release_header(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.release_header, || headers::header(line.args))
    }

    pub(super) fn failover(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.failover, || failover::failover(line.args))
    }

    pub(super) fn error_rate(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.error_rate, || error_rate::error_rate(line.args))
    }

    pub(super) fn cooldown(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.cooldown, || cooldown::cooldown(line.args))
    }

    pub(super) fn silence(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.silenced, || arguments::switch(line.args))
    }

    pub(super) fn runbook(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.runbook, || runbook::runbook(line.args))
    }
}

impl Location {
    pub(super) fn status(&mut self, line: &DirectiveLine<'_>) -> Result<(), Mistake> {
        once(&mut self.status, || Ok(line.placed(status::status(line.args)?)))
    }
}

/// As nginx's own directives: the second one in a block is refused before it is read.
fn once<T>(slot: &mut Option<T>, read: impl FnOnce() -> Result<T, Mistake>) -> Result<(), Mistake> {
    if slot.is_some() {
        return Err(Mistake::Duplicate);
    }
    *slot = Some(read()?);
    Ok(())
}
