//! cargo-nextest: a process for each test, in the groups of `.config/nextest.toml`, and what became of each.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::count::Count;
use crate::cargo::{cargo, target_directory};

/// Tests that are run together: a profile of `.config/nextest.toml`, and what cargo builds for it.
pub struct Run {
    /// The profile, which says what is run of what is built, and in which groups.
    pub profile: &'static str,
    build: &'static [&'static str],
}

/// What needs no privilege. In the profile `bench` arithmetic that overflows is a failure.
pub const HOST: Run = Run {
    profile: "host",
    build: &[
        "--cargo-profile",
        "bench",
        "--workspace",
        "--exclude",
        "lab",
        "--exclude",
        "suites",
        "--exclude",
        "bench",
        "--exclude",
        "limiter-ebpf",
        "--exclude",
        "lab-ebpf",
    ],
};
/// Real packets and real commands in namespaces of their own.
pub const SUITE: Run = Run {
    profile: "suite",
    build: &["--release", "--package", "lab", "--package", "suites", "--package", "bench"],
};
/// Those whose verdict is about speed, one by one.
pub const MEASURED: Run = Run {
    profile: "measured",
    build: &["--release", "--package", "suites", "--package", "bench", "--test", "*"],
};
/// All that there are.
pub const ALL: [Run; 3] = [HOST, SUITE, MEASURED];

/// One test that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// Its program and its name.
    pub name: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether it passed.
    pub passed: bool,
}

impl Run {
    /// Builds and runs them. The results are in [`Run::results`].
    pub fn command(&self) -> Result<Command> {
        // Of an earlier run they would be taken for those of this one, if it does not come to its end.
        let old = self.results_file()?;
        if old.exists() {
            std::fs::remove_file(&old)
                .with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(self.nextest("run"))
    }

    /// Builds them.
    pub fn build(&self) -> Command {
        let mut command = self.nextest("run");
        command.arg("--no-run");
        command
    }

    fn nextest(&self, what: &str) -> Command {
        let mut command = cargo(&["nextest", what, "--profile", self.profile]);
        command.args(self.build);
        command
    }

    fn results_file(&self) -> Result<PathBuf> {
        Ok(target_directory()?.join("nextest").join(self.profile).join("junit.xml"))
    }

    /// What became of each test; none where it did not come so far as to say.
    pub fn results(&self) -> Result<Vec<Ran>> {
        let file = self.results_file()?;
        if !file.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        results(&text).with_context(|| file.display().to_string())
    }

    /// Names of the tests that would be run: the program, and the path of the function in it.
    pub fn list(&self) -> Result<Vec<(String, String)>> {
        let mut command = self.nextest("list");
        let output = command
            .args(["--message-format", "json"])
            .output()
            .context("cannot run cargo nextest")?;
        ensure!(
            output.status.success(),
            "cargo nextest list failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        list(&serde_json::from_slice(&output.stdout).context("the list of tests")?)
    }
}

/// The sum of results.
pub fn count(results: &[Ran]) -> Count {
    results.iter().fold(Count::default(), |sum, ran| sum.plus(Count::one(ran.passed)))
}

/// The results in a file of JUnit's form.
fn results(text: &str) -> Result<Vec<Ran>> {
    let document = roxmltree::Document::parse(text)?;
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let result = |case: roxmltree::Node<'_, '_>| {
        let attribute =
            |name| case.attribute(name).with_context(|| format!("a test without {name}"));
        let seconds = attribute("time")?.parse().context("a time")?;
        let is_bad = |node: roxmltree::Node<'_, '_>| {
            node.has_tag_name("failure") || node.has_tag_name("error")
        };
        let name = format!("{} {}", attribute("classname")?, attribute("name")?);
        Ok(Ran { name, seconds, passed: !case.children().any(is_bad) })
    };
    cases.map(result).collect()
}

/// The names in nextest's list that its filter lets through.
fn list(value: &Value) -> Result<Vec<(String, String)>> {
    let programs = value["rust-suites"].as_object().context("no programs in the list")?;
    let mut names = Vec::new();
    for (program, suite) in programs {
        for (name, test) in suite["testcases"].as_object().into_iter().flatten() {
            if test["filter-match"]["status"] == "matches" {
                names.push((program.clone(), name.clone()));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read() {
        let text = r#"<testsuites><testsuite name="lab::limits" tests="2" failures="1">
            <testcase name="exact::one" classname="lab::limits" time="1.500"></testcase>
            <testcase name="fair::two" classname="lab::limits" time="0.25"><failure type="test failure">no</failure>
            <system-out>words</system-out></testcase></testsuite></testsuites>"#;
        let ran = results(text).expect("results");
        let first = Ran { name: "lab::limits exact::one".to_owned(), seconds: 1.5, passed: true };
        assert_eq!(ran[0], first);
        assert_eq!(count(&ran), Count { passed: 1, failed: 1, skipped: 0 });
        assert!(results("<testsuites><testcase/></testsuites>").is_err());
    }

    /// What the profile leaves out, and what is ignored, is not run.
    #[test]
    fn only_what_is_run_is_listed() {
        let case = |status: &str| serde_json::json!({"filter-match": {"status": status}});
        let suites = serde_json::json!({"lab::lab": {"testcases": {"a": case("matches"), "b": case("mismatch")}}});
        let names = list(&serde_json::json!({"rust-suites": suites})).expect("a list");
        assert_eq!(names, [("lab::lab".to_owned(), "a".to_owned())]);
    }
}
