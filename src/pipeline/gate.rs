//! How the event loop wakes the observer: with nothing at all while the observer is awake, with one wake-up when it sleeps.
//!
//! A thread that blocks in the channel's `recv` would cost the event loop a futex call per request. So the observer polls
//! while there is traffic, and when there is none for a while it arms the gate and parks, for good if nothing is due.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use once_cell::sync::OnceCell;

use crate::units::Millis;

/// One sleeper, any number of knockers.
#[derive(Debug, Default)]
pub struct Gate {
    armed: AtomicBool,
    sleeper: OnceCell<Thread>,
}

impl Gate {
    /// Wakes the sleeper if it sleeps. What the caller did before is seen by the sleeper. No system call if it is awake.
    pub fn knock(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the sleeper out of a [`Gate::sleep`] as well as a [`Gate::park`].
    pub fn wake(&self) {
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// Sleeps for `span`, whatever knocks; [`Gate::wake`] ends it early. The calling thread becomes the sleeper.
    pub fn sleep(&self, span: Millis) {
        self.sleeper.get_or_init(thread::current);
        thread::park_timeout(Duration::from_millis(span.0));
    }

    /// Parks until a knock, or for `span`, unless there is work already. `None`: for as long as it takes.
    pub fn park(&self, span: Option<Millis>, has_work: impl Fn() -> bool) {
        self.sleeper.get_or_init(thread::current);
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            match span {
                Some(span) => thread::park_timeout(Duration::from_millis(span.0)),
                None => thread::park(),
            }
        }
        self.armed.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn nothing_sent_is_ever_slept_through() {
        const SENT: u32 = 20_000;
        let gate = Gate::default();
        let sent = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < SENT {
                    gate.park(None, || sent.load(Ordering::Relaxed) != seen);
                    seen = sent.load(Ordering::Relaxed);
                }
            });
            for _ in 0..SENT {
                sent.fetch_add(1, Ordering::Relaxed);
                gate.knock();
            }
        });
    }
}
