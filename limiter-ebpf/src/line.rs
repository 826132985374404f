//! One who comes to a service with a line: [`limiter_common::turn`] and the phases of
//! [`limiter_common::line::phases`], each a function that the verifier follows by itself. What they
//! leave to one another is in a map.

use limiter_common::address::Address;
use limiter_common::admission::{Notes, Outcome, Ruling, Stage};
use limiter_common::hash::Place;
use limiter_common::line::phases::{self, Draft, Phases};
use limiter_common::line::seats::Seats;
use limiter_common::line::{self, Judged, Part, Peeked, Rules, Said, Service};
use limiter_common::reason::Reason;
use limiter_common::record::Instance;
use limiter_common::source_table::WAYS;
use limiter_common::turn;
use limiter_common::word::SharedWord as _;

use crate::clock;
use crate::limits::{self, Question};
use crate::maps::{self, INSTANCE, LINE, LINE_DRAFT, MapWord, SEATS, VISITS};
use crate::subprograms::{self, IS_PROOF, NOTHING, PEEKS, case, pack_outcome, unpack_what};

/// Said by [`limiter_arrive`]: he may come to the line.
const ARRIVED: u64 = 1 << 32;
/// Beside [`ARRIVED`]: he does not wait in line.
const IS_FREE: u64 = 1 << 33;

/// Of which nothing is asked.
static NO_PART: Part = Part { allowance: 0, price: 0, many: 0 };

/// Whether a service has a line.
#[inline(always)]
fn is_of(slot: u32, id: u32) -> bool {
    limits::service(slot, id).is_some_and(|service| service.line.interval != 0)
}

/// Judges one case of a service that has more than limits.
#[inline(always)]
pub fn admit(question: &Question) -> Option<Outcome> {
    let Question { slot, id, client, now, stage } = *question;
    let flag = match stage {
        Stage::Peeks => PEEKS,
        Stage::Pays => 0,
        Stage::Proof | Stage::Unanswerable => return subprograms::admit(question),
    };
    if !is_of(slot, id) {
        return subprograms::admit(question);
    }
    let what = subprograms::pack_what(slot, id) | flag;
    subprograms::unpack_outcome(judge(what, client, now))
}

/// Lets a proof pay to a service in a slot. Says what [`subprograms::unpack_outcome`] reads.
#[inline(always)]
pub fn pay_proof((slot, id): (u32, u32), client: Address) -> u64 {
    if !is_of(slot, id) {
        return subprograms::pay_proof((slot, id), client);
    }
    let what = subprograms::pack_what(slot, id) | IS_PROOF;
    judge(what, client, clock::coarse())
}

/// Judges one who comes to a service with a line. The calls are beside one another, not within: so
/// the stack holds one of them.
#[inline(always)]
fn judge(what: u64, client: Address, now: u64) -> u64 {
    let arrived = limiter_arrive(what, client.high, client.low, now);
    if arrived & ARRIVED == 0 {
        return arrived;
    }
    let said = if arrived & IS_FREE != 0 {
        Said::Page as u64
    } else if what & PEEKS != 0 {
        limiter_line_peek(what)
    } else {
        limiter_line(what)
    };
    limiter_leave(what, client.high, client.low, said, arrived)
}

/// What the calls below are told: slot, id and flags. The rest is in the draft.
#[derive(Clone, Copy)]
struct Called {
    what: u64,
}

impl Called {
    #[inline(always)]
    fn rules(&self) -> Option<&'static Rules> {
        let (slot, id) = unpack_what(self.what);
        Some(&limits::service(slot, id)?.line)
    }

    /// The seats, where there is a bound to those who are present.
    #[inline(always)]
    fn seats(&self) -> Option<(&'static Seats<MapWord>, &'static Rules)> {
        let rules = self.rules().filter(|rules| rules.users != 0)?;
        Some((SEATS.get(unpack_what(self.what).1)?, rules))
    }

    /// How many there are at `now`.
    #[inline(always)]
    fn users(&self, rules: &Rules, now: u64) -> u64 {
        maps::places(unpack_what(self.what).1).places(rules.users, now)
    }

    #[inline(always)]
    fn service(&self) -> Option<Service<'static, MapWord>> {
        Some(Service { line: LINE.get(unpack_what(self.what).1)?, rules: self.rules()? })
    }
}

/// The ways of a place.
#[inline(always)]
fn set(place: Place) -> Option<&'static [MapWord; WAYS]> {
    let Instance { sets, .. } = INSTANCE.get(0)?;
    VISITS.get(place.set(*sets))
}

/// What this CPU works with.
#[inline(always)]
fn draft() -> Option<&'static mut turn::Draft> {
    // SAFETY: the element belongs to this CPU, on which an XDP program is not interrupted by itself,
    // and each function asks for it once.
    LINE_DRAFT.get_ptr_mut(0).map(|draft| unsafe { &mut *draft })
}

/// What a phase says, which nobody reads.
const fn done(phase: Option<()>) -> u64 {
    match phase {
        Some(()) => 0,
        None => NOTHING,
    }
}

impl Phases for Called {
    #[inline(always)]
    fn look(&self) {
        limiter_line_look(self.what);
    }

    #[inline(always)]
    fn find(&self) {
        limiter_line_find(self.what);
    }

    #[inline(always)]
    fn decide(&self) {
        limiter_line_decide(self.what);
    }

    #[inline(always)]
    fn settle(&self, is_written: bool) {
        limiter_line_settle(self.what, is_written.into());
    }

    #[inline(always)]
    fn replace(&self, way: u64, old: u64, new: u64) -> bool {
        let set = draft().and_then(|draft| set(draft.arrival.place));
        set.is_some_and(|set| set[way as usize & (WAYS - 1)].replace(old, new))
    }

    #[inline(always)]
    fn claim(&self) -> bool {
        limiter_line_claim(self.what, 1) != 0
    }

    #[inline(always)]
    fn unclaim(&self) {
        limiter_line_claim(self.what, 0);
    }

    #[inline(always)]
    fn draft(&self) -> Draft {
        draft().map_or_else(Draft::default, |draft| draft.line)
    }
}

/// Judges one who may come to the line: a number of [`Said`], and [`subprograms::STOLE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line(what: u64) -> u64 {
    let Judged { said, stole } = phases::run(&Called { what });
    said as u64 | if stole { subprograms::STOLE } else { 0 }
}

#[inline(always)]
const fn stage(what: u64) -> Stage {
    if what & PEEKS != 0 {
        Stage::Peeks
    } else if what & IS_PROOF != 0 {
        Stage::Proof
    } else {
        Stage::Pays
    }
}

/// Looks at the budgets and at the limit of the source. Says [`ARRIVED`], or what came of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_arrive(what: u64, high: u64, low: u64, now: u64) -> u64 {
    let Some(case) = case(what, Address { high, low }, now, stage(what)) else { return NOTHING };
    let mut notes = Notes::default();
    let (reason, arrived) = match turn::arrive(&subprograms::Called, &case) {
        None => return NOTHING,
        Some(Err(reason)) => (reason, 0),
        Some(Ok(arrival)) => {
            let Some(draft) = draft() else { return NOTHING };
            // Kept there before the next call: here it would lie on a stack that is full.
            draft.arrival = arrival;
            let is_free = if arrival.weight == 0 { IS_FREE } else { 0 };
            match turn::look_at_source(&subprograms::Called, &case, &draft.arrival, &mut notes) {
                None => return NOTHING,
                Some(Some(reason)) => (reason, 0),
                Some(None) => (Reason::NoPolicy, ARRIVED | is_free),
            }
        }
    };
    let verdict = Ruling::Decided(reason);
    pack_outcome(&notes.outcome(Some(verdict)).proven(&case)) | arrived
}

/// Charges the source and its network, and takes from the budgets. `arrived`: what
/// [`limiter_arrive`] said.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_leave(what: u64, high: u64, low: u64, said: u64, arrived: u64) -> u64 {
    let Some(draft) = draft() else { return NOTHING };
    let client = Address { high, low };
    let Some(case) = case(what, client, draft.arrival.now, stage(what)) else { return NOTHING };
    let Some(known) = Said::from_number(said & 0xf) else { return NOTHING };
    let arrival = draft.arrival;
    let mut notes = Notes::default();
    let Some(verdict) = turn::leave(&subprograms::Called, &case, &arrival, known, &mut notes)
    else {
        return NOTHING;
    };
    let outcome = notes.outcome(Some(verdict)).proven(&case);
    let noted = arrived & (subprograms::STOLE | subprograms::STEP);
    pack_outcome(&outcome) | said & subprograms::STOLE | noted
}

/// Whether one who only looks must wait: a number of [`Said`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line_peek(what: u64) -> u64 {
    let called = Called { what };
    let peeked = || {
        let arrival = &draft()?.arrival;
        let set = set(arrival.place)?;
        Some(line::peek(&called.service()?, set, &arrival.coming(&NO_PART)))
    };
    match peeked() {
        Some(Peeked::Waits) => Said::InLine as u64,
        Some(Peeked::IsIn) => Said::Visit as u64,
        _ => Said::Page as u64,
    }
}

/// Claims a seat and says whether there was one, or gives it back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line_claim(what: u64, takes: u64) -> u64 {
    let claim = || {
        let called = Called { what };
        let (seats, rules) = called.seats()?;
        if takes == 0 {
            seats.unclaim();
            return Some(true);
        }
        let draft = draft()?;
        let claimed = seats.claim(called.users(rules, draft.arrival.now));
        draft.line.set_full(!claimed);
        Some(claimed)
    };
    claim().unwrap_or(true).into()
}

/// Frees seats, moves the head, and looks at the service.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line_look(what: u64) -> u64 {
    let called = Called { what };
    let look = || {
        let draft = draft()?;
        let coming = draft.arrival.coming(&NO_PART);
        let are_taken = called.seats().is_some_and(|(seats, rules)| {
            seats.free(rules, coming.now);
            seats.are_taken(called.users(rules, coming.now))
        });
        phases::look(&mut draft.line, &called.service()?, &coming, are_taken);
        Some(())
    };
    done(look())
}

/// Finds the source's way.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line_find(what: u64) -> u64 {
    let called = Called { what };
    let find = || {
        let draft = draft()?;
        let coming = draft.arrival.coming(&NO_PART);
        phases::find(&mut draft.line, set(draft.arrival.place)?, called.rules()?, &coming);
        Some(())
    };
    done(find())
}

/// Decides what becomes of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line_decide(what: u64) -> u64 {
    let called = Called { what };
    let decide = || {
        let (draft, rules) = (draft()?, called.rules()?);
        let part = draft.arrival.part(rules);
        phases::decide(&mut draft.line, rules, &draft.arrival.coming(&part));
        Some(())
    };
    done(decide())
}

/// Writes to the service what follows from it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_line_settle(what: u64, is_written: u64) -> u64 {
    let settle = || {
        let service = Called { what }.service()?;
        let draft = draft()?;
        phases::settle(&draft.line, &service, draft.arrival.now, is_written != 0);
        if is_written != 0
            && let Some((seats, rules)) = (Called { what }).seats()
        {
            phases::seat(&draft.line, seats, rules);
        }
        Some(())
    };
    done(settle())
}
