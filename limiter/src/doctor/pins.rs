//! What is loaded: the pins, their version, what killed commands left, links and the program behind them.

use std::path::Path;

use limiter_common::names::LAYOUT;

use super::{Findings, Tree};
use crate::kernel::inventory::{Link, Program};
use crate::kernel::link::Attached;

/// What the pin directory holds, by name.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Names in it; `None` if it cannot be looked into.
    pub names: Option<Vec<String>>,
    /// Whether it lies in a BPF file system.
    pub bpffs: bool,
}

/// Whether limiter is loaded, as far as the directory tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No.
    Absent,
    /// Yes, in the layout of this version.
    Loaded,
    /// Yes, in another layout.
    Foreign,
    /// It cannot be looked at.
    Unseen,
}

/// The pin directory at `base`.
pub fn directory(tree: &Tree, base: &Path, directory: &Directory, to: &mut Findings) -> Standing {
    to.area("limiter");
    if !directory.bpffs {
        let mount = base.parent().unwrap_or(base).display();
        to.problem(
            format!("{mount} is no BPF file system, so nothing could stay loaded"),
            format!("`mount -t bpf bpf {mount}`; systemd does that for /sys/fs/bpf at boot"),
        );
        return Standing::Absent;
    }
    let Some(names) = &directory.names else {
        to.unseen(format!("whether limiter is loaded ({})", base.display()));
        return Standing::Unseen;
    };
    leftovers(tree, base, names, to);
    let mine = format!("v{LAYOUT}");
    let others: Vec<_> =
        names.iter().filter(|name| name.starts_with('v') && **name != mine).cloned().collect();
    let others = others.join(", ");
    match (names.contains(&mine), others.is_empty()) {
        (true, true) => Standing::Loaded,
        (true, false) => {
            to.warning(
                format!("pins of layout {others} lie beside those of this version ({mine})"),
                "another version of limiter is or was loaded too: find out which one is attached, and detach the other with its own command",
            );
            Standing::Loaded
        }
        (false, false) => {
            to.problem(
                format!(
                    "the loaded limiter is of another version: it has layout {others}, this command \
                     speaks {mine}"
                ),
                "use the version that loaded it; or give up its state with `limiter detach --all` and attach again",
            );
            Standing::Foreign
        }
        (false, true) => {
            to.ok("not loaded; `limiter attach IFACE` loads and attaches it");
            Standing::Absent
        }
    }
}

/// Directories of commands that were killed, or are at work now.
fn leftovers(tree: &Tree, base: &Path, names: &[String], to: &mut Findings) {
    for name in names {
        let Some(maker) = name.strip_prefix("staging-").or_else(|| name.strip_prefix("trash-"))
        else {
            continue;
        };
        let pid = maker.split('-').next().unwrap_or(maker);
        let path = base.join(name);
        if tree.text(&format!("proc/{pid}/comm")).is_some_and(|comm| comm.starts_with("limiter")) {
            to.ok(format!("process {pid} is changing limiter right now"));
        } else {
            to.warning(
                format!("{} was left by a command that was killed", path.display()),
                "it holds memory and does nothing; the next command that changes anything sweeps it, such as `limiter detach --all` \
                 if limiter is not loaded",
            );
        }
    }
}

/// What this command would load, and what is loaded.
pub fn program(loaded: Option<Program>, ours: Option<u64>, to: &mut Findings) {
    match (loaded, ours) {
        (Some(loaded), Some(tag)) if loaded.tag == tag => {
            to.ok("the loaded program is the one of this command")
        }
        (Some(_), Some(_)) => to.warning(
            "the loaded program is not the one of this command: it was loaded by another version",
            "the loaded program keeps working; `limiter --version` tells the version of this \
             command. In calm, `limiter upgrade` loads this command's program, without a gap",
        ),
        _ => to.unseen("whether the loaded program is the one of this command"),
    }
}

/// Dispatchers that limiter is pinned as a component of, and that run no more.
pub fn dispatchers(attached: &[Attached], to: &mut Findings) {
    for one in attached.iter().filter(|one| one.in_dispatcher && one.attachment.is_none()) {
        let index = one.index;
        to.problem(
            format!(
                "the dispatcher that limiter was in on interface {index} is gone: limiter limits \
                 nothing there"
            ),
            format!("`limiter attach IFACE --dispatcher` if the interface is here; `limiter detach {index}` forgets it"),
        );
    }
}

/// The links. `here`: indices of interfaces of this network namespace that limiter is on; `program`:
/// the id of the pinned one.
pub fn links(links: &[Link], here: &[u32], program: Option<u32>, to: &mut Findings) {
    if links.is_empty() && here.is_empty() {
        to.warning(
            "loaded, but attached to no interface: nothing is limited",
            "`limiter attach IFACE`",
        );
    }
    for Link { index, program: behind, gone } in links {
        if *gone && here.contains(index) {
            to.problem(
                format!(
                    "interface {index} is here, but another tool detached limiter's link: limiter \
                     limits nothing there"
                ),
                "`limiter attach IFACE` attaches it again",
            );
        } else if *gone {
            to.problem(
                format!(
                    "the interface with index {index} is gone, and its link with it: limiter does \
                     not limit a new interface of that name"
                ),
                format!("attach to the new one with `limiter attach IFACE`, then forget the old one with `limiter detach {index}`"),
            );
        } else if !here.contains(index) {
            to.warning(
                format!("attached to interface {index} of another network namespace"),
                "look at it from there: `nsenter --net=FILE limiter doctor`",
            );
        } else if program.is_some_and(|program| program != *behind) {
            to.warning(
                format!("interface {index} runs the tracing program, which is slower"),
                "if no `limiter trace` is running, it was killed: `limiter trace --stop`",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const BASE: &str = "/sys/fs/bpf/limiter";

    fn found(names: &[&str]) -> (Standing, Findings) {
        let (tree, _directory) =
            Tree::of(&[("proc/77/comm", "limiter\n"), ("proc/78/comm", "bash\n")]);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let mut findings = Findings::default();
        let listed = Directory { names: Some(names), bpffs: true };
        (directory(&tree, Path::new(BASE), &listed, &mut findings), findings)
    }

    #[test]
    fn loaded_or_not() {
        let mine = format!("v{LAYOUT}");
        assert_eq!(found(&[]).0, Standing::Absent);
        assert_eq!(found(&[&mine]).0, Standing::Loaded);
        let (standing, findings) = found(&["v999"]);
        assert_eq!((standing, findings.one("v999").level), (Standing::Foreign, Level::Problem));
        let (standing, findings) = found(&["v999", &mine]);
        assert_eq!((standing, findings.one("v999").level), (Standing::Loaded, Level::Warning));
    }

    #[test]
    fn what_killed_commands_left() {
        let (standing, findings) = found(&["staging-76", "trash-78-v2", "staging-77"]);
        assert_eq!(standing, Standing::Absent);
        assert_eq!(findings.one("/sys/fs/bpf/limiter/staging-76").level, Level::Warning);
        assert_eq!(
            findings.one("/sys/fs/bpf/limiter/trash-78-v2").level,
            Level::Warning,
            "another process has that number now"
        );
        assert_eq!(findings.one("process 77").level, Level::Ok);
    }

    #[test]
    fn no_file_system_and_no_access() {
        let (tree, _directory) = Tree::of(&[]);
        let mut findings = Findings::default();
        let none = Directory { names: Some(Vec::new()), bpffs: false };
        assert_eq!(directory(&tree, Path::new(BASE), &none, &mut findings), Standing::Absent);
        let advice = findings.one("/sys/fs/bpf is no BPF").advice.clone();
        assert!(advice.is_some_and(|advice| advice.contains("mount -t bpf bpf /sys/fs/bpf")));
        let closed = Directory { names: None, bpffs: true };
        assert_eq!(directory(&tree, Path::new(BASE), &closed, &mut findings), Standing::Unseen);
        assert_eq!(findings.unseen.len(), 1);
    }

    #[test]
    fn programs() {
        let compared = |loaded: u64, ours: Option<u64>| {
            let mut findings = Findings::default();
            program(Some(Program { id: 1, tag: loaded }), ours, &mut findings);
            findings
        };
        assert_eq!(compared(5, Some(5)).one("is the one").level, Level::Ok);
        assert_eq!(compared(5, Some(6)).one("is not the one").level, Level::Warning);
        assert_eq!(compared(5, None).unseen.len(), 1);
    }

    #[test]
    fn links_of_all_kinds() {
        let link = |index, program, gone| Link { index, program, gone };
        let mut findings = Findings::default();
        let all = [link(3, 7, false), link(4, 7, true), link(5, 7, false), link(6, 8, false)];
        links(&all, &[3, 6], Some(7), &mut findings);
        assert_eq!(findings.all.len(), 3, "{findings:#?}");
        links(&[link(9, 7, true)], &[9], Some(7), &mut findings);
        assert_eq!(findings.one("interface 9 is here").level, Level::Problem);
        assert_eq!(findings.one("index 4 is gone").level, Level::Problem);
        assert_eq!(findings.one("interface 5 of another").level, Level::Warning);
        assert_eq!(findings.one("interface 6 runs the tracing").level, Level::Warning);
        let mut findings = Findings::default();
        links(&[], &[], Some(7), &mut findings);
        assert_eq!(findings.one("no interface").level, Level::Warning);
    }
}
