//! Who is let in: what [`super`] says, decided for one attempt or proof from what was seen.

use super::service::{FULL, Service};
use super::visit::{self, CLOSED, LONGEST_WAIT, PLACE_SHIFT, SHORTEST_WAIT, Visit};
use super::{Part, Rules, right};
use crate::source_table::WAYS;
use crate::word::SharedWord;

/// So full may a shared budget be for a page of somebody who is present to begin, of [`FULL`].
const OTHERS: u64 = FULL / 10 * 9;
/// And so full for one of a newcomer.
const OTHERS_NEWCOMER: u64 = FULL / 10 * 3;

/// What comes.
#[derive(Clone, Copy, Debug)]
pub struct Coming<'a> {
    /// Fingerprint of the source: [`crate::hash::Place::fingerprint`].
    pub fingerprint: u32,
    /// What it may have.
    pub part: &'a Part,
    /// Clock in nanoseconds.
    pub now: u64,
    /// Any number, another one for each attempt and not the source's choice: 24 bits of it round
    /// what is below a unit.
    pub dice: u32,
    /// Nanoseconds from one connection to the next by the budget whose line it is, as in force now;
    /// 0: [`Rules::interval`].
    pub interval: u64,
    /// Whether the budgets have a token.
    pub has_token: bool,
    /// How full the fullest budget is that the service shares with others, of [`FULL`].
    pub others: u64,
}

/// What the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Let in: a connection of a page that was let in.
    Page,
    /// Let in: somebody who is present begins a page.
    Visit,
    /// Let in: a newcomer begins a visit.
    Newcomer,
    /// Let in: too many CPUs changed the source's way at once.
    Contended,
    /// Refused: others have waited longer.
    InLine,
    /// Refused: it has had its part, and goes back into the line.
    SentBack,
    /// Refused: it is present, and there is no room for a page now.
    NoRoom,
    /// Refused: as many are present as may be.
    Full,
    /// Refused: it is present, and the budgets have no token.
    NoToken,
    /// Refused: it is at the head, and there is no room or no token for another page yet.
    NotYet,
}

/// Those that let in.
pub(super) const ADMITS: u64 = set(&[Said::Page, Said::Visit, Said::Newcomer, Said::Contended]);
/// Those that begin a page.
pub(super) const BEGINS: u64 = set(&[Said::Visit, Said::Newcomer]);
pub(super) const NEWCOMER: u64 = set(&[Said::Newcomer]);
pub(super) const PAGE: u64 = set(&[Said::Page]);
pub(super) const NO_TOKEN: u64 = set(&[Said::NoToken]);

const fn set(said: &[Said]) -> u64 {
    let (mut bits, mut index) = (0, 0);
    while index < said.len() {
        bits |= 1 << said[index] as u64;
        index += 1;
    }
    bits
}

/// Whether the low bits of `said` are one of a set.
#[inline(always)]
pub(super) const fn is(said: u64, set: u64) -> bool {
    set >> (said & 0xf) & 1 != 0
}

impl Said {
    /// That with a number, in the order above.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Page),
            1 => Some(Self::Visit),
            2 => Some(Self::Newcomer),
            3 => Some(Self::Contended),
            4 => Some(Self::InLine),
            5 => Some(Self::SentBack),
            6 => Some(Self::NoRoom),
            7 => Some(Self::Full),
            8 => Some(Self::NoToken),
            9 => Some(Self::NotYet),
            _ => None,
        }
    }

    /// Whether it is let in.
    #[inline(always)]
    pub const fn admits(self) -> bool {
        is(self as u64, ADMITS)
    }
}

/// What was said, and what it cost another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the line says.
    pub said: Said,
    /// Another source's place or presence was forgotten for it.
    pub stole: bool,
}

/// What an attempt that proves nothing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// It may prove that it is there, and its source is in: strangers cannot spend what is kept for
    /// those.
    IsIn,
    /// It may prove that it is there.
    MayProve,
    /// It need not now: it waits, and its place is not at the head. (After a while it may again, so
    /// that its place is kept.)
    Waits,
}

/// What a CPU sees of the service when it judges.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// How far the head lags, in nanoseconds, priced.
    pub(super) wait: u64,
    /// The same in units of a place, and not only what is priced.
    pub(super) lag: i64,
    pub(super) gate: u64,
    pub(super) newcomers: u64,
    /// One connection's time at the gate now, in nanoseconds.
    pub(super) interval: u64,
    /// Connections of a page, in 256ths.
    pub(super) page: u64,
    /// 1 if no seat is free.
    pub(super) is_full: u64,
}

/// What is to become of a way, and of the service's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) after: Visit,
    pub(super) said: Said,
    /// Time that is taken from the gate, in nanoseconds.
    pub(super) time: u64,
}

/// Whether an attempt whose proof will be judged need not be asked for it. Writes nothing.
#[inline(always)]
pub fn peek<W: SharedWord>(
    service: &Service<'_, W>,
    set: &[W; WAYS],
    coming: &Coming<'_>,
) -> Peeked {
    let Some(word) = visit::own(set, coming.fingerprint) else { return Peeked::MayProve };
    let visit = Visit::read(word, coming.now);
    let head = service.head();
    let is_line = coming.now.saturating_sub(head) >= SHORTEST_WAIT;
    let waits =
        is_line && !visit.present && !visit.is_open() && visit.place < lag(head, coming.now);
    if waits && visit.quiet < service.rules.forget / 2 {
        Peeked::Waits
    } else if visit.present && visit.quiet <= service.rules.idle {
        Peeked::IsIn
    } else {
        Peeked::MayProve
    }
}

/// How far the head lags, in units of a place.
#[inline(always)]
pub(super) const fn lag(head: u64, now: u64) -> i64 {
    let lag = (now >> PLACE_SHIFT).saturating_sub(head >> PLACE_SHIFT);
    if lag < LONGEST_WAIT { lag as i64 } else { LONGEST_WAIT as i64 }
}

/// What becomes of a source that comes. Reads nothing that another CPU writes.
#[inline(always)]
pub(super) fn step(before: &Visit, view: &View, rules: &Rules, coming: &Coming<'_>) -> Step {
    let mut after = Visit { quiet: 0, ..*before };
    if before.is_open() {
        let is_usual = before.connections < rules.page_most;
        if is_usual || coming.part.many != 0 {
            return follow(before, after, is_usual, view, rules, coming);
        }
    }
    after.connections = CLOSED;
    after.present = before.present && before.quiet <= rules.idle;
    let part = coming.part;
    let wait = (view.wait >> PLACE_SHIFT) as i64;
    // A page never costs more than half of a visit, or nobody could begin one.
    let mut refused = Said::InLine;
    let mut left = 0;
    if after.present {
        left = clamp(before.place, wait);
        let page = if view.page < part.allowance << 7 { view.page } else { part.allowance << 7 };
        if view.wait >= SHORTEST_WAIT && (left as u64 * part.allowance) << 8 < page * wait as u64 {
            after.present = false;
            after.place = if before.place < 0 { before.place } else { 0 };
            refused = Said::SentBack;
        }
    } else if before.quiet > rules.forget {
        after.place = 0;
    }
    let cost = (view.page * view.interval) >> 8;
    let asked = view.gate + if cost < rules.ceiling { cost } else { rules.ceiling };
    if after.present {
        // Who has used less may fill the gate further: the lightest go first, and nothing is
        // sorted.
        let is_short = view.wait < SHORTEST_WAIT;
        let (left, whole) = if is_short { (1, 1) } else { (left as u64, wait as u64) };
        let above = asked.saturating_sub(rules.ceiling);
        if above * whole > (rules.gate - rules.ceiling) * left || coming.others > OTHERS {
            return Step { after, said: Said::NoRoom, time: 0 };
        }
    } else {
        // The head moves by steps: where it does not lag by more than that, nobody waits.
        if view.wait >= SHORTEST_WAIT && after.place < view.lag {
            return Step { after, said: refused, time: 0 };
        }
        if view.is_full != 0 {
            return Step { after, said: Said::Full, time: 0 };
        }
        // Where nobody waits, newcomers may fill the gate as those who are in may.
        let (ceiling, others) = match view.wait {
            ..SHORTEST_WAIT => (rules.gate, OTHERS),
            _ => (rules.ceiling, OTHERS_NEWCOMER),
        };
        let is_short = asked > ceiling || coming.others > others;
        if is_short && view.newcomers > (right(view.interval) * view.page) >> 8 {
            return Step { after, said: Said::NotYet, time: 0 };
        }
    }
    if !coming.has_token {
        let said = if after.present { Said::NoToken } else { Said::NotYet };
        return Step { after, said, time: 0 };
    }
    let said = if after.present { Said::Visit } else { Said::Newcomer };
    let place = price(after.place, view, part, coming.dice);
    Step {
        after: Visit { present: true, place, quiet: 0, page: 0, connections: 1 },
        said,
        time: cost,
    }
}

/// A connection that follows the first one of its page, and was paid with it: what a page costs is
/// the mean of all.
#[inline(always)]
fn follow(
    before: &Visit,
    mut after: Visit,
    is_usual: bool,
    view: &View,
    rules: &Rules,
    coming: &Coming<'_>,
) -> Step {
    if !coming.has_token || !is_usual && view.gate + view.interval > rules.gate {
        let said = if coming.has_token { Said::NoRoom } else { Said::NoToken };
        return Step { after: *before, said, time: 0 };
    }
    after.connections += u64::from(is_usual);
    after.place = price(before.place, view, coming.part, coming.dice);
    Step { after, said: Said::Page, time: if is_usual { 0 } else { view.interval } }
}

/// A place, sent back by what one connection costs, in units of a place. Rounded at random, so that
/// what is below a unit is paid too.
#[inline(always)]
const fn price(place: i64, view: &View, part: &Part, dice: u32) -> i64 {
    let wait = (view.wait >> PLACE_SHIFT) as i64;
    let cost = ((view.wait * part.price) >> 24) + (dice & 0xff_ffff) as u64;
    let place = if place < wait { place } else { wait } - (cost >> PLACE_SHIFT) as i64;
    if place < -wait { -wait } else { place }
}

#[inline(always)]
const fn clamp(place: i64, wait: i64) -> i64 {
    if place < 0 {
        0
    } else if place > wait {
        wait
    } else {
        place
    }
}
