//! What is in the zone, and where: one block with a head and, behind it, a slot for each upstream.

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
use crate::shared::double_buffer::Twin;
use crate::state::notices::Notices;
use crate::state::slot::Slot;
use crate::units::Millis;

/// `poolwch` and a zero byte.
const MAGIC: u64 = u64::from_be_bytes(*b"poolwch\0");

/// Rises with every change of what is kept in the zone. The module with crash points stands for a later version.
const LAYOUT: u64 = 7 + cfg!(feature = "crashpoints") as u64;

/// The zone's slab pool hands out whole pages of this size, each with a descriptor of its own.
const PAGE: usize = 4096;
const PAGE_WITH_DESCRIPTOR: usize = PAGE + 24;

/// What the slab pool keeps for itself.
const SLAB_OVERHEAD: usize = 2 * PAGE;

/// The head of our one block in the zone; the slots follow it.
#[repr(C)]
pub(super) struct Head {
    magic: u64,
    layout: u64,
    /// `size_of` of a slot and of this head: two builds with the same layout number are told apart by it.
    sizes: [u64; 2],
    slots: u64,
    /// Configurations that were loaded into this zone.
    pub(super) generation: AtomicU64,
    /// Observations that found a full channel.
    pub(super) dropped: AtomicU64,
    /// The number of the last silence that was asked for.
    pub(super) silence: AtomicU64,
    /// How often the bell was rung.
    pub(super) rings: Futex,
    /// How often something changed that the state file should hold.
    pub(super) changes: Futex,
    /// The process that keeps the state file; 0: none.
    pub(super) writer: AtomicU32,
    /// Not 0: another zone has taken this one's place.
    pub(super) superseded: AtomicU32,
    /// Tells zones apart, of this start of nginx and of others.
    pub(super) id: AtomicU64,
    /// The process of another nginx that keeps the state file, and delivers; 0: none is known.
    pub(super) rival: AtomicU32,
    /// Who holds the lock: the process, 0 for the master, and since when; 0: nobody. A killed process leaves it behind.
    pub(super) holder: AtomicU32,
    pub(super) held_since: AtomicU64,
    /// What each worker does.
    pub(super) workers: WorkerReports,
    pub(super) lock: RobustMutex,
    pub(super) receivers: Twin<[ReceiverState; MAX_RECEIVERS]>,
    pub(super) notices: Twin<Notices>,
    pub(super) due: Millis,
}

/// A mapped zone. It stays mapped, at this address, for as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    pub(super) head: NonNull<Head>,
    /// There is a state file, and who keeps it delivers.
    pub(super) kept: bool,
    /// The worker that uses it; 0: the master.
    pub(super) process: u32,
}

// SAFETY: the zone is made for being used by many processes at once; all access to its plain data is under its lock.
unsafe impl Send for Zone {}
// SAFETY: as above.
unsafe impl Sync for Zone {}

/// Bytes of zone that `upstreams` watched upstreams need.
pub(crate) fn needed_size(upstreams: usize) -> usize {
    let block = size_of::<Head>() + upstreams.max(1) * size_of::<Slot>();
    block.div_ceil(PAGE) * PAGE_WITH_DESCRIPTOR + SLAB_OVERHEAD
}

/// How many upstreams fit into so many bytes of zone.
pub(crate) fn room(size: usize) -> usize {
    let pages = size.saturating_sub(SLAB_OVERHEAD) / PAGE_WITH_DESCRIPTOR;
    (pages * PAGE).saturating_sub(size_of::<Head>()) / size_of::<Slot>()
}

impl Zone {
    /// Makes a new table in a fresh zone's slab pool, with as many slots as fit. `None`: not even one does.
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
            // Numbers of another zone's life are not used again.
            silence: AtomicU64::new(SystemClock.wall() / 1000),
            rings: Futex::new(),
            changes: Futex::new(),
            writer: AtomicU32::new(0),
            superseded: AtomicU32::new(0),
            id: AtomicU64::new(SystemClock.wall() << 22 | u64::from(std::process::id() & 0x3f_ffff)),
            rival: AtomicU32::new(0),
            holder: AtomicU32::new(0),
            held_since: AtomicU64::new(0),
            workers: WorkerReports::new(),
            lock: RobustMutex::new()?,
            receivers: Twin::new([ReceiverState::default(); MAX_RECEIVERS]),
            notices: Twin::new(Notices::default()),
            due: Millis::ZERO,
        };
        // SAFETY: the block is ours, large enough and aligned.
        unsafe { head.as_ptr().write(value) };
        let zone = Self { head, kept: false, process: 0 };
        for index in 0..slots {
            // SAFETY: the block was sized for the head and this many slots.
            let slot = unsafe { zone.first_slot().add(index) };
            // SAFETY: as above, and nobody uses it yet.
            unsafe { slot.write(Slot::empty()) };
        }
        // SAFETY: the pool is ours during the zone's initialisation.
        unsafe { (*pool.as_ptr()).data = block };
        Some(zone)
    }

    /// The table that an earlier configuration made in this slab pool; `None`: another layout's, or none.
    ///
    /// # Safety
    /// `pool` is the slab pool of a zone that was initialised by this module.
    pub(crate) unsafe fn existing(pool: NonNull<ngx_slab_pool_t>) -> Option<Self> {
        // SAFETY: the caller's promise.
        let head = NonNull::new(unsafe { pool.as_ref() }.data.cast::<Head>())?;
        let zone = Self { head, kept: false, process: 0 };
        let found = zone.head();
        (found.magic == MAGIC && found.layout == LAYOUT && found.sizes == sizes()).then_some(zone)
    }

    /// Does the data in this slab pool begin as ours does, of whatever version?
    ///
    /// # Safety
    /// `pool` is a mapped zone's slab pool, whose data is null or begins in the zone.
    pub(super) unsafe fn is_ours(pool: NonNull<ngx_slab_pool_t>) -> bool {
        // SAFETY: the caller's promise.
        let data = NonNull::new(unsafe { pool.as_ref() }.data.cast::<u64>());
        // SAFETY: the caller's promise.
        data.is_some_and(|data| unsafe { data.read() } == MAGIC)
    }

    /// Is this where it begins?
    pub(crate) fn is_at(self, data: *const c_void) -> bool {
        ptr::eq(self.head.as_ptr().cast(), data)
    }

    /// Does it lie in this mapping?
    pub(crate) fn is_in(self, begin: *const u8, size: usize) -> bool {
        self.head.addr().get().checked_sub(begin.addr()).is_some_and(|offset| offset < size)
    }

    /// Are they one?
    pub(crate) fn is_same(self, other: Self) -> bool {
        self.head == other.head
    }

    /// The same zone, as a worker uses it, with a state file or without.
    pub(crate) fn of_worker(self, process: u32, kept: bool) -> Self {
        Self { kept, process, ..self }
    }

    /// Tells this zone's records in the state file from those of others.
    pub(crate) fn id(self) -> u64 {
        self.head().id.load(Ordering::Relaxed)
    }

    /// What each worker does.
    pub(crate) fn workers(self) -> &'static WorkerReports {
        // SAFETY: initialised with the zone, all atomic, and mapped for as long as the process lives.
        unsafe { &(*self.head.as_ptr()).workers }
    }

    /// A number for a newly loaded configuration, higher than that of all before.
    pub(crate) fn next_generation(self) -> u64 {
        self.head().generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many upstreams fit.
    pub(crate) fn capacity(self) -> usize {
        self.head().slots as usize
    }

    /// How many there were.
    pub(crate) fn dropped(self) -> u64 {
        self.head().dropped.load(Ordering::Relaxed)
    }

    /// A number for a silence.
    pub(crate) fn next_silence(self) -> u64 {
        self.head().silence.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn first_slot(&self) -> *mut Slot {
        // SAFETY: the slots follow the head in one block.
        unsafe { self.head.as_ptr().add(1) }.cast()
    }

    pub(super) fn head(&self) -> &Head {
        // SAFETY: initialised with the zone; what is not atomic in it is constant, or used through raw pointers under the lock.
        unsafe { self.head.as_ref() }
    }
}

fn sizes() -> [u64; 2] {
    [size_of::<Slot>() as u64, size_of::<Head>() as u64]
}
