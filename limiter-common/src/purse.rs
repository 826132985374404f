//! Purses: the budgets as each kind of drawer may use them. A newcomer draws from the same words as others, but only down to a floor.

use crate::budget::{BudgetLimit, Lease, Look, Take};
use crate::challenge::HOLD;
use crate::record::{
    ABOVE_FLOOR, HOLDERS, HOST_ABOVE_FLOOR, HOST_BUDGET, Host, NEWCOMERS, Service, UNANSWERABLE,
    UNPROVEN,
};
use crate::word::SharedWord;

/// A budget, as one kind of drawer may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purse {
    /// The service's budget.
    Service = 0,
    /// The host's budget.
    Host = 1,
    /// The service's budget down to the floor, for newcomers.
    ServiceAboveFloor = 2,
    /// The host's budget down to the floor.
    HostAboveFloor = 3,
    /// The service's rate of newcomers.
    Newcomers = 4,
    /// What passes to the kernel of attempts that nobody has proven yet: from nothing that anybody
    /// else uses.
    Unproven = 5,
    /// What passes of attempts that cannot be challenged: from nothing that anybody else uses.
    Unanswerable = 6,
    /// What passes to the kernel of attempts in the name of those with a ticket: from nothing that
    /// anybody else uses.
    Holders = 7,
}

impl Purse {
    /// The purse with a number.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Service),
            1 => Some(Self::Host),
            2 => Some(Self::ServiceAboveFloor),
            3 => Some(Self::HostAboveFloor),
            4 => Some(Self::Newcomers),
            5 => Some(Self::Unproven),
            6 => Some(Self::Unanswerable),
            7 => Some(Self::Holders),
            _ => None,
        }
    }

    /// The purse that `service` has in place of this one: where it keeps no tickets and others do,
    /// it goes no lower in the host's budget than a newcomer of theirs.
    #[inline(always)]
    pub const fn of(self, service: &Service) -> Self {
        let is_guest = service.admission.ticket_life == 0 && service.admission.host_floor != 0;
        if matches!(self, Self::Host) && is_guest { Self::HostAboveFloor } else { self }
    }

    /// Index of the lease, for service `id`.
    #[inline(always)]
    pub const fn lease(self, id: u32) -> u32 {
        match self {
            Self::Service => id,
            Self::Host => HOST_BUDGET,
            Self::ServiceAboveFloor => ABOVE_FLOOR + id,
            Self::HostAboveFloor => HOST_ABOVE_FLOOR + id,
            Self::Newcomers => NEWCOMERS + id,
            Self::Unproven => UNPROVEN + id,
            Self::Unanswerable => UNANSWERABLE + id,
            Self::Holders => HOLDERS + id,
        }
    }

    /// Index of the shared word.
    #[inline(always)]
    pub const fn line(self, id: u32) -> u32 {
        match self {
            Self::ServiceAboveFloor => id,
            Self::HostAboveFloor => HOST_BUDGET,
            other => other.lease(id),
        }
    }

    /// Its limit, and what of it must stay.
    #[inline(always)]
    pub const fn limit<'a>(self, service: &'a Service, host: &'a Host) -> (&'a BudgetLimit, u64) {
        match self {
            Self::Service => (&service.budget, 0),
            Self::Host => (&host.budget, 0),
            Self::ServiceAboveFloor => (&service.budget, service.admission.floor),
            Self::HostAboveFloor => (&host.budget, service.admission.host_floor),
            Self::Newcomers => (&service.admission.newcomers, 0),
            Self::Unanswerable => (&service.admission.unanswerable, 0),
            Self::Unproven | Self::Holders => (&service.admission.unproven, 0),
        }
    }
}

/// Part of the tightest budget that attempts which cannot be challenged may have beside it: few enough to be no way round it.
const UNANSWERABLE_PART: u64 = 16;

/// The limit of [`Purse::Unanswerable`].
pub fn unanswerable(budgets: [&BudgetLimit; 3]) -> BudgetLimit {
    let tightest = tightest(budgets);
    let interval = tightest.interval * UNANSWERABLE_PART;
    BudgetLimit { interval, capacity: core::cmp::max(tightest.capacity, interval), lease: 1 }
}

/// The limit of [`Purse::Unproven`] and of [`Purse::Holders`]: the tightest budget, with so small a
/// burst that twice its rate spends it before the challenge ends.
pub fn unproven(budgets: [&BudgetLimit; 3]) -> BudgetLimit {
    let BudgetLimit { interval, capacity, lease } = tightest(budgets);
    BudgetLimit { interval, capacity: capacity.clamp(0, HOLD / 2).max(interval), lease }
}

/// The budget with the lowest rate; none if there is none.
fn tightest(budgets: [&BudgetLimit; 3]) -> BudgetLimit {
    budgets.into_iter().max_by_key(|budget| budget.interval).copied().unwrap_or_default()
}

/// What a CPU sees in a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether there is a token.
    pub look: Look,
    /// How much of the budget is used, in nanoseconds of its capacity.
    pub used: u64,
}

impl Seen {
    /// Where there is no limit a token is always there.
    pub const UNLIMITED: Self = Self { look: Look::LEASED, used: 0 };
}

/// Looks into a purse.
#[inline(always)]
pub fn look<W: SharedWord>(
    lease: &mut Lease,
    shared: &W,
    (limit, floor): (&BudgetLimit, u64),
    now: u64,
    precise: impl FnOnce() -> u64,
) -> Seen {
    if limit.interval == 0 {
        return Seen::UNLIMITED;
    }
    let look = lease.look(shared, limit, floor, now, precise);
    Seen { look, used: lease.used }
}

/// Takes what was seen.
#[inline(always)]
pub fn take<W: SharedWord>(
    lease: &mut Lease,
    shared: &W,
    (limit, floor): (&BudgetLimit, u64),
    look: Look,
    precise: impl FnOnce() -> u64,
) -> Take {
    if limit.interval == 0 { Take::Taken } else { lease.take(look, shared, limit, floor, precise) }
}
