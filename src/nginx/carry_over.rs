//! What a new zone begins with: the table of the zone whose place it takes, else what the state file says, else nothing.
//!
//! nginx makes a new zone when it starts, when a reload changes the zone's name or size, and when a reload loads the module from another
//! file. All that happens here happens last in the loading of a configuration, when nothing can keep nginx from using it any more, and
//! while the old zone is still mapped.

use std::ptr::{self, NonNull};
use std::thread;
use std::time::{Duration, Instant};

use nginx_sys::{NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_cycle_t, ngx_list_part_t, ngx_shm_zone_t, ngx_slab_pool_t};

use crate::clock::{Clock, Times};
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
use crate::nginx::state_file::file::StateFile;
use crate::nginx::zone::{Other, Zone};
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
        let carried = old_zone(Some(zone)).is_some_and(|old| match old {
            Other::Same(old) if carry_over(old, zone, &watched) => {
                say(NGX_LOG_NOTICE, "the state is carried over into a new zone");
                true
            }
            Other::Same(_) => {
                say(NGX_LOG_WARN, "the old zone's lock cannot be had, its state is not carried over");
                false
            }
            Other::Different => {
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

/// How many upstreams a new configuration does not watch, of which something is still to be told: those of the running one, or else
/// of the state file.
pub(crate) fn owing(watched: &[Name], file: Option<&StateFile>) -> usize {
    if let Some(Other::Same(old)) = old_zone(None) {
        // Nobody can tell: then as many as there is room for, so that the zone stays.
        let all = old.capacity().saturating_sub(watched.len());
        return old.with_patience(PATIENCE, |table| table.owing(watched)).unwrap_or(all);
    }
    let bytes = file.and_then(|file| file.read().ok()).unwrap_or_default();
    let Found::Record(record) = record::find(&bytes) else { return 0 };
    Saved::from_text(record.text).map_or(0, |saved| saved.owing(watched))
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
    let Some(shm_zone) = old_zones(|zone| used.is_in(zone.shm.addr, zone.shm.size).then_some(zone)) else { return };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: makes a mapping of its own, wherever the kernel likes.
    let empty = unsafe { libc::mmap(ptr::null_mut(), shm_zone.shm.size, libc::PROT_NONE, flags, -1, 0) };
    if empty != libc::MAP_FAILED {
        shm_zone.shm.addr = empty.cast();
    }
}

/// A zone of ours in the configuration that this one takes the place of; not the new one itself.
fn old_zone(new: Option<Zone>) -> Option<Other> {
    old_zones(|shm_zone| ours(shm_zone, new))
}

/// What `find` finds among the zones of the configuration that this one takes the place of.
fn old_zones<R>(mut find: impl FnMut(&'static mut ngx_shm_zone_t) -> Option<R>) -> Option<R> {
    // While a configuration is loaded, this is still the one before; at the first start it is one without anything.
    let old = cycle::current()?;
    let mut part: *const ngx_list_part_t = &raw const old.shared_memory.part;
    // SAFETY: nginx's list of zones: parts with an array of zones each.
    while let Some(zones) = unsafe { part.as_ref() } {
        if let Some(first) = NonNull::new(zones.elts.cast::<ngx_shm_zone_t>()) {
            // SAFETY: as above; nobody else looks at them meanwhile.
            let zones = unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), zones.nelts) };
            if let Some(found) = zones.iter_mut().find_map(&mut find) {
                return Some(found);
            }
        }
        part = zones.next;
    }
    None
}

fn ours(shm_zone: &ngx_shm_zone_t, new: Option<Zone>) -> Option<Other> {
    let begin = NonNull::new(shm_zone.shm.addr)?;
    let pool = begin.cast::<ngx_slab_pool_t>();
    // SAFETY: every zone of nginx begins with a slab pool, and the old configuration's are still mapped.
    let data = unsafe { pool.as_ref() }.data;
    let inside = (data.addr().wrapping_sub(begin.as_ptr().addr())).checked_add(size_of::<u64>())? <= shm_zone.shm.size;
    if data.is_null() || !inside || !data.cast::<u64>().is_aligned() || new.is_some_and(|new| new.is_at(data)) {
        return None;
    }
    // SAFETY: so many bytes of a mapped zone begin there.
    unsafe { Zone::other(pool) }
}
