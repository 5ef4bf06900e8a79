//! Tests cite invariants and the defects of log watchers by number. Both lists are in docs/: each number that a source cites is listed,
//! and each that is listed is cited by the tests that its row names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::markdown::{is_a, read, root};

/// Where numbers are cited.
const SOURCES: [&str; 5] = ["src", "t", "tests", "docker/demo/src", "docker/demo/tests"];

/// A list, and how its numbers are cited.
struct List {
    page: &'static str,
    /// Before the number in the first cell of a row.
    prefix: &'static str,
    cited: fn(&str) -> BTreeSet<u32>,
}

const INVARIANTS: List = List { page: "docs/invariants.md", prefix: "", cited: invariants };
const DEFECTS: List = List { page: "docs/watcher-defects.md", prefix: "D", cited: defects };

/// A row of a list: its number, and the tests that it links to. None: no test can see it, and the row says why.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: u32,
    tests: Vec<String>,
}

impl List {
    fn rows(&self, page: &str) -> Vec<Row> {
        let row = |line: &str| {
            let number = line.strip_prefix("| ")?.split(" |").next()?.strip_prefix(self.prefix)?.parse().ok()?;
            let links = line.split("](../").skip(1).filter_map(|rest| rest.split(')').next());
            Some(Row { number, tests: links.map(str::to_owned).collect() })
        };
        page.lines().filter_map(row).collect()
    }

    /// What is wrong with the list, if the sources cite as they do.
    fn mistakes(&self, page: &str, sources: &[(String, String)]) -> Vec<String> {
        let (rows, Self { page: name, prefix, cited }) = (self.rows(page), self);
        let mut mistakes = Vec::new();
        for (index, Row { number, tests }) in rows.iter().enumerate() {
            if index + 1 != *number as usize {
                mistakes.push(format!("{name}: {prefix}{number} is row {}", index + 1));
            }
            for test in tests {
                let is_cited = |(path, source): &(String, String)| {
                    Path::new(path).starts_with(test) && cited(&without_comments(path, source)).contains(number)
                };
                if !sources.iter().any(is_cited) {
                    mistakes.push(format!("{name}: {test} does not name {prefix}{number} in a test"));
                }
            }
        }
        let listed: BTreeSet<u32> = rows.iter().map(|row| row.number).collect();
        for (path, source) in sources {
            let unlisted = cited(source).difference(&listed).copied().collect::<Vec<_>>();
            if !unlisted.is_empty() {
                mistakes.push(format!("{path}: {name} has no {unlisted:?}"));
            }
        }
        mistakes
    }
}

/// A comment tests nothing. What Rust's documentation says of a function is about a test, but not the test.
fn without_comments(path: &str, source: &str) -> String {
    let mark = if is_a(Path::new(path), "rs") { "//" } else { "#" };
    source.lines().filter(|line| !line.trim_start().starts_with(mark)).collect::<Vec<_>>().join("\n")
}

/// The numbers behind the word, as in `invariant 13`, `invariants 13 to 16 and 24` and `invariants_1_to_8_10_and_25_hold`.
fn invariants(source: &str) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for rest in source.split("nvariant").skip(1) {
        let line = rest.lines().next().unwrap_or_default();
        let line = line.strip_prefix('s').unwrap_or(line);
        let mut last = None;
        let mut is_range = false;
        for word in line.split([' ', '_', ',']).skip(1) {
            let number: Option<u32> = word.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse().ok();
            match (number, word) {
                (Some(number), _) => {
                    found.extend(if is_range { last.unwrap_or(number)..=number } else { number..=number });
                    (last, is_range) = (Some(number), false);
                }
                (None, "to") => is_range = true,
                (None, "and" | "") => {}
                (None, _) => break,
            }
        }
    }
    found
}

/// As in `(D21, D22)` and `d21_d22_a_window`.
fn defects(source: &str) -> BTreeSet<u32> {
    let words = source.split(|letter: char| !letter.is_ascii_alphanumeric());
    let number = |word: &str| {
        let digits = word.strip_prefix(['D', 'd'])?;
        (digits.len() <= 2 && !digits.starts_with('0')).then(|| digits.parse().ok()).flatten()
    };
    words.filter_map(number).collect()
}

/// All sources, but for this one, which cites without testing.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in SOURCES {
        each_source(folder, &mut |path, text| found.push((path.to_owned(), text.to_owned())));
    }
    found.retain(|(path, _)| path != "tests/documents/cited.rs");
    found
}

/// Each source in a folder of the repository: its path and its text.
pub(crate) fn each_source(path: &str, take: &mut impl FnMut(&str, &str)) {
    let file = root().join(path);
    if file.is_dir() {
        for entry in fs::read_dir(file).expect("a folder") {
            each_source(&format!("{path}/{}", entry.expect("an entry").file_name().to_string_lossy()), take);
        }
    } else if ["rs", "t", "pm"].iter().any(|kind| is_a(&file, kind)) {
        take(path, &fs::read_to_string(file).expect("a text"));
    }
}

#[test]
fn the_lists_and_the_tests_agree() {
    let sources = sources();
    for (list, count) in [(INVARIANTS, 25), (DEFECTS, 30)] {
        let page = read(Path::new(list.page));
        assert_eq!(list.rows(&page).len(), count, "rows of {}", list.page);
        assert_eq!(list.mistakes(&page, &sources), [""; 0]);
    }
}

#[test]
fn what_is_missing_on_either_side_is_found() {
    let page =
        "| 1 | a | [x](../t/a.t) |\n| 2 | b | no test, since it is a promise of nginx's |\n| 4 | c | [x](../t/a.t) |\n";
    let sources = [("t/a.t".to_owned(), "# invariant 1\nis(1, 1, 'invariants 4 and 5');\n".to_owned())];
    assert_eq!(
        INVARIANTS.mistakes(page, &sources),
        [
            "docs/invariants.md: t/a.t does not name 1 in a test",
            "docs/invariants.md: 4 is row 3",
            "t/a.t: docs/invariants.md has no [5]",
        ]
    );
    let rows = DEFECTS.rows("| D1 | a | [x](../t/a.t), [y](../tests/y) |\n| # | none |\n");
    assert_eq!(rows, [Row { number: 1, tests: vec!["t/a.t".to_owned(), "tests/y".to_owned()] }]);
}

#[test]
fn numbers_are_read_as_people_write_them() {
    let numbers = |text: &str| invariants(text).into_iter().collect::<Vec<_>>();
    assert_eq!(numbers("Who serves: invariants 13 to 16 and 24, and 7 cases"), [7, 13, 14, 15, 16, 24]);
    assert_eq!(numbers("fn invariants_1_to_3_10_and_25_hold_in_2()"), [1, 2, 3, 10, 25]);
    assert_eq!(numbers("the invariant.\n13 lines"), [0; 0]);
    let named = |text: &str| defects(text).into_iter().collect::<Vec<_>>();
    assert_eq!(named("subtest('an outage (D2, D3)', sub {\nfn d21_d22_a_window() {"), [2, 3, 21, 22]);
    assert_eq!(named("[0xd800], %02d, 3d, D0, D123"), [0; 0]);
}
