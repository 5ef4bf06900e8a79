//! What a new zone begins with: the table of the zone whose place it takes, else what the state file says, else nothing.
//!
//! nginx makes a new zone when it starts, when a reload changes the zone's name or size, and when a reload loads the module from another
//! file. All that happens here happens last in the loading of a configuration, when nothing can keep nginx from using it any more, and
//! while the old zone is still mapped.

use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use nginx_sys::{NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_cycle_t};

use crate::clock::{Clock, Times};
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
use crate::nginx::state_file::file::StateFile;
use crate::nginx::zone::Zone;
use crate::nginx::zone::previous::{self, Previous};
use crate::nginx::{cycle, error_log};
use crate::persist::document::Saved;
use crate::persist::record::{self, Found};
use crate::pipeline::Store;
use crate::text::Name;
use crate::units::Millis;

/// How long the old zone's lock is waited for.
const PATIENCE: Millis = Millis::from_secs(1);

/// How long for messages on their way, so that what becomes of them is known: their senders will not find the new zone.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// Fills the configuration's zone, if it is new, and gives the configuration its number.
pub(crate) fn inherit(cycle: &ngx_cycle_t, conf: &MainConf) {
    let Some(zone) = conf.zone.mapped.get() else { return };
    let say = |level, text: &str| error_log::write(level, cycle.log, text);
    if conf.zone.is_new.get() {
        let watched: Vec<Name> = conf.upstreams.iter().map(|upstream| upstream.watched.name).collect();
        let carried = previous::zone(Some(zone)).is_some_and(|old| match old {
            Previous::Same(old) if carry_over(old, zone, &watched) => {
                say(NGX_LOG_NOTICE, "the state is carried over into a new zone");
                true
            }
            Previous::Same(_) => {
                say(NGX_LOG_WARN, "the old zone's lock cannot be had, its state is not carried over");
                false
            }
            Previous::Different => {
                say(NGX_LOG_NOTICE, "the old zone's layout is another version's, its state is not carried over");
                false
            }
        });
        if let Some(file) = conf.zone.file.as_ref().filter(|_| !carried) {
            restore(file, zone, &watched).unwrap_or_else(|warning| say(NGX_LOG_WARN, &warning));
        }
    }
    if let Some(file) = conf.zone.file.as_ref().filter(|_| !cycle::is_test()) {
        file.reserve(conf.upstreams.len()).unwrap_or_else(|warning| say(NGX_LOG_WARN, &warning));
    }
    conf.zone.generation.set(zone.next_generation());
}

/// From the old zone, whose workers will not deliver any more.
fn carry_over(old: Zone, new: Zone, watched: &[Name]) -> bool {
    old.supersede();
    let until = Instant::now() + LAST_MESSAGES;
    while old.is_sending(PATIENCE) && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    new.take_from(old, watched, PATIENCE)
}

/// What the file says, unless it says nothing yet.
fn restore(file: &StateFile, zone: Zone, watched: &[Name]) -> Result<(), String> {
    let bytes = file.read().map_err(|error| file.failed("read", &error))?;
    let text = match record::find(&bytes) {
        Found::Record(record) => record.text,
        Found::Empty => return Ok(()),
        Found::Useless | Found::Foreign => {
            return Err(format!("\"{}\" holds no usable state, it begins anew", file.name()));
        }
    };
    let saved = Saved::from_text(text);
    let saved = saved.ok_or_else(|| format!("\"{}\" holds no usable state, it begins anew", file.name()))?;
    let times = Times { now: SystemClock.now(), wall: SystemClock.wall() };
    zone.with(|table| saved.restore(table, watched, times));
    Ok(())
}

/// Without a master process nginx goes on, after a reload, with the connections that it has, none of which knows the new configuration.
/// So does whoever watches, with the zone that nginx is about to unmap unless the new configuration has the same: it gets an empty
/// mapping to unmap in its place.
pub(crate) fn keep(cycle: &ngx_cycle_t, used: Zone) {
    let text = "a reload without a master process changes nothing that is watched, nginx has to be started again";
    error_log::write(NGX_LOG_WARN, cycle.log, text);
    if MainConf::of_cycle(cycle).and_then(|conf| conf.zone.mapped.get()).is_some_and(|zone| zone.is_same(used)) {
        return;
    }
    let Some(shm_zone) = previous::mapping(used) else { return };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: makes a mapping of its own, wherever the kernel likes.
    let empty = unsafe { libc::mmap(ptr::null_mut(), shm_zone.shm.size, libc::PROT_NONE, flags, -1, 0) };
    if empty != libc::MAP_FAILED {
        shm_zone.shm.addr = empty.cast();
    }
}
