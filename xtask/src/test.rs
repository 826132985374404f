//! `cargo xtask test`: every stage, even after one that failed, and a last line that counts.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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
/// Those among the former that want a CPU each, because they look at the clock, by parts of their names. A name that fits nothing loses no test.
const PUNCTUAL: [&str; 5] = [
    "apply::a_policy_that_nobody_confirms_goes_back_by_itself",
    "apply::a_profile_for_a_time_ends_by_itself",
    "killed::",
    "run::devices::a_device_that_comes_back_is_limited_within_a_second",
    "run::devices::a_device_that_never_comes_back_is_reported",
];
/// Those among them that are as the latter.
const ALONE: [&str; 4] = [
    "watch::flood",
    "watch::the_largest_policy_costs_little",
    "parallel::five_hundred_commands_at_once",
    "exporter::scrapers_hold_up_nothing",
];
/// Those of the limits that take many seconds and little of the machine: hundreds of attempts a second, or a few clients who wait.
const PATIENT: [&str; 5] = [
    "fair::greedy_sources",
    "crowd::tickets_give",
    "seen::what_is_suggested",
    "storms::a_cookie_of_the_kernel",
    "waiting::",
];
/// How many run side by side: more than there are CPUs, because they wait.
const SIDE_BY_SIDE: &str = "--test-threads=4";
const TWO_AT_A_TIME: &str = "--test-threads=2";
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
    stages.run("format", cargo(&["fmt", "--all", "--check"]))?;
    // The largest first: what it needs of others is compiled beside the BPF objects, which keep one CPU busy.
    stages.run(
        "build the lab",
        cargo(&["test", "--release", "--package", "lab", "--package", "suites", "--package", "bench", "--no-run"]),
    )?;
    // This profile is in Cargo.toml: in it arithmetic that overflows is a failure.
    let host = [
        &[
            "test",
            "--profile",
            "bench",
            "--no-fail-fast",
            "--workspace",
            "--exclude",
            "lab",
            "--exclude",
            "suites",
            "--exclude",
            "bench",
        ][..],
        &BPF,
    ]
    .concat();
    stages.run("unprivileged tests", cargo(&host))?;
    let lints =
        [&["clippy", "--release", "--workspace", "--all-targets"][..], &BPF, &["--", "-D", "warnings"]].concat();
    stages.run("lints", cargo(&lints))?;
    // After the unprivileged tests, which put theirs in its place.
    stages.run("build the command", cargo(&["build", "--release", "--package", "limiter"]))?;
    let soak = ["run", "--release", "--quiet", "--package", "bench", "--bin", "soak", "--", "--minutes", SOAK_MINUTES];
    stages.run("soak", cargo(&soak))?;
    let [command, others @ ..] = &WAITING;
    let not_these = [&PUNCTUAL[..], &ALONE].concat();
    // What computes and what waits, at once: other kernels run on what the tests leave of the CPUs.
    // (Not by this program's own file: building the workspace may have put another in its place.)
    let kernels = stages.start(cargo(&["run", "--release", "--quiet", "--package", "xtask", "--", "kernels"]));
    let others = stages.start(without(&not_these, lab(others, TWO_AT_A_TIME)));
    stages.run("tests that wait, side by side", without(&not_these, lab(&[command], SIDE_BY_SIDE)))?;
    stages.finish("more that wait", others)?;
    stages.run("limits that take time, side by side", only(&PATIENT, lab(&["limits"], SIDE_BY_SIDE)))?;
    stages.finish("kernels", kernels)?;
    stages.run("tests that look at the clock, two at a time", only(&PUNCTUAL, lab(&WAITING, TWO_AT_A_TIME)))?;
    stages.run("tests that measure, one by one", only(&ALONE, lab(&WAITING, ONE_BY_ONE)))?;
    stages.run("tests that load, one by one", without(&PATIENT, lab(&LOADING, ONE_BY_ONE)))?;
    let Count { passed, failed, ignored } = stages.count;
    println!("{passed} passed, {failed} failed, {ignored} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo test` of targets of the lab.
fn lab(targets: &[&str], threads: &str) -> Command {
    let mut command = cargo(&["test", "--release", "--no-fail-fast", "--package", "suites"]);
    command.args(targets.iter().flat_map(|target| ["--test", target]));
    if targets == LOADING {
        command.args(["--package", "lab", "--package", "bench", "--lib", "--bins"]);
    }
    command.args(["--", threads]);
    command
}

/// Tests whose names have one of these parts.
fn only(names: &[&str], mut tests: Command) -> Command {
    tests.args(names);
    tests
}

/// Tests whose names have none of them.
fn without(names: &[&str], mut tests: Command) -> Command {
    tests.args(names.iter().flat_map(|name| ["--skip", *name]));
    tests
}

/// What was run so far.
struct Stages {
    /// The command that the tests run.
    limiter: PathBuf,
    count: Count,
}

/// A stage that runs while others do: what it said, what became of its tests, and how long it took.
type Beside = JoinHandle<Result<(Vec<String>, Count, Duration)>>;

impl Stages {
    fn run(&mut self, name: &str, mut command: Command) -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let result = watch(command.env("LIMITER_BIN", &self.limiter), |line| println!("{line}"))?;
        self.count(name, result, start.elapsed());
        Ok(())
    }

    /// Starts one whose output comes at its end.
    fn start(&self, mut command: Command) -> Beside {
        command.env("LIMITER_BIN", &self.limiter);
        thread::spawn(move || {
            let (start, mut said) = (Instant::now(), Vec::new());
            let result = watch(&mut command, |line| said.push(line.to_owned()))?;
            Ok((said, result, start.elapsed()))
        })
    }

    fn finish(&mut self, name: &str, stage: Beside) -> Result<()> {
        let (said, result, took) = stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        println!("== {name}, meanwhile");
        for line in said {
            println!("{line}");
        }
        self.count(name, result, took);
        Ok(())
    }

    fn count(&mut self, name: &str, result: Count, took: Duration) {
        let verdict = if result.failed == 0 { "ok" } else { "FAILED" };
        println!("== {name}: {verdict}, {} s", took.as_secs());
        self.count = self.count.plus(result);
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

/// Runs a command, hands its output on line by line, and counts its tests. One that fails without a failed test counts as one.
fn watch(command: &mut Command, mut tell: impl FnMut(&str)) -> Result<Count> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let mut count = Count::default();
    for line in BufReader::new(child.stdout.take().context("a piped output")?).lines() {
        let line = line?;
        tell(&line);
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

    /// A target of the lab that nobody runs would pass for one that passed.
    #[test]
    fn every_target_of_the_lab_is_run() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/suites");
        let entries = std::fs::read_dir(directory).expect("the lab's tests").flatten();
        let mut there: Vec<String> =
            entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
        there.retain(|name| name != "Cargo");
        there.sort();
        let mut run = [&WAITING[..], &LOADING].concat();
        run.sort_unstable();
        assert_eq!(there, run);
    }

    #[test]
    fn a_command_that_fails_without_tests_counts_as_one() {
        let count = watch(&mut Command::new("false"), |_| ()).expect("it runs");
        assert_eq!(count, Count { failed: 1, ..Count::default() });
    }
}
