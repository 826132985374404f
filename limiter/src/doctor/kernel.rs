//! The kernel: its version, whether it takes the program, the JIT, what may forbid BPF, and the clock.

use std::time::Duration;

use anyhow::Result;

use super::{Findings, Tree};
use crate::kernel::probe::Missing;
use crate::report::numbers::seconds;

/// The oldest kernel with every BPF feature in use: `xdp.frags` came with it.
const OLDEST: (u32, u32) = (5, 18);
/// The oldest that limiter was ever tried on.
const TRIED: (u32, u32) = (6, 0);
/// Clocks that are read without leaving the CPU.
const FAST_CLOCKS: [&str; 6] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "riscv_clocksource",
    "timebase",
];

/// What loading the program on trial told.
#[derive(Debug)]
pub struct Probed {
    /// Helpers that the kernel does not have.
    pub missing: Result<Vec<Missing>>,
    /// How long the kernel took to check the program, and whether it made machine code of it.
    pub loaded: Result<(Duration, bool)>,
}

/// Everything about the kernel. `probed`: nothing if the caller may not load.
pub fn check(tree: &Tree, probed: Option<&Probed>, to: &mut Findings) {
    to.area("kernel");
    version(tree, to);
    match probed {
        Some(probed) => program(probed, to),
        None => to.unseen("whether the kernel takes the program"),
    }
    let compiled =
        probed.and_then(|probed| probed.loaded.as_ref().ok()).map(|(_, compiled)| *compiled);
    jit(tree, compiled, to);
    permissions(tree, to);
    btf(tree, to);
    clock(tree, to);
}

fn version(tree: &Tree, to: &mut Findings) {
    let release = tree.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse::<u32>());
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return to.unseen("the kernel's version");
    };
    let up = tree.text("proc/uptime").and_then(|text| text.split('.').next()?.parse().ok());
    let up = up.map_or_else(String::new, |up: u32| format!(", up {}", seconds(f64::from(up))));
    let cpus = tree
        .cpus("sys/devices/system/cpu/online")
        .map_or_else(String::new, |cpus| format!(", {cpus} CPUs online"));
    let what = format!("Linux {release}{cpus}{up}");
    if (major, minor) < OLDEST {
        to.problem(
            what,
            "limiter needs Linux 5.18 or newer: XDP on frames of several buffers came with it",
        );
    } else if (major, minor) < TRIED {
        to.warning(
            what,
            "limiter was never tested on a kernel before 6.0: try it in calm, in observe mode",
        );
    } else {
        to.ok(what);
    }
}

fn program(probed: &Probed, to: &mut Findings) {
    match &probed.missing {
        Ok(missing) => {
            for Missing { helper, since } in missing {
                to.problem(
                    format!("the kernel does not give {helper} to XDP programs"),
                    format!(
                        "it came with Linux {since}, and needs CONFIG_INET; use a newer kernel"
                    ),
                );
            }
        }
        Err(error) => {
            to.warning(format!("doctor could not look for helpers: {error:#}"), "see the next line")
        }
    }
    match &probed.loaded {
        Ok((took, _)) => to.ok(format!(
            "takes the program (checked in {:.1} s) and has its helpers",
            took.as_secs_f64()
        )),
        Err(error) => to.problem(
            format!("refuses the program: {error:#}"),
            "limiter cannot attach without it: put that right, or use another kernel",
        ),
    }
}

fn jit(tree: &Tree, compiled: Option<bool>, to: &mut Findings) {
    // The setting is shown in the first network namespace only.
    let setting = tree.number("proc/sys/net/core/bpf_jit_enable");
    match (compiled, setting) {
        (Some(false), _) | (None, Some(0)) => to.problem(
            "BPF is interpreted, at several times the cost of each packet",
            "switch the compiler on before attaching: `sysctl -w net.core.bpf_jit_enable=1`",
        ),
        (_, Some(2)) => to.warning(
            "the BPF compiler writes machine code to the kernel's log (bpf_jit_enable is 2)",
            "that is for debugging only: `sysctl -w net.core.bpf_jit_enable=1`",
        ),
        (Some(true), _) | (None, Some(_)) => to.ok("compiles BPF to machine code"),
        (None, None) => to.unseen("whether BPF is compiled"),
    }
}

fn permissions(tree: &Tree, to: &mut Findings) {
    let lockdown = tree.text("sys/kernel/security/lockdown");
    let lockdown = lockdown.as_deref().and_then(|text| text.split('[').nth(1)?.split(']').next());
    if let Some(level @ ("integrity" | "confidentiality")) = lockdown {
        to.ok(format!("is locked down ({level}), which forbids nothing that limiter does"));
    }
    if tree.number("proc/sys/kernel/unprivileged_bpf_disabled") == Some(0) {
        to.warning(
            "lets every user load BPF programs",
            "limiter does not need that, and it is a risk: `sysctl -w kernel.unprivileged_bpf_disabled=2`",
        );
    }
}

fn btf(tree: &Tree, to: &mut Findings) {
    let types = tree.names("sys/kernel/btf");
    if types.iter().any(|name| name == "vmlinux") {
        to.ok("describes its types (BTF)");
    } else {
        to.ok("does not describe its types (no BTF), which limiter can do without");
    }
}

fn clock(tree: &Tree, to: &mut Findings) {
    let Some(clock) = tree.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    else {
        return to.unseen("the clock source");
    };
    if FAST_CLOCKS.contains(&clock.as_str()) || clock.starts_with("arch_") {
        return to.ok(format!("reads its clock fast ({clock})"));
    }
    let others = tree
        .text("sys/devices/system/clocksource/clocksource0/available_clocksource")
        .unwrap_or_default();
    let better = others.split_whitespace().find(|other| FAST_CLOCKS.contains(other));
    let what = format!(
        "reads its clock from {clock}, which can cost more than all the rest of an attempt"
    );
    match better {
        Some(better) => to.warning(
            what,
            format!(
                "`echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource`, unless the kernel's log says \
                 that it is unstable"
            ),
        ),
        None => to.warning(what, "look into the kernel's log (`dmesg`) for why the CPU's own clock (tsc) is not used"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const CLOCK: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    const CLOCKS: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";
    const GOOD: [(&str, &str); 8] = [
        ("proc/sys/kernel/osrelease", "6.18.44-fc\n"),
        ("proc/uptime", "3600.12 7000.00\n"),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("proc/sys/net/core/bpf_jit_enable", "1\n"),
        ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
        ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
        ("sys/kernel/btf/vmlinux", ""),
        (CLOCK, "tsc\n"),
    ];

    fn loaded(compiled: bool) -> Probed {
        Probed { missing: Ok(Vec::new()), loaded: Ok((Duration::from_millis(500), compiled)) }
    }

    /// Findings on the good tree with some files changed.
    fn with(changed: &[(&str, &str)], probed: Option<&Probed>) -> Findings {
        let (tree, _directory) = Tree::of(&[&GOOD, changed].concat());
        let mut findings = Findings::default();
        check(&tree, probed, &mut findings);
        findings
    }

    #[test]
    fn a_good_kernel() {
        let findings = with(&[], Some(&loaded(true)));
        assert_eq!(findings.worst(), Level::Ok, "{findings:#?}");
        assert_eq!(findings.one("Linux").what, "Linux 6.18.44-fc, 2 CPUs online, up 1h");
        assert!(findings.unseen.is_empty());
    }

    #[test]
    fn versions() {
        let level = |release: &str| {
            with(&[("proc/sys/kernel/osrelease", release)], None).one("Linux").level
        };
        assert_eq!(level("5.10.0-30-amd64"), Level::Problem);
        assert_eq!(level("5.18.0"), Level::Warning);
        assert_eq!(level("6.1.0-28-cloud-amd64"), Level::Ok);
        assert_eq!(level("7.0-rc1"), Level::Ok);
    }

    #[test]
    fn a_kernel_that_refuses() {
        let missing = Missing { helper: "bpf_tcp_gen_syncookie", since: "5.4" };
        let probed =
            Probed { missing: Ok(vec![missing]), loaded: Err(anyhow::anyhow!("unknown func")) };
        let findings = with(&[], Some(&probed));
        assert_eq!(findings.one("bpf_tcp_gen_syncookie").level, Level::Problem);
        assert_eq!(findings.one("unknown func").level, Level::Problem);
    }

    #[test]
    fn an_interpreter() {
        assert_eq!(
            with(&[], Some(&loaded(false))).one("interpreted").level,
            Level::Problem,
            "the program itself tells"
        );
        let off = ("proc/sys/net/core/bpf_jit_enable", "0");
        assert_eq!(with(&[off], None).one("interpreted").level, Level::Problem);
        let debug = ("proc/sys/net/core/bpf_jit_enable", "2");
        assert_eq!(with(&[debug], Some(&loaded(true))).one("log").level, Level::Warning);
    }

    #[test]
    fn permissions_and_clocks() {
        let open = ("proc/sys/kernel/unprivileged_bpf_disabled", "0");
        assert_eq!(with(&[open], None).one("every user").level, Level::Warning);
        let findings = with(&[(CLOCK, "hpet"), (CLOCKS, "hpet tsc acpi_pm")], None);
        let slow = findings.one("hpet");
        assert!(
            slow.level == Level::Warning
                && slow.advice.as_ref().is_some_and(|advice| advice.contains("echo tsc"))
        );
        assert_eq!(with(&[(CLOCK, "acpi_pm")], None).one("acpi_pm").level, Level::Warning);
    }
}
