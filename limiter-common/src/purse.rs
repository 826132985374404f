//! Purses: what an attempt may draw from, a budget or the little that passes without one.

use crate::budget::{BudgetLimit, Lease, Look, Take};
use crate::challenge::HOLD;
use crate::record::{HOST_BUDGET, Host, PRESENT, Service, UNANSWERABLE, UNPROVEN};
use crate::share::{Share, in_force};
use crate::word::SharedWord;

/// What an attempt may draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purse {
    /// The service's budget.
    Service = 0,
    /// The host's budget.
    Host = 1,
    /// What passes to the kernel of attempts that nobody has proven yet: from nothing that anybody
    /// else uses.
    Unproven = 2,
    /// What passes of attempts that cannot be challenged: from nothing that anybody else uses.
    Unanswerable = 3,
    /// What passes to the kernel of attempts in the name of those who are present in the line: from
    /// nothing that anybody else uses.
    Present = 4,
}

impl Purse {
    /// The purse with a number.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Service),
            1 => Some(Self::Host),
            2 => Some(Self::Unproven),
            3 => Some(Self::Unanswerable),
            4 => Some(Self::Present),
            _ => None,
        }
    }

    /// Index of its shared word and of its lease, for service `id`.
    #[inline(always)]
    pub const fn index(self, id: u32) -> u32 {
        match self {
            Self::Service => id,
            Self::Host => HOST_BUDGET,
            Self::Unproven => UNPROVEN + id,
            Self::Unanswerable => UNANSWERABLE + id,
            Self::Present => PRESENT + id,
        }
    }

    /// Its limit as the policy states it.
    #[inline(always)]
    pub const fn limit<'a>(self, service: &'a Service, host: &'a Host) -> &'a BudgetLimit {
        match self {
            Self::Service => &service.budget,
            Self::Host => &host.budget,
            Self::Unanswerable => &service.admission.unanswerable,
            Self::Unproven | Self::Present => &service.admission.unproven,
        }
    }

    /// Its limit with the rate that is in force at `now` (nanoseconds), for service `id`. `share`
    /// tells what is in force at the index of a budget.
    #[inline(always)]
    pub fn limit_at(
        self,
        id: u32,
        service: &Service,
        host: &Host,
        share: impl Fn(u32) -> Share,
        now: u64,
    ) -> BudgetLimit {
        let stated = self.limit(service, host);
        match self {
            Self::Service | Self::Host => in_force(stated, share(self.index(id)), now),
            // What passes beside the budgets follows the tighter of them.
            Self::Unproven | Self::Unanswerable | Self::Present => {
                let mine = in_force(&service.budget, share(Self::Service.index(id)), now).interval;
                let hosts = in_force(&host.budget, share(Self::Host.index(id)), now).interval;
                let tightest = if mine > hosts { mine } else { hosts };
                let interval = match self {
                    _ if stated.interval == 0 => 0,
                    Self::Unanswerable => tightest * UNANSWERABLE_PART,
                    _ => tightest,
                };
                BudgetLimit { interval, ..*stated }
            }
        }
    }
}

/// Part of the tightest budget that attempts which cannot be challenged may have beside it: few
/// enough to be no way round it.
const UNANSWERABLE_PART: u64 = 16;

/// The limit of [`Purse::Unanswerable`].
pub fn unanswerable(budgets: [&BudgetLimit; 2]) -> BudgetLimit {
    let tightest = tightest(budgets);
    let interval = tightest.interval * UNANSWERABLE_PART;
    BudgetLimit { interval, capacity: core::cmp::max(tightest.capacity, interval), lease: 1 }
}

/// The limit of [`Purse::Unproven`] and of [`Purse::Present`]: the tightest budget, with so small a
/// burst that twice its rate spends it before the challenge ends.
pub fn unproven(budgets: [&BudgetLimit; 2]) -> BudgetLimit {
    let BudgetLimit { interval, capacity, lease } = tightest(budgets);
    BudgetLimit { interval, capacity: capacity.clamp(0, HOLD / 2).max(interval), lease }
}

/// The budget with the lowest rate; none if there is none.
fn tightest(budgets: [&BudgetLimit; 2]) -> BudgetLimit {
    budgets.into_iter().max_by_key(|budget| budget.interval).copied().unwrap_or_default()
}

/// What a CPU sees in a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Whether there is a token.
    pub look: Look,
    /// How much of the budget is used, in nanoseconds of its capacity.
    pub used: u64,
}

impl Fill {
    /// Where there is no limit a token is always there.
    pub const UNLIMITED: Self = Self { look: Look::LEASED, used: 0 };
}

/// Looks into a purse.
#[inline(always)]
pub fn look<W: SharedWord>(
    lease: &mut Lease,
    shared: &W,
    limit: &BudgetLimit,
    now: u64,
    precise: impl FnOnce() -> u64,
) -> Fill {
    if limit.interval == 0 {
        return Fill::UNLIMITED;
    }
    let look = lease.look(shared, limit, now, precise);
    Fill { look, used: lease.used }
}

/// Takes what was seen.
#[inline(always)]
pub fn take<W: SharedWord>(
    lease: &mut Lease,
    shared: &W,
    limit: &BudgetLimit,
    look: Look,
    precise: impl FnOnce() -> u64,
) -> Take {
    if limit.interval == 0 { Take::Taken } else { lease.take(look, shared, limit, precise) }
}
