//! source limit and budgets, in the order that makes a refusal cost nobody anything.
//!
//! 1. A CPU that knows a budget to be spent refuses at once. Nothing is written, the random cache line of the source table is
//!    not even read, and a flood does not fill that table with the debts of addresses that were never let in.
//! 2. The source limit. What it refuses costs no budget.
//! 3. The service's budget, then the host's; a token of the first goes back when the second refuses.

use limiter_common::address::Address;
use limiter_common::budget::{Lease, Spend};
use limiter_common::reason::Reason;
use limiter_common::record::{HOST_BUDGET, Host, SERVICES, Service};
use limiter_common::source_table::Charge;

use crate::clock;
use crate::maps::{BUDGET, HOST, LEASE, SERVICE};
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
    let mine = lease(id)?;
    let hosts = lease(HOST_BUDGET)?;
    if service.budget.interval != 0 && mine.is_spent(now) {
        return Some(Reason::ServiceBudget);
    }
    if host.budget.interval != 0 && hosts.is_spent(now) {
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
    match spend(service, host, id, mine, hosts, now)? {
        Reason::Admitted => Some(admitted),
        other => Some(other),
    }
}

#[inline(always)]
fn charge<S: Sources>(service: &Service, host: &Host, id: u32, client: Address, now: u64) -> Option<Charge> {
    let source = service.mask.apply(client);
    S::charge(&Attempt { service: id, source, now, limit: &service.source, horizon: host.horizon })
}

#[inline(always)]
fn spend(service: &Service, host: &Host, id: u32, mine: &mut Lease, hosts: &mut Lease, now: u64) -> Option<Reason> {
    let mut admitted = Reason::Admitted;
    let mut to_give_back = false;
    if service.budget.interval != 0 {
        match mine.spend(&BUDGET.get(id)?.arrival, &service.budget, now, clock::precise) {
            Spend::Granted => to_give_back = true,
            Spend::Refused => return Some(Reason::ServiceBudget),
            Spend::Contended => admitted = Reason::Contended,
        }
    }
    if host.budget.interval != 0 {
        match hosts.spend(&BUDGET.get(HOST_BUDGET)?.arrival, &host.budget, now, clock::precise) {
            Spend::Granted => {}
            Spend::Refused => {
                if to_give_back {
                    mine.give_back();
                }
                return Some(Reason::GlobalBudget);
            }
            Spend::Contended => admitted = Reason::Contended,
        }
    }
    Some(admitted)
}

#[inline(always)]
fn lease<'a>(budget: u32) -> Option<&'a mut Lease> {
    // SAFETY: the element belongs to this CPU, on which an XDP program is not interrupted by itself, and no two calls of one run
    // name the same budget.
    LEASE.get_ptr_mut(budget).map(|lease| unsafe { &mut *lease })
}
