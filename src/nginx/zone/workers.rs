//! The workers' reports in the zone. Each worker writes its own, and all processes read them, without the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::nginx::clock::SystemClock;
use crate::state::workers::Condition;

/// The most processes that nginx starts (`NGX_MAX_PROCESSES`).
const PROCESSES: usize = 1024;

/// A report for every process that there can be.
#[repr(transparent)]
pub(crate) struct WorkerReports([WorkerReport; PROCESSES]);

/// One worker's report.
#[repr(C)]
struct WorkerReport {
    /// [`Reporter::key`] of the worker that writes here; 0: free.
    whose: AtomicU64,
    /// The process in the upper 32 bits, its condition in the lower ones; 0: nothing was reported.
    what: AtomicU64,
}

impl WorkerReport {
    const fn free() -> Self {
        Self { whose: AtomicU64::new(0), what: AtomicU64::new(0) }
    }

    fn process(&self) -> u32 {
        (self.what.load(Ordering::Acquire) >> 32) as u32
    }

    fn content(&self) -> Option<(u32, Condition)> {
        let what = self.what.load(Ordering::Acquire);
        Some(((what >> 32) as u32, Condition::from_word(what as u32)?))
    }
}

/// A worker that reports. A worker that nginx starts for a killed one has the same generation and number.
#[derive(Clone, Copy)]
pub(crate) struct Reporter {
    /// The number of its configuration.
    pub(crate) generation: u64,
    /// Its number among the workers of that configuration, from 0.
    pub(crate) number: usize,
    /// Its process.
    pub(crate) process: u32,
}

impl Reporter {
    fn key(self) -> u64 {
        self.generation << 16 | (self.number as u64 & 0xffff)
    }
}

impl WorkerReports {
    /// No reports.
    pub(super) const fn new() -> Self {
        Self([const { WorkerReport::free() }; PROCESSES])
    }

    /// Writes a worker's condition. If there is no free report, it is not written.
    pub(crate) fn note(&self, reporter: Reporter, condition: Condition) {
        if let Some(report) = self.report_for(reporter) {
            report.what.store(u64::from(reporter.process) << 32 | u64::from(condition.to_word()), Ordering::Release);
        }
    }

    /// Removes the report of a worker that ends.
    pub(crate) fn retract(&self, reporter: Reporter) {
        if let Some(report) = self.report_of(reporter) {
            report.what.store(0, Ordering::Release);
            report.whose.store(0, Ordering::Release);
        }
    }

    /// The live workers of a configuration, and the condition of each.
    pub(crate) fn of_generation(&self, generation: u64) -> Vec<(u32, Condition)> {
        let of_this = |report: &&WorkerReport| report.whose.load(Ordering::Acquire) >> 16 == generation;
        let alive = |&(process, _): &(u32, Condition)| SystemClock.is_alive(process);
        self.0.iter().filter(of_this).filter_map(WorkerReport::content).filter(alive).collect()
    }

    /// Is this the process of a worker that uses the zone?
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
