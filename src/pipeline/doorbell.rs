//! How the event loop wakes the observer: while the observer is awake, to ring only reads a flag; when it sleeps, to
//! ring is one system call.
//!
//! A thread that blocks in the channel's `recv` would cost the event loop a futex call per request. So the observer
//! polls while there is traffic. After a time without traffic it sleeps until the event loop rings, or until something
//! is due.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use once_cell::sync::OnceCell;

use crate::units::Millis;

/// One thread that sleeps, any number of threads that ring.
#[derive(Debug, Default)]
pub struct Doorbell {
    armed: AtomicBool,
    sleeper: OnceCell<Thread>,
}

impl Doorbell {
    /// Wakes the thread if it waits in [`Doorbell::wait`]; the thread then sees what the caller did before. No system call
    /// if the thread is awake.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the thread from [`Doorbell::sleep`] as well as from [`Doorbell::wait`].
    pub fn wake(&self) {
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }

    /// Sleeps for `span`; [`Doorbell::ring`] does not end the sleep, [`Doorbell::wake`] does. The calling thread becomes the
    /// one that the other methods wake.
    pub fn sleep(&self, span: Millis) {
        self.sleeper.get_or_init(thread::current);
        thread::park_timeout(Duration::from_millis(span.0));
    }

    /// Waits until the doorbell rings, at most for `span`; `None`: without a limit. Does not wait if there is work
    /// already.
    pub fn wait(&self, span: Option<Millis>, has_work: impl Fn() -> bool) {
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
    use std::sync::{Arc, mpsc};

    use super::*;

    /// A thread that sleeps longer was not woken.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn no_ring_is_ever_missed() {
        const SENT: u32 = 20_000;
        let shared = Arc::new((Doorbell::default(), AtomicU32::new(0)));
        let (done, ended) = mpsc::channel();
        let sleeper = Arc::clone(&shared);
        thread::spawn(move || {
            let (doorbell, sent) = &*sleeper;
            let mut seen = 0;
            while seen < SENT {
                doorbell.wait(None, || sent.load(Ordering::Relaxed) != seen);
                seen = sent.load(Ordering::Relaxed);
            }
            done.send(())
        });
        let (doorbell, sent) = &*shared;
        for _ in 0..SENT {
            sent.fetch_add(1, Ordering::Relaxed);
            doorbell.ring();
        }
        assert_eq!(ended.recv_timeout(DEADLINE), Ok(()), "the thread sleeps although {SENT} were sent");
    }
}
