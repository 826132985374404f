//! `cargo xtask kernels`: limiter on other kernels than this machine's.
//!
//! Debian's kernels are booted in QEMU with the lab's own tests: programs, other XDP programs beside limiter, tables, limits, floods over veth
//! and over virtio NICs. What each verifier walked, this machine's too, is held against a budget.

mod budget;
mod guest;
mod initramfs;
mod package;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{cargo, target_directory};
use crate::lab::require_root;
use crate::setup;
use crate::test::count::{self, Count, parse};
use budget::{Budget, Verified};
use initramfs::Tests;
use package::Kernel;

/// The series of kernels that are booted: those of Debian 12 and 13.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// What one kernel did.
struct Ran {
    kernel: String,
    emulated: bool,
    /// Everything it said, or why it was not heard.
    output: Result<Vec<String>>,
    seconds: u64,
}

/// Runs the tests on every kernel. `write_budget`: writes what the verifiers walked down as the new budget.
pub fn run(write_budget: bool) -> Result<ExitCode> {
    require_root("testing kernels")?;
    setup::ensure(setup::EVERYTHING)?;
    let target = target_directory()?;
    let directory = target.join("kernels");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let tests = build_tests(&directory)?;
    // What is counted here besides the tests, whose results everybody counts who reads them.
    let mut own = Count::default();
    let mut machines = Vec::new();
    for series in SERIES {
        match package::newest(series, &directory)? {
            Some(kernel) => machines.push(kernel),
            None => {
                println!(
                    "skipped: Linux {series}: apt knows no cloud kernel of it; Debian 12 has 6.1 and 6.12"
                );
            }
        }
    }
    let (mut verified, mut count) = (Vec::new(), Count::default());
    for ran in run_all(&tests, &machines, &directory) {
        let heard = report(&ran, &mut verified)?;
        own = own.plus(heard.own);
        count = count.plus(heard.tests);
    }
    let budget = Budget::read()?;
    let (table, over) = budget.table(&verified);
    print!("{table}");
    if write_budget {
        ensure!(own.failed + count.failed == 0, "the budget is not written: tests failed");
        println!("wrote {}", budget.write(&verified)?.display());
    } else {
        own.passed += verified.len() as u64 - over;
        own.failed += over;
    }
    let Count { passed, failed, .. } = own;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; machines and budgets"
    );
    let count = count.plus(own);
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the command and the tests, and says where cargo put them.
fn build_tests(directory: &Path) -> Result<Tests> {
    let status = cargo(&["build", "--release", "--package", "limiter"]).status();
    ensure!(status.context("cannot run cargo")?.success(), "the command does not build");
    // Other stages of `cargo xtask test` put theirs in its place.
    let limiter = directory.join("limiter");
    fs::copy(target_directory()?.join("release/limiter"), &limiter)
        .context("cannot copy the command")?;
    let mut command = cargo(&[
        "test",
        "--release",
        "--package",
        "suites",
        "--no-run",
        "--message-format",
        "json",
    ]);
    let targets = ["kernels", "packets", "limits"];
    let output = command
        .args(targets.iter().flat_map(|target| ["--test", target]))
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the lab's tests do not build");
    let text = String::from_utf8(output.stdout).context("cargo's messages")?;
    let messages: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let find = |target: &str| -> Result<PathBuf> {
        // There are also messages about a target, such as warnings.
        let mut of_target = messages.iter().filter(|message| message["target"]["name"] == target);
        let path = of_target.find_map(|message| message["executable"].as_str());
        Ok(path.with_context(|| format!("cargo built no test {target}"))?.into())
    };
    let [kernels, packets, limits] = targets.map(find);
    Ok(Tests { limiter, kernels: kernels?, packets: packets?, limits: limits? })
}

/// This machine's kernel, then all others at once: an emulated machine keeps little more than one core busy.
fn run_all(tests: &Tests, machines: &[Kernel], directory: &Path) -> Vec<Ran> {
    let mut all = vec![run_here(tests)];
    thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|kernel| scope.spawn(|| run_emulated(tests, kernel, directory)))
            .collect();
        let done = running.into_iter().map(|thread| thread.join());
        all.extend(done.map(|ran| ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
    });
    all
}

fn run_here(tests: &Tests) -> Ran {
    let (start, test) = (Instant::now(), &tests.kernels);
    let mut command = Command::new(test);
    command.args(["--test-threads=1", "--show-output"]).env("LIMITER_BIN", &tests.limiter);
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {}", test.display())).map(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        text.lines().map(str::to_owned).collect()
    });
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ran { kernel, emulated: false, output, seconds: start.elapsed().as_secs() }
}

fn run_emulated(tests: &Tests, kernel: &Kernel, directory: &Path) -> Ran {
    let start = Instant::now();
    let output = initramfs::make(tests, kernel, directory)
        .and_then(|initramfs| guest::run(&kernel.image, &initramfs));
    Ran {
        kernel: kernel.release.clone(),
        emulated: true,
        output,
        seconds: start.elapsed().as_secs(),
    }
}

/// What was heard of one kernel.
#[derive(Default)]
struct Heard {
    /// Its tests.
    tests: Count,
    /// Whether it came to its end.
    own: Count,
}

/// What a machine's `tainted NUMBER` says, if that is not good: whether its kernel warned or died, after all that ran on it.
fn complaint(line: &str) -> Option<String> {
    const DIED: u64 = 1 << 7;
    const WARNED: u64 = 1 << 9;
    let tainted: u64 = line.strip_prefix("tainted ")?.parse().ok()?;
    (tainted & (DIED | WARNED) != 0)
        .then(|| format!("the kernel warned or died: tainted is {tainted}; its log is above"))
}

/// Hands on what a kernel said, and counts.
fn report(ran: &Ran, verified: &mut Vec<Verified>) -> Result<Heard> {
    let Ran { kernel, emulated, output, seconds } = ran;
    println!(
        "-- Linux {kernel}{}, {seconds} s",
        if *emulated { " in QEMU" } else { ", this machine's" }
    );
    let mut heard = Heard::default();
    let lines = match output {
        Ok(lines) => lines,
        Err(error) => {
            println!("FAILED: {error:#}");
            heard.own.failed = 1;
            return Ok(heard);
        }
    };
    heard.own.passed = 1;
    let before = verified.len();
    for line in lines {
        match count::skipped(line) {
            Some(what) => println!("skipped: Linux {kernel} in QEMU: {what}"),
            None => println!("{line}"),
        }
        if let Some(complaint) = complaint(line) {
            println!("FAILED: {complaint}");
            heard.own.failed = 1;
            heard.own.passed = 0;
        }
        heard.tests = heard.tests.plus(parse(line).unwrap_or_default());
        verified.extend(Verified::parse(line, kernel, *emulated));
    }
    let is_silent = verified.len() == before && heard.tests.failed == 0;
    ensure!(
        !is_silent,
        "Linux {kernel} does not say what its verifier walked: the tests print other lines than are read"
    );
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_warned_is_told() {
        assert!(complaint("tainted 512").is_some() && complaint("tainted 128").is_some());
        // Modules that are not signed, and no others.
        assert!(complaint("tainted 12288").is_none() && complaint("tainted 0").is_none());
    }
}
