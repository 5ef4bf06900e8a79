//! How long it takes from the first failed-over response to the alert at the receiver, measured over many failovers, and how
//! long a recovery must stand before it is told.
//!
//! Every failover gets a fresh host, so that none waits for the recovery of the one before.

use super::host::{Host, Settings, unix_millis};
use super::load::Load;

const HTTP: &str = "poolwatch_error_rate off;";

const HARD: Settings = Settings { workers: 4, http: HTTP, upstream: "zone app 64k;", fail_timeout: "10s" };
const SOFT: Settings = Settings { workers: 4, http: HTTP, upstream: "", fail_timeout: "10s" };

/// Measures and prints one row per kind of traffic.
///
/// # Errors
/// A failover was not told at all.
pub fn run() -> Result<(), String> {
    println!(
        "from the first response that green gave after blue was killed to the alert at the receiver, 4 workers:\n"
    );
    println!("{:<44} {:>5} {:>8} {:>8} {:>8}", "", "runs", "min ms", "median", "max");
    row("1000 requests/s, zone (hard evidence)", &HARD, 1000, 20)?;
    row("1000 requests/s, no zone", &SOFT, 1000, 20)?;
    row("1 request/s, zone (hard evidence)", &HARD, 1, 5)?;
    row("1 request/s, no zone (confirm=1s)", &SOFT, 1, 5)?;
    println!("\nfrom blue being mended to the recovery alert; at most 1.5 x fail_timeout + 12 s are meant:\n");
    let settings = Settings { fail_timeout: "2s", ..HARD };
    let recovery = recovery(&settings, 1000)?;
    println!("{:<44} {:>5} {recovery:>8.0} ms", "1000 requests/s, zone, fail_timeout=2s", 1);
    Ok(())
}

fn recovery(settings: &Settings, rate: u32) -> Result<f64, String> {
    let mut host = Host::start(settings, None)?;
    let load = Load::start(host.port, rate, 8);
    host.wait_for("the load", |_| Ok((load.answers().len() >= rate as usize / 4).then_some(())))?;
    host.chaos(host.blue_port, Some("error"))?;
    host.wait_for("the alert", |host| Ok(host.messages()?.into_iter().next()))?;
    host.chaos(host.blue_port, None)?;
    let mended = unix_millis();
    let message = host.wait_for("the recovery", |host| Ok(host.messages()?.into_iter().nth(1)))?;
    let received = message["received_unix_ms"].as_f64().ok_or("the mock did not say when")?;
    Ok(received - mended as f64)
}

fn row(name: &str, settings: &Settings, rate: u32, runs: usize) -> Result<(), String> {
    let mut latencies = (0..runs).map(|_| failover(settings, rate)).collect::<Result<Vec<_>, _>>()?;
    latencies.sort_by(f64::total_cmp);
    let at = |share: usize| latencies.get((latencies.len() - 1) * share / 100).copied().unwrap_or_default();
    println!("{name:<44} {runs:>5} {:>8.1} {:>8.1} {:>8.1}", at(0), at(50), at(100));
    Ok(())
}

fn failover(settings: &Settings, rate: u32) -> Result<f64, String> {
    let mut host = Host::start(settings, None)?;
    let load = Load::start(host.port, rate, rate.min(8));
    host.wait_for("the load", |_| Ok((load.answers().len() >= (rate as usize / 4).max(2)).then_some(())))?;
    host.kill_blue();
    let message = host.wait_for("the alert", |host| Ok(host.messages()?.into_iter().next()))?;
    let first = load.first_of("green").ok_or("green never answered")?;
    let received = message["received_unix_ms"].as_f64().ok_or("the mock did not say when")?;
    Ok(received - first as f64)
}
