//! Builds the lab's BPF programs (package `lab-ebpf`) into OUT_DIR, one object per binary.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// The rustup toolchain that can build `core` for BPF; `cargo xtask setup` makes it.
const TOOLCHAIN: &str = "limiter-bpf";
const ADVICE: &str = "run `cargo xtask setup`";

fn main() -> Result<()> {
    present("rustup", &["run", TOOLCHAIN, "rustc", "--version"])
        .with_context(|| format!("the toolchain `{TOOLCHAIN}` is missing: {ADVICE}"))?;
    present("bpf-linker", &["--version"])
        .with_context(|| format!("bpf-linker is not on PATH: {ADVICE}"))?;

    let root = env::var("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let ebpf = Path::new(&root).join("../ebpf");
    let ebpf = ebpf.to_str().context("the path of the project is not UTF-8")?;
    // The object also holds code of these packages, whose changes cargo cannot see from here.
    for library in ["limiter-common", "limiter-ebpf"] {
        println!("cargo:rerun-if-changed={root}/../../{library}/src");
    }

    // SAFETY: a build script's main has no other thread that could read the environment meanwhile.
    // A stable compiler refuses `-Z build-std=core` without it.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    // SAFETY: as above. Without it every crate that is compiled shows up as a warning.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    // SAFETY: as above. See limiter's own build.
    unsafe { env::remove_var("CARGO_MAKEFLAGS") };
    let out = env::var("OUT_DIR").context("cargo did not set OUT_DIR")?;
    let target =
        Path::new(&out).ancestors().nth(4).context("OUT_DIR is not in a target directory")?;
    // SAFETY: as above. Shared with limiter's own build, which says why.
    unsafe { env::set_var("CARGO_BUILD_BUILD_DIR", target.join("bpf")) };
    aya_build::build_ebpf(
        [aya_build::Package { name: "lab-ebpf", root_dir: ebpf, ..Default::default() }],
        aya_build::Toolchain::Custom(TOOLCHAIN),
    )
    .with_context(|| {
        format!("the lab's BPF programs did not build; if a tool is missing, {ADVICE}")
    })
}

fn present(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
