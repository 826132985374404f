//! What must be there: the BPF toolchain (a compiler that can build `core` for BPF, and a linker for its LLVM), and the
//! tools that the lab, the tests and the comparisons run.
//!
//! Finds them; on Debian as root installs what is missing, one line of explanation each; elsewhere says what to install.

mod needs;
mod progress;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo;
use needs::Need;
pub use needs::{EVERYTHING, LAB, PEERS, TESTS};

/// The rustup toolchain that builds BPF code.
pub const TOOLCHAIN: &str = "limiter-bpf";

/// Makes sure that all of these are there.
///
/// # Errors
/// When something is missing and cannot be installed from here: what to install.
pub fn ensure(needs: &[&[Need]]) -> Result<()> {
    let missing: Vec<&Need> =
        needs.iter().flat_map(|needs| needs.iter()).filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let debian = fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .any(|line| line == "ID=debian");
    if !debian || !rustix::process::geteuid().is_root() {
        bail!("{}", advice(&missing));
    }
    ensure!(
        finds("rustup"),
        "rustup is missing: install it (https://rustup.rs), then run this again"
    );
    progress::run("apt-get update", Command::new("apt-get").args(["update", "-q"]))?;
    for (number, need) in (1..).zip(&missing) {
        // An earlier one may have brought it.
        if !(need.is_there)() {
            eprintln!("installing {} ({number} of {}): {}", need.what, missing.len(), need.why);
            (need.install)().with_context(|| format!("cannot install {}", need.what))?;
            ensure!((need.is_there)(), "{} was installed and still is not found", need.what);
        }
    }
    Ok(())
}

/// Says what was found, on one line.
pub fn describe() -> String {
    let rustc = rustup_run("rustc", &["--version"]).unwrap_or_default();
    format!("{} as {TOOLCHAIN}, bpf-linker {}", rustc.trim(), linker_version().unwrap_or_default())
}

fn advice(missing: &[&Need]) -> String {
    let list: String =
        missing.iter().map(|need| format!("  {}: {}\n", need.what, need.why)).collect();
    format!(
        "missing:\n{list}\
         On Debian 12 or newer run this as root, and it installs them. Elsewhere:\n  \
         rustup toolchain install nightly --component rust-src\n  \
         rustup toolchain link {TOOLCHAIN} \"$(rustc +nightly --print sysroot)\"\n  \
         cargo install bpf-linker --locked   (its LLVM must not be older than nightly's)\n  \
         cargo install cargo-nextest --locked --version ={}\n  \
         and the others by the names that your distribution has for them",
        needs::NEXTEST
    )
}

fn finds(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let path = cargo::path_with_cargo_bin();
    let mut paths = env::split_paths(&path).chain(sbin).map(|directory| directory.join(program));
    paths.find(|path| path.is_file())
}

fn has_toolchain() -> bool {
    let Some(root) = rustup_run("rustc", &["--print", "sysroot"]) else { return false };
    Path::new(root.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
}

fn has_llvm() -> bool {
    Path::new("/usr/lib/llvm-22/lib").is_dir() && Path::new("/usr/bin/rustc").is_file()
}

fn rustup_run(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("rustup");
    let output = command
        .args(["run", TOOLCHAIN, program])
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version of a bpf-linker that runs. Where it comes from is its owner's choice.
fn linker_version() -> Option<String> {
    let output = Command::new("bpf-linker")
        .arg("--version")
        .env("PATH", cargo::path_with_cargo_bin())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.split_whitespace().nth(1).unwrap_or("?").to_owned())
}
