//! Each thing that must be there: how it is found, what it is for, and how Debian gets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{TOOLCHAIN, finds, has_llvm, has_toolchain, linker_version, progress};
use crate::cargo::cargo;

const LINKER: &str = "0.13.0";
/// What runs the tests.
pub const NEXTEST: &str = "0.9.143";

/// Something that must be there, and how Debian gets it.
pub struct Need {
    /// Its name, or its packages.
    pub what: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// Whether it is there.
    pub is_there: fn() -> bool,
    /// Installs it, on Debian as root.
    pub install: fn() -> Result<()>,
}

/// What builds limiter, and what the demo, the soak and the bench run.
pub const LAB: &[Need] = &[
    Need {
        what: "gcc, g++, libc6-dev",
        why: "build scripts and the linker's build use a C compiler",
        is_there: || finds("cc"),
        install: || apt(&["gcc", "g++", "libc6-dev"]),
    },
    Need {
        what: "rustc-web, cargo-web, rust-web-src, llvm-22-dev",
        why: "Debian's current Rust with the source of its core, which BPF code is built from, and its LLVM",
        is_there: || {
            has_toolchain()
                || Path::new("/usr/lib/rustlib/src/rust/library/core").is_dir() && has_llvm()
        },
        install: || apt(&["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"]),
    },
    Need {
        what: "rustup toolchain limiter-bpf",
        why: "the name under which cargo finds that compiler",
        is_there: has_toolchain,
        install: || run(Command::new("rustup").args(["toolchain", "link", TOOLCHAIN, "/usr"])),
    },
    Need {
        what: "bpf-linker",
        why: "links BPF objects; its build takes a minute or two",
        is_there: || linker_version().is_some(),
        install: install_linker,
    },
    Need {
        what: "iproute2",
        why: "namespaces and devices of the lab",
        is_there: || finds("ip"),
        install: || apt(&["iproute2"]),
    },
];

/// What only the tests need.
pub const TESTS: &[Need] = &[
    Need {
        what: "cargo-nextest",
        why: "runs the tests; its build takes some minutes",
        is_there: || finds("cargo-nextest"),
        install: install_nextest,
    },
    Need {
        what: "nftables, bpftool, ethtool, nginx-light, wrk, curl, tmux, util-linux, procps",
        why: "tests run real tools, servers and clients (Debian may start nginx on port 80; they do not need that one)",
        is_there: || {
            all(&[
                "nft", "bpftool", "ethtool", "nginx", "wrk", "curl", "tmux", "setpriv", "unshare",
            ])
        },
        install: || {
            apt(&[
                "nftables",
                "bpftool",
                "ethtool",
                "nginx-light",
                "wrk",
                "curl",
                "tmux",
                "util-linux",
                "procps",
            ])
        },
    },
    Need {
        what: "mandoc, man-db, zsh, fish, systemd, chromium",
        why: "what reads limiter's pages, completions, unit and reports, and is to find nothing wrong in them",
        is_there: || all(&["mandoc", "man", "zsh", "fish", "systemd-analyze", "chromium"]),
        install: || apt(&["mandoc", "man-db", "zsh", "fish", "systemd", "chromium"]),
    },
    Need {
        what: "prometheus",
        why: "a real one scrapes limiter, on a port of the tests; its service is masked before, so that it does not start",
        is_there: || all(&["prometheus", "promtool"]),
        install: || install_masked("prometheus", "prometheus"),
    },
    Need {
        what: "etcd-server, openssl",
        why: "a real one keeps the fleets of the tests, in namespaces of theirs; its service is masked before, as that one",
        is_there: || all(&["etcd", "openssl"]),
        install: || apt(&["openssl"]).and_then(|()| install_masked("etcd", "etcd-server")),
    },
    Need {
        what: "fail2ban",
        why: "a real one bans with limiter, with a configuration of the tests; its service is masked before, as that one",
        is_there: || all(&["fail2ban-server", "fail2ban-client"]),
        install: || install_masked("fail2ban", "fail2ban"),
    },
];

/// What only emulated machines need.
pub const MACHINES: &[Need] = &[
    Need {
        what: "qemu-system-x86, busybox-static, cpio, xz-utils, binutils",
        why: "other kernels are booted with the tests",
        is_there: || all(&["qemu-system-x86_64", "busybox", "cpio", "xz", "strip"]),
        install: || apt(&["qemu-system-x86", "busybox-static", "cpio", "xz-utils", "binutils"]),
    },
    Need {
        what: "xdp-tools",
        why: "on those kernels limiter runs beside xdp-filter, in one dispatcher",
        is_there: || all(&["xdp-loader", "xdp-filter"]),
        install: || apt(&["xdp-tools"]),
    },
];

/// What only a comparison with others needs: the others.
pub const PEERS: &[Need] = &[Need {
    what: "nftables, iptables, xdp-tools, nginx-light",
    why: "what limiter is compared with (Debian may start nginx on port 80; the bench does not need that one)",
    is_there: || all(&["nft", "iptables-legacy", "ip6tables-legacy", "xdp-filter", "nginx"]),
    install: || apt(&["nftables", "iptables", "xdp-tools", "nginx-light"]),
}];

/// All of it but the others.
pub const EVERYTHING: &[&[Need]] = &[LAB, TESTS, MACHINES];

fn all(tools: &[&str]) -> bool {
    tools.iter().all(|tool| finds(tool))
}

fn install_linker() -> Result<()> {
    if !has_llvm() {
        apt(&["llvm-22-dev"])?;
    }
    let mut command = cargo(&["install", "bpf-linker", "--version", LINKER, "--locked"]);
    // Without the path the build looks for LLVM in /usr.
    command
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", "/usr/lib/llvm-22");
    run(&mut command)
}

fn install_nextest() -> Result<()> {
    run(&mut cargo(&["install", "cargo-nextest", "--locked", "--version", &format!("={NEXTEST}")]))
}

/// Debian's package would start the service, and at every boot again: a masked one starts never.
/// `systemctl unmask NAME` frees it.
fn install_masked(service: &str, package: &str) -> Result<()> {
    let mask = PathBuf::from(format!("/etc/systemd/system/{service}.service"));
    if !mask.exists() && !mask.is_symlink() {
        fs::create_dir_all("/etc/systemd/system").context("cannot make /etc/systemd/system")?;
        std::os::unix::fs::symlink("/dev/null", &mask)
            .with_context(|| format!("cannot make {}", mask.display()))?;
    }
    apt(&[package])
}

fn apt(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["install", "-y", "-q", "--no-install-recommends", "-o", progress::APT])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    progress::run("apt-get install", &mut command)
}

/// Runs a command that shows itself how far it is, with its output on standard error: standard output is for JSON.
fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.stdin(std::process::Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}
