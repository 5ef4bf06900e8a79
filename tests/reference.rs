//! The README's reference of the directives is the one that the module itself gives.

use std::fs;
use std::path::Path;

use ngx_http_poolwatch_module::directives;

const BEGIN: &str = "<!-- directives -->";
const END: &str = "<!-- /directives -->";

/// What stands between the markers; `None`: one of them is missing.
fn marked(page: &str) -> Option<&str> {
    Some(page.split_once(BEGIN)?.1.split_once(END)?.0.trim())
}

#[test]
fn the_readme_says_what_the_module_reads() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = fs::read_to_string(&readme).expect("README.md");
    let expected = directives::reference();
    let found = marked(&page).unwrap_or_else(|| panic!("README.md has no {BEGIN} ... {END}"));
    assert!(found == expected, "between {BEGIN} and {END} README.md must have:\n\n{expected}\n");
}

#[test]
fn a_page_without_its_markers_has_no_reference() {
    assert_eq!(marked("a <!-- directives --> b <!-- /directives --> c"), Some("b"));
    assert_eq!(marked("a <!-- directives --> b"), None);
    assert_eq!(marked("b <!-- /directives --> c"), None);
}
