//! Every alert's link leads to a section of the runbook that exists.

use std::path::Path;

use ngx_http_poolwatch_module::alert::Kind;
use ngx_http_poolwatch_module::wording;

use crate::markdown::{anchors, read};

#[test]
fn each_kind_of_alert_has_its_section_in_the_runbook() {
    let anchors = anchors(&read(Path::new("runbook.md")));
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
