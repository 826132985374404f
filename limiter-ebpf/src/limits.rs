//! The state of `limiter_common::admission`, in the maps.
//!
//! [`admission::plain`] is inlined into the way of a packet. What services with a challenge or a
//! line, and policies with classes need on top is in functions that the verifier checks one by one
//! (`subprograms`, `line`), so that neither its work nor the stack adds up.

use core::marker::PhantomData;

use limiter_common::address::Address;
use limiter_common::admission::{self, Attempt, Case, Outcome, Stage, State};
use limiter_common::budget::{Look, Take};
use limiter_common::challenge;
use limiter_common::hash::{self, Place};
use limiter_common::line::{Arrival, Judged};
use limiter_common::packet::{Header, Numbers};
use limiter_common::purse::{self, Fill, Purse};
use limiter_common::record::{Class, Host, Instance, Network, Service};
use limiter_common::source_table::Charged;

use crate::clock;
use crate::maps::{BUDGET, CHALLENGE, INSTANCE, LEASE, MapWord, share};
pub use crate::maps::{host, service};

/// What is to be judged, as the packet tells it.
#[derive(Clone, Copy)]
pub struct Question {
    /// Policy slot.
    pub slot: u32,
    /// Service id.
    pub id: u32,
    /// Client address.
    pub client: Address,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// What comes.
    pub stage: Stage,
}

/// Something that remembers what sources owe. The shipped one is [`Table`]; benches compare others.
pub trait Sources {
    /// Charges one attempt, or says that it is over the limit. `None`: the table is not there.
    fn charge(place: &Place, attempt: &Attempt<'_>) -> Option<Charged>;
}

/// Judges an attempt that pays, to a service that has only limits.
#[inline(always)]
pub fn plain<S: Sources>(question: &Question, service: &Service, host: &Host) -> Outcome {
    let Question { slot, id, client, now, stage } = *question;
    let state = Inline::<S> { sources: PhantomData };
    admission::plain(&state, &Case { slot, id, service, host, client, now, stage })
}

/// Whether more than limits are asked: the service has a line or a limit of networks, or the policy
/// has classes or bounds open connections.
#[inline(always)]
pub fn are_more(service: &Service, host: &Host) -> bool {
    service.line.interval != 0
        || host.class_prefixes | host.counts_open as u32 != 0
        || service.more != 0
        || service.has_room()
}

/// The state of a service's challenge.
#[inline(always)]
pub fn challenge_line(id: u32) -> Option<&'static [MapWord; challenge::WORDS]> {
    CHALLENGE.get(id)
}

/// The place of a source in the tables.
#[inline(always)]
pub fn place(service: u32, class: u32, source: Address) -> Option<Place> {
    let Instance { key, .. } = INSTANCE.get(0)?;
    Some(hash::place(key, service, class, source))
}

/// The place of a source, as [`Place`]; 0 if there is no key. `what`: the service, and above it the class.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_place(what: u64, high: u64, low: u64) -> u64 {
    place(what as u32, (what >> 32) as u32, Address { high, low }).map_or(0, |place| place.0)
}

/// The place of a segment's flow.
#[inline(always)]
pub fn flow(header: &Header<'_>, asked: &Numbers) -> Option<Place> {
    let Instance { key, .. } = INSTANCE.get(0)?;
    let ports = u32::from(asked.source_port) << 16 | u32::from(asked.port);
    Some(hash::flow(key, header.source(), header.destination(), ports))
}

/// Whether there is a limit at all. If not, nothing has to be found.
#[inline(always)]
pub fn has_limit(service: &Service, host: &Host, purse: Purse) -> bool {
    purse.limit(service, host).interval != 0
}

/// Looks into a purse.
#[inline(always)]
pub fn look(service: &Service, host: &Host, id: u32, purse: Purse, now: u64) -> Option<Fill> {
    if !has_limit(service, host, purse) {
        return Some(Fill::UNLIMITED);
    }
    // SAFETY: the element belongs to this CPU, on which an XDP program is not interrupted by itself, and the borrow ends here.
    let lease = LEASE.get_ptr_mut(purse.index(id)).map(|lease| unsafe { &mut *lease })?;
    let shared = &BUDGET.get(purse.index(id))?.arrival;
    let limit = purse.limit_at(id, service, host, share, now);
    Some(purse::look(lease, shared, &limit, now, clock::precise))
}

/// Takes what was seen there.
#[inline(always)]
pub fn take(service: &Service, host: &Host, id: u32, purse: Purse, look: Look) -> Option<Take> {
    if !has_limit(service, host, purse) {
        return Some(Take::Taken);
    }
    // SAFETY: as above.
    let lease = LEASE.get_ptr_mut(purse.index(id)).map(|lease| unsafe { &mut *lease })?;
    let shared = &BUDGET.get(purse.index(id))?.arrival;
    // What is drawn was seen at that time; what is leased asks for no limit.
    let limit = purse.limit_at(id, service, host, share, look.0);
    Some(purse::take(lease, shared, &limit, look, clock::precise))
}

/// Gives back the token that was just taken there.
#[inline(always)]
pub fn give_back(service: &Service, host: &Host, id: u32, purse: Purse) {
    if !has_limit(service, host, purse) {
        return;
    }
    if let Some(lease) = LEASE.get_ptr_mut(purse.index(id)) {
        // SAFETY: as above.
        unsafe { (*lease).give_back() };
    }
}

/// The state of [`admission::plain`].
struct Inline<S> {
    sources: PhantomData<S>,
}

impl<S: Sources> State for Inline<S> {
    #[inline(always)]
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Fill> {
        look(case.service, case.host, case.id, purse, case.now)
    }

    #[inline(always)]
    fn take(&self, case: &Case<'_>, purse: Purse, seen: Look) -> Option<Take> {
        take(case.service, case.host, case.id, purse, seen)
    }

    #[inline(always)]
    fn give_back(&self, case: &Case<'_>, purse: Purse) {
        give_back(case.service, case.host, case.id, purse);
    }

    #[inline(always)]
    fn class(&self, _: &Case<'_>) -> (u32, Option<&Class>) {
        (0, None)
    }

    #[inline(always)]
    fn network(&self, _: &Case<'_>, _: u32) -> Option<&Network> {
        None
    }

    #[inline(always)]
    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place> {
        place(service, class, source)
    }

    #[inline(always)]
    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        S::charge(place, attempt)
    }

    #[inline(always)]
    fn line(&self, _: &Case<'_>, _: &Arrival) -> Option<Judged> {
        None
    }

    #[inline(always)]
    fn challenge(&self, _: u32, _: challenge::Ask, _: u64) -> Option<bool> {
        None
    }
}
