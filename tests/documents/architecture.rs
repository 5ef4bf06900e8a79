//! ARCHITECTURE.md speaks of the code as it is: each step of a journey is a function that exists, and each word's type exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::markdown::{read, root};

/// The part of a page below a heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap_or_default()
}

/// The steps of a journey: a file and a function in each point of the list.
fn steps(journey: &str) -> Vec<(&str, &str)> {
    journey.lines().filter(|line| line.trim_start().starts_with("* `")).filter_map(file_and_function).collect()
}

fn file_and_function(line: &str) -> Option<(&str, &str)> {
    let mut code = line.split('`').skip(1).step_by(2);
    Some((code.next()?, code.next()?))
}

/// What is wrong with a journey's steps.
fn mistakes(steps: &[(&str, &str)], source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut named = BTreeSet::new();
    let wrong = |&(file, function): &(&str, &str)| {
        if !named.insert((file.to_owned(), function.to_owned())) {
            return Some(format!("{file} {function} is named twice"));
        }
        let Some(text) = source(file) else { return Some(format!("{file}: no such file")) };
        let is_defined =
            [format!("fn {function}("), format!("fn {function}<")].iter().any(|start| text.contains(start));
        (!is_defined).then(|| format!("{file} has no function {function}"))
    };
    steps.iter().filter_map(wrong).collect()
}

#[test]
fn each_step_of_a_journey_is_a_function_that_is_named_once() {
    let page = read(Path::new("ARCHITECTURE.md"));
    for journey in ["Life of an observation", "Life of a message", "Life of a directive"] {
        let steps = steps(section(&page, journey));
        assert!(steps.len() > 8, "{journey}: too few steps: {steps:?}");
        let mistakes = mistakes(&steps, |file| fs::read_to_string(root().join(file)).ok());
        assert_eq!(mistakes, [""; 0], "{journey}");
    }
}

#[test]
fn a_step_that_does_not_exist_or_comes_again_is_found() {
    let journey = "* `a.rs` `go`: goes.\n  * `a.rs` `gone`: has gone.\n* `a.rs` `go`: again.\n* `b.rs` `go`: elsewhere.\n* no step\n";
    let steps = steps(journey);
    assert_eq!(steps, [("a.rs", "go"), ("a.rs", "gone"), ("a.rs", "go"), ("b.rs", "go")]);
    let source = |file: &str| (file == "a.rs").then(|| "pub fn go<T>() {}".to_owned());
    let expected = ["a.rs has no function gone", "a.rs go is named twice", "b.rs: no such file"];
    assert_eq!(mistakes(&steps, source), expected);
}

/// Types that the code defines.
fn types() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    crate::cited::each_source("src", &mut |_, text| {
        let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        let defined = words.windows(2).filter(|pair| ["struct", "enum", "type", "trait"].contains(&pair[0]));
        found.extend(defined.map(|pair| pair[1].to_owned()));
    });
    found
}

#[test]
fn each_word_of_the_glossary_that_names_a_type_names_one_that_exists() {
    let page = read(Path::new("ARCHITECTURE.md"));
    let types = types();
    let rows = section(&page, "Words").lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let named: Vec<&str> = last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 15, "too few types: {named:?}");
    let unknown: Vec<&&str> = named.iter().filter(|name| !types.contains(**name)).collect();
    assert_eq!(unknown, [&""; 0], "types in the glossary of ARCHITECTURE.md");
}
