//! The drill: `drill demo` shows what Poolwatch does, `drill latency` measures how fast it tells.

use std::process::ExitCode;

use poolwatch_demo::drill;

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("demo") => drill::demo::run(),
        Some("latency") => drill::latency::run(),
        _ => Err("usage: drill demo | latency".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drill: {error}");
            ExitCode::FAILURE
        }
    }
}
