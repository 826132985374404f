//! The capabilities that limiter needs, and which of them this process lacks. The kernel says no more than "not permitted".
//!
//! Found by taking them away one by one (`tests/suites/command/capabilities.rs`): loading a program needs all three, CAP_PERFMON because
//! the verifier then lets a program compute with pointers to packets and maps. Attaching a loaded one needs none of them on Linux 6.18,
//! nor does anything that only opens pins, since 5.19; the pins belong to root.

use rustix::thread::{CapabilitySet, capabilities};

/// Each with its name.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

/// Those that this process lacks, as "CAP_BPF and no CAP_PERFMON"; `None` when it lacks none.
pub fn missing() -> Option<String> {
    lacking(capabilities(None).ok()?.effective)
}

/// Whether the kernel said that something is not permitted.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter().any(|io| matches!(io.raw_os_error(), Some(libc::EPERM | libc::EACCES)))
}

/// What to do about a refusal: names what is missing, or what else it can be.
pub fn advice() -> String {
    const ALL: &str = "run it as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";
    match missing() {
        Some(missing) => format!("this process has no {missing}; {ALL}"),
        None => "this process has root's capabilities, but not those of the machine (a container?), or the kernel is locked down"
            .to_owned(),
    }
}

fn lacking(effective: CapabilitySet) -> Option<String> {
    // The old one stands for the two that were split off from it.
    let old = effective.contains(CapabilitySet::SYS_ADMIN);
    let has = |needed: CapabilitySet| {
        effective.contains(needed) || old && needed != CapabilitySet::NET_ADMIN
    };
    let names: Vec<_> =
        NEEDED.iter().filter(|(needed, _)| !has(*needed)).map(|(_, name)| *name).collect();
    (!names.is_empty()).then(|| names.join(" and no "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
        assert_eq!(lacking(all), None);
        assert_eq!(lacking(all - CapabilitySet::PERFMON).as_deref(), Some("CAP_PERFMON"));
        assert_eq!(lacking(CapabilitySet::SYS_ADMIN).as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(lacking(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN), None);
        let none = lacking(CapabilitySet::empty());
        assert_eq!(none.as_deref(), Some("CAP_BPF and no CAP_NET_ADMIN and no CAP_PERFMON"));
    }
}
