//! ban? allow? The lists that hold regardless of the policy slot.

use aya_ebpf::btf_maps::lpm_trie::Key;
use limiter_common::address::Address;
use limiter_common::packet::Segment;
use limiter_common::reason::Reason;
use limiter_common::record::{List, ListEntry, ListKey};
use limiter_common::switch::Switch;

use crate::maps::{LIST_HOST, LIST_PREFIX};

/// What needs no limits to be decided.
#[inline(always)]
pub fn judge(segment: &Segment<'_>, switch: Switch, now: u64) -> Option<Reason> {
    if segment.hides_flags {
        return Some(Reason::ShortFragment);
    }
    let list = if switch.has_lists() { find(switch, segment.network.source(), now) } else { None };
    match list {
        Some(List::Ban) => Some(Reason::Banned),
        Some(List::Allow) if segment.is_attempt() => Some(Reason::Allowed),
        Some(List::Allow) => Some(Reason::NotAttempt),
        None => None,
    }
}

/// Which list a source is on at `now` (nanoseconds). Allowing beats banning. Empty lists, by the switch, are not looked up.
#[inline(always)]
fn find(switch: Switch, source: Address, now: u64) -> Option<List> {
    if on(List::Allow, switch, Switch::ALLOW_HOSTS, Switch::ALLOW_PREFIXES, source, now) {
        return Some(List::Allow);
    }
    on(List::Ban, switch, Switch::BAN_HOSTS, Switch::BAN_PREFIXES, source, now).then_some(List::Ban)
}

#[inline(always)]
fn on(list: List, switch: Switch, hosts: u64, prefixes: u64, source: Address, now: u64) -> bool {
    let key = ListKey::new(list, source);
    // SAFETY: user space replaces an element whole; it never changes one in place.
    if switch.has(hosts) && in_force(unsafe { LIST_HOST.get(key) }, now) {
        return true;
    }
    switch.has(prefixes) && in_force(LIST_PREFIX.get(&Key::new(ListKey::LIST_BITS + 128, key)), now)
}

/// The expiry is read here, so that a ban ends even if nobody in user space is left to end it.
#[inline(always)]
fn in_force(entry: Option<&ListEntry>, now: u64) -> bool {
    matches!(entry, Some(entry) if now < entry.effective)
}
