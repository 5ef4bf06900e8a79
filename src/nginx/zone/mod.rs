//! The shared memory zone: the table in it, the lock around it, and the bell beside it.
//!
//! The lock is a robust mutex: when a worker is killed while it holds it, the kernel passes it on at once, and the table's
//! twins make sure that nothing is half-written then. nginx's own slab mutex would tell nobody, and a spin lock would hang
//! every worker for good.

pub(crate) mod previous;
mod read;
mod workers;

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::{MaybeUninit, size_of};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nginx_sys::{ngx_slab_alloc, ngx_slab_pool_t};

use crate::clock::Clock;
use crate::crash;
use crate::nginx::clock::SystemClock;
use crate::nginx::state_file::file::UNKNOWN;
use crate::outbox::MAX_RECEIVERS;
use crate::outbox::receiver::ReceiverState;
use crate::persist::restore::RESTORED;
use crate::pipeline::Store;
use crate::shared::double_buffer::Twin;
use crate::state::notices::Notices;
use crate::state::slot::Slot;
use crate::state::table::Table;
use crate::text::Name;
use crate::units::Millis;

pub(crate) use workers::Reporter;
use workers::{PLACES, Place};

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
struct Head {
    magic: u64,
    layout: u64,
    /// `size_of` of a slot and of this head: two builds with the same layout number are told apart by it.
    sizes: [u64; 2],
    slots: u64,
    /// Configurations that were loaded into this zone.
    generation: AtomicU64,
    /// Observations that found a full channel.
    dropped: AtomicU64,
    /// The number of the last silence that was asked for.
    silence: AtomicU64,
    /// Futex word: how often the bell was rung.
    rings: AtomicU32,
    /// Futex word: how often something changed that the state file should hold.
    changes: AtomicU32,
    /// The process that keeps the state file; 0: none.
    keeper: AtomicU32,
    /// Not 0: another zone has taken this one's place.
    superseded: AtomicU32,
    /// Tells zones apart, of this start of nginx and of others.
    id: AtomicU64,
    /// The process of another nginx that keeps the state file, and delivers; 0: none is known.
    rival: AtomicU32,
    /// Who holds the lock: the process, 0 for the master, and since when; 0: nobody. A killed process leaves it behind.
    holder: AtomicU32,
    held_since: AtomicU64,
    /// What each worker does.
    workers: [Place; PLACES],
    lock: UnsafeCell<libc::pthread_mutex_t>,
    receivers: Twin<[ReceiverState; MAX_RECEIVERS]>,
    notices: Twin<Notices>,
    due: Millis,
}

/// A mapped zone. It stays mapped, at this address, for as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    head: NonNull<Head>,
    /// There is a state file, and who keeps it delivers.
    kept: bool,
    /// The worker that uses it; 0: the master.
    process: u32,
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
            rings: AtomicU32::new(0),
            changes: AtomicU32::new(0),
            keeper: AtomicU32::new(0),
            superseded: AtomicU32::new(0),
            id: AtomicU64::new(SystemClock.wall() << 22 | u64::from(std::process::id() & 0x3f_ffff)),
            rival: AtomicU32::new(0),
            holder: AtomicU32::new(0),
            held_since: AtomicU64::new(0),
            workers: [const { Place::free() }; PLACES],
            lock: UnsafeCell::new(robust_mutex()?),
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
    unsafe fn is_ours(pool: NonNull<ngx_slab_pool_t>) -> bool {
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

    /// Another zone takes its place: its workers deliver nothing any more.
    pub(crate) fn supersede(self) {
        self.head().superseded.store(1, Ordering::Release);
        self.ring();
        self.note_change();
    }

    /// Copies another zone's table into this one, which nobody uses yet. Should there be less room, upstreams in `watched` come first,
    /// and then those of which something is still to be told.
    /// `false`: the other zone's lock could not be had within `patience`.
    pub(crate) fn take_from(self, old: Self, watched: &[Name], patience: Millis) -> bool {
        let (from, to) = (old.head(), self.head());
        let copied = old.with_patience(patience, |old| {
            self.with(|new| {
                *new.receivers = Twin::new(*old.receivers.live());
                *new.notices = Twin::new(*old.notices.live());
                for (slot, place) in old.by_need(watched).into_iter().zip(new.slots.iter_mut()) {
                    // SAFETY: two slots of two zones, both under their locks. A slot is plain data, also where it is half-written.
                    unsafe { ptr::copy_nonoverlapping(slot, place, 1) };
                }
            });
        });
        to.generation.store(from.generation.load(Ordering::Relaxed), Ordering::Relaxed);
        to.dropped.store(from.dropped.load(Ordering::Relaxed), Ordering::Relaxed);
        to.id.store(old.id(), Ordering::Relaxed);
        copied.is_some()
    }

    /// The same zone, as a worker uses it, with a state file or without.
    pub(crate) fn of_worker(self, process: u32, kept: bool) -> Self {
        Self { kept, process, ..self }
    }

    /// Tells this zone's records in the state file from those of others.
    pub(crate) fn id(self) -> u64 {
        self.head().id.load(Ordering::Relaxed)
    }

    /// Another zone has taken its place.
    pub(crate) fn is_superseded(self) -> bool {
        self.head().superseded.load(Ordering::Acquire) != 0
    }

    /// This process keeps the state file now. `true`: another nginx did before.
    pub(crate) fn set_keeper(self, process: u32) -> bool {
        self.head().keeper.store(process, Ordering::Release);
        self.head().rival.swap(0, Ordering::AcqRel) != 0
    }

    /// This process of another nginx keeps it. `true`: that is news.
    pub(crate) fn note_rival(self, process: u32) -> bool {
        self.head().rival.swap(process, Ordering::AcqRel) == 0
    }

    /// Why the workers of this zone, with a state file or without, deliver nothing; `None`: they do.
    pub(crate) fn hindrance(self, kept: bool) -> Option<String> {
        let rival = self.head().rival.load(Ordering::Acquire);
        match (Self { kept, ..self }.delivers(&SystemClock), self.is_superseded(), rival) {
            (true, ..) => None,
            (_, true, _) => Some("the workers of a newer configuration deliver".to_owned()),
            (.., 0) => Some("no worker keeps the state file yet".to_owned()),
            (.., UNKNOWN) => Some("another nginx keeps the state file and delivers".to_owned()),
            (.., rival) => Some(format!("another nginx keeps the state file and delivers, process {rival}")),
        }
    }

    /// It does not any more.
    pub(crate) fn clear_keeper(self, process: u32) {
        // Another keeper may have noted itself since.
        let _ = self.head().keeper.compare_exchange(process, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// How often something changed that the state file should hold.
    pub(crate) fn changes(self) -> u32 {
        self.head().changes.load(Ordering::Acquire)
    }

    /// Waits for a change after `changes`, at most for `span`.
    pub(crate) fn await_change(self, changes: u32, span: Option<Millis>) {
        wait(&self.head().changes, changes, span);
    }

    /// Is a message on its way? If the lock cannot be had within `patience`, there may be.
    pub(crate) fn is_sending(self, patience: Millis) -> bool {
        let now = SystemClock.now();
        self.with_patience(patience, |table| table.is_sending(&SystemClock, now)).unwrap_or(true)
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

    fn locked<R>(&self, locked: libc::c_int, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R> {
        match locked {
            0 => {}
            // The owner was killed. The twins hold the last commit, so there is nothing to mend.
            libc::EOWNERDEAD => {
                // SAFETY: this thread has just been given the lock.
                unsafe { libc::pthread_mutex_consistent(self.lock()) };
            }
            _ => return None,
        }
        let _unlock = Unlock(self);
        self.head().holder.store(self.process, Ordering::Relaxed);
        self.head().held_since.store(SystemClock.now().0, Ordering::Release);
        // SAFETY: the lock is held, and all plain data of the zone is used under it alone.
        let receivers = unsafe { &raw mut (*self.head.as_ptr()).receivers };
        // SAFETY: as above.
        let receivers = unsafe { &mut *receivers };
        // SAFETY: as above.
        let notices = unsafe { &raw mut (*self.head.as_ptr()).notices };
        // SAFETY: as above.
        let notices = unsafe { &mut *notices };
        // SAFETY: as above.
        let due = unsafe { &raw mut (*self.head.as_ptr()).due };
        // SAFETY: as above.
        let due = unsafe { &mut *due };
        // SAFETY: as above; the slots were initialised with the zone.
        let slots = unsafe { std::slice::from_raw_parts_mut(self.first_slot(), self.capacity()) };
        crash::at("lock-taken");
        let result = f(&mut Table { receivers, notices, due, slots });
        crash::at("lock-held");
        Some(result)
    }

    fn first_slot(&self) -> *mut Slot {
        // SAFETY: the slots follow the head in one block.
        unsafe { self.head.as_ptr().add(1) }.cast()
    }

    fn lock(&self) -> *mut libc::pthread_mutex_t {
        self.head().lock.get()
    }

    fn head(&self) -> &Head {
        // SAFETY: initialised with the zone; what is not atomic in it is constant, or used through raw pointers under the lock.
        unsafe { self.head.as_ref() }
    }
}

impl Store for Zone {
    fn with<R>(&self, f: impl FnOnce(&mut Table<'_>) -> R) -> R {
        // SAFETY: the mutex was initialised with the zone and is never moved.
        let locked = unsafe { libc::pthread_mutex_lock(self.lock()) };
        match self.locked(locked, f) {
            Some(result) => result,
            // Only a damaged mutex gets here. The thread's catch_unwind takes it, and requests go on unobserved.
            None => panic!("the zone's lock is damaged ({locked})"),
        }
    }

    fn with_patience<R>(&self, patience: Millis, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R> {
        let until = deadline(patience);
        // SAFETY: the mutex was initialised with the zone and is never moved.
        let locked = unsafe { libc::pthread_mutex_timedlock(self.lock(), &raw const until) };
        self.locked(locked, f)
    }

    fn rings(&self) -> u32 {
        self.head().rings.load(Ordering::Acquire)
    }

    fn ring(&self) {
        wake(&self.head().rings);
    }

    fn listen(&self, rings: u32, span: Option<Millis>) {
        wait(&self.head().rings, rings, span);
    }

    fn delivers(&self, clock: &dyn Clock) -> bool {
        let keeper = self.head().keeper.load(Ordering::Acquire);
        !self.is_superseded() && (!self.kept || (keeper != 0 && clock.is_alive(keeper)))
    }

    fn note_change(&self) {
        wake(&self.head().changes);
    }

    fn count_lost(&self, count: u64) {
        self.head().dropped.fetch_add(count, Ordering::Relaxed);
    }
}

fn wake(word: &AtomicU32) {
    word.fetch_add(1, Ordering::Release);
    // SAFETY: a futex word in shared memory that outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) };
}

fn wait(word: &AtomicU32, value: u32, span: Option<Millis>) {
    let span = span.map(timespec);
    let timeout = span.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: a futex word in shared memory and a timeout that outlive the call. All its errors mean: look again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, timeout) };
}

struct Unlock<'a>(&'a Zone);

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        self.0.head().held_since.store(0, Ordering::Release);
        // SAFETY: made only by the thread that holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.0.lock()) };
    }
}

fn sizes() -> [u64; 2] {
    [size_of::<Slot>() as u64, size_of::<Head>() as u64]
}

/// Shared between processes, and passed on by the kernel when its owner dies.
fn robust_mutex() -> Option<libc::pthread_mutex_t> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialises the attributes.
    if unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: initialised above.
    let mut attributes = unsafe { attributes.assume_init() };
    // SAFETY: as above.
    let shared = unsafe { libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED) };
    // SAFETY: as above.
    let robust = unsafe { libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST) };
    let mut mutex = MaybeUninit::uninit();
    // SAFETY: initialises the mutex; Linux allows an unlocked one to be moved before its first use.
    let made = unsafe { libc::pthread_mutex_init(mutex.as_mut_ptr(), &raw const attributes) };
    // SAFETY: initialised above, not used again.
    unsafe { libc::pthread_mutexattr_destroy(&raw mut attributes) };
    if shared != 0 || robust != 0 || made != 0 {
        return None;
    }
    // SAFETY: `pthread_mutex_init` succeeded.
    Some(unsafe { mutex.assume_init() })
}

fn timespec(span: Millis) -> libc::timespec {
    // A span that does not fit is for ever.
    let seconds = libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX);
    let nanoseconds = libc::c_long::try_from(span.0 % 1000 * 1_000_000).unwrap_or_default();
    libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}

/// `span` from now on the clock that `pthread_mutex_timedlock` looks at.
fn deadline(span: Millis) -> libc::timespec {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    timespec(Millis(now.as_millis() as u64) + span)
}
