//! Running a subcommand of the program `bench`, as root.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{cargo, target_directory};
use crate::setup;

/// Fails unless we are root.
pub fn require_root(what: &str) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "{what} makes network namespaces and loads BPF programs: run it as root"
    );
    Ok(())
}

/// Builds the command and the program `bench`, and becomes its subcommand `name`.
pub fn run(name: &str, arguments: &[String]) -> Result<ExitCode> {
    require_root(name)?;
    setup::ensure(if ["peers", "accuracy", "room", "open"].contains(&name) {
        &[setup::LAB, setup::PEERS]
    } else {
        &[setup::LAB]
    })?;
    // Becoming the program rather than waiting for it: Ctrl-C is its business alone, and it cleans up.
    let error = Command::new(build_bench()?).arg(name).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {name}"))
}

/// Builds the command and the program `bench`, which this is the path of.
pub fn build_bench() -> Result<PathBuf> {
    build(&["build", "--release", "--package", "limiter", "--package", "bench"])?;
    Ok(target_directory()?.join("release/bench"))
}

fn build(arguments: &[&str]) -> Result<()> {
    let status = cargo(arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}
