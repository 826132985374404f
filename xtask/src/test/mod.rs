//! `cargo xtask test`: every stage, even after one that failed, and a last line that counts.

pub mod count;
mod found;
mod nextest;
mod stage;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::cargo::{cargo, target_directory};
use crate::lab::require_root;
use crate::setup;
use nextest::{HOST, MEASURED, SUITE};
use stage::Report;

/// Packages that only build for BPF.
const BPF: [&str; 4] = ["--exclude", "limiter-ebpf", "--exclude", "lab-ebpf"];

/// Its smaller form; `cargo xtask soak` alone takes ten.
const SOAK_MINUTES: &str = "1";

/// This program, also when building the workspace has put another in its place.
const MYSELF: &str = "/proc/self/exe";

/// The target of the suites that is run in one process. A process for each of its tests would
/// verify the program fifty times; this way it does so once for each thread, as on other kernels
/// (`tests/suites/packets/reuse.rs`).
const PACKETS: &str = "packets";

/// Tests at once for each CPU: most of them wait.
const TESTS_PER_CPU: usize = 4;

/// Which tests.
#[derive(clap::Args)]
pub struct Test {
    /// Without other kernels in QEMU and without the soak.
    #[arg(long)]
    quick: bool,
    /// Only the tests whose verdict is about speed, one by one. They are no part of the others; let the machine rest meanwhile.
    #[arg(long, conflicts_with = "quick")]
    measured: bool,
}

impl Test {
    /// Runs all stages.
    ///
    /// # Errors
    /// When tools are missing that cannot be installed, or cargo cannot be run. Tests that fail are no error but a failure.
    pub fn run(&self) -> Result<ExitCode> {
        require_root("testing")?;
        setup::ensure(if self.quick || self.measured {
            &[setup::LAB, setup::TESTS]
        } else {
            setup::EVERYTHING
        })?;
        println!("toolchain: {}", setup::describe());
        let (start, mut report) = (Instant::now(), Report::default());
        if self.measured {
            measured(&mut report)?;
        } else {
            self.all(&mut report)?;
        }
        report.print(start.elapsed());
        Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn all(&self, report: &mut Report) -> Result<()> {
        report.check("format", &mut cargo(&["fmt", "--all", "--check"]))?;
        // The largest first: what it needs of others is compiled beside the BPF objects, which keep one CPU busy.
        report.need("build the suites", &mut SUITE.build())?;
        // What computes and what waits, at once.
        let kernels = (!self.quick).then(|| {
            let mut command = Command::new(MYSELF);
            command.arg("kernels");
            report.start("kernels", command)
        });
        report.tests("unprivileged tests", &HOST, |_| {})?;
        let lints = [
            &["clippy", "--release", "--workspace", "--all-targets"][..],
            &BPF,
            &["--", "-D", "warnings"],
        ]
        .concat();
        report.check("lints", &mut cargo(&lints))?;
        let found = Instant::now();
        println!("== every test is found");
        let lost = found::check().inspect_err(|error| println!("{error:#}"));
        report.checked("every test is found", lost.is_ok(), found.elapsed());
        build_command(report)?;
        let packets = report.start(PACKETS, packets());
        report.tests("suites", &SUITE, |command| {
            furnish(command);
            command.args(["--filterset", "not binary(packets)"]);
        })?;
        report.finish(packets)?;
        if self.quick {
            report.skip("other kernels in QEMU", "--quick");
            report.skip("soak", "--quick");
            return Ok(());
        }
        let soak = [
            "run",
            "--release",
            "--quiet",
            "--package",
            "bench",
            "--",
            "soak",
            "--minutes",
            SOAK_MINUTES,
        ];
        report.check("soak", &mut cargo(&soak))?;
        kernels.map_or(Ok(()), |kernels| report.finish(kernels))
    }
}

/// Runs the tests of frames.
fn packets() -> Command {
    let mut command = cargo(&["test", "--release", "--package", "suites", "--test", PACKETS]);
    command.args(["--", "--test-threads", "4"]);
    command
}

/// Tests whose verdict is about speed.
fn measured(report: &mut Report) -> Result<()> {
    build_command(report)?;
    report.tests("measured", &MEASURED, |command| {
        furnish(command);
        command.args(["--test-threads", "1"]);
    })
}

/// Builds the command and the packages: after the unprivileged tests, which put their command in its place.
fn build_command(report: &mut Report) -> Result<()> {
    report
        .need("build the command", &mut cargo(&["build", "--release", "--package", "limiter"]))?;
    let packages = packages()?;
    if packages.exists() {
        fs::remove_dir_all(&packages)
            .with_context(|| format!("cannot remove {}", packages.display()))?;
    }
    let mut dist = Command::new(MYSELF);
    dist.args(["dist", "--out"]).arg(&packages).env("SOURCE_DATE_EPOCH", "1000000000");
    report.need("make the packages", &mut dist)
}

/// Where the packages are that the tests install.
fn packages() -> Result<PathBuf> {
    Ok(target_directory()?.join("dist-test"))
}

/// What tests of the suites are told.
fn furnish(command: &mut Command) {
    if let (Ok(target), Ok(packages)) = (target_directory(), packages()) {
        command.env("LIMITER_BIN", target.join("release/limiter")).env("LIMITER_DIST", packages);
    }
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    command.args(["--test-threads", &(cpus * TESTS_PER_CPU).to_string()]);
}
