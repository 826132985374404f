//! Running a program of the lab, and the paths that it needs.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::setup;

/// `cargo`, as the one that runs us, with the linker of BPF code on its path.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).env("PATH", setup::path_with_cargo_bin());
    command
}

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
    setup::ensure(if ["peers", "accuracy"].contains(&name) { &[setup::LAB, setup::PEERS] } else { &[setup::LAB] })?;
    // Becoming the program rather than waiting for it: Ctrl-C is its business alone, and it cleans up.
    let error = Command::new(build_bench()?).arg(name).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {name}"))
}

/// Builds the command and the program `bench`, which this is the path of.
pub fn build_bench() -> Result<PathBuf> {
    build(&["build", "--release", "--quiet", "--package", "limiter", "--package", "bench"])?;
    Ok(target_directory()?.join("release/bench"))
}

fn build(arguments: &[&str]) -> Result<()> {
    let status = cargo(arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// Where cargo puts what it builds.
pub fn target_directory() -> Result<PathBuf> {
    let output =
        cargo(&["metadata", "--format-version", "1", "--no-deps"]).output().context("cannot run cargo metadata")?;
    let text = String::from_utf8(output.stdout)?;
    let (_, rest) = text.split_once("\"target_directory\":\"").context("cargo metadata names no target directory")?;
    let (path, _) = rest.split_once('"').context("cargo metadata is cut off")?;
    Ok(path.into())
}
