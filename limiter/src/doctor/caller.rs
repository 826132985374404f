//! Who asks: without some capabilities doctor sees less, and no other command works.

use super::{Findings, Tree};

/// Capabilities that limiter needs, by bit (linux/capability.h), and what for.
const NEEDED: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// Stands for the two newer ones.
const SYS_ADMIN: u32 = 21;

/// What the caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    capabilities: u64,
}

impl Caller {
    /// This process.
    pub fn of(tree: &Tree) -> Self {
        let status = tree.text("proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self {
            capabilities: mask
                .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
                .unwrap_or(0),
        }
    }

    /// Whether it may load programs and open pins.
    pub fn may_use_bpf(self) -> bool {
        self.missing().is_empty()
    }

    fn missing(self) -> Vec<&'static str> {
        let has = |bit: u32| self.capabilities >> bit & 1 == 1;
        let lacks = |bit: u32| !(has(bit) || bit > SYS_ADMIN && has(SYS_ADMIN));
        NEEDED.iter().filter(|(bit, _)| lacks(*bit)).map(|(_, name)| *name).collect()
    }
}

/// Says what the caller lacks.
pub fn check(caller: Caller, to: &mut Findings) {
    to.area("this user");
    let missing = caller.missing();
    if missing.is_empty() {
        to.ok("may load, attach and change limiter");
    } else {
        to.warning(
            format!(
                "lacks {}: cannot load or change limiter, and sees less here",
                missing.join(", ")
            ),
            "run limiter as root, or with these capabilities",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn caller(mask: &str) -> Caller {
        let (tree, _directory) =
            Tree::of(&[("proc/self/status", &format!("Name:\tlimiter\nCapEff:\t{mask}\n"))]);
        Caller::of(&tree)
    }

    #[test]
    fn root_and_nobody() {
        let mut findings = Findings::default();
        check(caller("000001ffffffffff"), &mut findings);
        assert_eq!(findings.worst(), Level::Ok);
        let mut findings = Findings::default();
        check(caller("0000000000000000"), &mut findings);
        assert_eq!(findings.one("CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF").level, Level::Warning);
    }

    #[test]
    fn the_old_capability_stands_for_the_new_ones() {
        assert!(!caller("0000000000200000").may_use_bpf(), "but not for CAP_NET_ADMIN");
        assert!(caller("0000000000201000").may_use_bpf());
        assert!(caller("000000c000001000").may_use_bpf());
        assert_eq!(caller("0000008000001000").missing(), ["CAP_PERFMON"]);
    }
}
