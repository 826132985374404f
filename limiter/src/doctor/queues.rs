//! How an interface spreads its packets: receive queues, the CPUs of their interrupts, rings that overflow.

use std::collections::BTreeSet;

use super::subject::Subject;
use super::{Findings, Tree};
use crate::report::numbers::count;
use crate::tree::cpu_list;

/// So many queues are enough for any number of CPUs: eight of them take 60 million attempts a second.
const ENOUGH: u32 = 8;

/// Drivers that need a channel of their own for what XDP sends beside each that receives
/// (`ena_xdp_set` and `gve_set_xdp`).
const HALVED: [&str; 2] = ["ena", "gve"];

/// Queues, interrupts and rings of the interface; `cpus` are online.
pub fn check(tree: &Tree, subject: &Subject, cpus: u32, to: &mut Findings) {
    to.area(format!("interface {}", subject.device.name));
    if subject.device.loopback {
        return;
    }
    queues(subject, cpus, to);
    if let Some(interrupts) = interrupts(tree, subject) {
        spread(&subject.device.name, &interrupts, cpus, to);
    }
    rings(subject, to);
}

fn queues(subject: &Subject, cpus: u32, to: &mut Findings) {
    let name = &subject.device.name;
    let now = subject.ethtool.queues.map_or(subject.device.queues, |queues| queues.now);
    let all = subject.ethtool.queues.map_or(now, |queues| queues.most);
    // With more the driver takes no XDP program, or refuses to have more while it runs one.
    let halved = HALVED.contains(&subject.driver());
    let most = if halved { (all / 2).max(1) } else { all };
    let plural = |number: u32| if number == 1 { "" } else { "s" };
    let what = format!("{now} receive queue{} for {cpus} CPU{}", plural(now), plural(cpus));
    let few = format!("{what}: limiter runs on {now} CPU{} only", plural(now));
    if halved && now > most && subject.attached.is_none() {
        to.warning(
            format!(
                "{now} channels of {all}, and the driver ({}) takes XDP programs with at most half of them",
                subject.driver()
            ),
            format!("`ethtool -L {name} combined {most}` before attaching (it may drop the link for a moment)"),
        );
    } else if now == 0 || now >= cpus.min(ENOUGH) {
        to.ok(what);
    } else if most > now {
        let most = most.min(cpus);
        let kind = if subject.driver() == "veth" { "rx" } else { "combined" };
        to.warning(
            few,
            format!("`ethtool -L {name} {kind} {most}` (many drivers drop the link for a moment)"),
        );
    } else {
        to.warning(
            few,
            "the device has no more queues: use another NIC, or give a VM more queues on its host \
             (RPS does not help, because it comes after XDP)",
        );
    }
}

/// An interrupt of the interface, by number, and the CPUs that take it.
type Interrupt = (u32, Vec<usize>);

/// The interrupts that bring packets in, if the device has any of its own.
fn interrupts(tree: &Tree, subject: &Subject) -> Option<Vec<Interrupt>> {
    let name = &subject.device.name;
    let device =
        subject.is_in(tree).then(|| tree.target(&format!("sys/class/net/{name}/device"))).flatten();
    let text = tree.text("proc/interrupts")?;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(number) =
            words.next().and_then(|word| word.trim_end_matches(':').parse::<u32>().ok())
        else {
            continue;
        };
        let Some(label) = words.last() else { continue };
        let starts = |with: &str| {
            label
                .strip_prefix(with)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '@']))
        };
        // Names are the driver's affair: `eth0-TxRx-0`, `virtio2-input.0`, `mlx5_comp0@pci:0000:01:00.0`.
        let mine = starts(name)
            || device.as_deref().is_some_and(starts)
            || (!subject.ethtool.bus.is_empty()
                && label.ends_with(&format!("@pci:{}", subject.ethtool.bus)));
        let other = ["output", "config", "async", "tx-", "-tx", "fdir", "event", "mgmnt"];
        let brings = !other.iter().any(|word| label.contains(word))
            || label.to_ascii_lowercase().contains("txrx");
        if mine && brings {
            let cpus = ["effective_affinity_list", "smp_affinity_list"];
            let cpus = cpus.iter().find_map(|file| {
                tree.text(&format!("proc/irq/{number}/{file}")).filter(|text| !text.is_empty())
            });
            found.push((number, cpu_list(&cpus?)));
        }
    }
    (!found.is_empty()).then_some(found)
}

fn spread(name: &str, interrupts: &[Interrupt], cpus: u32, to: &mut Findings) {
    let used: BTreeSet<usize> =
        interrupts.iter().flat_map(|(_, cpus)| cpus.iter().copied()).collect();
    let could = interrupts.len().min(cpus as usize).min(ENOUGH as usize);
    let list: Vec<String> = used.iter().map(usize::to_string).collect();
    if used.len() >= could {
        let verb = if interrupts.len() == 1 { "interrupt goes" } else { "interrupts go" };
        return to.ok(format!("{} receive {verb} to CPU {}", interrupts.len(), shortened(&list)));
    }
    let (number, _) = interrupts[0];
    to.warning(
        format!("{} receive interrupts all go to CPU {}", interrupts.len(), shortened(&list)),
        format!(
            "start irqbalance; or give each of them ({name} in /proc/interrupts) a CPU of its own, such as `echo 1 > \
             /proc/irq/{number}/smp_affinity_list`"
        ),
    );
}

fn shortened(list: &[String]) -> String {
    if list.len() > 8 {
        format!("{} and {} more", list[..8].join(","), list.len() - 8)
    } else {
        list.join(",")
    }
}

fn rings(subject: &Subject, to: &mut Findings) {
    let (name, lost, now) = (&subject.device.name, subject.device.lost, subject.lost_now);
    if lost == 0 {
        return;
    }
    let what = format!(
        "lost {} packets since it was created, {} in the last second: its ring was full",
        count(lost),
        count(now)
    );
    match subject.ethtool.ring {
        Some(ring) if ring.now < ring.most => to.warning(
            format!("{what}, of {} places", ring.now),
            format!(
                "`ethtool -G {name} rx {}` (many drivers drop the link for a moment)",
                ring.most
            ),
        ),
        _ if now > 0 => to.warning(
            what,
            "its CPUs are too busy: add receive queues, or spread the interrupts over more CPUs",
        ),
        _ => to.ok(what),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::kernel::ethtool::{Ethtool, Setting};
    use crate::kernel::interface::Detail;

    const FOUR: &str = "           CPU0  CPU1  CPU2  CPU3\n \
        24:  1 0 0 0  IO-APIC 5-edge ACPI:Ged\n \
        38:  1 0 0 0  PCI-MSIX 1-edge web0-TxRx-0\n \
        39:  1 0 0 0  PCI-MSIX 2-edge web0-TxRx-1\n \
        40:  1 0 0 0  PCI-MSIX 3-edge web01-TxRx-0\n \
        41:  1 0 0 0  PCI-MSIX 4-edge web0-config\n\
        NMI: 0 0 0 0  Non-maskable interrupts\n";

    fn subject(now: u32, most: u32) -> Subject {
        let device = Detail {
            name: "web0".to_owned(),
            index: 4,
            address: vec![2, 0, 0, 0, 0, 1],
            ..Detail::default()
        };
        let ethtool = Ethtool { queues: Some(Setting { now, most }), ..Ethtool::default() };
        Subject { device, ethtool, ..Subject::default() }
    }

    fn found(files: &[(&str, &str)], subject: &Subject, cpus: u32) -> Findings {
        let (tree, _directory) = Tree::of(files);
        let mut findings = Findings::default();
        check(&tree, subject, cpus, &mut findings);
        findings
    }

    #[test]
    fn queues() {
        let one =
            |now, most, cpus| found(&[], &subject(now, most), cpus).one("receive queue").clone();
        assert_eq!(one(4, 4, 4).level, Level::Ok);
        assert_eq!(one(8, 8, 64).level, Level::Ok, "eight are enough");
        assert_eq!(one(1, 1, 1).what, "1 receive queue for 1 CPU");
        let more = one(1, 4, 2);
        assert!(
            more.level == Level::Warning
                && more.advice.is_some_and(|advice| advice.contains("-L web0 combined 2"))
        );
        let fixed = one(1, 1, 2);
        assert!(
            fixed.level == Level::Warning
                && fixed.advice.is_some_and(|advice| advice.contains("no more queues"))
        );
    }

    #[test]
    fn channels_that_leave_room_for_xdp() {
        let ena = |now, most, cpus| {
            let mut subject = subject(now, most);
            subject.ethtool.driver = Some("ena".to_owned());
            found(&[], &subject, cpus).all[0].clone()
        };
        assert_eq!(ena(4, 8, 4).level, Level::Ok);
        let many = ena(8, 8, 8);
        assert!(
            many.what.contains("at most half")
                && many.advice.is_some_and(|advice| advice.contains("combined 4"))
        );
        let few = ena(2, 8, 8);
        assert!(
            few.advice.is_some_and(|advice| advice.contains("combined 4")),
            "no more than the driver takes with XDP"
        );
    }

    #[test]
    fn interrupts() {
        let spread = |first: &str, second: &str| {
            let files = [
                ("proc/interrupts", FOUR),
                ("proc/irq/38/effective_affinity_list", first),
                ("proc/irq/39/smp_affinity_list", second),
            ];
            found(&files, &subject(4, 4), 4).one("receive interrupts").clone()
        };
        assert_eq!(spread("0", "1").level, Level::Ok);
        assert_eq!(spread("0", "0-3").level, Level::Ok);
        let crowded = spread("0", "0");
        assert_eq!(
            (crowded.level, crowded.what.as_str()),
            (Level::Warning, "2 receive interrupts all go to CPU 0")
        );
        assert!(crowded.advice.is_some_and(|advice| advice.contains("irqbalance")));
    }

    /// The directory of a device counts only if it is the device's own, and not that of another network namespace.
    #[test]
    fn interrupts_by_the_name_of_the_device() {
        let text = "24: 0 0 PCI 0-edge virtio2-config\n25: 0 0 PCI 1-edge virtio2-input.0\n26: 0 0 PCI 2-edge virtio2-output.0\n";
        let files = |index| {
            [
                ("proc/interrupts", text),
                ("proc/irq/25/smp_affinity_list", "1"),
                ("sys/class/net/web0/address", "02:00:00:00:00:01"),
                ("sys/class/net/web0/ifindex", index),
            ]
        };
        let check = |index| {
            let (tree, directory) = Tree::of(&files(index));
            let device = directory.path().join("sys/class/net/web0/device");
            std::os::unix::fs::symlink("../../../virtio2", device).expect("a link");
            super::interrupts(&tree, &subject(1, 1))
        };
        assert_eq!(check("4"), Some(vec![(25, vec![1])]));
        assert_eq!(check("5"), None);
    }

    #[test]
    fn rings() {
        let mut losing = subject(4, 4);
        assert!(!found(&[], &losing, 4).all.iter().any(|finding| finding.what.contains("ring")));
        losing.device.lost = 1000;
        losing.ethtool.ring = Some(Setting { now: 256, most: 4096 });
        let findings = found(&[], &losing, 4);
        assert!(
            findings
                .one("ring")
                .advice
                .as_ref()
                .is_some_and(|advice| advice.contains("-G web0 rx 4096"))
        );
        losing.ethtool.ring = Some(Setting { now: 4096, most: 4096 });
        assert_eq!(
            found(&[], &losing, 4).one("ring").level,
            Level::Ok,
            "long ago, and nothing can be done"
        );
        losing.lost_now = 5;
        assert_eq!(found(&[], &losing, 4).one("ring").level, Level::Warning);
    }
}
