//! The drill: `drill demo` shows what Poolwatch does, `drill stack` tests the containers.

use std::process::ExitCode;

use poolwatch_demo::drill;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => drill::demo::run(),
        ["stack", directory] => drill::stack::run(directory.as_ref()),
        _ => Err("usage: drill demo | stack DIRECTORY".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drill: {error}");
            ExitCode::FAILURE
        }
    }
}
