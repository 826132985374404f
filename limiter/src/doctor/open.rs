//! Open connections: whether they are counted where the policy bounds them.

use super::Findings;
use crate::kernel::open::MOUNT_GROUP;
use crate::report::Open;
use crate::report::numbers::count;

/// The count of the loaded policy. `has_groups`: cgroup v2 is mounted.
pub fn check(open: &Open, has_groups: bool, to: &mut Findings) {
    to.area("open connections");
    if !open.counted {
        let why = match has_groups {
            true => "the program that counts them is not attached",
            false => "no cgroup v2 is mounted",
        };
        let advice = match has_groups {
            true => "`limiter arm`, or any other change of limiter, attaches it again".to_owned(),
            false => format!("{MOUNT_GROUP}; limiter counts from its next change on"),
        };
        to.problem(format!("they are not counted, so none is refused for them: {why}"), advice);
        return;
    }
    if open.uncounted > 0 {
        to.warning(
            format!(
                "{} connections did not fit into the table, so limiter did not count them for \
                 their sources' limits",
                count(open.uncounted)
            ),
            "make the table larger: `limiter detach --all`, then `limiter apply` with a larger \
             `sources` in the policy file",
        );
    }
    if open.older > 0 {
        to.warning(
            format!(
                "{} connections are older than the count, and this kernel cannot add them to it",
                count(open.older)
            ),
            "wait until they have ended, or restart the server; Linux 6.12 can add them",
        );
    }
    if open.uncounted + open.older == 0 {
        to.ok(format!("{} are counted", count(open.connections)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_count_of_all_kinds() {
        let counted = Open { counted: true, connections: 5, budget: None, uncounted: 0, older: 0 };
        let level = |open: Open, has_groups| {
            let mut findings = Findings::default();
            check(&open, has_groups, &mut findings);
            findings.worst()
        };
        assert_eq!(level(counted, true), Level::Ok);
        assert_eq!(level(Open { uncounted: 1, ..counted }, true), Level::Warning);
        assert_eq!(level(Open { older: 1, ..counted }, true), Level::Warning);
        assert_eq!(level(Open { counted: false, ..counted }, true), Level::Problem);
        let mut findings = Findings::default();
        check(&Open { counted: false, ..counted }, false, &mut findings);
        assert!(findings.one("no cgroup v2").what.contains("none is refused"));
    }
}
