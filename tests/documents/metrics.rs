//! docs/status.md has each metric, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use crate::markdown::read;

/// The metrics that a page of them has.
fn served(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// The metrics in the first column of a table.
fn listed(page: &str) -> BTreeSet<&str> {
    let rows =
        page.lines().filter(|line| line.starts_with("| `poolwatch_")).filter_map(|line| line.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn each_metric_has_its_row() {
    let (golden, page) = (read(Path::new("tests/golden/status/metrics.txt")), read(Path::new("docs/status.md")));
    assert!(served(&golden).len() > 15, "too few metrics: {:?}", served(&golden));
    assert_eq!(listed(&page), served(&golden));
}

#[test]
fn rows_and_types_are_read() {
    assert_eq!(served("# HELP a b\n# TYPE a gauge\na 1\n# TYPE b counter\n"), BTreeSet::from(["a", "b"]));
    let table = "| `poolwatch_a`, `poolwatch_b` | upstream | `c` |\n| `$poolwatch_state` | `x` |\n`poolwatch_d`\n";
    assert_eq!(listed(table), BTreeSet::from(["poolwatch_a", "poolwatch_b"]));
}
