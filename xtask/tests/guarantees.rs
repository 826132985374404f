//! docs/guarantees.md names a test for each promise; the tests that it names are there.

use std::fs;
use std::path::Path;

/// `path/to/file.rs::name` in backquotes.
fn tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|words| words.split_once("::")).filter(|(file, _)| file.ends_with(".rs")).collect()
}

/// Whether `source` holds a test of that name: a function, with the attribute at most a few lines above.
fn holds(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().collect();
    let declared = format!("fn {name}(");
    let found = |(at, line): (usize, &&str)| {
        line.trim_start().starts_with(&declared)
            && lines[at.saturating_sub(4)..at].iter().any(|line| line.trim() == "#[test]")
    };
    lines.iter().enumerate().any(found)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

#[test]
fn every_test_that_is_named_exists() {
    let text = fs::read_to_string(root().join("docs/guarantees.md")).expect("docs/guarantees.md");
    let named = tests(&text);
    assert!(named.len() > 50, "{} tests are named", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|(file, name)| !fs::read_to_string(root().join(file)).is_ok_and(|source| holds(&source, name)))
        .collect();
    assert!(missing.is_empty(), "these tests are not in the tree: {missing:#?}");
}

#[test]
fn every_promise_has_a_test() {
    let text = fs::read_to_string(root().join("docs/guarantees.md")).expect("docs/guarantees.md");
    let paragraphs: Vec<&str> = text.split("\n- ").skip(1).collect();
    assert!(paragraphs.len() > 20);
    for promise in paragraphs {
        let promise = promise.split("\n\n").next().unwrap_or(promise);
        assert!(!tests(promise).is_empty(), "no test beside: {promise}");
    }
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let source = "#[test]\nfn one() {\n}\nfn two() {}\n// fn three(\n";
    assert!(holds(source, "one") && !holds(source, "on") && !holds(source, "three"));
    assert_eq!(tests("`a/b.rs::c` and `Maps::open` `d.rs::e`"), [("a/b.rs", "c"), ("d.rs", "e")]);
}
