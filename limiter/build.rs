//! Builds the kernel side, twice: the shipped object, and one that logs for `limiter trace`.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    // aya-build only says `-Z build-std=core` to a stable compiler that is told to take it.
    // SAFETY: a build script has one thread here.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    let out = env::var("OUT_DIR").context("cargo did not set OUT_DIR")?;
    // SAFETY: as above. Without it every crate that is compiled shows up as a warning.
    unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
    // The cargo that is started here would wait for the turns of the one above, which this script and the lab's hold.
    // SAFETY: as above.
    unsafe { env::remove_var("CARGO_MAKEFLAGS") };
    // What BPF code is made of, `core` and macros, is built once for the lab's too and for every profile: in cargo's target directory.
    let target =
        Path::new(&out).ancestors().nth(4).context("OUT_DIR is not in a target directory")?;
    // SAFETY: as above.
    unsafe { env::set_var("CARGO_BUILD_BUILD_DIR", target.join("bpf")) };
    println!("cargo:rerun-if-changed=../limiter-common/src");
    build(&["trace"])?;
    fs::rename(Path::new(&out).join("limiter"), Path::new(&out).join("limiter-trace"))?;
    build(&[])
}

fn build(features: &[&str]) -> Result<()> {
    let package = Package {
        name: "limiter-ebpf",
        root_dir: "../limiter-ebpf",
        features,
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom("limiter-bpf"))
        .context("building the BPF object failed; `cargo xtask setup` installs the compiler and linker it needs")
}
