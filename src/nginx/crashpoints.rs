//! What t/crash.t needs of the module with crash points: a file kills, stops or panics a process at a point that the file names.

use std::fs;
use std::path::PathBuf;

use nginx_sys::ngx_cycle_t;

use crate::crash;

/// A file in the prefix' `crash/` with a point's name is removed at that point, and the process with it. Files with a number more are
/// removed first, and stand for so many passings without harm. With `.stop` behind the name the process is stopped there, with `.panic` the
/// thread panics.
pub(crate) fn arm(cycle: &ngx_cycle_t) {
    let folder = PathBuf::from(cycle.prefix.to_string()).join("crash");
    crash::arm(Box::new(move |point| {
        let take = |name: String| fs::remove_file(folder.join(name)).is_ok();
        if take(format!("{point}.stop")) {
            // SAFETY: stops this process, which is what it is for.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        assert!(!take(format!("{point}.panic")), "at {point}");
        let fires = folder.join(point).exists()
            && !(1..10).any(|pass| take(format!("{point}.{pass}")))
            && take(point.to_owned());
        if fires {
            // SAFETY: ends this process, which is what it is for.
            unsafe { libc::raise(libc::SIGKILL) };
        }
    }));
}
