//! source limit and budgets, in the order that makes a refusal cost nobody anything.
//!
//! 1. Look at the budgets, the service's and the host's. One that is spent refuses at once: the random cache line of the source
//!    table is not even read, and a flood does not fill that table with the debts of addresses that were never let in.
//! 2. The source limit. What it refuses costs no budget.
//! 3. Take from both budgets what was seen; a token of the first goes back when another CPU emptied the second meanwhile.

use limiter_common::address::Address;
use limiter_common::budget::{BudgetLimit, Lease, Look, Take};
use limiter_common::reason::Reason;
use limiter_common::record::{HOST_BUDGET, Host, SERVICES, Service};
use limiter_common::source_table::Charge;

use crate::clock;
use crate::maps::{BUDGET, HOST, LEASE, MapWord, SERVICE};
use crate::source::{Attempt, Sources};

/// What the limits say, and whether another source's debt was forgotten for it.
pub struct Limited {
    /// Admitted, contended, or which limit refused.
    pub reason: Reason,
    /// A live way was taken from its owner.
    pub stole: bool,
}

/// Judges one attempt to service `id`.
#[inline(always)]
pub fn judge<S: Sources>(slot: u32, id: u32, client: Address, now: u64) -> Limited {
    let mut stole = false;
    let reason = by_policy::<S>(slot, id, client, now, &mut stole).unwrap_or(Reason::NoPolicy);
    Limited { reason, stole }
}

#[inline(always)]
fn by_policy<S: Sources>(slot: u32, id: u32, client: Address, now: u64, stole: &mut bool) -> Option<Reason> {
    let service = SERVICE.get(slot * SERVICES + id)?;
    let host = HOST.get(slot)?;
    let mut mine = Budget::look(id, &service.budget, now)?;
    if mine.seen == Look::Spent {
        return Some(Reason::ServiceBudget);
    }
    let mut hosts = Budget::look(HOST_BUDGET, &host.budget, now)?;
    if hosts.seen == Look::Spent {
        return Some(Reason::GlobalBudget);
    }
    let mut admitted = Reason::Admitted;
    if service.source.interval != 0 {
        match charge::<S>(service, host, id, client, now)? {
            Charge::Conforms => {}
            Charge::Stole => *stole = true,
            Charge::Exceeds => return Some(Reason::SourceLimit),
            Charge::Contended => admitted = Reason::Contended,
        }
    }
    match mine.take() {
        Take::Taken => {}
        Take::Gone => return Some(Reason::ServiceBudget),
        Take::Contended => admitted = Reason::Contended,
    }
    match hosts.take() {
        Take::Taken => {}
        Take::Gone => {
            mine.give_back();
            return Some(Reason::GlobalBudget);
        }
        Take::Contended => admitted = Reason::Contended,
    }
    Some(admitted)
}

#[inline(always)]
fn charge<S: Sources>(service: &Service, host: &Host, id: u32, client: Address, now: u64) -> Option<Charge> {
    let source = service.mask.apply(client);
    S::charge(&Attempt { service: id, source, now, limit: &service.source, horizon: host.horizon })
}

/// One budget as this CPU sees it while it judges one attempt.
struct Budget<'a> {
    lease: &'a mut Lease,
    shared: &'a MapWord,
    limit: &'a BudgetLimit,
    seen: Look,
}

impl<'a> Budget<'a> {
    /// Looks at the budget at `index`. Where there is no limit a token is always there.
    #[inline(always)]
    fn look(index: u32, limit: &'a BudgetLimit, now: u64) -> Option<Self> {
        // SAFETY: the element belongs to this CPU, on which an XDP program is not interrupted by itself, and no two calls of one run
        // name the same budget.
        let lease = LEASE.get_ptr_mut(index).map(|lease| unsafe { &mut *lease })?;
        let shared = &BUDGET.get(index)?.arrival;
        let seen = if limit.interval == 0 { Look::Leased } else { lease.look(shared, limit, now, clock::precise) };
        Some(Self { lease, shared, limit, seen })
    }

    #[inline(always)]
    fn take(&mut self) -> Take {
        if self.limit.interval == 0 { Take::Taken } else { self.lease.take(self.seen, self.shared, self.limit) }
    }

    #[inline(always)]
    fn give_back(&mut self) {
        if self.limit.interval != 0 {
            self.lease.give_back();
        }
    }
}
