//! The documents can be read: README in a few screens, no line too wide, and no link that leads nowhere.

mod architecture;
mod cited;
mod markdown;
mod metrics;
mod runbook;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use markdown::{anchors, links, outside_code, pages, read, root};

/// README: what an engineer who has never heard of Poolwatch reads in five minutes.
const LINES: usize = 200;

/// Of any line: two windows side by side.
const COLUMNS: usize = 120;

fn columns(line: &str) -> usize {
    line.chars().count()
}

#[test]
fn the_readme_is_short_and_narrow() {
    let page = read(Path::new("README.md"));
    let lines = page.lines().count();
    assert!(lines <= LINES, "README.md has {lines} lines, at most {LINES} are wanted");
    let wide: Vec<usize> =
        (1..).zip(page.lines()).filter(|(_, line)| columns(line) > COLUMNS).map(|(n, _)| n).collect();
    assert_eq!(wide, [0; 0], "lines of README.md with more than {COLUMNS} columns");
}

/// The numbers of lines that are too wide and need not be: rows of tables, code and what has no blank to break at may be wide.
fn wide_lines(page: &str) -> Vec<usize> {
    let can_be_broken = |line: &str| {
        let text = line.trim_start_matches([' ', '*', '-']);
        !line.trim_start().starts_with(['|', '<']) && text.contains(' ')
    };
    let wide = outside_code(page).filter(|(_, line)| columns(line) > COLUMNS && can_be_broken(line));
    wide.map(|(number, _)| number).collect()
}

#[test]
fn no_page_is_too_wide() {
    for page in pages() {
        assert_eq!(wide_lines(&read(&page)), [0; 0], "lines of {} with more than {COLUMNS} columns", page.display());
    }
}

/// Why a link of a page leads nowhere; `None`: it leads somewhere, or to the world outside.
fn dead(page: &Path, link: &str) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let folder = root().join(page);
    let target = if file.is_empty() { folder } else { folder.parent().expect("a folder").join(file) };
    if !target.exists() {
        return Some(format!("{link}: no such file"));
    }
    let anchor = anchor?;
    let text = fs::read_to_string(&target).unwrap_or_default();
    (!anchors(&text).contains(anchor)).then(|| format!("{link}: no such heading"))
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() > 8, "too few pages: {pages:?}");
    for page in pages {
        let dead: Vec<String> = links(&read(&page)).iter().filter_map(|link| dead(&page, link)).collect();
        assert_eq!(dead, [""; 0], "links of {}", page.display());
    }
}

/// Folders whose files the documents speak of.
const FOLDERS: [&str; 11] =
    ["src/", "t/", "tests/", "tools/", "docs/", "deploy/", "docker/", "nginx/", "benches/", "fuzz/", "examples/"];

/// What a page calls a file or a target of make, in code, and what is none: `NAME` stands for a name to be chosen.
fn unknown(page: &str, targets: &BTreeSet<String>) -> Vec<String> {
    let code = page.split('`').skip(1).step_by(2).flat_map(|code| code.split("&&")).map(str::trim);
    let is_unknown = |code: &&str| {
        let mut words = code.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "make" {
            return words.any(|word| !targets.contains(word));
        }
        let is_file = FOLDERS.iter().any(|folder| first.starts_with(folder)) && !first.contains("NAME");
        is_file && !root().join(first).exists()
    };
    code.filter(is_unknown).map(str::to_owned).collect()
}

/// The targets of the Makefile.
fn targets() -> BTreeSet<String> {
    let makefile = read(Path::new("Makefile"));
    let names = makefile.lines().filter_map(|line| Some(line.split_once(": ")?.0.to_owned()));
    names.collect()
}

#[test]
fn files_and_targets_that_the_documents_name_exist() {
    let targets = targets();
    assert!(targets.contains("test") && targets.len() > 10, "targets of the Makefile: {targets:?}");
    for page in pages() {
        // What has changed may be gone.
        if page != Path::new("CHANGELOG.md") {
            assert_eq!(unknown(&without_blocks(&read(&page)), &targets), [""; 0], "in {}", page.display());
        }
    }
}

/// A page without its blocks of code.
fn without_blocks(page: &str) -> String {
    outside_code(page).map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_wrong_is_found() {
    let wide = "x ".repeat(COLUMNS);
    let page = format!("{wide}\n| {wide}\n```\n{wide}\n```\n[link]({})\n* {wide}\n", "x".repeat(COLUMNS));
    assert_eq!(wide_lines(&page), [1, 7]);
    let readme = Path::new("README.md");
    assert_eq!(dead(readme, "docs/none.md").as_deref(), Some("docs/none.md: no such file"));
    assert_eq!(dead(readme, "runbook.md#none").as_deref(), Some("runbook.md#none: no such heading"));
    assert_eq!(dead(readme, "runbook.md#failover"), None);
    assert_eq!(dead(Path::new("docs/status.md"), "../runbook.md#failover"), None);
}

#[test]
fn links_are_found_wherever_they_stand() {
    let page = "[a](b.md) `[no](code.md)`\n<img src=\"c.png\">\n```\n[no](d.md)\n```\n[1]: e.md\n";
    assert_eq!(links(page), ["b.md", "c.png", "e.md"]);
}

#[test]
fn a_file_or_target_that_does_not_exist_is_found() {
    let page = "`make test` `make none` `t/none.t` `tools/test` `tools/none --quick` `src/NAME.rs` `t/` `a b` `make test && tools/no`";
    let targets = BTreeSet::from(["test".to_owned()]);
    assert_eq!(unknown(page, &targets), ["make none", "t/none.t", "tools/none --quick", "tools/no"]);
}
