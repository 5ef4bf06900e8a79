//! Makes crash points do something, for t/crash.t: a file kills, stops or panics the process at the point that it
//! names.

use std::fs;
use std::path::PathBuf;

use nginx_sys::ngx_cycle_t;

use crate::crash;

/// From now on each crash point looks for a file with its name in the folder `crash` of nginx's prefix, removes it and
/// kills the process. Files `NAME.1` to `NAME.9` are removed first, one each time the point is passed. A file
/// `NAME.stop` stops the process, and `NAME.panic` makes the thread panic.
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
