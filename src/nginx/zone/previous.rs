//! The zones of the configuration that a new one replaces.

use std::ptr::NonNull;

use nginx_sys::{ngx_shm_zone_t, ngx_slab_pool_t};

use super::layout::Zone;
use crate::nginx::{cycle, list};

/// A zone of the configuration that is being replaced.
pub(crate) enum Previous {
    /// It has this module's layout.
    Same(Zone),
    /// It has another layout, which this module cannot read.
    Different,
}

/// The zone of Poolwatch in the configuration that is being replaced, unless that is the new zone itself.
pub(crate) fn zone(new: Option<Zone>) -> Option<Previous> {
    find(|shm_zone| ours(shm_zone, new))
}

/// nginx's entry for a zone of the configuration that is being replaced.
pub(crate) fn mapping(of: Zone) -> Option<&'static mut ngx_shm_zone_t> {
    find(|shm_zone| of.is_in(shm_zone.shm.addr, shm_zone.shm.size).then_some(shm_zone))
}

/// What `look` finds first among the zones of the configuration that is being replaced.
fn find<R>(look: impl FnMut(&'static mut ngx_shm_zone_t) -> Option<R>) -> Option<R> {
    // While a configuration is loaded, the current one is still the old one; at nginx's start it is an empty one.
    let old = cycle::current()?;
    // SAFETY: nginx's list of zones, which nothing else uses meanwhile.
    let parts = list::parts::<ngx_shm_zone_t>(&old.shared_memory).map(|mut part| unsafe { part.as_mut() });
    parts.flatten().find_map(look)
}

fn ours(shm_zone: &ngx_shm_zone_t, new: Option<Zone>) -> Option<Previous> {
    let begin = NonNull::new(shm_zone.shm.addr)?;
    let pool = begin.cast::<ngx_slab_pool_t>();
    // SAFETY: every zone of nginx begins with a slab pool, and the old configuration's are still mapped.
    let data = unsafe { pool.as_ref() }.data;
    let inside = (data.addr().wrapping_sub(begin.as_ptr().addr())).checked_add(size_of::<u64>())? <= shm_zone.shm.size;
    if data.is_null() || !inside || !data.cast::<u64>().is_aligned() || new.is_some_and(|new| new.is_at(data)) {
        return None;
    }
    // SAFETY: the check above: the data is null or in the zone.
    unsafe { previous(pool) }
}

/// The zone of Poolwatch in this slab pool, of any version; `None`: the pool is another module's.
///
/// # Safety
/// `pool` is a mapped zone's slab pool, whose data is null or begins in the zone.
unsafe fn previous(pool: NonNull<ngx_slab_pool_t>) -> Option<Previous> {
    // SAFETY: the caller's promise.
    if !unsafe { Zone::is_ours(pool) } {
        return None;
    }
    // SAFETY: the magic number says that Poolwatch initialised it.
    Some(unsafe { Zone::existing(pool) }.map_or(Previous::Different, Previous::Same))
}
