//! Time, processes and the host name, from the kernel: nginx's cached time belongs to the event loop, and threads
//! cannot use it.

use std::ffi::CStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::Clock;
use crate::units::Millis;

/// A span, or a time since 1970, as the kernel's calls take it. A span that does not fit becomes the longest one.
pub(crate) fn timespec(span: Millis) -> libc::timespec {
    let seconds = libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX);
    let nanoseconds = libc::c_long::try_from(span.0 % 1000 * 1_000_000).unwrap_or_default();
    libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // `ngx_current_msec` is read from the same clock, at most a tick of the kernel (1 to 10 ms) earlier.
        // SAFETY: fills the struct; this clock always exists.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        Millis(now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000)
    }

    fn wall(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
    }

    fn is_alive(&self, process: u32) -> bool {
        let Ok(process) = libc::pid_t::try_from(process) else { return false };
        // SAFETY: signal 0 is not delivered; the call only checks whether the process exists.
        let answer = unsafe { libc::kill(process, 0) };
        answer == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
    }

    fn host(&self) -> String {
        // Longer than any host name; the last byte stays zero.
        let mut name = [0_u8; 256];
        // SAFETY: a buffer with more room than this.
        unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        // In lower case, as nginx's $hostname.
        name.to_string_lossy().to_ascii_lowercase()
    }
}
