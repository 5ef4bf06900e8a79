//! The reference in docs/directives.md is the one that the module itself gives.

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
fn the_reference_says_what_the_module_reads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/directives.md");
    let page = fs::read_to_string(&file).expect("docs/directives.md");
    let expected = directives::reference();
    let found = marked(&page).unwrap_or_else(|| panic!("docs/directives.md has no {BEGIN} ... {END}"));
    assert!(found == expected, "between {BEGIN} and {END} docs/directives.md must have:\n\n{expected}\n");
}

#[test]
fn a_page_without_its_markers_has_no_reference() {
    assert_eq!(marked("a <!-- directives --> b <!-- /directives --> c"), Some("b"));
    assert_eq!(marked("a <!-- directives --> b"), None);
    assert_eq!(marked("b <!-- /directives --> c"), None);
}
