//! Tests of the pages: their links lead somewhere, in the repository and in the package; their words are those of the glossary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::dist::tree;
use crate::markdown::{self, Line};

/// Columns of prose. Tables and code are as wide as they must be.
const COLUMNS: usize = 100;
/// What a reader has patience for.
const README_LINES: usize = 150;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The path that a link of a page leads to: `a/../b` is `b`.
fn target(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().expect("a directory").to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

/// Links of `pages`, each as a path and as a text, that lead to no file of theirs or of `others`, or to no heading of it.
fn dead(pages: &BTreeMap<PathBuf, String>, is_there: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut dead = Vec::new();
    for (page, text) in pages {
        for link in markdown::links(text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let leads_to = if file.is_empty() { page.clone() } else { target(page, file) };
            let heading = || {
                pages
                    .get(&leads_to)
                    .is_some_and(|text| markdown::anchors(text).iter().any(|it| it == anchor))
            };
            if !is_there(&leads_to) || (!anchor.is_empty() && !heading()) {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    dead
}

#[test]
fn every_link_leads_somewhere() {
    let pages: BTreeMap<PathBuf, String> =
        markdown::pages(&root()).into_iter().map(|page| (page.clone(), read(&page))).collect();
    assert!(pages.len() > 30, "{} pages", pages.len());
    let dead = dead(&pages, Path::exists);
    assert!(dead.is_empty(), "these links lead nowhere: {dead:#?}");
}

/// The operator at three in the morning reads what is installed.
#[test]
fn every_link_of_the_package_leads_somewhere_in_it() {
    let files: BTreeMap<PathBuf, PathBuf> = tree::copied(&root())
        .expect("files")
        .into_iter()
        .map(|(from, to)| (Path::new("/").join(to), from))
        .collect();
    let pages: BTreeMap<PathBuf, String> = files
        .iter()
        .filter(|(to, _)| to.extension().is_some_and(|ending| ending == "md"))
        .map(|(to, from)| (to.clone(), read(from)))
        .collect();
    assert!(
        pages.contains_key(Path::new("/usr/share/doc/limiter/docs/runbooks/on-fire.md")),
        "{:?}",
        pages.keys()
    );
    let dead = dead(&pages, |path| files.contains_key(path));
    assert!(dead.is_empty(), "these links of the package lead nowhere: {dead:#?}");
}

#[test]
fn pages_use_the_words_of_the_glossary() {
    let glossary = root().join("docs/glossary.md");
    let words = markdown::ruled_out(&read(&glossary));
    assert!(words.len() > 50, "{words:?}");
    let mut wrong = Vec::new();
    for page in markdown::pages(&root()).iter().filter(|page| **page != glossary) {
        for (line, paragraph) in markdown::prose(&read(page)) {
            wrong.extend(
                markdown::found(&words, &paragraph)
                    .iter()
                    .map(|word| format!("{}:{line}: {word}", page.display())),
            );
        }
    }
    // What an operator edits and what wakes an operator up.
    for file in
        ["packaging/policy.toml", "packaging/limiter.rules.yml", "packaging/limiter.service"]
    {
        for (number, line) in (1..).zip(read(&root().join(file)).lines()) {
            wrong.extend(
                markdown::found(&words, line).iter().map(|word| format!("{file}:{number}: {word}")),
            );
        }
    }
    assert!(wrong.is_empty(), "docs/glossary.md has other words for these: {wrong:#?}");
}

#[test]
fn prose_is_not_wider_than_a_terminal() {
    let mut wide = Vec::new();
    for page in markdown::pages(&root()) {
        let text = read(&page);
        // What `cargo xtask bench --readme` writes has the width of its figures.
        let text = text.split("<!-- performance:").next().unwrap_or(&text);
        let lines = (1..).zip(markdown::lines(text));
        let too_wide =
            lines.filter(|(_, line)| matches!(line, Line::Prose(words) if is_wide(words)));
        wide.extend(too_wide.map(|(number, _)| format!("{}:{number}", page.display())));
    }
    assert!(wide.is_empty(), "more than {COLUMNS} columns of prose: {wide:#?}");
}

/// The map names files by the crate that its table is about; a file that was moved is missed here.
#[test]
fn every_file_of_the_architecture_is_there() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let quoted = text.split('`').skip(1).step_by(2);
    let files: Vec<&str> =
        quoted.filter(|words| words.ends_with(".rs") || words.ends_with('/')).collect();
    assert!(files.len() > 50, "{files:?}");
    let crates = ["", "limiter-common/src", "limiter-ebpf/src", "limiter/src"];
    let is_there = |file: &&str| match file.strip_prefix("policy/") {
        Some(below) => root().join("limiter/policy/src").join(below).exists(),
        None => crates.iter().any(|place| root().join(place).join(file).exists()),
    };
    let gone: Vec<_> = files.into_iter().filter(|file| !is_there(file)).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names files that are not there: {gone:?}");
}

/// A single word cannot be broken.
fn is_wide(words: &str) -> bool {
    words.chars().count() > COLUMNS && words.trim().contains(' ')
}

#[test]
fn readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(
        lines <= README_LINES,
        "README.md has {lines} lines, {README_LINES} are what a reader has patience for"
    );
}

/// README's figures are copies. Each has to stand in the same row of docs/performance.md.
#[test]
fn figures_of_readme_are_those_of_the_performance_page() {
    let (readme, measured) =
        (read(&root().join("README.md")), read(&root().join("docs/performance.md")));
    let mut compared = 0;
    for row in readme.lines().filter(|line| line.starts_with("| ") && line.contains('%')) {
        let cells: Vec<&str> =
            row.split(['|', ' ']).filter(|cell| !cell.is_empty() && *cell != "ns").collect();
        let there = measured.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let there = there
            .into_iter()
            .find(|line| line.first() == cells.first())
            .expect("a row of that name");
        // Of one source, 256, 65,536 and random ones; then how many times, and pages under one and under many.
        let pages =
            there.iter().position(|cell| cell.ends_with('%')).expect("a share of the pages");
        assert_eq!(cells[1..], [there[1], there[4], there[pages], there[pages + 1]], "{row}");
        compared += 1;
    }
    assert_eq!(compared, 3, "rows of the table");
}

#[test]
fn prose_is_told_from_code_tables_and_comments() {
    let text = "# A b\n\nOne `two` three\n  four\n\n    code\n\n| cell |\n<!-- a\n\nb -->\n```\nfenced\n```\n- [x](a.md#b) y\n";
    let expected =
        [(1, "# A b"), (3, "One ` three four"), (8, "| cell |"), (15, "- [x](a.md#b) y")];
    assert_eq!(markdown::prose(text), expected.map(|(line, words)| (line, words.to_owned())));
    assert_eq!(markdown::links(text), ["a.md#b"]);
    assert_eq!(
        markdown::anchors("# The `auto`: what, when?\ntext\n## b-c\n"),
        ["the-auto-what-when", "b-c"]
    );
}

#[test]
fn words_are_found_whole() {
    let glossary = "| word | meaning | not |\n| --- | --- | --- |\n| a | b, c | Red Fox, dog |\n| cow, ox | cattle |\n";
    let words = markdown::ruled_out(glossary);
    assert_eq!(words, ["red fox", "dog", "cow", "ox"]);
    assert_eq!(
        markdown::found(&words, "A red fox; the dogs, an Ox. Foxes, ox-like"),
        ["red fox", "ox"]
    );
    assert_eq!(markdown::found(&words, "it is is so"), ["is"]);
}

#[test]
fn a_dead_link_is_found() {
    let page = |text: &str| BTreeMap::from([(PathBuf::from("/a/b.md"), text.to_owned())]);
    let is_there = |path: &Path| path == Path::new("/a/b.md") || path == Path::new("/c.svg");
    assert!(
        dead(&page("# Head\n\n[x](../c.svg) [y](b.md#head) [z](#head) [w](https://x.y)"), is_there)
            .is_empty()
    );
    assert_eq!(
        dead(&page("[x](c.svg) [y](b.md#tail)"), is_there),
        ["/a/b.md: c.svg", "/a/b.md: b.md#tail"]
    );
}
