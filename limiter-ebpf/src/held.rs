//! Open connections, looked up where an attempt comes. Who counts them: [`crate::open`].

use limiter_common::address::Address;
use limiter_common::hash::{self, Place};
use limiter_common::open::{self, Bounds, Counts, Full};
use limiter_common::record::{HOST_BUDGET, Host, Instance, NETWORKS, Network, SERVICES, Service};
use limiter_common::share;

use crate::limits::limiter_place;
use crate::maps::{self, INSTANCE, MapWord, NETWORK, OPEN, OPENS};
use crate::what::{PEEKS, unpack_what};

/// Whether one more connection would be too many: a number of [`Full`], or 0. `what`: as
/// [`crate::what::pack_what`] packs it, and [`PEEKS`]; `hash`: the place of the source; `bound`:
/// its most.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_full(what: u64, hash: u64, bound: u64, now: u64) -> u64 {
    let (slot, id) = unpack_what(what);
    let full = || {
        let (service, Host { open_budget: host, .. }) =
            (maps::service(slot, id)?, maps::host(slot)?);
        let has_room = service.has_room();
        let Service { number, open_budget, .. } = service;
        let open = |index, stated| maps::places(share::OPEN + index).places(stated, now);
        let (service, host) = (open(id, *open_budget), open(HOST_BUDGET, *host));
        let bounds = Bounds { source: bound, service, host, has_room };
        let place = Place(hash);
        open::judge(&counts(place, id)?, place, *number, &bounds, now, what & PEEKS != 0)
    };
    full().map_or(0, |full: Full| full as u64)
}

/// Whether the network of a client has as many connections as it may: 1, or 0. `what`: as
/// [`crate::what::pack_what`] packs it, and [`PEEKS`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_network_full(
    what: u64,
    class: u64,
    high: u64,
    low: u64,
    now: u64,
) -> u64 {
    let (slot, id) = unpack_what(what);
    let full = || {
        let Service { number, .. } = maps::service(slot, id)?;
        let (place, bound) = network(slot, id, *number, class as u32, Address { high, low })?;
        let counts = counts(place, id)?;
        Some(open::is_network_full(&counts, place, bound.into(), now, what & PEEKS != 0))
    };
    full().unwrap_or_default().into()
}

/// Where the network of a client is counted, and its most. Both are 0 where it has any number.
#[inline(always)]
pub fn network(
    slot: u32,
    id: u32,
    number: u32,
    class: u32,
    client: Address,
) -> Option<(Place, u32)> {
    let Network { open, mask, .. } = NETWORK.get(slot * NETWORKS + Network::index(id, class))?;
    if *open == 0 {
        return Some((Place::default(), 0));
    }
    let network = mask.apply(client);
    let what = u64::from(number) | u64::from(class | hash::NETWORK) << 32;
    Some((Place(limiter_place(what, network.high, network.low)), *open))
}

/// Where a source, or a network, and its service are counted.
#[inline(always)]
pub fn counts(place: Place, id: u32) -> Option<Counts<'static, MapWord>> {
    let Instance { sets, .. } = INSTANCE.get(0)?;
    Some(Counts {
        set: OPEN.get(place.set(*sets))?,
        service: OPENS.get(id)?,
        host: OPENS.get(SERVICES)?,
    })
}
