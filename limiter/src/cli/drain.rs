//! A server that has more waiting than it can serve when limits come into force: it gets through
//! that before it is given more.
//!
//! A budget is nearly what the server can take, so what waits would stay for minutes: who is let in
//! waits behind connections whose clients have given up, and gives up too; and what the kernel drops
//! for lack of room has had its turn for nothing. So a part of the budget is in force until hardly
//! anything waits, as a share ([`limiter_common::share`]): it ends in the kernel by itself, unless
//! `limiter settle`, which looks four times a second, renews it.
//!
//! What waits is seen twice: in the service's accept queue, and, since servers such as nginx keep
//! that one empty however slow they are, as clients without a first answer.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use limiter_common::budget::BudgetLimit;
use limiter_common::record::HOST_BUDGET;
use limiter_common::share::Share;
use limiter_common::switch::Mode;

use crate::kernel::listener::{self, Listener, Queue};
use crate::kernel::{Maps, clock};
use crate::policy::{Name, Policy};

/// Part of the budget that is let in meanwhile: a quarter.
const PART: u64 = 4;
/// The same while the queue is full: what is let in then is most likely dropped.
const FULL_PART: u64 = 16;
/// It is over when less than this part of the queue is taken: an eighth.
const EMPTY: u64 = 8;
/// Clients without an answer that are taken as a full queue: those whom the budget lets in in so
/// long.
const FULL_FOR: u64 = 2_000_000_000;
/// And at least so many.
const FEWEST: u64 = 64;
/// The part of them that is enough to tell how long an answer takes: at a quarter of the budget it
/// waits where one takes half a second.
const TELLS: u64 = 16;
/// Accept queues of this host that are looked at have so much room, and are half full.
const LEAST_ROOM: u32 = 32;
/// Part of the budget that stands, after its end, for one that ended by time: answers alone begin no
/// other one within a minute.
const SPENT: u64 = 5;
/// Answers must have come in time for so long: what the server has still before it comes to it
/// unevenly, since who dropped it sends it again ever more rarely.
const IN_TIME: Duration = Duration::from_secs(2);
/// Connections of a port that are looked at.
const LOOKED_AT: usize = 50_000;
/// How often [`Keeper::keep`] is to look.
pub const LOOK: Duration = Duration::from_millis(250);
/// Longest that it lasts: a server that needs longer is not getting through.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The same where only clients without an answer show it, and no accept queue on this host. That is
/// how a server looks too that never answers at once.
const LONGEST_FOR_ANSWERS: Duration = Duration::from_secs(20);
/// Longest that it lasts where nothing looks.
const UNSEEN: Duration = Duration::from_secs(15);
/// A share ends up to this much early.
const EARLY: Duration = Duration::from_millis(1100);
/// One that ends within this time is renewed by nothing else, or by this module.
const ENDING: Duration = Duration::from_millis(2300);
/// How long one that has ended is renewed still, where [`Keeper::keep`] came late.
const LATE: u64 = 20_000_000_000;

/// A service whose server is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    service: String,
    waits: Waits,
}

impl fmt::Display for Drain {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, waits } = self;
        let Queue { waiting, room } = waits.queue;
        let longest = if waits.is_filling() {
            let state = if waits.is_taken(1) { "full" } else { "filling up" };
            write!(to, "the accept queue of {service} is {state} ({waiting} of {room})")?;
            LONGEST
        } else {
            let (clients, median) = (waits.clients, waits.median.as_millis());
            write!(
                to,
                "{service} answers late: {clients} clients wait, half of them for {median} ms"
            )?;
            LONGEST_FOR_ANSWERS
        };
        let seconds = longest.as_secs();
        let or = if waits.is_filling() {
            String::new()
        } else {
            format!(", or {} s while an accept queue of this host fills", LONGEST.as_secs())
        };
        write!(
            to,
            "; until the server has caught up, for at most {seconds} s{or}, limiter lets in at \
             most a quarter of the budget; users see little improvement before that"
        )
    }
}

/// What waits at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    queue: Queue,
    /// Clients without a first answer, how many are taken as a full queue, and for how long half of
    /// them have waited.
    clients: u64,
    many: u64,
    median: Duration,
}

impl Waits {
    fn new(queue: Queue, mut waits: Vec<Duration>, limit: &BudgetLimit) -> Self {
        let median = listener::median(&mut waits);
        let many = (FULL_FOR / limit.interval.max(1)).max(FEWEST);
        Self { queue, clients: waits.len() as u64, many, median }
    }

    /// Whether so many parts of the queue are taken, one of them at least.
    const fn is_taken(&self, parts: u64) -> bool {
        let Queue { waiting, room } = self.queue;
        waiting > 0 && parts * waiting >= room
    }

    /// Whether it is the queue that shows it.
    const fn is_filling(&self) -> bool {
        self.is_taken(2)
    }

    fn is_late(&self, at_least: u64) -> bool {
        self.clients >= at_least && self.median >= listener::LATE
    }

    fn is_behind(&self) -> bool {
        self.is_filling() || self.is_late(self.many / 2)
    }

    /// Whether it still is: less is let in by now.
    fn is_still_behind(&self) -> bool {
        self.is_taken(EMPTY) || self.tells_late()
    }

    /// Whether enough clients are late to tell so.
    fn tells_late(&self) -> bool {
        self.is_late(self.many / TELLS)
    }

    fn is_full(&self) -> bool {
        self.is_taken(1) || self.is_late(self.many)
    }

    /// What is to be served.
    const fn backlog(&self) -> u64 {
        if self.queue.waiting > self.clients { self.queue.waiting } else { self.clients }
    }
}

/// A service with a budget, in force.
struct Budget {
    service: String,
    index: u32,
    limit: BudgetLimit,
    waits: Waits,
    /// Whether one ended by time lately.
    is_spent: bool,
}

impl Budget {
    /// Lets in a part of it for so long.
    fn share(&self, maps: &Maps, time: Duration) -> Result<bool> {
        let part = if self.waits.is_full() { FULL_PART } else { PART };
        let interval = interval(&self.limit, part);
        let share = Share::new(interval, clock::after(time + EARLY));
        share.map(|share| maps.set_share(self.index, share)).transpose()?;
        Ok(share.is_some())
    }
}

/// The interval of a part of a budget: one that its burst can hold, and that no other share has.
fn interval(limit: &BudgetLimit, part: u64) -> u64 {
    let BudgetLimit { interval, capacity, .. } = *limit;
    (part * interval).min(capacity).max(interval) - 1
}

/// Whether a share is, or was, one of these parts.
fn is_part(limit: &BudgetLimit, share: Share, parts: &[u64]) -> bool {
    let is = share.interval(0, clock::now().min(share.ends().saturating_sub(1)));
    parts.iter().any(|part| interval(limit, *part) == is)
}

/// Whether a share is one of this module's, also if it ended because [`Keeper::keep`] came late.
fn is_drained(limit: &BudgetLimit, share: Share) -> bool {
    share.ends() + LATE > clock::now() && is_part(limit, share, &[PART, FULL_PART])
}

/// Whether one ended by time within a minute.
fn is_spent(limit: &BudgetLimit, share: Share) -> bool {
    let (now, ends) = (clock::now(), share.ends());
    let lately = ends + LONGEST.as_nanos() as u64;
    ends <= now && now < lately && is_part(limit, share, &[PART, FULL_PART, SPENT])
}

/// The budgets of services that listen, where limits are in force, if `is_meant` by their share.
/// That of the whole host stands for a service where no other is there that it would keep waiting
/// too. `age`: for how long it has gone on.
fn budgets(
    maps: &Maps,
    age: Duration,
    is_meant: impl Fn(&BudgetLimit, Share) -> bool,
) -> Result<Vec<Budget>> {
    let selection = maps.selection()?;
    if selection.mode != Mode::Enforce {
        return Ok(Vec::new());
    }
    let (policy, budgets) = (maps.policy(selection.slot)?, maps.budgets()?);
    let host = budgets.values().find(|(index, _)| *index == HOST_BUDGET).copied();
    let host = host.filter(|_| policy.services.len() == 1);
    let mut meant = Vec::new();
    for service in &policy.services {
        let own = budgets.get(&service.name.to_string()).copied();
        let Some((index, limit)) = own.or(host) else { continue };
        let share = maps.share(index)?;
        if is_meant(&limit, share) {
            meant.push((service, index, limit, is_spent(&limit, share)));
        }
    }
    if meant.is_empty() {
        return Ok(Vec::new());
    }
    let listeners = listener::all()?;
    // Behind a proxy on this host there is another accept queue.
    let fills = |one: &Listener| one.room >= LEAST_ROOM && one.waiting >= one.room / 2;
    let answers = age < LONGEST_FOR_ANSWERS || listeners.iter().any(fills);
    let mut asked = if answers {
        asked(
            &policy,
            meant.iter().flat_map(|(service, ..)| &service.listeners).map(SocketAddr::port),
        )?
    } else {
        HashMap::new()
    };
    let mut found = Vec::new();
    for (service, index, limit, is_spent) in meant {
        let Some(queue) = listener::fullest(&service.listeners, &listeners) else { continue };
        let waits = Waits::new(queue, asked.remove(&service.name).unwrap_or_default(), &limit);
        found.push(Budget { service: service.name.to_string(), index, limit, waits, is_spent });
    }
    Ok(found)
}

/// For how long clients of each service have waited for a first answer, at these ports.
fn asked(
    policy: &Policy,
    ports: impl Iterator<Item = u16>,
) -> Result<HashMap<&Name, Vec<Duration>>> {
    let mut waits: HashMap<_, Vec<_>> = HashMap::new();
    for port in ports.collect::<BTreeSet<_>>() {
        for one in listener::asked(port, LOOKED_AT)? {
            if let Some(service) = policy.service_at(one.at) {
                waits.entry(&service.name).or_default().push(one.waits);
            }
        }
    }
    Ok(waits)
}

/// Begins it for each service whose server is behind, where no share of others is in force. (Of a
/// budget that has just been changed the share of before is of this module, too.)
///
/// # Errors
/// When maps cannot be read or written, or the kernel does not tell of its sockets.
pub fn begin(maps: &Maps) -> Result<Vec<Drain>> {
    let is_free = |_: &BudgetLimit, share: Share| share.ends() <= clock::after(ENDING);
    let mut drains = Vec::new();
    for budget in budgets(maps, Duration::ZERO, is_free)? {
        let is_behind = budget.waits.is_filling() || !budget.is_spent && budget.waits.is_behind();
        if is_behind && budget.share(maps, time(budget.waits.backlog(), &budget.limit))? {
            drains.push(Drain { service: budget.service, waits: budget.waits });
        }
    }
    Ok(drains)
}

/// Keeps what [`begin`] began for as long as it is needed.
#[derive(Debug, Default)]
pub struct Keeper {
    /// Since when any goes on.
    since: Option<Instant>,
    /// When the answers of a service were late last, by the number of its budget.
    late: HashMap<u32, Instant>,
}

impl Keeper {
    /// Renews it where the server is still behind, and ends it elsewhere. Says whether any goes on.
    /// After [`LONGEST`] none does, and for as long none begins. `maps`: those of what is loaded.
    pub fn keep(&mut self, maps: impl FnOnce() -> Option<Maps>) -> bool {
        let age = self.since.map(|since| since.elapsed()).unwrap_or_default();
        if age > LONGEST {
            self.since.take_if(|_| age > 2 * LONGEST);
            return false;
        }
        // Where nothing can be seen it ends by itself.
        let goes_on = maps().is_some_and(|maps| self.renew(&maps, age).unwrap_or(false));
        self.since = if goes_on { self.since.or_else(|| Some(Instant::now())) } else { None };
        goes_on
    }

    fn renew(&mut self, maps: &Maps, age: Duration) -> Result<bool> {
        let mut goes_on = false;
        for budget in budgets(maps, age, is_drained)? {
            if budget.waits.tells_late() {
                self.late.insert(budget.index, Instant::now());
            }
            let late = self.late.get(&budget.index);
            if budget.waits.is_still_behind() || late.is_some_and(|late| late.elapsed() < IN_TIME) {
                goes_on |= budget.share(maps, EARLY)?;
            } else {
                let is_spent = age >= LONGEST_FOR_ANSWERS;
                let spent = || Share::new(interval(&budget.limit, SPENT), clock::now());
                let ended = is_spent.then(spent).flatten().unwrap_or(Share::NONE);
                maps.set_share(budget.index, ended)?;
            }
        }
        Ok(goes_on)
    }
}

/// How long it takes until as many more are served as wait, and a quarter as many again.
fn time(backlog: u64, limit: &BudgetLimit) -> Duration {
    let each = limit.interval * PART / (PART - 1);
    Duration::from_nanos(backlog * each * 5 / 4).clamp(Duration::from_secs(2), UNSEEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: u64) -> BudgetLimit {
        BudgetLimit { interval: 1_000_000_000 / rate, capacity: 0, lease: 1 }
    }

    #[test]
    fn it_takes_as_long_as_the_server_needs() {
        let time = |backlog, rate| time(backlog, &limit(rate)).as_secs();
        assert_eq!([time(100, 54), time(129, 54), time(129, 500)], [3, 3, 2]);
        assert_eq!([time(511, 500), time(4096, 100)], [2, 15]);
    }

    #[test]
    fn a_server_is_behind_by_its_queue_or_by_its_answers() {
        let waits = |in_queue, clients, millis| {
            let queue = Queue { waiting: in_queue, room: 128 };
            Waits::new(queue, vec![Duration::from_millis(millis); clients], &limit(54))
        };
        let behind = |waits: Waits| [waits.is_full(), waits.is_behind(), waits.is_still_behind()];
        assert_eq!(behind(waits(0, 0, 0)), [false; 3]);
        assert_eq!(behind(waits(128, 0, 0)), [true; 3]);
        assert_eq!(behind(waits(64, 0, 0)), [false, true, true]);
        assert_eq!(behind(waits(16, 0, 0)), [false, false, true]);
        assert_eq!(behind(waits(0, 108, 500)), [true; 3]);
        assert_eq!(behind(waits(0, 54, 500)), [false, true, true]);
        assert_eq!(behind(waits(0, 6, 500)), [false, false, true]);
        assert_eq!(behind(waits(0, 5, 5000)), [false; 3], "some pages take long");
        assert_eq!(behind(waits(0, 1000, 400)), [false; 3], "many at once, and in time");
    }
}
