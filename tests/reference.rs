//! The reference in docs/directives.md is the one that the module itself gives.
//!
//! `UPDATE_GOLDEN=1 cargo test --test reference` writes it there; read the difference before committing it.

#![allow(clippy::disallowed_methods, reason = "a variable asks for a new reference")]

use std::path::Path;
use std::{env, fs};

use ngx_http_poolwatch_module::directives;

const BEGIN: &str = "<!-- directives -->";
const END: &str = "<!-- /directives -->";

/// Of a line of the page.
const COLUMNS: usize = 120;

/// What stands before, between and behind the markers; `None`: one of them is missing.
fn marked(page: &str) -> Option<[&str; 3]> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (reference, behind) = rest.split_once(END)?;
    Some([before, reference, behind])
}

/// The same text with no line wider than the page, unless it has no blank. A list's item goes on below its text.
fn wrapped(text: &str) -> String {
    let mut page = String::new();
    for line in text.lines() {
        let indent = if line.starts_with("* ") { "  " } else { "" };
        let mut width = 0;
        for word in line.split(' ') {
            let columns = word.chars().count();
            if width > 0 && width + 1 + columns > COLUMNS {
                page += "\n";
                page += indent;
                width = indent.len();
            } else if width > 0 {
                page += " ";
                width += 1;
            }
            page += word;
            width += columns;
        }
        page += "\n";
    }
    page
}

#[test]
fn the_reference_says_what_the_module_reads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/directives.md");
    let page = fs::read_to_string(&file).expect("docs/directives.md");
    let [before, found, behind] =
        marked(&page).unwrap_or_else(|| panic!("docs/directives.md has no {BEGIN} ... {END}"));
    let expected = format!("\n{}", wrapped(directives::reference().trim()));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, format!("{before}{BEGIN}{expected}{END}{behind}")).expect("docs/directives.md is written");
    } else {
        assert!(found == expected, "between {BEGIN} and {END} docs/directives.md must have:\n{expected}");
    }
}

#[test]
fn a_page_without_its_markers_has_no_reference() {
    assert_eq!(marked("a <!-- directives --> b <!-- /directives --> c"), Some(["a ", " b ", " c"]));
    assert_eq!(marked("a <!-- directives --> b"), None);
    assert_eq!(marked("b <!-- /directives --> c"), None);
}

#[test]
fn long_lines_are_broken_at_blanks() {
    let word = "x".repeat(COLUMNS / 2);
    assert_eq!(wrapped(&format!("{word} {word}")), format!("{word}\n{word}\n"));
    assert_eq!(wrapped(&format!("* {word} {word}\n\nshort")), format!("* {word}\n  {word}\n\nshort\n"));
}
