//! Every alert's link leads to a section of the runbook that exists.

use std::collections::BTreeSet;

use ngx_http_poolwatch_module::alert::Kind;
use ngx_http_poolwatch_module::wording;

/// As GitHub makes an anchor of a heading: in lower case, blanks as `-`, no other punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// The anchors of a page in Markdown: its headings, but not what looks like one in a block of code.
fn anchors(page: &str) -> BTreeSet<String> {
    let blocks = page.split("```").step_by(2);
    let headings = blocks.flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn each_kind_of_alert_has_its_section_in_the_runbook() {
    let page = include_str!("../runbook.md");
    let anchors = anchors(page);
    let others = [Kind::NoLongerWatched, Kind::SilenceBegan, Kind::SilenceEnded, Kind::Test];
    for kind in Kind::INCIDENTS.into_iter().chain(others) {
        let link = wording::runbook("https://wiki/runbook.md", kind);
        let section = link.split_once('#').map(|(_, section)| section.to_owned()).expect("a fragment");
        assert!(anchors.contains(&section), "{kind:?}: runbook.md has no #{section}, but {anchors:?}");
    }
}

#[test]
fn anchors_are_those_of_github() {
    let page = "# Runbook\n## Error rate\n```sh\n# a comment\n```\n## A message says \"delayed\", or covers more\n";
    let expected = ["a-message-says-delayed-or-covers-more", "error-rate", "runbook"];
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), expected);
}
