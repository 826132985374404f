//! No modules of a crate import each other in a circle: whoever reads one need not have read all.
//!
//! At each level of the tree of modules the siblings are looked at, with all that is below them.
//! What a module takes from the modules that hold it is no circle: they declare it, and what they own
//! is for those within. Test code is left out, as it may use everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its names from the root of its crate, which has none.
type Module = Vec<String>;

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut found = BTreeSet::new();
    for name in packages(root) {
        let circles = circles(&modules(&root.join(&name).join("src")));
        found.extend(circles.into_iter().map(|circle| (name.clone(), circle)));
    }
    assert!(found.is_empty(), "these modules import each other in a circle: {found:#?}");
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let crates = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, text)| (module(name), (*text).to_owned()));
        circles(&files.collect())
    };
    let ring =
        [("a.rs", "use crate::{b::Thing, d};"), ("b.rs", "use super::c::{self, X};"), ("d.rs", "")];
    let closed = |text| crates(&[&ring[..], &[("c/mod.rs", ""), ("c/inner.rs", text)]].concat());
    let expected = BTreeSet::from([names(&["a", "b", "c"])]);
    for text in [
        "use crate::a::Y;",
        "use super::super::a;",
        "fn f() -> u32 { crate::a::y() }",
        "use std::fmt;\nuse crate::{\n    d,\n    a::{Y, Z as W},\n};",
    ] {
        assert_eq!(closed(text), expected, "{text}");
    }
    for text in
        ["use crate::d;", "// use crate::a;", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n"]
    {
        assert_eq!(closed(text), BTreeSet::new(), "{text}");
    }
    let siblings = crates(&[("a/x.rs", "use super::y::Y;"), ("a/y.rs", "use super::x;")]);
    assert_eq!(siblings, BTreeSet::from([names(&["a::x", "a::y"])]));
}

/// The directories of the workspace's packages; without that of tests alone, which has no modules else.
fn packages(root: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let (_, rest) = manifest.split_once("members = [").expect("members");
    let members = rest.split_once(']').expect("their end").0.split(',');
    let names = members.map(|name| name.trim().trim_matches('"').to_owned());
    let packages: Vec<_> =
        names.filter(|name| root.join(name).join("src").is_dir() && !name.is_empty()).collect();
    assert!(packages.iter().any(|name| name == "limiter-ebpf"), "{packages:?}");
    packages
}

fn names(modules: &[&str]) -> BTreeSet<String> {
    modules.iter().map(|name| (*name).to_owned()).collect()
}

/// The module that a file holds, by its path below the crate's sources.
fn module(path: &str) -> Module {
    let mut names: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// All modules of a crate with their text, without those of tests.
fn modules(sources: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut tests: Vec<Module> = Vec::new();
    for path in files(sources) {
        let below = path.strip_prefix(sources).expect("below it").to_str().expect("a name");
        let (module, text) = (module(below), fs::read_to_string(&path).expect("a file"));
        for (_, rest) in
            text.match_indices("#[cfg(test)]\n").map(|(at, found)| text.split_at(at + found.len()))
        {
            let line = rest.lines().next().unwrap_or_default().trim();
            if let Some((_, name)) = line.strip_suffix(';').and_then(|line| line.split_once("mod "))
            {
                tests.push([&module[..], &[name.to_owned()]].concat());
            }
        }
        modules.insert(module, text);
    }
    modules.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    modules
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The circles among siblings anywhere in the tree.
fn circles(modules: &BTreeMap<Module, String>) -> BTreeSet<BTreeSet<String>> {
    // Which sibling imports which, each by its whole name.
    let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, text) in modules {
        for path in paths(text) {
            let target = target(module, &path, modules);
            let shared = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if module.len() > shared && target.len() > shared {
                imports
                    .entry(module[..=shared].to_vec())
                    .or_default()
                    .insert(target[..=shared].to_vec());
            }
        }
    }
    let reaches: BTreeMap<_, _> =
        imports.keys().map(|module| (module, reached(module, &imports))).collect();
    let circle = |(module, reached): (&&Module, &BTreeSet<Module>)| -> Option<BTreeSet<String>> {
        let back = |other: &&Module| reaches.get(other).is_some_and(|from| from.contains(*module));
        let all: BTreeSet<_> =
            reached.iter().filter(back).map(|module| module.join("::")).collect();
        (!all.is_empty()).then_some(all)
    };
    reaches.iter().filter_map(circle).collect()
}

/// All that a module imports, and what these import.
fn reached(module: &Module, imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut left = vec![module];
    while let Some(next) = left.pop() {
        left.extend(
            imports
                .get(next)
                .into_iter()
                .flatten()
                .filter(|target| reached.insert((*target).clone())),
        );
    }
    reached
}

/// The deepest module on a path that begins with `crate`, `self` or `super`.
fn target(from: &Module, path: &str, modules: &BTreeMap<Module, String>) -> Module {
    let mut at = from.clone();
    for name in path.split("::").map(str::trim) {
        match name {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            name => {
                at.push(name.to_owned());
                if !modules.keys().any(|module| module.starts_with(&at)) {
                    at.pop();
                    break;
                }
            }
        }
    }
    at
}

/// All paths in a text that begin with `crate` or `super`, each from end to end.
fn paths(text: &str) -> Vec<String> {
    let text = match text.match_indices("#[cfg(test)]\nmod ").find(|(at, found)| {
        text[at + found.len()..].lines().next().is_some_and(|line| line.ends_with('{'))
    }) {
        Some((at, _)) => &text[..at],
        None => text,
    };
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            // Not `super::` within `super::super::`, nor the end of another word.
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if !before.is_alphanumeric() && !matches!(before, '_' | ':' | '$') {
                expand("", &code[at..], &mut paths);
            }
        }
    }
    paths
}

/// The paths of a tree of imports, `a::{b, c::d}`, each with `before` in front; what follows the tree.
fn expand<'a>(before: &str, tree: &'a str, to: &mut Vec<String>) -> &'a str {
    let end =
        tree.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(tree.len());
    let path = format!("{before}{}", &tree[..end]);
    let Some(mut rest) = tree[end..].strip_prefix('{') else {
        to.push(path);
        return &tree[end..];
    };
    loop {
        rest = expand(&path, rest.trim_start(), to);
        // ` as X` ends with the part.
        let Some(next) = rest.find([',', '}']) else { return rest };
        let closed = rest[next..].starts_with('}');
        rest = &rest[next + 1..];
        if closed {
            return rest;
        }
    }
}
