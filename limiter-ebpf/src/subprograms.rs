//! Functions that the kernel's verifier checks once each, instead of at every call: numbers in, a number out.
//!
//! They are what a service with a challenge or a line needs, and a policy with classes. Each finds
//! its records by slot and id again, which costs a few nanoseconds and keeps the verifier's work at
//! the sum of its parts instead of their product.

use limiter_common::address::Address;
use limiter_common::admission::{
    self, Attempt, Case, Notes, Outcome, Purses, Ruling, Stage, State,
};
use limiter_common::budget::{Look, Take};
use limiter_common::challenge;
use limiter_common::class_tree::{self, FAN, Root, Trees};
use limiter_common::hash::Place;
use limiter_common::line::{Arrival, Judged};
use limiter_common::open::{Bounds, Full};
use limiter_common::purse::{Fill, Purse};
use limiter_common::reason::Reason;
use limiter_common::record::{CLASS_ROOTS, CLASSES, Class, Instance, NETWORKS, Network, REASONS};
use limiter_common::shadow;
use limiter_common::share::Share;
use limiter_common::source_table::{self, Charge, Charged, SourceLimit, Ticks};

use crate::clock;
use crate::exit::Decision;
use crate::held::{limiter_full, limiter_network_full};
use crate::limits::{self, Question, limiter_place};
use crate::maps::{
    self, CLASS, CLASS_KEYS, CLASS_ROOT, CLASS_VALUES, INSTANCE, LEASE, NETWORK, SHADOWED, SOURCES,
};
pub use crate::what::{IS_PROOF, PEEKS, pack_what, unpack_what};

/// A record is not there.
pub const NOTHING: u64 = u64::MAX;

/// Judges one case of a service that has more than limits, and no line.
#[inline(always)]
pub fn admit(question: &Question) -> Option<Outcome> {
    let Question { slot, id, client, now, stage } = *question;
    let what = pack_what(slot, id);
    unpack_outcome(match stage {
        Stage::Peeks => limiter_peek(what, client.high, client.low, now),
        Stage::Pays => limiter_pay(what, client.high, client.low, now),
        Stage::Proof => limiter_pay(what | IS_PROOF, client.high, client.low, now),
        Stage::Unanswerable => limiter_few(what, client.high, client.low, now),
    })
}

/// Lets a proof pay to a service in a slot. Says what [`unpack_outcome`] reads.
#[inline(always)]
pub fn pay_proof((slot, id): (u32, u32), client: Address) -> u64 {
    limiter_pay(pack_what(slot, id) | IS_PROOF, client.high, client.low, clock::coarse())
}

/// In an outcome: another source's way was taken.
pub const STOLE: u64 = 1 << 8;
/// In an outcome: the waiting room may have it.
pub const MAY_DIVERT: u64 = 1 << 9;
const CHALLENGE: u64 = 1 << 10;
const STEP_SHIFT: u32 = 16;
/// In an outcome: the step.
pub const STEP: u64 = 0xff << STEP_SHIFT;

/// What a call said of an outcome. `None`: a record is not there.
#[inline(always)]
pub fn unpack_outcome(packed: u64) -> Option<Outcome> {
    if packed == NOTHING {
        return None;
    }
    let (stole, may_divert) = (packed & STOLE != 0, packed & MAY_DIVERT != 0);
    let verdict = match packed & CHALLENGE {
        // The mask says nothing new, but the verifier wants to see it: the number becomes an index.
        0 => Ruling::Decided(Reason::from_number(packed as u8 & (REASONS as u8 - 1))?),
        _ => Ruling::Challenge,
    };
    Some(Outcome { verdict, stole, step: (packed >> STEP_SHIFT) as u8, may_divert })
}

/// Judges an attempt whose proof will pay. `what`: [`pack_what`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_peek(what: u64, high: u64, low: u64, now: u64) -> u64 {
    let Some(case) = case(what, Address { high, low }, now, Stage::Peeks) else { return NOTHING };
    pack_outcome(&admission::peek(&Called, &case))
}

/// Judges an attempt that pays, or a proof.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_pay(what: u64, high: u64, low: u64, now: u64) -> u64 {
    let stage = if what & IS_PROOF != 0 { Stage::Proof } else { Stage::Pays };
    let Some(case) = case(what, Address { high, low }, now, stage) else { return NOTHING };
    pack_outcome(&admission::pay(&Called, &case))
}

/// Judges an attempt that nobody asks for a proof.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_few(what: u64, high: u64, low: u64, now: u64) -> u64 {
    let Some(case) = case(what, Address { high, low }, now, Stage::Unanswerable) else {
        return NOTHING;
    };
    pack_outcome(&admission::unanswerable(&Called, &case))
}

/// Asks for a proof of one that is refused: the waiting room is only for who proves himself. `said`:
/// [`Decision::pack`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_ask(said: u64, now: u64) -> u64 {
    let client = Address { high: 0, low: 0 };
    let (slot, id) = Decision::place(said);
    let Some(case) = case(pack_what(slot, id), client, now, Stage::Peeks) else { return NOTHING };
    let verdict = admission::unproven(&Called, &case, false);
    pack_outcome(&Notes::default().outcome(verdict))
}

/// What is judged, as the calls are told it.
#[inline(always)]
pub fn case(what: u64, client: Address, now: u64, stage: Stage) -> Option<Case<'static>> {
    let (slot, id) = unpack_what(what);
    Some(Case {
        slot,
        id,
        service: limits::service(slot, id)?,
        host: limits::host(slot)?,
        client,
        now,
        stage,
    })
}

/// An outcome in one number.
#[inline(always)]
pub fn pack_outcome(outcome: &Outcome) -> u64 {
    let said = match outcome.verdict {
        Ruling::Decided(reason) => reason as u64,
        Ruling::Challenge => CHALLENGE,
    };
    let step = u64::from(outcome.step) << STEP_SHIFT;
    let divert = if outcome.may_divert { MAY_DIVERT } else { 0 };
    said | step | divert | if outcome.stole { STOLE } else { 0 }
}

/// The state of `admission`, each part behind a call.
pub struct Called;

impl State for Called {
    #[inline(always)]
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Fill> {
        if !limits::has_limit(case.service, case.host, purse) {
            return Some(Fill::UNLIMITED);
        }
        let look = match limiter_look(pack_what(case.slot, case.id), purse as u64, case.now) {
            NOTHING => return None,
            look => Look(look),
        };
        let lease = LEASE.get(purse.index(case.id))?;
        Some(Fill { look, used: lease.used })
    }

    #[inline(always)]
    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take> {
        if !limits::has_limit(case.service, case.host, purse) {
            return Some(Take::Taken);
        }
        match limiter_take(pack_what(case.slot, case.id), purse as u64, look.0) {
            0 => Some(Take::Taken),
            1 => Some(Take::Gone),
            2 => Some(Take::Contended),
            _ => None,
        }
    }

    #[inline(always)]
    fn give_back(&self, case: &Case<'_>, purse: Purse) {
        limits::give_back(case.service, case.host, case.id, purse);
    }

    #[inline(always)]
    fn share(&self, index: u32) -> Share {
        maps::share(index)
    }

    #[inline(always)]
    fn draw(&self, case: &Case<'_>, _: &Purses) -> Option<Reason> {
        let what = pack_what(case.slot, case.id);
        Reason::from_number(limiter_draw(what, case.now) as u8 & (REASONS as u8 - 1))
    }

    #[inline(always)]
    fn class(&self, case: &Case<'_>) -> (u32, Option<&Class>) {
        // The mask says nothing new, but the verifier wants to see it.
        let class = limiter_class(case.slot.into(), case.client.high, case.client.low) as u32
            & (CLASSES - 1);
        (class, if class == 0 { None } else { CLASS.get(case.slot * CLASSES + class) })
    }

    #[inline(always)]
    fn network(&self, case: &Case<'_>, class: u32) -> Option<&Network> {
        NETWORK.get(case.slot * NETWORKS + Network::index(case.id, class))
    }

    #[inline(always)]
    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place> {
        let hash =
            limiter_place(u64::from(service) | u64::from(class) << 32, source.high, source.low);
        if hash == 0 { None } else { Some(Place(hash)) }
    }

    #[inline(always)]
    fn full(&self, case: &Case<'_>, place: &Place, bounds: &Bounds) -> Option<Full> {
        let peeks = if matches!(case.stage, Stage::Peeks) { PEEKS } else { 0 };
        let what = pack_what(case.slot, case.id) | peeks;
        Full::from_number(limiter_full(what, place.0, bounds.source, case.now))
    }

    #[inline(always)]
    fn is_network_full(&self, case: &Case<'_>, class: u32) -> bool {
        let peeks = if matches!(case.stage, Stage::Peeks) { PEEKS } else { 0 };
        let what = pack_what(case.slot, case.id) | peeks;
        let Address { high, low } = case.client;
        limiter_network_full(what, class.into(), high, low, case.now) != 0
    }

    #[inline(always)]
    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        charge(place, attempt)
    }

    #[inline(always)]
    fn try_charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charge> {
        try_charge(place, attempt)
    }

    #[inline(always)]
    fn line(&self, _: &Case<'_>, _: &Arrival) -> Option<Judged> {
        None
    }

    #[inline(always)]
    fn challenge(&self, id: u32, ask: challenge::Ask, now: u64) -> Option<bool> {
        Some(challenge::ask(limits::challenge_line(id)?, ask, now))
    }
}

/// Below an interval in shifted ticks, where it has no bits: nothing is written.
const PEEK: u64 = 4;

/// Charges an attempt to the source table.
#[inline(always)]
pub fn charge(place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
    let SourceLimit { interval, window } = *attempt.limit;
    let interval = interval | if attempt.peeks { PEEK } else { 0 };
    let said = limiter_charge(place.0, interval, window, attempt.now, attempt.horizon);
    Some(Charged { charge: charged(said)?, step: (said >> 8) as u8 })
}

/// What [`limiter_charge`] said of a charge, in its lowest 8 bits.
#[inline(always)]
pub const fn charged(said: u64) -> Option<Charge> {
    match said & 0xff {
        0 => Some(Charge::Conforms),
        1 => Some(Charge::Stole),
        2 => Some(Charge::Exceeds),
        3 => Some(Charge::Contended),
        _ => None,
    }
}

/// The inverse of [`charged`].
#[inline(always)]
pub const fn charge_number(charge: Charge) -> u64 {
    match charge {
        Charge::Conforms => 0,
        Charge::Stole => 1,
        Charge::Exceeds => 2,
        Charge::Contended => 3,
    }
}

/// Looks into a purse of a service: [`NOTHING`], or a [`Look`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_look(what: u64, purse: u64, now: u64) -> u64 {
    let (slot, id) = unpack_what(what);
    let look =
        |purse| limits::look(limits::service(slot, id)?, limits::host(slot)?, id, purse, now);
    Purse::from_number(purse as u32).and_then(look).map_or(NOTHING, |seen| seen.look.0)
}

/// Takes what was seen there: 0 taken, 1 gone, 2 contended.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_take(what: u64, purse: u64, look: u64) -> u64 {
    let (slot, id) = unpack_what(what);
    let take = |purse| {
        limits::take(limits::service(slot, id)?, limits::host(slot)?, id, purse, Look(look))
    };
    match Purse::from_number(purse as u32).and_then(take) {
        Some(Take::Taken) => 0,
        Some(Take::Gone) => 1,
        Some(Take::Contended) => 2,
        None => NOTHING,
    }
}

/// Takes from both budgets, and says which [`Reason`] came of it. It looks once more: to
/// hand on what was seen would take room on a stack that is full.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_draw(what: u64, now: u64) -> u64 {
    let client = Address { high: 0, low: 0 };
    let Some(case) = case(what, client, now, Stage::Pays) else { return Reason::NoPolicy as u64 };
    admission::draw(&Called, &case, None).unwrap_or(Reason::NoPolicy) as u64
}

/// The trees of a slot.
struct Slot(u32);

impl Trees for Slot {
    #[inline(always)]
    fn root(&self, index: u32) -> Option<&Root> {
        CLASS_ROOT.get(self.0 * CLASS_ROOTS + index)
    }

    #[inline(always)]
    fn keys(&self, line: u32) -> Option<&[u64; FAN]> {
        CLASS_KEYS.get(line)
    }

    #[inline(always)]
    fn values(&self, line: u32) -> Option<&[u16; FAN]> {
        CLASS_VALUES.get(line)
    }
}

/// The class of an address in a slot, 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_class(slot: u64, high: u64, low: u64) -> u64 {
    class_tree::find(&Slot(slot as u32 & 3), Address { high, low }).into()
}

/// Charges the source at `hash`, or only looks: [`PEEK`] is added to the interval. 0 conforms, 1
/// stole, 2 exceeds, 3 contended, and above these 8 bits the step.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_charge(
    hash: u64,
    interval: u64,
    window: u64,
    now: u64,
    horizon: u64,
) -> u64 {
    let place = Place(hash);
    let set = INSTANCE.get(0).and_then(|Instance { sets, .. }| SOURCES.get(place.set(*sets)));
    let Some(set) = set else { return NOTHING };
    let limit = SourceLimit { interval: interval & !PEEK, window };
    let own = limit.horizon();
    if interval & PEEK != 0 {
        let exceeds = source_table::exceeds(set, place.fingerprint(), Ticks::at(now), &limit, own);
        return if exceeds { 2 | u64::from(source_table::OVER) << 8 } else { 0 };
    }
    let Charged { charge, step } =
        source_table::charge(set, place.fingerprint(), Ticks::at(now), &limit, own, horizon);
    charge_number(charge) | u64::from(step) << 8
}

/// Charges an attempt to the table of what is tried.
#[inline(always)]
fn try_charge(place: &Place, attempt: &Attempt<'_>) -> Option<Charge> {
    let SourceLimit { interval, window } = *attempt.limit;
    charged(limiter_try(place.0, interval, window, attempt.now, attempt.horizon))
}

/// Charges the source at `hash`: 0 conforms, 1 stole, 2 exceeds, 3 contended.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_try(
    hash: u64,
    interval: u64,
    window: u64,
    now: u64,
    horizon: u64,
) -> u64 {
    let place = Place(hash);
    let Some(set) = SHADOWED.get(place.set(shadow::SETS)) else { return NOTHING };
    let limit = SourceLimit { interval, window };
    let (own, now) = (limit.horizon(), Ticks::at(now));
    charge_number(source_table::charge(set, place.fingerprint(), now, &limit, own, horizon).charge)
}
