//! Steady traffic from a few threads; every answer is kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::host::{Answer, get};

/// Sends requests at a constant rate until it is dropped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Result<Answer, String>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `rate` requests per second in all, from this many threads.
    pub(super) fn start(port: u16, rate: u32, threads: u32) -> Self {
        Self::spawn(port, rate, threads, 1)
    }

    /// The same, with a new connection for each request: on a reload nginx closes idle connections, even if a client is
    /// about to use one.
    pub(super) fn start_anew(port: u16, rate: u32, threads: u32) -> Self {
        Self::spawn(port, rate, threads, 0)
    }

    fn spawn(port: u16, rate: u32, threads: u32, idle: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let pause = Duration::from_secs(1) * threads / rate;
        let threads = (0..threads)
            .map(|_| {
                let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
                thread::spawn(move || {
                    let agent: ureq::Agent = ureq::Agent::config_builder()
                        .http_status_as_error(false)
                        .timeout_global(Some(Duration::from_secs(15)))
                        .max_idle_connections(idle)
                        .build()
                        .into();
                    let mut next = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = get(&agent, port, "/work");
                        answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                        next += pause;
                        thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                })
            })
            .collect();
        Self { stop, answers, threads }
    }

    /// All answers so far.
    pub(super) fn answers(&self) -> Vec<Result<Answer, String>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the traffic and returns all answers.
    pub(super) fn finish(mut self) -> Vec<Result<Answer, String>> {
        self.end();
        self.answers()
    }

    /// When the first answer of this pool arrived, milliseconds since the epoch; `None`: there was none.
    pub(super) fn first_of(&self, pool: &str) -> Option<u64> {
        self.answers().into_iter().flatten().filter(|answer| answer.pool == pool).map(|answer| answer.at).min()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed its message.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
