//! How many files may be open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files besides connections: listeners, maps, the runtime, and connections that are just closing.
const OTHERS: u64 = 512;

/// Raises the limit of open files as far as `connections` need and the kernel allows, and returns
/// how many connections there can be: as many, or fewer with a warning. At least 1.
pub fn allow_open_files(connections: usize) -> usize {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let now = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if now.current.is_none_or(|current| current >= wanted) {
        return connections;
    }
    let hard = now.maximum.map(|maximum| maximum.max(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: hard })
        .or_else(|_| {
            let soft = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
            setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: now.maximum })
        });
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if current >= wanted {
        return connections;
    }
    // What there is serves connections and the others alike where it is little.
    let left = current.saturating_sub(OTHERS).max(current / 2).max(1);
    let possible = usize::try_from(left).unwrap_or(usize::MAX).min(connections);
    warn!(
        files = current,
        connections = possible,
        wanted = connections,
        error = raised.err().map(tracing::field::display),
        "the limit of open files allows fewer connections than --connections; raise LimitNOFILE= \
         of the unit, or `ulimit -Hn`"
    );
    possible
}
