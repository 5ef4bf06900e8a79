//! The zone that a configuration asks nginx for, and the state file that belongs to it.

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

/// A zone without a size has room for a multiple of so many upstreams: another upstream seldom changes it.
const STEP: usize = 16;

/// How long the old zone's lock is waited for.
const PATIENCE: Millis = Millis::from_secs(1);

/// The zone, once nginx has mapped it.
#[derive(Default)]
pub(crate) struct ZoneConf {
    /// Set when nginx initialises the zone.
    pub(crate) mapped: Cell<Option<Zone>>,
    /// Its size in bytes; set with `mapped`.
    pub(crate) size: Cell<usize>,
    /// nginx made it for this configuration; set with `mapped`.
    pub(crate) is_new: Cell<bool>,
    /// This configuration's number; set when nothing can keep nginx from it any more.
    pub(crate) generation: Cell<u64>,
    /// `state=`, opened.
    pub(crate) file: Option<Arc<StateFile>>,
}

impl ZoneConf {
    /// Opens the state file, in the process that starts nginx: its workers may not. A file that cannot be written is a warning,
    /// a path that cannot be right an error.
    pub(super) fn open_file(&mut self, cf: &ngx_conf_t, said: &Http) -> Result<(), Remark> {
        let line = said.zone.as_ref();
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

    /// Asks nginx for a zone in which these upstreams can be watched. `module` is the tag by which nginx tells whose a zone is.
    pub(super) fn ask(
        &mut self,
        cf: &mut ngx_conf_t,
        said: &Http,
        watched: &[Name],
        module: *mut c_void,
    ) -> Result<(), ()> {
        let (name, size) = match &said.zone {
            Some(zone) => (zone.value.name.as_str(), zone.value.size.map(|size| (size, &zone.place))),
            None => (DEFAULT_NAME, None),
        };
        let size = if let Some((size, place)) = size {
            judge_size(cf, name, size, watched.len(), place)?;
            size
        } else {
            // Upstreams that this configuration no longer names need their places until it has been told.
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

/// A size that was asked for: upstreams that no longer fit are an error, and that the next ones will not is a warning.
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
            "zone \"{name}\" is nearly full, {watched} upstreams are watched and it has room for {room}; without a size it \
             takes what it needs"
        );
        log::warn_at(cf, &place.remark(text));
    }
    Ok(())
}

/// How many upstreams a new configuration does not watch, of which something is still to be told: those of the running one, or else
/// of the state file.
fn owing(watched: &[Name], file: Option<&StateFile>) -> usize {
    if let Some(Previous::Same(old)) = previous::zone(None) {
        // Nobody can tell: then as many as there is room for, so that the zone stays.
        let all = old.capacity().saturating_sub(watched.len());
        return old.with_patience(PATIENCE, |table| table.owing(watched)).unwrap_or(all);
    }
    let bytes = file.and_then(|file| file.read().ok()).unwrap_or_default();
    let Found::Record(record) = record::find(&bytes) else { return 0 };
    Saved::from_text(record.text).map_or(0, |saved| saved.owing(watched))
}

/// nginx has mapped the zone, or found the one of the last configuration again.
unsafe extern "C" fn init(shm_zone: *mut ngx_shm_zone_t, before: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the zone that was asked for.
    let shm_zone = unsafe { &*shm_zone };
    status_of(caught(|| {
        // A mapping begins at a page, and nginx puts the slab pool at its beginning.
        let pool = NonNull::new(shm_zone.shm.addr.cast::<c_void>()).ok_or(())?.cast::<ngx_slab_pool_t>();
        // SAFETY: set when the zone was asked for, alive as long as the cycle is.
        let conf = unsafe { shm_zone.data.cast::<ZoneConf>().as_ref() }.ok_or(())?;
        // SAFETY: nginx passes the old data of a zone that it found again.
        let existing = if before.is_null() { None } else { unsafe { Zone::existing(pool) } };
        // SAFETY: nginx has just made this zone, unless it exists.
        let zone = existing.or_else(|| unsafe { Zone::create(pool) }).ok_or(())?;
        conf.is_new.set(existing.is_none());
        conf.size.set(shm_zone.shm.size);
        conf.mapped.set(Some(zone));
        Ok(())
    }))
}
