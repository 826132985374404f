//! A server whose accept queue is full when limits come into force: it gets through what waits
//! there before it is given more.
//!
//! A budget is nearly what the server can take, so a full queue would stay full for a minute: who
//! is let in waits behind connections whose clients have given up, and gives up too. So for some
//! seconds a quarter of the budget is in force, as a share ([`limiter_common::share`]): it ends in
//! the kernel by itself.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use limiter_common::budget::BudgetLimit;
use limiter_common::record::HOST_BUDGET;
use limiter_common::share::Share;
use limiter_common::switch::Mode;

use crate::kernel::listener::{self, Queue};
use crate::kernel::{Maps, clock};

/// Part of the budget that is let in meanwhile.
const PART: u64 = 4;
/// Longest that it lasts: a server that needs longer is not getting through.
const LONGEST: Duration = Duration::from_secs(15);
/// A share ends up to this much early.
const EARLY: Duration = Duration::from_millis(1100);

/// A queue that is being drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    service: String,
    queue: Queue,
    time: Duration,
}

impl fmt::Display for Drain {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, queue: Queue { waiting, room }, time } = self;
        write!(
            to,
            "the accept queue of {service} is filling up ({waiting} of {room}): for {} s a quarter of its \
             budget is let in, so that the server gets through it",
            time.as_secs()
        )
    }
}

/// Begins it for each service whose queue is at least half full, where limits are in force and no
/// share is.
///
/// # Errors
/// When maps cannot be read or written, or the kernel does not say who listens.
pub fn begin(maps: &Maps) -> Result<Vec<Drain>> {
    let selection = maps.selection()?;
    if selection.mode != Mode::Enforce {
        return Ok(Vec::new());
    }
    let (policy, budgets) = (maps.policy(selection.slot)?, maps.budgets()?);
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let listeners = listener::all()?;
    let mut drains = Vec::new();
    for service in &policy.services {
        let name = service.name.to_string();
        let own = budgets.get(&name).copied();
        let host = budgets.values().find(|(index, _)| *index == HOST_BUDGET).copied();
        let Some((index, limit)) = own.or(host) else { continue };
        let Some(queue) = listener::fullest(&service.listeners, &listeners) else { continue };
        if 2 * queue.waiting < queue.room || maps.share(index)?.ends() > clock::now() {
            continue;
        }
        let time = time(&queue, &limit);
        if let Some(share) = Share::new(PART * limit.interval, clock::after(time + EARLY)) {
            maps.set_share(index, share)?;
            drains.push(Drain { service: name, queue, time });
        }
    }
    Ok(drains)
}

/// How long it takes until as many more are served as wait, and a quarter as many again. Behind a
/// full queue the kernel holds as many others half-open, which come in as it gets room.
fn time(queue: &Queue, limit: &BudgetLimit) -> Duration {
    let Queue { waiting, room } = *queue;
    let waiting = if waiting < room { waiting } else { waiting + room };
    let each = limit.interval * PART / (PART - 1);
    Duration::from_nanos(waiting * each * 5 / 4).clamp(Duration::from_secs(2), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_as_long_as_the_server_needs() {
        let time = |waiting, room, rate: u64| {
            let limit = BudgetLimit { interval: 1_000_000_000 / rate, capacity: 0, lease: 1 };
            time(&Queue { waiting, room }, &limit).as_secs()
        };
        assert_eq!([time(100, 128, 54), time(129, 128, 54), time(129, 128, 500)], [3, 7, 2]);
        assert_eq!([time(511, 1024, 500), time(4096, 4096, 100)], [2, 15]);
    }
}
