//! What people find on the page, and what must not be in it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, from_value, json};

use super::*;
use crate::alert::Kind;
use crate::state::snapshot::{ModuleInfo, Snapshot};
use crate::status::view::receivers::FailedView;
use crate::status::view::serving::ServingView;
use crate::status::view::traffic::{AttemptsView, RequestsView};
use crate::status::view::values::ForeignName;
use crate::status::view::{BlindView, DeliversView, WorkersView};

const EXAMPLE: &str = include_str!("../../../docs/api/example.json");

/// Green serves instead of blue, and the location takes writes.
pub(super) fn example() -> StateView {
    serde_json::from_str(EXAMPLE).expect("a document of the state")
}

fn shown(state: &StateView) -> String {
    page(state, "")
}

/// What a reader sees without scripts and style: no tags, single spaces.
fn text_of(page: &str) -> String {
    let (_, body) = page.split_once("<body>").expect("a body");
    let (body, _) = body.split_once("<script>").expect("a script at the end");
    let texts = body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    let all = texts.collect::<Vec<_>>().join(" ");
    all.split_whitespace().collect::<Vec<_>>().join(" ").replace("&quot;", "\"")
}

/// The example with another state.
fn in_state(state: &str, pool: Option<&str>, as_expected: bool) -> StateView {
    let mut document = example();
    let serving: ServingView = from_value(json!({ "state": state, "pool": pool })).expect("a state");
    let upstream = &mut document.upstreams[0];
    (upstream.serving, upstream.as_expected, upstream.alerts) = (serving, as_expected, vec![]);
    document
}

/// The example with so many upstreams, of which each `every`th is in an incident.
fn many(count: usize, every: usize) -> StateView {
    let (calm, incident) = (in_state("pool", Some("blue"), true), example());
    let upstream = |index: usize| {
        let mut upstream = if index % every == 0 { &incident } else { &calm }.upstreams[0].clone();
        upstream.name = ForeignName::new(format!("app {index}").as_bytes());
        upstream
    };
    StateView { upstreams: (0..count).map(upstream).collect(), ..example() }
}

/// JSON with all numbers as floats: 60 and 60.0 are the same.
fn with_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(with_floats).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, with_floats(member))).collect(),
        other => other,
    }
}

#[test]
fn the_example_has_all_members_of_a_document_and_no_others() {
    let document: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    assert_eq!(with_floats(json!(example())), with_floats(document));
}

#[test]
fn the_policy_allows_this_style_and_this_script_and_nothing_else() {
    for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
        let hash = BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
        assert!(POLICY.contains(&format!("{kind}-src 'sha256-{hash}'")), "the {kind} has the hash {hash}");
    }
    assert!(!POLICY.contains("unsafe"));
    let page = shown(&example());
    assert!(page.contains(&format!("<style>{STYLE}</style>")) && page.contains(&format!("<script>{SCRIPT}</script>")));
    // Neither may be ended from within.
    assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
}

#[test]
fn without_scripts_everything_can_be_read() {
    let text = text_of(&shown(&example()));
    for fact in [
        "Poolwatch on web1",
        "Needs attention: app: green serves instead of blue.",
        "green serves since 11:39:32 UTC , for 41 s expected: blue",
        "Clients saw no error in the last 200 requests.",
        "warning: not the expected pool",
        "warning Failover on \"app\": blue → green since 11:39:32 UTC , for 41 s Runbook slack accepted ops pending",
        "Errors 1% upstream, of 200 requests client 0%",
        "median, this minute 95% within",
        "per second, last 1 min 13 s",
        "blue expected release v1.2.3 , pool by header attempts 66,282 failed 82",
        "failed: 70 answered 5xx, 10 refused, 2 without a usable answer",
        "10.0.0.1:3000 primary refused 502, 5 s ago 82 of 66,282 attempts failed",
        "v1.3.0 green , seen 11:40:13 UTC requests 799 errors 0 of all 0% median 14.8 ms",
        "app until 12:09:50 UTC , 29 min 37 s left replacing blue's disk",
        "slack at hooks.slack.com , not told when something is over accepted 1 owed 1 failed 5 rests for 12 s",
        "failed: 4 unavailable, 1 rate limited last accepted 11:36:48 UTC Last error 11:40:02 UTC : timed out",
        "11:38:31 UTC Error rate back to normal after 1 min 43 s slack accepted ops waived",
        "10:44:30 UTC First answers: blue",
        "Poolwatch 0.1.0 nginx 1.22.1 4 workers 2 configurations loaded zone 1 of 15 upstreams in 1,024 KiB",
    ] {
        assert!(text.contains(fact), "no {fact:?} in {text}");
    }
}

/// The number that stands behind a label, in the order of the page.
fn numbers(page: &str, label: &str) -> Vec<String> {
    let before = format!("<dt>{label}</dt><dd");
    let behind = page.split(&before).skip(1);
    let number = |rest: &str| {
        rest.split_once('>').and_then(|(_, rest)| rest.split_once('<')).map(|(number, _)| number.to_owned())
    };
    behind.filter_map(number).collect()
}

#[test]
fn each_number_of_a_pool_a_release_and_a_receiver_stands_behind_its_label() {
    let mut document = example();
    let pool = &mut document.upstreams[0].pools[1];
    pool.requests = RequestsView {
        served: 1001,
        masked_failover: 1002,
        client_error: 1003,
        no_live_upstreams: 2000,
        aborted: 1005,
    };
    pool.attempts =
        AttemptsView { ok: 10_000, server_error: 200, refused: 30, timed_out: 4, ..AttemptsView::default() };
    (pool.response_seconds.p50, pool.response_seconds.p95, pool.response_seconds.p99) =
        (Some(0.1), Some(0.2), Some(0.3));
    let release = &mut document.upstreams[0].releases[0];
    (release.requests, release.errors) = (400, 3);
    let receiver = &mut document.receivers[0];
    (receiver.sent, receiver.pending, receiver.retry_seconds) = (41, 42, Some(43.0));
    receiver.failed = FailedView { unavailable: 1, rate_limited: 20, rejected: 300, broken: 4000 };
    let page = shown(&document);
    for (label, expected) in [
        ("attempts", ["66,282", "10,234"].as_slice()),
        ("masked", &["0", "1,002"]),
        ("client errors", &["0", "3,003"]),
        ("requests", &["400"]),
        ("errors", &["3"]),
        ("of all", &["0.75%"]),
        ("accepted", &["41"]),
        ("owed", &["42"]),
        ("rests for", &["43 s"]),
    ] {
        assert_eq!(numbers(&page, label)[..expected.len()], *expected, "{label}");
    }
    assert_eq!(numbers(&page, "failed")[..3], ["82", "234", "4,321"]);
    assert_eq!(["median", "95%", "99%"].map(|label| numbers(&page, label)[1].clone()), ["100 ms", "200 ms", "300 ms"]);
    let text = text_of(&page);
    for fact in [
        "failed: 200 answered 5xx, 30 refused, 4 timed out",
        "failed: 1 unavailable, 20 rate limited, 300 rejected, 4,000 broken",
    ] {
        assert!(text.contains(fact), "no {fact:?} in {text}");
    }
}

#[test]
fn each_state_says_what_it_is() {
    for (state, pool, as_expected, says, badge) in [
        ("pool", Some("blue"), true, "blue serves", "as expected"),
        ("pool", Some("green"), false, "green serves", "warning: not the expected pool"),
        ("mixed", None, false, "No pool prevails", "warning"),
        ("several", None, true, "Several pools serve", "as expected"),
        ("down", None, false, "No pool answers", "critical: clients see errors"),
        ("unknown", None, false, "No answer seen yet", "no traffic yet"),
    ] {
        let text = text_of(&shown(&in_state(state, pool, as_expected)));
        assert!(text.contains(&format!("{says} since")) && text.contains(badge), "{state}: {text}");
    }
}

#[test]
fn an_alert_links_to_its_section_of_the_runbook() {
    let mut document = example();
    assert!(shown(&document).contains("href=\"https://runbook.example/poolwatch#failover\""));
    document.upstreams[0].alerts[0].kind = Kind::ErrorRateFiring;
    assert!(shown(&document).contains("href=\"https://runbook.example/poolwatch#error-rate\""));
}

#[test]
fn only_a_location_that_takes_writes_has_controls() {
    let mut document = many(3, 2);
    assert!(shown(&document).contains("<form"));
    document.write = false;
    let read_only = shown(&document);
    for control in ["<form", "<button", "<input", "<output", "<datalist"] {
        assert!(!read_only.contains(control), "{control}");
    }
}

#[test]
fn names_of_others_stay_text() {
    let evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let spelled: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    let quoted = serde_json::to_string(evil).expect("JSON");
    let quoted = &quoted[1..quoted.len() - 1];
    let mut document = spelled.to_string();
    for name in ["blue", "green", "app", "slack", "ops", "web1", "v1.2.3", "v1.3.0", "10.0.0.1:3000", "timed out"] {
        document = document.replace(&format!("\"{name}\""), &format!("\"{quoted}\""));
    }
    let document = serde_json::from_str(&document.replace("https://runbook", "javascript:alert(1)//")).expect("JSON");
    let page = shown(&document);
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("<img") && !page.contains("href=\"javascript"));
    // Quotes, in attributes, are the only other way out.
    assert!(!page.replace(SCRIPT, "").contains("onerror=alert(1)\""));
    assert!(page.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn nothing_comes_from_elsewhere_and_nothing_is_styled_or_run_in_place() {
    let mut document = example();
    document.upstreams[0].runbook = None;
    let page = shown(&document).replace("xmlns='http://www.w3.org/2000/svg'", "");
    for bad in ["http://", "https://", "//cdn", " src=", " style=", " onclick=", "url(", "@import"] {
        assert!(!page.contains(bad), "{bad}");
    }
}

#[test]
fn of_many_upstreams_those_in_an_incident_come_first_and_the_page_stays_bounded() {
    let few = shown(&many(3, 2));
    let index = |page: &str, text: &str| page.find(text).expect("it is there");
    assert!(index(&few, "<bdi>app 2</bdi>") < index(&few, "<bdi>app 1</bdi>"));
    assert!(text_of(&few).contains("2 of 3 upstreams need attention: app 0: green serves instead of blue"));
    assert_eq!(few.matches("<details open").count(), 2);

    let fleet = shown(&many(200, 2));
    assert_eq!(fleet.matches("class=\"tile").count(), 200);
    assert_eq!(fleet.matches("class=\"card upstream").count(), CARDS);
    assert!(fleet.len() < 300 << 10, "{}", fleet.len());
    assert!(text_of(&shown(&many(200, 999))).contains("1 of 200 upstreams need attention"));
}

#[test]
fn one_of_many_can_be_looked_at_alone() {
    let document = many(200, 2);
    let chosen = page(&document, "upstream=app%20151");
    assert_eq!(chosen.matches("class=\"card upstream").count(), 1);
    assert!(chosen.contains("<bdi>app 151</bdi>") && text_of(&chosen).contains("all upstreams"));
    assert_eq!(page(&document, "upstream=app%20200"), shown(&document));
}

#[test]
fn a_full_history_of_one_upstream_stays_small() {
    let mut document = example();
    document.history = vec![document.history[0].clone(); 64];
    let page = shown(&document);
    assert!(page.len() < 60 << 10, "{}", page.len());
}

#[test]
fn whatever_a_document_leaves_out_there_is_a_page() {
    let example: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    let mut paths = Vec::new();
    collect(&example, String::new(), &mut paths);
    assert!(paths.len() > 200);
    let without = |path: &String| {
        let mut document = example.clone();
        *document.pointer_mut(path).expect("a path of its own") = Value::Null;
        // Only what may be left out makes a document.
        serde_json::from_value::<StateView>(document).ok()
    };
    let left_out: Vec<StateView> = paths.iter().filter_map(without).collect();
    assert!(left_out.len() > 20, "{}", left_out.len());
    assert!(left_out.iter().all(|document| shown(document).ends_with("</html>")));
    let empty = StateView::new(&Snapshot::empty(ModuleInfo::default()), false);
    assert!(text_of(&shown(&empty)).contains("No upstream is watched."));
}

/// Paths of all members, but of each list of numbers only the first.
fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                collect(member, format!("{path}/{name}"), paths);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate().take(if items.len() > 9 { 1 } else { 9 }) {
                collect(item, format!("{path}/{index}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

/// The example with so many workers of which these do not watch.
fn with_workers(expected: u64, not_watching: Vec<BlindView>) -> StateView {
    let watching = expected - not_watching.len() as u64;
    let mut document = example();
    document.module.workers = WorkersView { expected, watching, not_watching };
    document
}

#[test]
fn workers_that_do_not_watch_are_listed_by_reason() {
    let blind = |process, reason: &str| BlindView { process, reason: reason.to_owned() };
    let reasons = vec![blind(Some(7), "no thread"), blind(None, "it has not begun to"), blind(Some(8), "no thread")];
    let mut document = with_workers(4, reasons);
    let text = text_of(&shown(&document));
    for fact in ["2 of 4 workers do not watch: no thread.", "1 of 4 workers does not watch: it has not begun to."] {
        assert!(text.contains(fact), "no {fact:?} in {text}");
    }
    assert!(text.contains("Not all requests are watched. Needs attention: app"), "{text}");
    document.upstreams.clear();
    let page = shown(&document);
    assert!(page.contains("<title>⚠ Poolwatch</title>") && !page.contains("stands in none"), "{page}");
    assert!(!shown(&with_workers(4, vec![])).contains("id=\"faults\""));
}

#[test]
fn an_nginx_that_delivers_nothing_says_so_where_there_is_somebody_to_deliver_to() {
    let with = |delivers, reason: Option<&str>| {
        let mut document = example();
        document.module.delivery = DeliversView { delivers, reason: reason.map(str::to_owned) };
        document
    };
    let mut document = with(false, Some("another nginx does"));
    assert!(text_of(&shown(&document)).contains("Messages are not delivered from here: another nginx does."));
    document.receivers.clear();
    assert!(!shown(&document).contains("not delivered from here"));
    assert!(!shown(&with(true, None)).contains("not delivered from here"));
}

/// The names of classes that a style sheet has rules for.
fn classes(style: &str) -> Vec<&str> {
    let names = style.split('.').skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next());
    let mut names: Vec<&str> =
        names.flatten().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The classes of the page's elements.
fn classes_of(page: &str) -> Vec<&str> {
    let attributes = page.split(" class=\"").skip(1).filter_map(|rest| rest.split('"').next());
    attributes.flat_map(str::split_whitespace).collect()
}

#[test]
fn each_class_of_the_style_sheet_is_in_the_markup() {
    let states = [("pool", Some("blue")), ("down", None), ("mixed", None), ("unknown", None)];
    let states = states.map(|(state, pool)| shown(&in_state(state, pool, pool.is_some())));
    let pages = [shown(&example()), shown(&many(100, 10)), page(&many(200, 2), "upstream=app%20151")];
    let markup: Vec<&str> = pages.iter().chain(&states).flat_map(|page| classes_of(page)).collect();
    let is_in_markup = |name: &str| markup.contains(&name);
    // The script sets some, the API's words are some, and further pools have looks of their own.
    let words = include_str!("../view/names.rs");
    let is_word = |name: &str| words.contains(&format!("\"{name}\"")) || SCRIPT.contains(&format!("'{name}'"));
    let is_look =
        |name: &str| name.strip_prefix('p').is_some_and(|look| look.parse::<u8>().is_ok() || look == "several");
    let unused = |style| -> Vec<&str> {
        classes(style).into_iter().filter(|name| !is_in_markup(name) && !is_word(name) && !is_look(name)).collect()
    };
    assert_eq!(unused(STYLE), [""; 0]);
    assert_eq!(unused(".told { } .p3 { } .card .refused::before { }"), ["told"]);
}
