//! Places: how many are taken here, and how many would be. Of users who are present, and of open
//! connections.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use limiter_common::line::seats;
use limiter_common::open;
use limiter_common::record::{HOST_BUDGET, SERVICES};
use limiter_common::share::OPEN;
use limiter_fleet::record::{Amount, Amounts};

use crate::kernel::{Maps, clock};
use crate::observe::waiting;

/// An amount of one place.
pub const PLACE: Amount = 1000;

/// Places that are taken, by name; `places`: the index of each.
///
/// # Errors
/// When a map cannot be read.
pub fn used(maps: &Maps, places: &BTreeMap<String, u32>) -> Result<Amounts> {
    let services = maps.services(maps.selection()?.slot)?;
    let mut used = Amounts::new();
    for (name, index) in places {
        let number = if *index >= OPEN {
            let id = index - OPEN;
            let (line, number) = match id {
                HOST_BUDGET => (SERVICES, 0),
                _ => (id, services.get(&id).map_or(0, |service| service.number)),
            };
            let words = maps.opens.get(&line, 0).context("cannot read the open connections")?.0;
            open::total(&words.map(std::cell::Cell::new), number)
        } else {
            let words = maps.seats.get(index, 0).context("cannot read who is present")?.0;
            let service = services.get(index);
            service.map_or(0, |service| seats::present(&words, &service.line, clock::now()))
        };
        used.insert(name.clone(), number * PLACE);
    }
    Ok(used)
}

/// Places that are wanted where these are `used`: those; with who waits, where all users of a
/// service that may be present are; and twice as many where open connections are nearly as many as
/// they may be.
///
/// # Errors
/// When a map cannot be read.
pub fn wants(maps: &Maps, used: Amounts) -> Result<Amounts> {
    let mut wants = used;
    let quotas = maps.quotas()?;
    for (name, wanted) in &mut wants {
        let Some((index, stated)) = quotas.get(name) else { continue };
        let most = maps.share_of_places(*index)?.places(*stated, clock::now());
        // Who waits comes again within seconds; so nearly full is full.
        if *wanted / PLACE < most - most / 20 {
            continue;
        }
        let more = if *index >= OPEN {
            *wanted
        } else {
            let waiting = waiting::read(maps)?.sources;
            Amount::try_from(waiting).unwrap_or(Amount::MAX).saturating_mul(PLACE)
        };
        *wanted = wanted.saturating_add(more);
    }
    Ok(wants)
}
