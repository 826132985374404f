//! What the line is told of one who comes, by the order of limits ([`crate::turn`]).

use super::seats::{Seats, SharedCount};
use super::{Coming, Judged, Part, Peeked, Rules, Said, Service};
use crate::hash::{self, Place};
use crate::source_table::{SourceLimit, WAYS};

/// One who comes to a line, before he is judged there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The place of the source.
    pub place: Place,
    /// Coarse clock, nanoseconds.
    pub now: u64,
    /// How many people's part it may have, 1 to 65,536; 0: it does not wait in line.
    pub weight: u32,
    /// Class id, 0 for none.
    pub class: u32,
    /// See [`Coming::interval`].
    pub interval: u64,
    /// How full the host's budget is where the service has one of its own, of
    /// [`super::service::FULL`].
    pub others: u64,
    /// The [`crate::reason::Reason`] of a budget that is spent; 0: each has a token.
    pub spent: u64,
    /// Limit of the source; an interval of 0: it has none.
    pub limit: SourceLimit,
}

impl Arrival {
    /// What the line is told. `part`: see [`Arrival::part`].
    #[inline(always)]
    pub fn coming<'a>(&self, part: &'a Part) -> Coming<'a> {
        Coming {
            fingerprint: self.place.fingerprint(),
            part,
            now: self.now,
            // The hash is keyed: no source knows what follows from its own.
            dice: (hash::mix(self.place.0 ^ self.now) >> 20) as u32,
            interval: self.interval,
            has_token: self.spent == 0,
            others: self.others,
        }
    }

    /// What the source may have.
    #[inline(always)]
    pub const fn part(&self, rules: &Rules) -> Part {
        match self.weight {
            0..=1 => rules.part,
            weight => Part::of(rules.part.allowance, weight as u64),
        }
    }
}

/// Judges one who has come to a line, all phases in one; of one that peeks, only whether it waits.
/// `seats`: of the service.
pub fn judge<W: SharedCount>(
    service: &Service<'_, W>,
    set: &[W; WAYS],
    seats: &Seats<W>,
    arrival: &Arrival,
    peeks: bool,
) -> Judged {
    let part = arrival.part(service.rules);
    let coming = arrival.coming(&part);
    if !peeks {
        return super::judge(service, set, Some(seats), &coming);
    }
    let said = match super::peek(service, set, &coming) {
        Peeked::IsIn => Said::Visit,
        Peeked::MayProve => Said::Page,
        Peeked::Waits => Said::InLine,
    };
    Judged { said, stole: false }
}
