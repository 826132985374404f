//! A server whose accept queue is full when limits come into force: it gets through what waits
//! there before it is given more.
//!
//! A budget is nearly what the server can take, so a full queue would stay full for a minute: who
//! is let in waits behind connections whose clients have given up, and gives up too; and what the
//! kernel drops for lack of room has had its turn for nothing. So a part of the budget is in force
//! until the queue is nearly empty, as a share ([`limiter_common::share`]): it ends in the kernel
//! by itself, unless `limiter settle`, which looks at the queue, renews it.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use limiter_common::budget::BudgetLimit;
use limiter_common::record::HOST_BUDGET;
use limiter_common::share::Share;
use limiter_common::switch::Mode;

use crate::kernel::listener::{self, Queue};
use crate::kernel::{Maps, clock};

/// Part of the budget that is let in meanwhile: a quarter.
const PART: u64 = 4;
/// The same while the queue is full: what is let in then is most likely dropped.
const FULL_PART: u64 = 16;
/// It is over when less than this part of the queue is taken: an eighth.
const EMPTY: u64 = 8;
/// How often [`keep`] is to look.
pub const LOOK: Duration = Duration::from_millis(250);
/// Longest that it lasts: a server that needs longer is not getting through.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Longest that it lasts where nothing looks.
const UNSEEN: Duration = Duration::from_secs(15);
/// A share ends up to this much early.
const EARLY: Duration = Duration::from_millis(1100);
/// How long one that has ended is renewed still, where [`keep`] came late.
const LATE: u64 = 20_000_000_000;

/// A queue that is being drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    service: String,
    queue: Queue,
}

impl fmt::Display for Drain {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, queue: Queue { waiting, room } } = self;
        write!(
            to,
            "the accept queue of {service} is filling up ({waiting} of {room}): until it is nearly \
             empty, for at most {} s, at most a quarter of the budget is let in, so that the server \
             gets through it",
            LONGEST.as_secs()
        )
    }
}

/// A service with a budget, in force.
struct Budget {
    service: String,
    index: u32,
    limit: BudgetLimit,
    queue: Queue,
    share: Share,
}

impl Budget {
    fn is_shared(&self) -> bool {
        self.share.ends() > clock::now()
    }

    /// The interval of a part of it: one that its burst can hold, and that no other share has.
    fn interval(&self, part: u64) -> u64 {
        let BudgetLimit { interval, capacity, .. } = self.limit;
        (part * interval).min(capacity).max(interval) - 1
    }

    /// Whether its share is one of this module's, also if it ended because [`keep`] came late.
    fn is_drained(&self) -> bool {
        let (now, ends) = (clock::now(), self.share.ends());
        let interval = self.share.interval(0, now.min(ends.saturating_sub(1)));
        ends + LATE > now && [PART, FULL_PART].map(|part| self.interval(part)).contains(&interval)
    }

    /// Whether so many parts of the queue are taken, one of them at least.
    fn is_taken(&self, parts: u64) -> bool {
        let Queue { waiting, room } = self.queue;
        waiting > 0 && parts * waiting >= room
    }

    /// Lets in a part of it for so long.
    fn share(&self, maps: &Maps, time: Duration) -> Result<bool> {
        let interval = self.interval(if self.is_taken(1) { FULL_PART } else { PART });
        let share = Share::new(interval, clock::after(time + EARLY));
        share.map(|share| maps.set_share(self.index, share)).transpose()?;
        Ok(share.is_some())
    }
}

/// The budgets of services that listen, where limits are in force. That of the whole host stands for
/// a service where no other is there that it would keep waiting too.
fn budgets(maps: &Maps) -> Result<Vec<Budget>> {
    let selection = maps.selection()?;
    if selection.mode != Mode::Enforce {
        return Ok(Vec::new());
    }
    let (policy, budgets) = (maps.policy(selection.slot)?, maps.budgets()?);
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    let listeners = listener::all()?;
    let host = budgets.values().find(|(index, _)| *index == HOST_BUDGET).copied();
    let host = host.filter(|_| policy.services.len() == 1);
    let mut found = Vec::new();
    for service in &policy.services {
        let name = service.name.to_string();
        let Some((index, limit)) = budgets.get(&name).copied().or(host) else { continue };
        let Some(queue) = listener::fullest(&service.listeners, &listeners) else { continue };
        found.push(Budget { service: name, index, limit, queue, share: maps.share(index)? });
    }
    Ok(found)
}

/// Begins it for each service whose queue is at least half full, where no share is in force.
///
/// # Errors
/// When maps cannot be read or written, or the kernel does not say who listens.
pub fn begin(maps: &Maps) -> Result<Vec<Drain>> {
    let mut drains = Vec::new();
    for budget in budgets(maps)? {
        if budget.is_taken(2)
            && !budget.is_shared()
            && budget.share(maps, time(&budget.queue, &budget.limit))?
        {
            drains.push(Drain { service: budget.service, queue: budget.queue });
        }
    }
    Ok(drains)
}

/// Renews it where the queue is not nearly empty yet, and ends it where it is. Says whether any
/// goes on.
///
/// # Errors
/// As [`begin`].
pub fn keep(maps: &Maps) -> Result<bool> {
    let mut goes_on = false;
    for budget in budgets(maps)?.iter().filter(|budget| budget.is_drained()) {
        if budget.is_taken(EMPTY) {
            goes_on |= budget.share(maps, EARLY)?;
        } else {
            maps.set_share(budget.index, Share::NONE)?;
        }
    }
    Ok(goes_on)
}

/// How long it takes until as many more are served as wait, and a quarter as many again.
fn time(queue: &Queue, limit: &BudgetLimit) -> Duration {
    let each = limit.interval * PART / (PART - 1);
    Duration::from_nanos(queue.waiting * each * 5 / 4).clamp(Duration::from_secs(2), UNSEEN)
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
        assert_eq!([time(100, 128, 54), time(129, 128, 54), time(129, 128, 500)], [3, 3, 2]);
        assert_eq!([time(511, 1024, 500), time(4096, 4096, 100)], [2, 15]);
    }
}
