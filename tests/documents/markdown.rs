//! What tests need to know of a page in Markdown: its headings' anchors, its links, and its prose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages of the repository, as paths below its root.
pub(crate) fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    found.sort();
    found
}

/// What building and running leave behind is no part of the repository.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !["target", "logs", "secrets"].contains(&name.as_str()) {
            collect(&path, found);
        } else if is_a(&path, "md") && path.is_file() {
            found.push(path.strip_prefix(root()).expect("below the root").to_owned());
        }
    }
}

/// Does the file's name end so?
pub(crate) fn is_a(file: &Path, kind: &str) -> bool {
    file.extension().is_some_and(|extension| extension == kind)
}

/// The text of a page of [`pages`].
pub(crate) fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// As GitHub makes an anchor of a heading: in lower case, blanks as `-`, no other punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// The anchors of a page: its headings, but not what looks like one in a block of code.
pub(crate) fn anchors(page: &str) -> BTreeSet<String> {
    let headings = outside_code(page).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#'))).collect()
}

/// The lines that are in no block of code, each with its number.
pub(crate) fn outside_code(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    page.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_fence && !is_code).then_some((index + 1, line))
    })
}

/// Where a page's links and pictures lead, as written. Code has none.
pub(crate) fn links(page: &str) -> Vec<String> {
    let text: Vec<&str> = outside_code(page).map(|(_, line)| line).collect();
    let text = text.join("\n");
    // What stands between backquotes is code.
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join("``");
    let mut found = Vec::new();
    for (before, after) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"'), ("]: ", '\n')] {
        let targets = prose.split(before).skip(1).filter_map(|rest| rest.split(after).next());
        found.extend(targets.map(|target| target.trim().to_owned()));
    }
    found
}
