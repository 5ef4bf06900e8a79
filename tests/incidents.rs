//! Ten thousand incidents, sent and over, leave nothing behind in a worker's memory. This is a program of its own,
//! because it counts what the whole process holds.

#[path = "pipeline/host.rs"]
#[expect(dead_code, reason = "the pipeline's tests use the rest of it")]
mod host;
mod memory;

use std::sync::atomic::Ordering;

use host::{BLUE, GREEN, Host};
use memory::resident;
use ngx_http_poolwatch_module::config::rules::Rules;
use ngx_http_poolwatch_module::observation::Verdict;
use ngx_http_poolwatch_module::units::Millis;

/// Pages of memory that an allocator may keep: 1 MiB.
const PAGES: usize = 256;

/// Blue dies, green serves, blue comes back. Returns the number of messages.
fn incident(host: &mut Host) -> usize {
    for _ in 0..5 {
        host.request(0, &[(BLUE, Verdict::Refused), (GREEN, Verdict::Ok)], 200);
        host.run(300);
    }
    for _ in 0..80 {
        host.request(1, &[(BLUE, Verdict::Ok)], 200);
        host.run(200);
    }
    // Long enough that the next incident is not flapping.
    host.time.0.fetch_add(400_000, Ordering::Relaxed);
    let sent = host.titles().len();
    host.slack.bodies.lock().expect("no panic").clear();
    host.log.lock().expect("no panic").clear();
    sent
}

#[test]
fn incidents_leave_nothing_behind() {
    let mut host = Host::new(2, &Rules { fail_timeout: Millis::from_secs(2), ..Rules::default() });
    host.served_by(BLUE);
    host.run(1000);
    let sent: usize = (0..500).map(|_| incident(&mut host)).sum();
    let before = resident();
    let sent = sent + (500..10_000).map(|_| incident(&mut host)).sum::<usize>();
    let grown = resident().saturating_sub(before);
    assert!(sent >= 2 * 10_000, "{sent} messages");
    assert!(grown <= PAGES, "{grown} pages more");
}
