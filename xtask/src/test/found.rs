//! Every test that stands in the sources is run: one that no target, profile or group knows would pass for one that passed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::nextest;

/// Tests by the names of their functions, and where these stand.
type Standing = BTreeMap<String, Vec<PathBuf>>;

/// Fails unless every test of the workspace is run, by `cargo xtask test` or as one that measures.
///
/// # Errors
/// Those that are not, and where they stand.
pub fn check() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let mut standing = Standing::new();
    gather(root, &mut standing)?;
    let mut run = Vec::new();
    for part in nextest::ALL {
        run.extend(part.list()?.into_iter().map(|(_, name)| name));
    }
    let lost = lost(&standing, &run);
    ensure!(
        lost.is_empty(),
        "these stand in the sources, and nothing runs them (no `mod`, no target, `#[ignore]`, or no profile):\n  {}",
        lost.join("\n  ")
    );
    println!(
        "{} tests stand in the sources, and each is run",
        standing.values().map(Vec::len).sum::<usize>()
    );
    Ok(())
}

/// Those that stand more often than they are run. A name may stand in several files, and a file be part of several programs.
fn lost(standing: &Standing, run: &[String]) -> Vec<String> {
    let times =
        |name: &str| run.iter().filter(|path| path.rsplit("::").next() == Some(name)).count();
    let missing = standing.iter().filter(|(name, files)| times(name) < files.len());
    missing
        .map(|(name, files)| {
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            format!("{name} in {}, of which {} are run", files.join(" and "), times(name))
        })
        .collect()
}

fn gather(directory: &Path, standing: &mut Standing) -> Result<()> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            gather(&path, standing)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            for name in tests(&text) {
                standing.entry(name).or_default().push(path.clone());
            }
        }
    }
    Ok(())
}

/// Names of the functions behind `#[test]`.
fn tests(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            names.extend(rest.split(['(', '<']).next().map(|name| name.trim().to_owned()));
            is_test = false;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_by_their_attribute() {
        let source = "#[test]\n#[should_panic]\nfn one() {\n}\nfn no_test() {}\n    #[test]\n    fn two(a in 0..3_u8) {}";
        assert_eq!(tests(source), ["one", "two"]);
    }

    /// A module that is forgotten, a target that is not run: the test in it is missed, also where another has its name.
    #[test]
    fn a_test_that_is_run_by_nothing_is_missed() {
        let file = |name: &str| PathBuf::from(name);
        let standing = Standing::from([
            ("one".to_owned(), vec![file("a.rs")]),
            ("two".to_owned(), vec![file("a.rs"), file("b.rs")]),
        ]);
        let run = ["a::one", "a::two", "b::two"].map(str::to_owned);
        assert_eq!(lost(&standing, &run), [""; 0]);
        assert_eq!(lost(&standing, &run[..2]).len(), 1, "one of two");
        assert_eq!(lost(&standing, &run[1..])[0], "one in a.rs, of which 0 are run");
        // A file that is part of two programs.
        assert_eq!(
            lost(&standing, &["a::one", "x::one", "a::two", "b::two"].map(str::to_owned)),
            [""; 0]
        );
    }
}
