//! The BPF toolchain: a compiler that can build `core` for BPF, and a linker for its LLVM.
//!
//! Finds them; on Debian as root installs what is missing, one line of explanation each; elsewhere says what to install.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

/// The rustup toolchain that builds BPF code.
pub const TOOLCHAIN: &str = "limiter-bpf";
const LINKER: &str = "0.13.0";

/// Something that must be there, and how Debian gets it.
struct Need {
    what: &'static str,
    why: &'static str,
    is_there: fn() -> bool,
    install: fn() -> Result<()>,
}

const NEEDS: [Need; 6] = [
    Need {
        what: "a C compiler",
        why: "build scripts and the linker's build use it",
        is_there: || finds("cc"),
        install: || apt(&["gcc", "g++", "libc6-dev"]),
    },
    Need {
        what: "rustc-web, cargo-web, rust-web-src, llvm-22-dev",
        why: "Debian's current Rust with the source of its core, which BPF code is built from, and its LLVM",
        is_there: || has_toolchain() || Path::new("/usr/lib/rustlib/src/rust/library/core").is_dir() && has_llvm(),
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
        what: "iproute2, nftables, bpftool, nginx-light, wrk, curl, ethtool, procps, tmux",
        why: "the privileged tests run real tools, servers and clients (Debian may start nginx on port 80; they do not need that one)",
        is_there: || ["ip", "nft", "bpftool", "nginx", "wrk", "curl", "ethtool", "tmux"].iter().all(|tool| finds(tool)),
        install: || {
            apt(&["iproute2", "nftables", "bpftool", "nginx-light", "wrk", "curl", "ethtool", "procps", "tmux"])
        },
    },
    Need {
        what: "prometheus",
        why: "the tests let a real one scrape limiter, on a port of theirs; its service is masked before, so that it does not start here",
        is_there: || finds("prometheus") && finds("promtool"),
        install: install_prometheus,
    },
];

/// What only emulated machines need.
const MACHINES: Need = Need {
    what: "qemu-system-x86, busybox-static, cpio, xz-utils, binutils",
    why: "`cargo xtask kernels` boots other kernels with the tests",
    is_there: || ["qemu-system-x86_64", "busybox", "cpio", "xz", "strip"].iter().all(|tool| finds(tool)),
    install: || apt(&["qemu-system-x86", "busybox-static", "cpio", "xz-utils", "binutils"]),
};

/// What only a comparison with others needs: the others.
const PEERS: Need = Need {
    what: "iptables, xdp-tools",
    why: "what limiter is compared with",
    is_there: || ["iptables-legacy", "ip6tables-legacy", "xdp-filter"].iter().all(|tool| finds(tool)),
    install: || apt(&["iptables", "xdp-tools"]),
};

/// Makes sure that everything is there but what only emulated machines and comparisons need.
///
/// # Errors
/// When something is missing and cannot be installed from here: what to install.
pub fn ensure() -> Result<()> {
    ensure_all(NEEDS.iter())
}

/// Makes sure that everything is there.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_with_machines() -> Result<()> {
    ensure_all(NEEDS.iter().chain([&MACHINES]))
}

/// Makes sure that what limiter is compared with is there.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_peers() -> Result<()> {
    ensure_all([&PEERS].into_iter())
}

fn ensure_all<'a>(needs: impl Iterator<Item = &'a Need>) -> Result<()> {
    let missing: Vec<&Need> = needs.filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let debian = fs::read_to_string("/etc/os-release").unwrap_or_default().lines().any(|line| line == "ID=debian");
    if !debian || !rustix::process::geteuid().is_root() {
        bail!("{}", advice(&missing));
    }
    ensure!(finds("rustup"), "rustup is missing: install it (https://rustup.rs), then run this again");
    apt_update()?;
    for need in missing {
        // An earlier one may have brought it.
        if !(need.is_there)() {
            eprintln!("installing {}: {}", need.what, need.why);
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
    let list: String = missing.iter().map(|need| format!("  {}: {}\n", need.what, need.why)).collect();
    format!(
        "missing:\n{list}\
         On Debian 12 or newer run this as root, and it installs them. Elsewhere:\n  \
         rustup toolchain install nightly --component rust-src\n  \
         rustup toolchain link {TOOLCHAIN} \"$(rustc +nightly --print sysroot)\"\n  \
         cargo install bpf-linker --locked   (its LLVM must not be older than nightly's)\n  \
         and your distribution's ip, nft, bpftool, nginx, wrk, curl, ethtool, prometheus, promtool, qemu-system-x86_64, busybox, cpio, xz"
    )
}

/// PATH with cargo's own directory of programs, where bpf-linker is.
pub fn path_with_cargo_bin() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let with = env::split_paths(&path).chain(cargo_bin()).collect::<Vec<_>>();
    env::join_paths(with).unwrap_or(path)
}

fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    Some(home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?.join("bin"))
}

fn finds(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let path = path_with_cargo_bin();
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
    let output = command.args(["run", TOOLCHAIN, program]).args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The version of a bpf-linker that runs. Where it comes from is its owner's choice.
fn linker_version() -> Option<String> {
    let output = Command::new("bpf-linker").arg("--version").env("PATH", path_with_cargo_bin()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.split_whitespace().nth(1).unwrap_or("?").to_owned())
}

fn install_linker() -> Result<()> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "install",
        "bpf-linker",
        "--version",
        LINKER,
        "--locked",
        "--no-default-features",
        "--features",
        "llvm-22",
    ]);
    // Without it the build looks for LLVM in /usr.
    command.env("LLVM_PREFIX", "/usr/lib/llvm-22");
    if !has_llvm() {
        apt(&["llvm-22-dev"])?;
    }
    run(&mut command)
}

/// Debian's package would start the service, and at every boot again: a masked one starts never. `systemctl unmask prometheus` frees it.
fn install_prometheus() -> Result<()> {
    let mask = Path::new("/etc/systemd/system/prometheus.service");
    if !mask.exists() && !mask.is_symlink() {
        fs::create_dir_all("/etc/systemd/system").context("cannot make /etc/systemd/system")?;
        std::os::unix::fs::symlink("/dev/null", mask).with_context(|| format!("cannot make {}", mask.display()))?;
    }
    apt(&["prometheus"])
}

fn apt_update() -> Result<()> {
    run(Command::new("apt-get").args(["update", "-qq"]))
}

fn apt(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command)
}

/// Runs a command with its output on standard error: standard output is for JSON.
fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}
