//! The initial content of a new zone: copied from the zone that it replaces, else restored from the state file, else
//! empty.
//!
//! nginx makes a new zone when it starts, when a reload changes the zone's name or size, and when a reload loads the
//! module from another file. This code runs as the last step of loading a configuration: it can no longer fail, and the
//! old zone is still mapped.

use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use nginx_sys::{NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_cycle_t};

use crate::clock::Clock;
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

/// How long this waits for the old zone's lock.
const PATIENCE: Millis = Millis::from_secs(1);

/// How long this waits for messages that are being sent: their senders will write the outcome into the old zone.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// Fills the configuration's zone, if it is new, allocates space in the state file, and gives the configuration its
/// number.
pub(crate) fn fill(cycle: &ngx_cycle_t, conf: &MainConf) {
    let Some(zone) = conf.zone.mapped.get() else { return };
    let log = |level, text: &str| error_log::write(level, cycle.log, text);
    if conf.zone.is_new.get() {
        let watched: Vec<Name> = conf.upstreams.iter().map(|upstream| upstream.watched.name).collect();
        let carried = previous::zone(Some(zone)).is_some_and(|old| match old {
            Previous::Same(old) if carry_over(old, zone, &watched) => {
                log(NGX_LOG_NOTICE, "the state is carried over into a new zone");
                true
            }
            Previous::Same(_) => {
                log(NGX_LOG_WARN, "the old zone's lock cannot be had, its state is not carried over");
                false
            }
            Previous::Different => {
                log(NGX_LOG_NOTICE, "the old zone's layout is another version's, its state is not carried over");
                false
            }
        });
        if let Some(file) = conf.zone.file.as_ref().filter(|_| !carried) {
            restore(file, zone, &watched).unwrap_or_else(|warning| log(NGX_LOG_WARN, &warning));
        }
    }
    if let Some(file) = conf.zone.file.as_ref().filter(|_| !cycle::is_test()) {
        file.reserve(conf.upstreams.len()).unwrap_or_else(|warning| log(NGX_LOG_WARN, &warning));
    }
    conf.zone.generation.set(zone.next_generation());
}

/// Copies the old zone, whose workers then no longer deliver. `false`: its lock was not free within [`PATIENCE`].
fn carry_over(old: Zone, new: Zone, watched: &[Name]) -> bool {
    old.supersede();
    let until = Instant::now() + LAST_MESSAGES;
    while old.is_sending(PATIENCE) && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    new.take_from(old, watched, PATIENCE)
}

/// Restores the state from the file, if there is any in it. `Err`: a warning, in nginx's form.
fn restore(file: &StateFile, zone: Zone, watched: &[Name]) -> Result<(), String> {
    let bytes = file.read().map_err(|error| file.failed("read", &error))?;
    let text = match record::find(&bytes) {
        Found::FileRecord(record) => record.text,
        Found::Empty => return Ok(()),
        Found::Useless | Found::Foreign => {
            return Err(format!("\"{}\" holds no usable state, it begins anew", file.name()));
        }
    };
    let saved = Saved::from_text(text);
    let saved = saved.ok_or_else(|| format!("\"{}\" holds no usable state, it begins anew", file.name()))?;
    let times = SystemClock.times();
    zone.with(|table| saved.restore(table, watched, times));
    Ok(())
}

/// A reload without a master process: the threads of this process continue with the old configuration and its zone.
/// nginx is about to unmap the zone, unless the new configuration uses it too. So nginx is given an empty mapping to
/// unmap instead.
pub(crate) fn keep_mapping(cycle: &ngx_cycle_t, used: Zone) {
    let text = "a reload without a master process changes nothing that is watched, nginx has to be started again";
    error_log::write(NGX_LOG_WARN, cycle.log, text);
    if MainConf::of_cycle(cycle).and_then(|conf| conf.zone.mapped.get()).is_some_and(|zone| zone.is_same(used)) {
        return;
    }
    let Some(shm_zone) = previous::mapping(used) else { return };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: makes a new mapping at an address that the kernel chooses.
    let empty = unsafe { libc::mmap(ptr::null_mut(), shm_zone.shm.size, libc::PROT_NONE, flags, -1, 0) };
    if empty != libc::MAP_FAILED {
        shm_zone.shm.addr = empty.cast();
    }
}
