//! The workers' reports in the zone: each has a place, which it alone writes and everybody reads, without the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::state::workers::Condition;

/// nginx starts no more processes.
const PROCESSES: usize = 1024;

/// What each worker does: a place for every process.
#[repr(transparent)]
pub(crate) struct WorkerReports([WorkerReport; PROCESSES]);

/// One worker's report.
#[repr(C)]
struct WorkerReport {
    /// [`Reporter::key`]; 0: free.
    whose: AtomicU64,
    /// The process, and its condition below it; 0: none yet.
    what: AtomicU64,
}

impl WorkerReport {
    const fn free() -> Self {
        Self { whose: AtomicU64::new(0), what: AtomicU64::new(0) }
    }

    fn process(&self) -> u32 {
        (self.what.load(Ordering::Acquire) >> 32) as u32
    }

    fn said(&self) -> Option<(u32, Condition)> {
        let what = self.what.load(Ordering::Acquire);
        Some(((what >> 32) as u32, Condition::from_word(what as u32)?))
    }
}

/// Who reports: a worker's number in its configuration. One that takes the place of a killed one has the same.
#[derive(Clone, Copy)]
pub(crate) struct Reporter {
    pub(crate) generation: u64,
    pub(crate) number: usize,
    pub(crate) process: u32,
}

impl Reporter {
    fn key(self) -> u64 {
        self.generation << 16 | (self.number as u64 & 0xffff)
    }
}

impl WorkerReports {
    /// All are free.
    pub(super) const fn new() -> Self {
        Self([const { WorkerReport::free() }; PROCESSES])
    }

    /// A worker says what it does.
    pub(crate) fn report(&self, reporter: Reporter, condition: Condition) {
        if let Some(report) = self.report_for(reporter) {
            report.what.store(u64::from(reporter.process) << 32 | u64::from(condition.to_word()), Ordering::Release);
        }
    }

    /// A worker ends.
    pub(crate) fn retract(&self, reporter: Reporter) {
        if let Some(report) = self.report_of(reporter) {
            report.what.store(0, Ordering::Release);
            report.whose.store(0, Ordering::Release);
        }
    }

    /// The workers of a configuration, and what each of them does.
    pub(crate) fn said(&self, generation: u64) -> Vec<(u32, Condition)> {
        let of_this = |report: &&WorkerReport| report.whose.load(Ordering::Acquire) >> 16 == generation;
        let alive = |&(process, _): &(u32, Condition)| SystemClock.is_alive(process);
        self.0.iter().filter(of_this).filter_map(WorkerReport::said).filter(alive).collect()
    }

    /// Is this a worker that uses the zone?
    pub(crate) fn is_worker(&self, process: u32) -> bool {
        process != 0 && self.0.iter().any(|report| report.process() == process)
    }

    fn report_of(&self, reporter: Reporter) -> Option<&WorkerReport> {
        self.0.iter().find(|report| report.whose.load(Ordering::Acquire) == reporter.key())
    }

    fn report_for(&self, reporter: Reporter) -> Option<&WorkerReport> {
        self.report_of(reporter).or_else(|| {
            self.0.iter().find(|report| {
                let whose = report.whose.load(Ordering::Acquire);
                let is_free =
                    whose == 0 || (whose >> 16 < reporter.generation && !SystemClock.is_alive(report.process()));
                is_free
                    && report.whose.compare_exchange(whose, reporter.key(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
            })
        })
    }
}
