//! Golden files: what people and programs read, as it was looked at and committed.

use std::path::PathBuf;
use std::{env, fs};

/// The text of the golden file; with `UPDATE_GOLDEN` the file is written first.
pub(crate) fn expected(name: &str, actual: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).expect("a writable golden file");
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}
