//! What is where in the zone: one block with a head, followed by a slot for each upstream.

use std::ffi::c_void;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nginx_sys::{ngx_slab_alloc, ngx_slab_pool_t};

use super::futex::Futex;
use super::mutex::RobustMutex;
use super::workers::WorkerReports;
use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::receiver::ReceiverState;
use crate::persist::restore::RESTORED;
use crate::shared::double_buffer::DoubleBuffer;
use crate::state::announcements::Announcements;
use crate::state::slot::Slot;
use crate::units::Millis;

/// Begins our block in a zone: "poolwch" and a zero byte.
const MAGIC: u64 = u64::from_be_bytes(*b"poolwch\0");

/// The version of the zone's content: raise it with every change of the content. The module with crash points stands
/// for a later version.
const LAYOUT: u64 = 9 + cfg!(feature = "crashpoints") as u64;

/// Bytes of a page of the zone's slab pool, without and with the page's descriptor.
const PAGE: usize = 4096;
const PAGE_WITH_DESCRIPTOR: usize = PAGE + 24;

/// Bytes that the slab pool needs for itself.
const SLAB_OVERHEAD: usize = 2 * PAGE;

/// The head of our block; the slots follow it.
#[repr(C)]
pub(super) struct Head {
    /// [`MAGIC`]
    magic: u64,
    /// [`LAYOUT`] of the module that made the zone.
    layout: u64,
    /// `size_of` of a slot and of this head: tells two builds with the same layout number apart.
    sizes: [u64; 2],
    /// The number of slots.
    slots: u64,
    /// The number of the configuration that was loaded last.
    pub(super) generation: AtomicU64,
    /// Observations that were not folded: the channel was full, or a worker ended or panicked.
    pub(super) dropped: AtomicU64,
    /// The number of the last silence; begins with the seconds since 1970 at the zone's creation.
    pub(super) silence: AtomicU64,
    /// Wakes the couriers: something is due, or may be.
    pub(super) notifications: Futex,
    /// Wakes the writer of the state file: something changed that belongs in it.
    pub(super) changes: Futex,
    /// The process that writes the state file; 0: none.
    pub(super) writer: AtomicU32,
    /// 1: another zone has replaced this one.
    pub(super) superseded: AtomicU32,
    /// Identifies the zone in the state file, also among zones of other nginx processes: its creation time and process.
    pub(super) id: AtomicU64,
    /// The process of another nginx that writes the state file and delivers; 0: none is known.
    pub(super) rival: AtomicU32,
    /// The process that took the lock last; 0: the master.
    pub(super) holder: AtomicU32,
    /// When the lock was taken, in milliseconds of the monotonic clock; 0: it is free. A killed process does not reset
    /// it.
    pub(super) held_since: AtomicU64,
    /// What each worker does.
    pub(super) workers: WorkerReports,
    /// Protects everything below, and the slots.
    pub(super) lock: RobustMutex,
    pub(super) receivers: DoubleBuffer<[ReceiverState; MAX_RECEIVERS]>,
    pub(super) announcements: DoubleBuffer<Announcements>,
    /// When a detector has something to do next; see `Table`.
    pub(super) due: Millis,
}

/// A mapped zone. It stays mapped at the same address for as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    pub(super) head: NonNull<Head>,
    /// There is a state file: only the nginx that writes it delivers.
    pub(super) has_file: bool,
    /// The process that uses this value; 0: the master.
    pub(super) process: u32,
}

// SAFETY: the zone is for use by many processes at once; its plain data is accessed only under its lock.
unsafe impl Send for Zone {}
// SAFETY: as above.
unsafe impl Sync for Zone {}

/// The bytes of a zone that has room for this many upstreams, at least for one.
pub(crate) fn needed_size(upstreams: usize) -> usize {
    let block = size_of::<Head>() + upstreams.max(1) * size_of::<Slot>();
    block.div_ceil(PAGE) * PAGE_WITH_DESCRIPTOR + SLAB_OVERHEAD
}

/// How many upstreams fit into a zone of `size` bytes.
pub(crate) fn room(size: usize) -> usize {
    let pages = size.saturating_sub(SLAB_OVERHEAD) / PAGE_WITH_DESCRIPTOR;
    (pages * PAGE).saturating_sub(size_of::<Head>()) / size_of::<Slot>()
}

impl Zone {
    /// Makes an empty table in a new zone, with as many slots as fit. `None`: not even one fits.
    ///
    /// # Safety
    /// `pool` is the initialised slab pool of a zone that no other process uses yet.
    pub(crate) unsafe fn create(pool: NonNull<ngx_slab_pool_t>) -> Option<Self> {
        // SAFETY: the caller's promise.
        let free_pages = unsafe { pool.as_ref() }.pfree;
        let room = (free_pages * PAGE).checked_sub(size_of::<Head>())?;
        let slots = room / size_of::<Slot>();
        if slots == 0 {
            return None;
        }
        let block = size_of::<Head>() + slots * size_of::<Slot>();
        // SAFETY: the caller's promise; a block this large is made of whole pages, and so aligned to one.
        let block = unsafe { ngx_slab_alloc(pool.as_ptr(), block) };
        let head = NonNull::new(block.cast::<Head>())?;
        let value = Head {
            magic: MAGIC,
            layout: LAYOUT,
            sizes: sizes(),
            slots: slots as u64,
            generation: AtomicU64::new(RESTORED),
            dropped: AtomicU64::new(0),
            // Greater than the numbers of silences in zones before: none is used twice.
            silence: AtomicU64::new(SystemClock.wall() / 1000),
            notifications: Futex::new(),
            changes: Futex::new(),
            writer: AtomicU32::new(0),
            superseded: AtomicU32::new(0),
            id: AtomicU64::new(SystemClock.wall() << 22 | u64::from(std::process::id() & 0x3f_ffff)),
            rival: AtomicU32::new(0),
            holder: AtomicU32::new(0),
            held_since: AtomicU64::new(0),
            workers: WorkerReports::new(),
            lock: RobustMutex::new()?,
            receivers: DoubleBuffer::new([ReceiverState::default(); MAX_RECEIVERS]),
            announcements: DoubleBuffer::new(Announcements::default()),
            due: Millis::ZERO,
        };
        // SAFETY: the block is ours, large enough and aligned.
        unsafe { head.as_ptr().write(value) };
        let zone = Self { head, has_file: false, process: 0 };
        for index in 0..slots {
            // SAFETY: the block was sized for the head and this many slots.
            let slot = unsafe { zone.first_slot().add(index) };
            // SAFETY: as above, and nothing uses it yet.
            unsafe { slot.write(Slot::empty()) };
        }
        // SAFETY: the pool is ours during the zone's initialisation.
        unsafe { (*pool.as_ptr()).data = block };
        Some(zone)
    }

    /// The table that an earlier configuration made in this slab pool; `None`: there is none, or it has another layout.
    ///
    /// # Safety
    /// `pool` is the slab pool of a zone that was initialised by this module.
    pub(crate) unsafe fn existing(pool: NonNull<ngx_slab_pool_t>) -> Option<Self> {
        // SAFETY: the caller's promise.
        let head = NonNull::new(unsafe { pool.as_ref() }.data.cast::<Head>())?;
        let zone = Self { head, has_file: false, process: 0 };
        let found = zone.head();
        (found.magic == MAGIC && found.layout == LAYOUT && found.sizes == sizes()).then_some(zone)
    }

    /// Does this slab pool contain a table of Poolwatch, of any version?
    ///
    /// # Safety
    /// `pool` is a mapped zone's slab pool, whose data is null or begins in the zone.
    pub(super) unsafe fn is_ours(pool: NonNull<ngx_slab_pool_t>) -> bool {
        // SAFETY: the caller's promise.
        let data = NonNull::new(unsafe { pool.as_ref() }.data.cast::<u64>());
        // SAFETY: the caller's promise.
        data.is_some_and(|data| unsafe { data.read() } == MAGIC)
    }

    /// Does the zone's block begin at this address?
    pub(crate) fn is_at(self, data: *const c_void) -> bool {
        ptr::eq(self.head.as_ptr().cast(), data)
    }

    /// Is the zone in this mapping?
    pub(crate) fn is_in(self, begin: *const u8, size: usize) -> bool {
        self.head.addr().get().checked_sub(begin.addr()).is_some_and(|offset| offset < size)
    }

    /// Is this the same zone?
    pub(crate) fn is_same(self, other: Self) -> bool {
        self.head == other.head
    }

    /// The same zone for use in a worker, whose configuration has a state file or not.
    pub(crate) fn of_worker(self, process: u32, has_file: bool) -> Self {
        Self { has_file, process, ..self }
    }

    /// Identifies the zone in the state file.
    pub(crate) fn id(self) -> u64 {
        self.head().id.load(Ordering::Relaxed)
    }

    /// What each worker does.
    pub(crate) fn workers(self) -> &'static WorkerReports {
        // SAFETY: initialised with the zone, all atomic, and mapped for as long as the process lives.
        unsafe { &(*self.head.as_ptr()).workers }
    }

    /// A number for a newly loaded configuration, greater than all before.
    pub(crate) fn next_generation(self) -> u64 {
        self.head().generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of slots.
    pub(crate) fn capacity(self) -> usize {
        self.head().slots as usize
    }

    /// How many observations were not folded.
    pub(crate) fn dropped(self) -> u64 {
        self.head().dropped.load(Ordering::Relaxed)
    }

    /// A number for a new silence, greater than all before.
    pub(crate) fn next_silence(self) -> u64 {
        self.head().silence.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn first_slot(&self) -> *mut Slot {
        // SAFETY: the slots follow the head in one block.
        unsafe { self.head.as_ptr().add(1) }.cast()
    }

    pub(super) fn head(&self) -> &Head {
        // SAFETY: initialised with the zone; what is not atomic is constant, or accessed through raw pointers under the
        // lock.
        unsafe { self.head.as_ref() }
    }
}

fn sizes() -> [u64; 2] {
    [size_of::<Slot>() as u64, size_of::<Head>() as u64]
}
