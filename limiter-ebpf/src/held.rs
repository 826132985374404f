//! Open connections, looked up where an attempt comes. Who counts them: [`crate::open`].

use limiter_common::hash::Place;
use limiter_common::open::{self, Bounds, Counts, Full};
use limiter_common::record::{HOST_BUDGET, Host, Instance, SERVICES, Service};
use limiter_common::share;

use crate::maps::{self, INSTANCE, MapWord, OPEN, OPENS};
use crate::what::{PEEKS, unpack_what};

/// Whether one more connection would be too many: a number of [`Full`], or 0. `what`: as
/// [`crate::what::pack_what`] packs it, and [`PEEKS`]; `hash`: the place of the source; `bound`:
/// its most.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_full(what: u64, hash: u64, bound: u64, now: u64) -> u64 {
    let (slot, id) = unpack_what(what);
    let full = || {
        let (Service { number, open_budget, .. }, Host { open_budget: hosts, .. }) =
            (maps::service(slot, id)?, maps::host(slot)?);
        let open = |index, stated| maps::places(share::OPEN + index).places(stated, now);
        let (service, host) = (open(id, *open_budget), open(HOST_BUDGET, *hosts));
        let bounds = Bounds { source: bound, service, host };
        let place = Place(hash);
        open::judge(&counts(place, id)?, place, *number, &bounds, now, what & PEEKS != 0)
    };
    full().map_or(0, |full: Full| full as u64)
}

/// Where a source and its service are counted.
#[inline(always)]
pub fn counts(place: Place, id: u32) -> Option<Counts<'static, MapWord>> {
    let Instance { sets, .. } = INSTANCE.get(0)?;
    Some(Counts {
        set: OPEN.get(place.set(*sets))?,
        service: OPENS.get(id)?,
        host: OPENS.get(SERVICES)?,
    })
}
