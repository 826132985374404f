//! `cargo xtask test`: every stage, even after one that failed, and a last line that counts.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::lab::{cargo, require_root, target_directory};
use crate::setup;

/// Packages that only build for BPF.
const BPF: [&str; 4] = ["--exclude", "limiter-ebpf", "--exclude", "lab-ebpf"];

/// Its smaller form; `cargo xtask soak` alone takes ten.
const SOAK_MINUTES: &str = "1";

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
    let limiter = target_directory()?.join("release/limiter");
    let mut count = Count::default();
    let mut stage = |name: &str, command: &mut Command| -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let result = watch(command.env("LIMITER_BIN", &limiter))?;
        let verdict = if result.failed == 0 { "ok" } else { "FAILED" };
        println!("== {name}: {verdict}, {} s", start.elapsed().as_secs());
        count = count.plus(result);
        Ok(())
    };
    stage("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let lints =
        [&["clippy", "--release", "--workspace", "--all-targets"][..], &BPF, &["--", "-D", "warnings"]].concat();
    stage("lints", &mut cargo(&lints))?;
    // Not optimised: there arithmetic that overflows is a failure.
    let host = [&["test", "--no-fail-fast", "--workspace", "--exclude", "lab"][..], &BPF].concat();
    stage("unprivileged tests", &mut cargo(&host))?;
    stage("build the command", &mut cargo(&["build", "--release", "--package", "limiter"]))?;
    let soak = ["run", "--release", "--quiet", "--package", "lab", "--bin", "soak", "--", "--minutes", SOAK_MINUTES];
    stage("soak", &mut cargo(&soak))?;
    stage(
        "privileged tests",
        &mut cargo(&["test", "--release", "--no-fail-fast", "--package", "lab", "--", "--test-threads=1"]),
    )?;
    stage("kernels", Command::new(std::env::current_exe().context("cannot find this program")?).arg("kernels"))?;
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.ignored);
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

    #[test]
    fn a_command_that_fails_without_tests_counts_as_one() {
        let count = watch(&mut Command::new("false")).expect("it runs");
        assert_eq!(count, Count { failed: 1, ..Count::default() });
    }
}
