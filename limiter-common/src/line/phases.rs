//! A judgement of the line in phases: look, find, decide, settle.
//!
//! The way of the source is written once, with one compare-and-swap: whoever wins it takes the room
//! at the gate. So of several connections of one source on several CPUs one begins a page, and the
//! others find it open.

use core::cell::Cell;

use super::judge::{
    ADMITS, BEGINS, Coming, Judged, NEWCOMER, NO_TOKEN, PAGE, Said, View, is, lag, step,
};
use super::seats::{Seats, SharedCount};
use super::service::{FULL, Service};
use super::visit::{self, FREE, Found, ONCE, Visit};
use super::{Rules, right};
use crate::source_table::{TRIES, WAYS};
use crate::word::SharedWord;

/// What a CPU works with while it judges. The kernel side keeps it in a map, and each [`Phases`] of
/// a judgement is a function that the verifier follows by itself: all in one are too much for it.
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

impl Draft {
    /// Notes whether no seat is free.
    #[inline(always)]
    pub const fn set_full(&mut self, is_full: bool) {
        self.view.is_full = is_full as u64;
    }
}

/// In [`Draft::said`]: the way stays as it is.
const IS_SAME: u64 = 1 << 8;

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
    /// Takes a seat if there is one, and notes if there is none. Where any number may be present
    /// there is one.
    fn claim(&self) -> bool;
    /// Gives back the seat that was claimed.
    fn unclaim(&self);
    /// What they have left.
    fn draft(&self) -> Draft;
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
            claimed = phases.claim();
            if !claimed {
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
            phases.unclaim();
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

/// Judges one attempt or proof. `seats` count where the rules say how many may be present.
#[inline(always)]
pub fn judge<W: SharedCount>(
    service: &Service<'_, W>,
    set: &[W; WAYS],
    seats: Option<&Seats<W>>,
    coming: &Coming<'_>,
) -> Judged {
    let seats = seats.filter(|_| service.rules.users != 0);
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
        let are_taken = self.seats.is_some_and(|seats| {
            seats.free(self.service.rules, self.coming.now);
            seats.are_taken(self.service.rules.users)
        });
        self.change(|draft| look(draft, self.service, self.coming, are_taken));
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

    fn claim(&self) -> bool {
        let claimed = self.seats.is_none_or(|seats| seats.claim(self.service.rules.users));
        self.change(|draft| draft.set_full(!claimed));
        claimed
    }

    fn unclaim(&self) {
        if let Some(seats) = self.seats {
            seats.unclaim();
        }
    }

    fn draft(&self) -> Draft {
        self.draft.get()
    }
}

/// Moves the head, and looks at the service. It stands while no seat is free (`are_taken`), so that
/// who was refused first gets the next one.
#[inline(always)]
pub fn look<W: SharedWord>(
    draft: &mut Draft,
    service: &Service<'_, W>,
    coming: &Coming<'_>,
    are_taken: bool,
) {
    let now = coming.now;
    let interval = if coming.interval == 0 { service.rules.interval } else { coming.interval };
    let others = if coming.has_token && !are_taken { coming.others } else { FULL };
    service.advance(now, interval, others);
    let head = service.head();
    let wait = now.saturating_sub(head);
    draft.view = View {
        wait: if wait < service.rules.patience { wait } else { service.rules.patience },
        lag: lag(head, now),
        gate: service.gate(now),
        newcomers: service.newcomers(now, interval),
        interval,
        page: service.page(),
        is_full: are_taken as u64,
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

/// Writes to the service what follows from a way that was written, or refused to one whose page is
/// open.
#[inline(always)]
pub fn settle<W: SharedWord>(draft: &Draft, service: &Service<'_, W>, now: u64, is_written: bool) {
    let before = Visit::read(draft.known, draft.at);
    if is_written {
        write(draft, service, now);
    }
    if is(draft.said, NO_TOKEN) && before.is_open() {
        service.learn(now, 1, false);
    }
}

#[inline(always)]
fn write<W: SharedWord>(draft: &Draft, service: &Service<'_, W>, now: u64) {
    if draft.time != 0 {
        service.fill(now, draft.time);
    }
    if is(draft.said, NEWCOMER) {
        let interval = draft.view.interval;
        service.charge_newcomers(now, (right(interval) * service.page()) >> 8, interval);
    }
    let begins = is(draft.said, BEGINS);
    if begins {
        service.count_page();
    }
    // What pays for itself is no part of a page.
    if begins || is(draft.said, PAGE) && draft.time == 0 {
        service.learn(now, 4, begins);
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
