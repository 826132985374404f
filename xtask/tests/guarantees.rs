//! docs/guarantees.md and docs/threat-model.md name a test for each promise; the tests that they name are there.

use std::fs;
use std::path::Path;

/// `path/to/file.rs::name` in backquotes.
fn tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|words| words.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs"))
        .collect()
}

/// Whether `source` holds a test of that name: a function, with the attribute at most a few lines above.
fn holds(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().collect();
    let declared = format!("fn {name}(");
    let is_mark = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
    let found = |(at, line): (usize, &&str)| {
        line.trim_start().trim_start_matches("async ").starts_with(&declared)
            && lines[at.saturating_sub(4)..at].iter().any(|line| is_mark(line.trim()))
    };
    lines.iter().enumerate().any(found)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

/// The pages, how many tests each names at least, and how many promises it makes at least.
const PAGES: [(&str, usize, usize); 2] =
    [("docs/guarantees.md", 50, 20), ("docs/threat-model.md", 25, 15)];
/// What follows this heading of a page promises nothing.
const NO_PROMISES: &str = "\n## What does not hold";

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_test_that_is_named_exists() {
    for (name, least, _) in PAGES {
        let text = page(name);
        let named = tests(&text);
        assert!(named.len() > least, "{name} names {} tests", named.len());
        let missing: Vec<_> = named
            .iter()
            .filter(|(file, name)| {
                !fs::read_to_string(root().join(file)).is_ok_and(|source| holds(&source, name))
            })
            .collect();
        assert!(missing.is_empty(), "tests named in {name} that are not in the tree: {missing:#?}");
    }
}

#[test]
fn every_promise_has_a_test() {
    for (name, _, least) in PAGES {
        let text = page(name);
        let promises = text.split(NO_PROMISES).next().unwrap_or(&text);
        let paragraphs: Vec<&str> = promises.split("\n- ").skip(1).collect();
        assert!(paragraphs.len() > least, "{name} makes {} promises", paragraphs.len());
        for promise in paragraphs {
            let promise = promise.split("\n\n").next().unwrap_or(promise);
            assert!(!tests(promise).is_empty(), "{name}: no test beside: {promise}");
        }
    }
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let source = "#[test]\nfn one() {\n}\nfn two() {}\n// fn three(\n";
    assert!(holds(source, "one") && !holds(source, "on") && !holds(source, "three"));
    assert_eq!(tests("`a/b.rs::c` and `Maps::open` `d.rs::e`"), [("a/b.rs", "c"), ("d.rs", "e")]);
}
