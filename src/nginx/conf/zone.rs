//! Asks nginx for the configuration's zone, initialises it, and opens the state file.

use std::cell::Cell;
use std::ffi::{OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::sync::Arc;

use nginx_sys::{ngx_conf_t, ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_slab_pool_t, ngx_str_t};

use super::{blocks, log};
use crate::directives::block::Http;
use crate::directives::place::{Place, Remark};
use crate::directives::zone::DEFAULT_NAME;
use crate::nginx::callback::{caught, status_of};
use crate::nginx::cycle;
use crate::nginx::state_file::file::StateFile;
use crate::nginx::zone::previous::{self, Previous};
use crate::nginx::zone::{self, Zone};
use crate::persist::document::Saved;
use crate::persist::record::{self, Found};
use crate::pipeline::Store;
use crate::text::Name;
use crate::units::Millis;

/// A zone without a configured size has room for a multiple of this many upstreams, so that it seldom has to be
/// replaced.
const STEP: usize = 16;

/// How long this waits for the old zone's lock.
const PATIENCE: Millis = Millis::from_secs(1);

/// The zone and the state file of a configuration.
#[derive(Default)]
pub(crate) struct ZoneConf {
    /// The zone; `None`: nginx has not initialised it yet, or nothing is watched.
    pub(crate) mapped: Cell<Option<Zone>>,
    /// Its size in bytes; set with `mapped`.
    pub(crate) size: Cell<usize>,
    /// nginx made the zone for this configuration; set with `mapped`.
    pub(crate) is_new: Cell<bool>,
    /// This configuration's number; 0: nginx has not finished loading it.
    pub(crate) generation: Cell<u64>,
    /// The open file of `state=`; `None`: there is none.
    pub(crate) file: Option<Arc<StateFile>>,
}

impl ZoneConf {
    /// Opens the state file, while nginx starts: its workers may not be allowed to. It is a warning if the file cannot
    /// be written, and an error if the path cannot be right.
    pub(super) fn open_file(&mut self, cf: &ngx_conf_t, directives: &Http) -> Result<(), Remark> {
        let line = directives.zone.as_ref();
        let Some((line, path)) = line.and_then(|line| Some((line, line.value.state.as_ref()?))) else { return Ok(()) };
        if cycle::is_signaller() {
            return Ok(());
        }
        let path = blocks::prefix(cf).join(OsStr::from_bytes(path));
        match StateFile::open(&path, !cycle::is_test()) {
            Ok(file) => self.file = file.map(Arc::new),
            Err(error) if error.is_temporary => log::warn_at(cf, &line.place.remark(error.text)),
            Err(error) => return Err(line.place.remark(error.text)),
        }
        Ok(())
    }

    /// Asks nginx for a zone with room for these upstreams. `module` is the tag by which nginx tells the zones of
    /// modules apart.
    pub(super) fn ask(
        &mut self,
        cf: &mut ngx_conf_t,
        directives: &Http,
        watched: &[Name],
        module: *mut c_void,
    ) -> Result<(), ()> {
        let (name, size) = match &directives.zone {
            Some(zone) => (zone.value.name.as_str(), zone.value.size.map(|size| (size, &zone.place))),
            None => (DEFAULT_NAME, None),
        };
        let size = if let Some((size, place)) = size {
            judge_size(cf, name, size, watched.len(), place)?;
            size
        } else {
            // Upstreams that are no longer watched need slots until the messages about that are delivered.
            zone::needed_size((watched.len() + owing(watched, self.file.as_deref())).next_multiple_of(STEP))
        };
        // SAFETY: the configuration's pool, which lives as long as the zone's name is used.
        let mut name = unsafe { ngx_str_t::from_bytes(cf.pool, name.as_bytes()) }.ok_or(())?;
        // SAFETY: called while the configuration is read; nginx copies the string and reports its own errors.
        let shm_zone = unsafe { ngx_shared_memory_add(cf, &raw mut name, size, module) };
        // SAFETY: null, or a zone that nginx has just handed out.
        let shm_zone = unsafe { shm_zone.as_mut() }.ok_or(())?;
        shm_zone.init = Some(init);
        shm_zone.data = (&raw mut *self).cast();
        Ok(())
    }
}

/// Checks a configured size: too small for these upstreams is an error, more than three quarters full is a warning.
fn judge_size(cf: &ngx_conf_t, name: &str, size: usize, watched: usize, place: &Place) -> Result<(), ()> {
    let needed = zone::needed_size(watched);
    if size < needed {
        let needed = needed.div_ceil(1024);
        let text = format!("zone \"{name}\" is too small, the watched upstreams need {needed}k");
        log::emerg_at(cf, &place.remark(text));
        return Err(());
    }
    let room = zone::room(size);
    if watched * 4 > room * 3 {
        let text = format!(
            "zone \"{name}\" is nearly full, {watched} upstreams are watched and it has room for {room}; without a \
             size it takes what it needs"
        );
        log::warn_at(cf, &place.remark(text));
    }
    Ok(())
}

/// How many upstreams are not among `watched` but have undelivered messages: in the running configuration's zone, or
/// else in the state file.
fn owing(watched: &[Name], file: Option<&StateFile>) -> usize {
    if let Some(Previous::Same(old)) = previous::zone(None) {
        // If the lock is not free: as many as fit, so that the zone keeps its size.
        let all = old.capacity().saturating_sub(watched.len());
        return old.with_patience(PATIENCE, |table| table.owing(watched)).unwrap_or(all);
    }
    let bytes = file.and_then(|file| file.read().ok()).unwrap_or_default();
    let Found::FileRecord(record) = record::find(&bytes) else { return 0 };
    Saved::from_text(record.text).map_or(0, |saved| saved.owing(watched))
}

/// Called by nginx when it has mapped the zone, or uses that of the configuration before.
unsafe extern "C" fn init(shm_zone: *mut ngx_shm_zone_t, before: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the zone that was asked for.
    let shm_zone = unsafe { &*shm_zone };
    status_of(caught(|| {
        // A mapping begins at a page, and nginx puts the slab pool at its beginning.
        let pool = NonNull::new(shm_zone.shm.addr.cast::<c_void>()).ok_or(())?.cast::<ngx_slab_pool_t>();
        // SAFETY: set when the zone was asked for, alive as long as the cycle is.
        let conf = unsafe { shm_zone.data.cast::<ZoneConf>().as_ref() }.ok_or(())?;
        // SAFETY: with data from before, the zone was initialised by this module.
        let existing = if before.is_null() { None } else { unsafe { Zone::existing(pool) } };
        // SAFETY: else nginx has just made this zone.
        let zone = existing.or_else(|| unsafe { Zone::create(pool) }).ok_or(())?;
        conf.is_new.set(existing.is_none());
        conf.size.set(shm_zone.shm.size);
        conf.mapped.set(Some(zone));
        Ok(())
    }))
}
