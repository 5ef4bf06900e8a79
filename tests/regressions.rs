//! The public log watchers that this module replaces have known defects, D1 to D30. Each that concerns the detectors is named by a
//! test that fails on the watchers' behaviour: in the name of a subtest, of a block, of a function, or beside what it asserts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What an operator suffers from detectors that are wrong. The others are about delivery, which has its own tests.
fn rows() -> BTreeSet<u32> {
    (1..=13).chain(21..=25).chain([29, 30]).collect()
}

/// The rows that a source names. A comment names none: it tests nothing.
fn named(source: &str) -> impl Iterator<Item = u32> + '_ {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with(['#', '/']));
    let words = lines.flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric()));
    words.filter_map(|word| word.strip_prefix(['D', 'd'])?.parse().ok())
}

fn sources(path: &Path) -> Vec<String> {
    if path.is_file() {
        // This one names rows without testing them.
        return if path.ends_with("regressions.rs") {
            vec![]
        } else {
            vec![fs::read_to_string(path).unwrap_or_default()]
        };
    }
    let entries = fs::read_dir(path).expect("a folder");
    entries.flat_map(|entry| sources(&entry.expect("an entry").path())).collect()
}

#[test]
fn each_row_is_named_by_a_test() {
    let all = [Path::new("t"), Path::new("tests")].into_iter().flat_map(sources).collect::<Vec<_>>();
    let named: BTreeSet<u32> = all.iter().flat_map(|source| named(source)).collect();
    assert_eq!(rows().difference(&named).collect::<Vec<_>>(), [&0; 0]);
}

#[test]
fn a_comment_names_no_row() {
    let source = "# D1 in a comment\nsubtest('an outage (D2, D3)', sub {\n/// D4\nfn d21_d22_a_window() {";
    assert_eq!(named(source).collect::<Vec<_>>(), [2, 3, 21, 22]);
}
