//! Who is let in: what [`super`] says, for one attempt or proof.
//!
//! The way of the source is written once, with one compare-and-swap: whoever wins it takes the room
//! at the gate. So of several connections of one source on several CPUs one begins a page, and the
//! others find it open.

use core::cell::Cell;

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

/// Those that let in.
const ADMITS: u64 = set(&[Said::Page, Said::Visit, Said::Newcomer, Said::Contended]);
/// Those that begin a page.
const BEGINS: u64 = set(&[Said::Visit, Said::Newcomer]);
const NEWCOMER: u64 = set(&[Said::Newcomer]);
const NO_TOKEN: u64 = set(&[Said::NoToken]);

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
const fn is(said: u64, set: u64) -> bool {
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

/// What a CPU works with while it judges. The kernel side keeps it in a map, and each [`Phases`] of a
/// judgement is a function that the verifier follows by itself: all in one are too much for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Draft {
    view: View,
    /// The way that was found, its word, and what is lost with it.
    way: u64,
    word: u64,
    kind: u64,
    /// The source's word, or that of one that is not known.
    known: u64,
    /// When that is read and written, in nanoseconds.
    at: u64,
    /// What the way becomes.
    after: u64,
    /// [`Said`], and [`IS_SAME`].
    said: u64,
    /// Time that is taken from the gate, in nanoseconds.
    time: u64,
}

/// In [`Draft::said`]: the way stays as it is.
const IS_SAME: u64 = 1 << 8;

/// What a CPU sees of the service when it judges.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// How far the head lags, in nanoseconds, priced.
    wait: u64,
    /// The same in units of a place, and not only what is priced.
    lag: i64,
    gate: u64,
    newcomers: u64,
    /// Connections of a page, in 256ths.
    page: u64,
    /// 1 if no seat is free.
    is_full: u64,
}

/// What is to become of a way, and of the service's words.
#[derive(Clone, Copy, Debug)]
struct Step {
    after: Visit,
    said: Said,
    /// Time that is taken from the gate, in nanoseconds.
    time: u64,
}

/// The phases of a judgement, each of which leaves in the draft what the next one needs.
pub trait Phases {
    /// Moves the head, and looks at the service: [`look`].
    fn look(&self);
    /// Finds the source's way: [`find`].
    fn find(&self);
    /// Decides: [`decide`].
    fn decide(&self);
    /// Writes what follows: [`settle`].
    fn settle(&self, is_written: bool);
    /// Replaces the word of a way.
    fn replace(&self, way: u64, old: u64, new: u64) -> bool;
    /// Takes a seat if there is one, or gives it back. Where any number may be present there is one.
    fn claim(&self, takes: bool) -> bool;
    /// What they have left.
    fn draft(&self) -> Draft;
    /// Notes that no seat is free.
    fn set_full(&self);
}

/// Judges one attempt or proof.
#[inline(always)]
pub fn run<P: Phases>(phases: &P) -> Judged {
    phases.look();
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        phases.find();
        phases.decide();
        let mut draft = phases.draft();
        let mut claimed = false;
        if is(draft.said, NEWCOMER) {
            claimed = phases.claim(true);
            if !claimed {
                phases.set_full();
                phases.decide();
                draft = phases.draft();
            }
        }
        // One that came once pushes out nobody who came again, and is not told apart from one that
        // did not come.
        if draft.said & IS_SAME != 0 || draft.kind > ONCE && !is(draft.said, ADMITS) {
            if is(draft.said, NO_TOKEN) {
                phases.settle(false);
            }
            return judged(draft.said, false);
        }
        if phases.replace(draft.way, draft.word, draft.after) {
            phases.settle(true);
            return judged(draft.said, draft.kind != FREE);
        }
        if claimed {
            phases.claim(false);
        }
    }
    judged(Said::Contended as u64, false)
}

#[inline(always)]
const fn judged(said: u64, stole: bool) -> Judged {
    let said = match Said::from_number(said & 0xf) {
        Some(said) => said,
        None => Said::Contended,
    };
    Judged { said, stole }
}

/// Judges one attempt or proof. `seats`: where the rules say how many may be present.
#[inline(always)]
pub fn judge<W: SharedCount>(
    service: &Service<'_, W>,
    set: &[W; WAYS],
    seats: Option<&Seats<W>>,
    coming: &Coming<'_>,
) -> Judged {
    run(&Inline { service, set, seats, coming, draft: Cell::new(Draft::default()) })
}

/// All phases in one.
struct Inline<'a, W> {
    service: &'a Service<'a, W>,
    set: &'a [W; WAYS],
    seats: Option<&'a Seats<W>>,
    coming: &'a Coming<'a>,
    draft: Cell<Draft>,
}

impl<W> Inline<'_, W> {
    fn change(&self, change: impl FnOnce(&mut Draft)) {
        let mut draft = self.draft.get();
        change(&mut draft);
        self.draft.set(draft);
    }
}

impl<W: SharedCount> Phases for Inline<'_, W> {
    fn look(&self) {
        if let Some(seats) = self.seats {
            seats.free(self.service.rules, self.coming.now);
        }
        self.change(|draft| look(draft, self.service, self.coming));
    }

    fn find(&self) {
        self.change(|draft| find(draft, self.set, self.service.rules, self.coming));
    }

    fn decide(&self) {
        self.change(|draft| decide(draft, self.service.rules, self.coming));
    }

    fn settle(&self, is_written: bool) {
        settle(&self.draft.get(), self.service, self.coming.now, is_written);
        if let Some(seats) = self.seats.filter(|_| is_written) {
            seat(&self.draft.get(), seats, self.service.rules);
        }
    }

    fn replace(&self, way: u64, old: u64, new: u64) -> bool {
        self.set[way as usize & (WAYS - 1)].replace(old, new)
    }

    fn claim(&self, takes: bool) -> bool {
        match self.seats {
            Some(seats) if takes => seats.claim(self.service.rules),
            Some(seats) => {
                seats.unclaim();
                false
            }
            None => true,
        }
    }

    fn draft(&self) -> Draft {
        self.draft.get()
    }

    fn set_full(&self) {
        self.change(|draft| draft.view.is_full = 1);
    }
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
    if waits && visit.quiet < service.rules.forget / 2 {
        Peeked::Waits
    } else if visit.present && visit.quiet <= service.rules.idle {
        Peeked::IsIn
    } else {
        Peeked::MayProve
    }
}

/// Moves the head, and looks at the service.
#[inline(always)]
pub fn look<W: SharedWord>(draft: &mut Draft, service: &Service<'_, W>, coming: &Coming<'_>) {
    let now = coming.now;
    service.advance(now, if coming.has_token { coming.others } else { FULL });
    let head = service.head();
    let wait = now.saturating_sub(head);
    draft.view = View {
        wait: if wait < service.rules.patience { wait } else { service.rules.patience },
        lag: lag(head, now),
        gate: service.gate(now),
        newcomers: service.newcomers(now),
        page: service.page(),
        is_full: 0,
    };
}

/// Finds the source's way, or one for it.
#[inline(always)]
pub fn find<W: SharedWord>(draft: &mut Draft, set: &[W; WAYS], rules: &Rules, coming: &Coming<'_>) {
    let Found { way, word, is_own, kind } =
        visit::find(set, coming.fingerprint, coming.now, (rules.idle, rules.forget));
    (draft.way, draft.word, draft.kind) = (way as u64, word, kind);
    draft.at = if is_own { visit::latest(word, coming.now) } else { coming.now };
    draft.known = if is_own { word } else { Visit::NONE.word(coming.fingerprint, coming.now) };
}

/// Decides what becomes of a source that comes.
#[inline(always)]
pub fn decide(draft: &mut Draft, rules: &Rules, coming: &Coming<'_>) {
    let before = Visit::read(draft.known, draft.at);
    let step = step(&before, &draft.view, rules, coming);
    let is_same = if step.after == before { IS_SAME } else { 0 };
    draft.said = step.said as u64 | is_same;
    draft.time = step.time;
    draft.after = step.after.word(coming.fingerprint, draft.at);
}

/// How far the head lags, in units of a place.
#[inline(always)]
const fn lag(head: u64, now: u64) -> i64 {
    let lag = (now >> PLACE_SHIFT).saturating_sub(head >> PLACE_SHIFT);
    if lag < LONGEST_WAIT { lag as i64 } else { LONGEST_WAIT as i64 }
}

/// What becomes of a source that comes. Reads nothing that another CPU writes.
#[inline(always)]
fn step(before: &Visit, view: &View, rules: &Rules, coming: &Coming<'_>) -> Step {
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
        if view.is_full != 0 {
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

/// Writes to the service what follows from a way that was written, or refused to one whose page is
/// open.
#[inline(always)]
pub fn settle<W: SharedWord>(draft: &Draft, service: &Service<'_, W>, now: u64, is_written: bool) {
    let before = Visit::read(draft.known, draft.at);
    if is_written {
        write(draft, &before, service, now);
    }
    if is(draft.said, NO_TOKEN) && before.is_open() {
        service.learn_refused();
    }
}

#[inline(always)]
fn write<W: SharedWord>(draft: &Draft, before: &Visit, service: &Service<'_, W>, now: u64) {
    if draft.time != 0 {
        service.fill(now, draft.time);
    }
    if is(draft.said, NEWCOMER) {
        service.charge_newcomers(now, (service.rules.right * service.page()) >> 8);
    }
    if is(draft.said, BEGINS) {
        service.count_page();
    }
    // The page before this one is over, and how many it had is known.
    let after = Visit::read(draft.after, draft.at);
    let is_over = after.connections == CLOSED || is(draft.said, BEGINS);
    if is_over && before.connections != 0 && before.connections <= MOST_CONNECTIONS {
        service.learn(before.connections);
    }
}

/// Moves a source between the seats.
#[inline(always)]
pub fn seat<W: SharedCount>(draft: &Draft, seats: &Seats<W>, rules: &Rules) {
    let (before, after) = (Visit::read(draft.known, draft.at), Visit::read(draft.after, draft.at));
    let (now, is_new) = (draft.at, is(draft.said, NEWCOMER));
    if is_new {
        seats.sit(rules, now);
    } else if after.present {
        seats.stay(rules, now, before.quiet);
    }
    if before.present && (!after.present || is_new) {
        seats.leave(rules, now, before.quiet);
    }
}
