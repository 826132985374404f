//! Whether an attempt is let in where the service has a line ([`crate::line`]).
//!
//! 1. Look at the budgets. One that is spent does not refuse here: who waits keeps a place.
//! 2. Look at the limits of the source's network, if networks have any: who is over one gets no
//!    place. Then at the source's limit, of its class if it has one; not where a budget is spent and the
//!    attempt would pay, because then nobody is let in, and a flood would read one more random
//!    cache line. (A service with a waiting room looks: who is over his own limit does not see it.)
//! 3. The line.
//! 4. Charge the source and its network, and take from the budgets: only whom the line lets in pays.
//!    An attempt that peeks writes nothing, and where it need not wait its proof comes here again.
//!
//! 1 and 2 are [`arrive`] and [`look_at_source`], 4 is [`leave`], so that the kernel side can have a
//! function for each.

use crate::admission::{
    self, Case, Notes, Outcome, Ruling, Stage, State, Terms, attempt, charge, look_at_network,
    network_pays, unproven,
};
use crate::budget::Look;
use crate::line::service::FULL;
use crate::line::{self, Arrival, Judged, Said};
use crate::open::Full;
use crate::purse::Purse;
use crate::reason::Reason;
use crate::record::Service;
use crate::source_table::{Charge, SourceLimit};

/// Most people's part that one source has.
const MOST_WEIGHT: u32 = 1 << 16;

/// What a CPU works with while it judges one who comes to a line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Draft {
    /// Who comes.
    pub arrival: Arrival,
    /// What the line makes of him.
    pub line: line::phases::Draft,
}

/// Judges one case of any service.
#[inline(always)]
pub fn judge<S: State>(state: &S, case: &Case<'_>) -> Outcome {
    if case.service.line.interval == 0 || matches!(case.stage, Stage::Unanswerable) {
        return admission::judge(state, case);
    }
    let mut notes = Notes::default();
    let verdict = order(state, case, &mut notes);
    notes.outcome(verdict).proven(case)
}

#[inline(always)]
fn order<S: State>(state: &S, case: &Case<'_>, notes: &mut Notes) -> Option<Ruling> {
    let arrival = match arrive(state, case)? {
        Ok(arrival) => arrival,
        Err(reason) => return Some(Ruling::Decided(reason)),
    };
    if let Some(reason) = look_at_source(state, case, &arrival, notes)? {
        return Some(Ruling::Decided(reason));
    }
    let judged = match arrival.weight {
        0 => Judged { said: Said::Page, stole: false },
        _ => state.line(case, &arrival)?,
    };
    notes.stole |= judged.stole;
    leave(state, case, &arrival, judged.said, notes)
}

/// Looks at the budgets and at the limits of the network: one who may come to the line if
/// [`look_at_source`] says so, or why not.
#[inline(always)]
pub fn arrive<S: State>(state: &S, case: &Case<'_>) -> Option<Result<Arrival, Reason>> {
    let [mine, hosts] = [state.look(case, Purse::Service)?, state.look(case, Purse::Host)?];
    let mut spent = if mine.look == Look::SPENT {
        Reason::ServiceBudget as u64
    } else if hosts.look == Look::SPENT {
        Reason::GlobalBudget as u64
    } else {
        0
    };
    let terms = Terms::of::<S, true>(state, case);
    if !terms.waits
        && let Some(reason) = Reason::from_number(spent as u8).filter(|_| spent != 0)
    {
        return Some(Err(reason));
    }
    if case.service.has_networks()
        && let Some(reason) = look_at_network(state, case, terms.class)?
    {
        return Some(Err(reason));
    }
    let place = state.place(case.service.number, terms.class, terms.source)?;
    let bounds = terms.bounds(case);
    if !bounds.are_none() {
        match state.full(case, &place, &bounds) {
            Some(Full::Source) => return Some(Err(Reason::OpenSource)),
            // Who waits for that keeps a place, as where a budget is spent.
            Some(Full::Budget) if terms.waits => spent = Reason::OpenBudget as u64,
            Some(Full::Budget) => return Some(Err(Reason::OpenBudget)),
            None => {}
        }
    }
    let weight = if terms.waits { weight(case.service, terms.limit) } else { 0 };
    let (interval, others) = (interval(state, case), others(case, hosts.used));
    let (now, class, limit) = (case.now, terms.class, *terms.limit);
    Some(Ok(Arrival { place, now, weight, class, interval, others, spent, limit }))
}

/// Looks at the limit of a source that arrived: why it may not come to the line.
#[inline(always)]
pub fn look_at_source<S: State>(
    state: &S,
    case: &Case<'_>,
    arrival: &Arrival,
    notes: &mut Notes,
) -> Option<Option<Reason>> {
    let looks = arrival.spent == 0 || matches!(case.stage, Stage::Peeks) || case.service.has_room();
    if arrival.limit.interval == 0 || !looks {
        return Some(None);
    }
    let limit = attempt(case, case.client, &arrival.limit, true);
    let charged = charge(state, &arrival.place, &limit, notes)?;
    Some(matches!(charged, Charge::Exceeds).then_some(Reason::SourceLimit))
}

/// Charges the source, then its network; says whether a CPU was in the way, or which of them
/// refuses because another CPU charged it meanwhile.
#[inline(always)]
fn pay<S: State>(
    state: &S,
    case: &Case<'_>,
    arrival: &Arrival,
    notes: &mut Notes,
) -> Option<Result<bool, Reason>> {
    let mut is_contended = false;
    if arrival.limit.interval != 0 {
        let limit = attempt(case, case.client, &arrival.limit, false);
        match charge(state, &arrival.place, &limit, notes)? {
            Charge::Exceeds => return Some(Err(Reason::SourceLimit)),
            charged => is_contended |= matches!(charged, Charge::Contended),
        }
    }
    if case.service.has_networks() {
        match network_pays(state, case, arrival.class, notes)? {
            Charge::Exceeds => return Some(Err(Reason::NetworkLimit)),
            charged => is_contended |= matches!(charged, Charge::Contended),
        }
    }
    Some(Ok(is_contended))
}

/// Charges the source and takes from the budgets for one whom the line lets in.
#[inline(always)]
pub fn leave<S: State>(
    state: &S,
    case: &Case<'_>,
    arrival: &Arrival,
    said: Said,
    notes: &mut Notes,
) -> Option<Ruling> {
    if !said.admits() {
        // Who is sent to the waiting room has a connection of it, and pays with his own limit.
        if case.service.has_room()
            && !matches!(case.stage, Stage::Peeks)
            && let Err(reason) = pay(state, case, arrival, notes)?
        {
            return Some(Ruling::Decided(reason));
        }
        return Some(Ruling::Decided(match (said, arrival.spent) {
            (Said::InLine | Said::SentBack | Said::Full | Said::NotYet, _) => Reason::InLine,
            (_, spent) if spent == Reason::GlobalBudget as u64 => Reason::GlobalBudget,
            (_, spent) if spent == Reason::OpenBudget as u64 => Reason::OpenBudget,
            // Its service's budget is spent, or what others may have of it.
            _ => Reason::ServiceBudget,
        }));
    }
    if matches!(case.stage, Stage::Peeks) {
        return unproven(state, case, matches!(said, Said::Visit));
    }
    let is_contended = match pay(state, case, arrival, notes)? {
        Err(reason) => return Some(Ruling::Decided(reason)),
        Ok(is_contended) => is_contended || matches!(said, Said::Contended),
    };
    let reason = admission::draw(state, case, None)?;
    let is_told = is_contended && matches!(reason, Reason::Admitted);
    Some(Ruling::Decided(if is_told { Reason::Contended } else { reason }))
}

/// How many people's part the source may have: as many as a limit of its class that is so much
/// wider than the service's stands for.
#[inline(always)]
fn weight(service: &Service, limit: &SourceLimit) -> u32 {
    // To the nearest: intervals are rounded to ticks.
    match (service.source.interval + limit.interval / 2).checked_div(limit.interval) {
        Some(times @ 2..) if times < MOST_WEIGHT as u64 => times as u32,
        Some(2..) => MOST_WEIGHT,
        _ => 1,
    }
}

/// The interval of the budget whose line it is, as in force now; 0: as the rules of the line have
/// it, which may have no budget.
#[inline(always)]
fn interval<S: State>(state: &S, case: &Case<'_>) -> u64 {
    let purse = if case.service.budget.interval == 0 { Purse::Host } else { Purse::Service };
    let stated = purse.limit(case.service, case.host).interval;
    if stated != case.service.line.interval {
        return 0;
    }
    state.share(purse.index(case.id)).interval(stated, case.now)
}

/// How full the budget is that the service shares with others, of [`FULL`]. One that has none of
/// its own has the host's for its line's gate.
#[inline(always)]
fn others(case: &Case<'_>, used: u64) -> u64 {
    if case.service.budget.interval == 0 {
        return 0;
    }
    // In units of 65 us, so that the product of a year is within 64 bits.
    let [used, capacity] = [used >> 16, case.host.budget.capacity >> 16];
    match (used * FULL).checked_div(capacity) {
        Some(full) if full < FULL => full,
        Some(_) => FULL,
        None => 0,
    }
}
