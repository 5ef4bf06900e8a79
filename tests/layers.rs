//! A module uses only what is declared above it in `src/lib.rs`: the file list is the architecture.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules in the order of their declaration.
fn declared(lib: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

/// The modules that `source`, in `module`, uses although they are declared below `module`.
fn violations(order: &[String], module: &str, source: &str) -> Vec<String> {
    let place = order.iter().position(|name| name == module).expect("a declared module");
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let uses = source.split("crate::").skip(1).map(|rest| {
        rest.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next().unwrap_or_default().to_owned()
    });
    uses.filter(|used| order.iter().position(|name| name == used).is_some_and(|used| used > place)).collect()
}

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a module is a file or a folder");
    entries.flat_map(|entry| sources(&entry.expect("an entry").path())).collect()
}

#[test]
fn modules_use_only_what_is_declared_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = declared(&fs::read_to_string(src.join("lib.rs")).expect("lib.rs"));
    assert!(order.len() > 10, "too few modules: {order:?}");
    for module in &order {
        let file = src.join(format!("{module}.rs"));
        let path = if file.is_file() { file } else { src.join(module) };
        for source in sources(&path) {
            let text = fs::read_to_string(&source).expect("a source file");
            assert_eq!(violations(&order, module, &text), [""; 0], "in {}", source.display());
        }
    }
}

#[test]
fn a_use_of_something_below_is_found() {
    let order = ["units", "rules", "detect"].map(str::to_owned);
    assert_eq!(violations(&order, "rules", "use crate::units::Millis;\nuse crate::detect::failover;"), ["detect"]);
}
