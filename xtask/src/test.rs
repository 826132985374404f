//! `cargo xtask test`: every stage, even after one that failed, and a last line that counts.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::lab::{cargo, require_root, target_directory};
use crate::setup;

/// Packages that only build for BPF.
const BPF: [&str; 4] = ["--exclude", "limiter-ebpf", "--exclude", "lab-ebpf"];

/// Its smaller form; `cargo xtask soak` alone takes ten.
const SOAK_MINUTES: &str = "1";

/// Targets of the lab that start processes and wait for them, more than they load the machine: their tests run side by side.
const WAITING: [&str; 4] = ["command", "incident", "metrics", "package"];
/// The others, which fill the machine or measure it: one test after another.
const LOADING: [&str; 4] = ["kernels", "lab", "limits", "packets"];
/// Those among the former that are as the latter, by parts of their names. A name that fits nothing loses no test.
const ALONE: [&str; 9] = [
    "apply::a_policy_that_nobody_confirms_goes_back_by_itself",
    "killed::",
    "apply::a_profile_for_a_time_ends_by_itself",
    "watch::flood",
    "watch::the_largest_policy_costs_little",
    "run::devices::a_device_that_comes_back_is_limited_within_a_second",
    "run::devices::a_device_that_never_comes_back_is_reported",
    "parallel::five_hundred_commands_at_once",
    "exporter::scrapers_hold_up_nothing",
];
/// Those of the limits that take many seconds and little of the machine: hundreds of attempts a second, or a few clients who wait.
const PATIENT: [&str; 4] = ["fair::greedy_sources", "crowd::tickets_give", "seen::what_is_suggested", "waiting::"];
/// How many run side by side: more than there are CPUs, because they wait.
const SIDE_BY_SIDE: &str = "--test-threads=4";
const ONE_BY_ONE: &str = "--test-threads=1";

/// Tests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run.
    pub ignored: u64,
}

/// Runs all stages.
pub fn run() -> Result<ExitCode> {
    require_root("testing")?;
    setup::ensure()?;
    println!("toolchain: {}", setup::describe());
    let mut stages = Stages { limiter: target_directory()?.join("release/limiter"), count: Count::default() };
    stages.run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lints =
        [&["clippy", "--release", "--workspace", "--all-targets"][..], &BPF, &["--", "-D", "warnings"]].concat();
    stages.run("lints", &mut cargo(&lints))?;
    // This profile is in Cargo.toml: in it arithmetic that overflows is a failure.
    let host =
        [&["test", "--profile", "bench", "--no-fail-fast", "--workspace", "--exclude", "lab"][..], &BPF].concat();
    stages.run("unprivileged tests", &mut cargo(&host))?;
    stages.run("build the command", &mut cargo(&["build", "--release", "--package", "limiter"]))?;
    stages.run("build the lab", &mut cargo(&["test", "--release", "--package", "lab", "--no-run"]))?;
    let soak = ["run", "--release", "--quiet", "--package", "lab", "--bin", "soak", "--", "--minutes", SOAK_MINUTES];
    stages.run("soak", &mut cargo(&soak))?;
    let skip = |names: &[&'static str]| -> Vec<&str> { names.iter().flat_map(|name| ["--skip", *name]).collect() };
    stages.run("tests that wait, side by side", lab(&WAITING, SIDE_BY_SIDE).args(skip(&ALONE)))?;
    stages.run("limits that take time, side by side", lab(&["limits"], SIDE_BY_SIDE).args(PATIENT))?;
    stages.run("tests that measure, one by one", lab(&WAITING, ONE_BY_ONE).args(ALONE))?;
    stages.run("tests that load, one by one", lab(&LOADING, ONE_BY_ONE).args(skip(&PATIENT)))?;
    // Not this program's own file: building the workspace may have put another in its place.
    stages.run("kernels", &mut cargo(&["run", "--release", "--quiet", "--package", "xtask", "--", "kernels"]))?;
    let Count { passed, failed, ignored } = stages.count;
    println!("{passed} passed, {failed} failed, {ignored} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo test` of targets of the lab. What follows are names of tests.
fn lab(targets: &[&str], threads: &str) -> Command {
    let mut command = cargo(&["test", "--release", "--no-fail-fast", "--package", "lab"]);
    command.args(targets.iter().flat_map(|target| ["--test", target]));
    if targets == LOADING {
        command.args(["--lib", "--bins"]);
    }
    command.args(["--", threads]);
    command
}

/// What was run so far.
struct Stages {
    /// The command that the tests run.
    limiter: PathBuf,
    count: Count,
}

impl Stages {
    fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let result = watch(command.env("LIMITER_BIN", &self.limiter))?;
        let verdict = if result.failed == 0 { "ok" } else { "FAILED" };
        println!("== {name}: {verdict}, {} s", start.elapsed().as_secs());
        self.count = self.count.plus(result);
        Ok(())
    }
}

impl Count {
    /// The sum.
    pub fn plus(self, more: Self) -> Self {
        Self {
            passed: self.passed + more.passed,
            failed: self.failed + more.failed,
            ignored: self.ignored + more.ignored,
        }
    }
}

/// Runs a command, hands its output on, and counts its tests. One that fails without a failed test counts as one.
fn watch(command: &mut Command) -> Result<Count> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let mut count = Count::default();
    for line in BufReader::new(child.stdout.take().context("a piped output")?).lines() {
        let line = line?;
        println!("{line}");
        count = count.plus(parse(&line).unwrap_or_default());
    }
    if !child.wait()?.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
pub fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Count { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(parse(line), Some(Count { passed: 3, failed: 2, ignored: 1 }));
        assert_eq!(parse("test a::b ... ok"), None);
    }

    /// A target of the lab that nobody runs would pass for one that passed. Only `peers` is left out, as its manifest says.
    #[test]
    fn every_target_of_the_lab_is_run() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
        let entries = std::fs::read_dir(directory).expect("the lab's tests").flatten();
        let mut there: Vec<String> =
            entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
        there.sort();
        let mut run = [&WAITING[..], &LOADING, &["peers"]].concat();
        run.sort_unstable();
        assert_eq!(there, run);
    }

    #[test]
    fn a_command_that_fails_without_tests_counts_as_one() {
        let count = watch(&mut Command::new("false")).expect("it runs");
        assert_eq!(count, Count { failed: 1, ..Count::default() });
    }
}
