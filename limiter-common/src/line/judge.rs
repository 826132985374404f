//! Who is let in: what [`super`] says, for one attempt or proof.
//!
//! The way of the source is written once, with one compare-and-swap: whoever wins it takes the room
//! at the gate. So of several connections of one source on several CPUs one begins a page, and the
//! others find it open.

use super::seats::{Seats, SharedCount};
use super::service::{FULL, Service};
use super::visit::{
    self, CLOSED, FREE, Found, LONGEST_WAIT, MOST_CONNECTIONS, ONCE, PLACE_SHIFT, Visit,
};
use super::{Part, Rules};
use crate::source_table::{TRIES, WAYS};
use crate::word::SharedWord;

/// Shortest line that is one, in units of a place: 0.1 s.
const SHORTEST: u64 = 6;
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
    /// Refused: there is no room for a page now.
    NoRoom,
    /// Refused: as many are present as may be.
    Full,
    /// Refused: the budgets have no token.
    NoToken,
}

impl Said {
    /// Whether it is let in.
    #[inline(always)]
    pub const fn admits(self) -> bool {
        matches!(self, Self::Page | Self::Visit | Self::Newcomer | Self::Contended)
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
    /// It may prove that it is there.
    MayProve,
    /// It need not now: it waits, and its place is not at the head. (After a while it may again, so
    /// that its place is kept.)
    Waits,
}

/// What a CPU sees of the service when it judges.
#[derive(Clone, Copy, Debug)]
struct View {
    /// How far the head lags, in nanoseconds, priced.
    wait: u64,
    /// The same in units of a place, and not only what is priced.
    lag: i64,
    gate: u64,
    newcomers: u64,
    /// Connections of a page, in 256ths.
    page: u64,
    is_full: bool,
}

/// What is to become of a way, and of the service's words.
#[derive(Clone, Copy, Debug)]
struct Step {
    after: Visit,
    said: Said,
    /// Time that is taken from the gate, in nanoseconds.
    time: u64,
}

/// Judges one attempt or proof. `seats`: where the rules say how many may be present.
#[inline(always)]
pub fn judge<W: SharedCount>(
    service: &Service<'_, W>,
    set: &[W; WAYS],
    seats: Option<&Seats<W>>,
    coming: &Coming<'_>,
) -> Judged {
    let (rules, now) = (service.rules, coming.now);
    service.advance(now, if coming.has_token { coming.others } else { FULL });
    if let Some(seats) = seats {
        seats.free(rules, now);
    }
    let mut view = look(service, now);
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let Found { way, word, is_own, kind } =
            visit::find(set, coming.fingerprint, now, (rules.idle, rules.forget));
        let at = if is_own { visit::latest(word, now) } else { now };
        let before = if is_own { Visit::read(word, at) } else { Visit::NONE };
        let mut step = decide(&before, &view, rules, coming);
        if let Some(seats) = seats
            && matches!(step.said, Said::Newcomer)
            && !seats.claim(rules)
        {
            view.is_full = true;
            step = decide(&before, &view, rules, coming);
        }
        // One that came once pushes out nobody who came again, and is not told apart from one that
        // did not come.
        if step.after == before || kind > ONCE && !step.said.admits() {
            return done(service, &step, &before, false);
        }
        if set[way & (WAYS - 1)].replace(word, step.after.word(coming.fingerprint, at)) {
            settle(service, seats, &step, &before, at);
            return done(service, &step, &before, kind != FREE);
        }
        if let Some(seats) = seats
            && matches!(step.said, Said::Newcomer)
        {
            seats.unclaim();
        }
    }
    Judged { said: Said::Contended, stole: false }
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
    let lag = lag(service.head(), coming.now);
    let waits = !visit.present && !visit.is_open() && visit.place < lag;
    if waits && visit.quiet < service.rules.forget / 2 { Peeked::Waits } else { Peeked::MayProve }
}

#[inline(always)]
fn look<W: SharedWord>(service: &Service<'_, W>, now: u64) -> View {
    let head = service.head();
    let wait = now.saturating_sub(head);
    View {
        wait: if wait < service.rules.patience { wait } else { service.rules.patience },
        lag: lag(head, now),
        gate: service.gate(now),
        newcomers: service.newcomers(now),
        page: service.page(),
        is_full: false,
    }
}

/// How far the head lags, in units of a place.
#[inline(always)]
const fn lag(head: u64, now: u64) -> i64 {
    let lag = (now >> PLACE_SHIFT).saturating_sub(head >> PLACE_SHIFT);
    if lag < LONGEST_WAIT { lag as i64 } else { LONGEST_WAIT as i64 }
}

/// What becomes of a source that comes. Reads nothing that another CPU writes.
#[inline(always)]
fn decide(before: &Visit, view: &View, rules: &Rules, coming: &Coming<'_>) -> Step {
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
        if view.wait >= SHORTEST << PLACE_SHIFT
            && (left as u64 * part.allowance) << 8 < page * wait as u64
        {
            after.present = false;
            after.place = if before.place < 0 { before.place } else { 0 };
            refused = Said::SentBack;
        }
    } else if before.quiet > rules.forget {
        after.place = 0;
    }
    let cost = (view.page * rules.interval) >> 8;
    let asked = view.gate + if cost < rules.ceiling { cost } else { rules.ceiling };
    if after.present {
        // Who has used less may fill the gate further: the lightest go first, and nothing is
        // sorted.
        let is_short = view.wait < SHORTEST << PLACE_SHIFT;
        let (left, whole) = if is_short { (1, 1) } else { (left as u64, wait as u64) };
        let above = asked.saturating_sub(rules.ceiling);
        if above * whole > (rules.gate - rules.ceiling) * left || coming.others > OTHERS {
            return Step { after, said: Said::NoRoom, time: 0 };
        }
    } else {
        if after.place < view.lag {
            return Step { after, said: refused, time: 0 };
        }
        if view.is_full {
            return Step { after, said: Said::Full, time: 0 };
        }
        let is_short = asked > rules.ceiling || coming.others > OTHERS_NEWCOMER;
        if is_short && view.newcomers > (rules.right * view.page) >> 8 {
            return Step { after, said: Said::NoRoom, time: 0 };
        }
    }
    if !coming.has_token {
        return Step { after, said: Said::NoToken, time: 0 };
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
    if !coming.has_token || !is_usual && view.gate + rules.interval > rules.gate {
        let said = if coming.has_token { Said::NoRoom } else { Said::NoToken };
        return Step { after: *before, said, time: 0 };
    }
    after.connections += u64::from(is_usual);
    after.place = price(before.place, view, coming.part, coming.dice);
    Step { after, said: Said::Page, time: if is_usual { 0 } else { rules.interval } }
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

/// Writes what follows from a way that was written.
#[inline(always)]
fn settle<W: SharedCount>(
    service: &Service<'_, W>,
    seats: Option<&Seats<W>>,
    step: &Step,
    before: &Visit,
    now: u64,
) {
    let rules = service.rules;
    if step.time != 0 {
        service.fill(now, step.time);
    }
    match step.said {
        Said::Newcomer => {
            service.charge_newcomers(now, (rules.right * service.page()) >> 8);
            service.count_page();
        }
        Said::Visit => service.count_page(),
        _ => {}
    }
    // The page before this one is over, and how many it had is known.
    let is_over =
        step.after.connections == CLOSED || matches!(step.said, Said::Newcomer | Said::Visit);
    if is_over && before.connections != 0 && before.connections <= MOST_CONNECTIONS {
        service.learn(before.connections);
    }
    let Some(seats) = seats else { return };
    if matches!(step.said, Said::Newcomer) {
        seats.sit(rules, now);
    } else if step.after.present {
        seats.stay(rules, now, before.quiet);
    }
    if before.present && (!step.after.present || matches!(step.said, Said::Newcomer)) {
        seats.leave(rules, now, before.quiet);
    }
}

#[inline(always)]
fn done<W: SharedWord>(
    service: &Service<'_, W>,
    step: &Step,
    before: &Visit,
    stole: bool,
) -> Judged {
    if matches!(step.said, Said::NoToken) && before.is_open() {
        service.learn_refused();
    }
    Judged { said: step.said, stole }
}
