//! What a judgement asks and tells where the state lives: over maps in the kernel, over vectors in
//! simulations.

use super::case::Case;
use super::draw;
use crate::address::Address;
use crate::budget::{Look, Take};
use crate::challenge;
use crate::hash::Place;
use crate::line::{Arrival, Judged};
use crate::open::{Bounds, Full};
use crate::purse::{Fill, Purse};
use crate::reason::Reason;
use crate::record::{Class, Network};
use crate::share::Share;
use crate::source_table::{Charge, Charged, SourceLimit};

/// One attempt of one source, as a table of debts sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Number of the service.
    pub service: u32,
    /// The client address cut to its prefix.
    pub source: Address,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// The limit that applies.
    pub limit: &'a SourceLimit,
    /// Whether it only looks.
    pub peeks: bool,
    /// Longest debt of the whole policy, in shifted ticks.
    pub horizon: u64,
}

/// What was seen in the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purses {
    /// The service's.
    pub mine: Look,
    /// The host's.
    pub hosts: Look,
}

/// Where the state lives. `None` from any of them: it is not there, and the attempt passes.
pub trait State {
    /// Looks into a purse of the case's service.
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Fill>;
    /// Takes what was seen there.
    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take>;
    /// Gives back the token that was just taken there.
    fn give_back(&self, case: &Case<'_>, purse: Purse);
    /// What is in force at the index of a budget instead of its stated rate.
    #[inline(always)]
    fn share(&self, _index: u32) -> Share {
        Share::NONE
    }
    /// Takes all that was seen, or nothing. For a function of the kernel side, which the verifier
    /// follows by itself.
    #[inline(always)]
    fn draw(&self, case: &Case<'_>, seen: &Purses) -> Option<Reason>
    where
        Self: Sized,
    {
        draw(self, case, Some(seen))
    }
    /// The id of the client's class, 0 for none, and its record.
    fn class(&self, case: &Case<'_>) -> (u32, Option<&Class>);
    /// The limit of networks that counts for the sources of a class of the case's service, 0 for
    /// those of none.
    fn network(&self, case: &Case<'_>, class: u32) -> Option<&Network>;
    /// The place of a source in the tables, by the number of the service; a class has debts of its
    /// own.
    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place>;
    /// What has as many open connections as it may, of the service, the host and the source at
    /// `place`. Where nothing counts them, nothing has.
    fn full(&self, _: &Case<'_>, _: &Place, _: &Bounds) -> Option<Full> {
        None
    }
    /// Whether the client's network has as many open connections as one of a class of the case's
    /// service may. Where nothing counts them, none has.
    fn is_network_full(&self, _: &Case<'_>, _class: u32) -> bool {
        false
    }
    /// Charges an attempt to the source table; one that peeks is only told whether that would go.
    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged>;
    /// Charges an attempt to the table of limits that are tried ([`crate::shadow`]). `None`: there
    /// is none.
    fn try_charge(&self, _: &Place, _: &Attempt<'_>) -> Option<Charge> {
        None
    }
    /// Judges a source in the service's line; of one that peeks, only whether it waits.
    fn line(&self, case: &Case<'_>, arrival: &Arrival) -> Option<Judged>;
    /// Asks or tells the challenge of the service.
    fn challenge(&self, id: u32, ask: challenge::Ask, now: u64) -> Option<bool>;
}
