//! The line of one service: one cache line of words, and the clock that moves its head.
//!
//! The gate and what newcomers have by right are words as a budget's ([`crate::budget`]): the time
//! at which they would be empty. They hold nobody up by themselves; the budgets do. The head is
//! moved at most once in [`STEP`], by whoever wins the word that says when; how fast follows from
//! how full the gate is at that moment, and from nothing else.

use super::visit::{LONGEST_WAIT, PLACE_SHIFT, SHORTEST_WAIT};
use super::{Rules, right};
use crate::word::SharedWord;

/// Words in a line.
pub const WORDS: usize = 8;
/// The head moves at most so often: 10 ms.
pub const STEP: u64 = 10_000_000;
/// A fullness of everything, and of each part of it.
pub const FULL: u64 = 4096;
/// How much a word may lie ahead of the largest that the rules allow before it is taken for a
/// leftover: 1 s.
const SKEW: u64 = 1_000_000_000;
/// What newcomers owe of what they have by right is forgotten beyond 3 s, or two of the largest
/// pages.
const RIGHT: u64 = 3_000_000_000;
/// After so long without an attempt nobody waits any more: 2^38 ns, 275 s.
const LONGEST_STEP: u64 = 1 << 38;
/// Connections of a page are counted for 0.27 s at least.
const WINDOW_SHIFT: u32 = 28;
/// What was counted says something when there were so many pages, or when it was counted for so
/// many times 0.27 s: by then nearly all connections of a page have come.
const FEWEST: u64 = 8;
const LONG: u64 = 4;
/// What was learned before weighs as many pages, and so many where what is new was counted for
/// long: below some 30 connections a second there are few pages, and one of them says much.
const REMEMBERED: u64 = 32;
const REMEMBERED_LONG: u64 = 8;
/// Most that pages are found to have paid too much or too little at once, in 256ths of a
/// connection: its product with the longest interval is within 64 bits.
const MOST_SETTLED: u64 = 1 << 21;
const WINDOWS: u64 = (1 << 20) - 1;
const MOST_PAGES: u64 = (1 << 20) - 1;
const MOST_QUARTERS: u64 = (1 << 24) - 1;
const LONGEST_LAG: u64 = LONGEST_WAIT << PLACE_SHIFT;

const SECOND: u64 = 1_000_000_000;
const GATE: usize = 0;
const HEAD: usize = 1;
const AT: usize = 2;
const NEWCOMERS: usize = 3;
const PAGE: usize = 4;
const VISITS: usize = 5;
const PAGES: usize = 6;
const RECENT: usize = 7;

/// A line, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How long whoever is let in now has waited, in nanoseconds.
    pub wait: u64,
    /// Connections of a page, in 256ths; 0 if none were seen.
    pub page: u64,
    /// Newcomers let in since the line began.
    pub visits: u64,
    /// Pages let in since then, first ones too.
    pub pages: u64,
}

impl State {
    /// Reads a line at `now` (nanoseconds).
    pub const fn read(line: &[u64; WORDS], now: u64) -> Self {
        let wait = if line[AT] == 0 { 0 } else { now.saturating_sub(line[HEAD]) };
        Self { wait, page: line[PAGE] >> 8, visits: line[VISITS], pages: line[PAGES] }
    }
}

/// Whether sources wait in a line at `now`: its head lags, and was moved within the last second.
#[inline(always)]
pub fn do_wait<W: SharedWord>(line: &[W; WORDS], now: u64) -> bool {
    let since = |word: usize| now.saturating_sub(line[word].load());
    since(AT) < SECOND && since(HEAD) >= SHORTEST_WAIT
}

/// One service's words, with its rules.
#[derive(Clone, Copy)]
pub struct Service<'a, W> {
    /// The words.
    pub line: &'a [W; WORDS],
    /// How it lets in.
    pub rules: &'a Rules,
}

impl<W: SharedWord> Service<'_, W> {
    /// How full the gate is, in nanoseconds.
    #[inline(always)]
    pub fn gate(&self, now: u64) -> u64 {
        level(self.line[GATE].load(), now, 2 * self.rules.gate)
    }

    /// How much newcomers owe of what they have by right, in nanoseconds. `interval`: of a connection
    /// at the gate now.
    #[inline(always)]
    pub fn newcomers(&self, now: u64, interval: u64) -> u64 {
        level(self.line[NEWCOMERS].load(), now, self.most_owed(interval))
    }

    /// More than one page of them costs, also where a share makes all of it dearer: else newcomers
    /// would owe less than that at all times, and each would begin a page.
    #[inline(always)]
    fn most_owed(&self, interval: u64) -> u64 {
        most(RIGHT, 2 * self.rules.page_most * right(interval))
    }

    /// Connections of a page, in 256ths.
    #[inline(always)]
    pub fn page(&self) -> u64 {
        match self.line[PAGE].load() >> 8 {
            0 => self.rules.page,
            page => page,
        }
    }

    /// The head: who has a place before it may come in. A time in nanoseconds.
    #[inline(always)]
    pub fn head(&self) -> u64 {
        self.line[HEAD].load()
    }

    /// Moves the head, if that is due, and learns from the pages that were counted. `interval`: of a
    /// connection at the gate now, in nanoseconds. `others`: how full the fullest budget is that the
    /// service shares with others, of [`FULL`].
    #[inline(always)]
    pub fn advance(&self, now: u64, interval: u64, others: u64) {
        let at = self.line[AT].load();
        let due = now.wrapping_sub(at);
        // An older clock finds that it was moved in the future.
        if !(STEP..=u64::MAX / 2).contains(&due) || !self.line[AT].replace(at, now) {
            return;
        }
        let head = self.line[HEAD].load();
        let moved = if due > LONGEST_STEP {
            now
        } else {
            least(now, head + ((due * speed(self.fullness(now, interval, others))) >> 16))
        };
        self.line[HEAD].replace(head, most(moved, now.saturating_sub(LONGEST_LAG)));
        self.settle(now, interval);
    }

    /// How little room there is: for newcomers, below the ceiling or by right; and for those who
    /// are in. Were the head to move for newcomers by right alone, those who are in would find the
    /// gate full: in the lab's crowd, armed amid it, regulars got half of their pages after 30 s,
    /// and with this 19 of 20.
    #[inline(always)]
    fn fullness(&self, now: u64, interval: u64, others: u64) -> u64 {
        let rules = self.rules;
        let gate = self.gate(now);
        let present = part(gate.saturating_sub(rules.ceiling), rules.gate - rules.ceiling);
        let by_right = part(self.newcomers(now, interval), (right(interval) * self.page()) >> 8);
        most(most(least(part(gate, rules.ceiling), by_right), present), others)
    }

    /// Takes `time` nanoseconds from the gate.
    #[inline(always)]
    pub fn fill(&self, now: u64, time: u64) {
        add(&self.line[GATE], now, time, 2 * self.rules.gate);
    }

    /// Charges newcomers with `time` nanoseconds of what they have by right. `interval`: of a
    /// connection at the gate now.
    #[inline(always)]
    pub fn charge_newcomers(&self, now: u64, time: u64, interval: u64) {
        add(&self.line[NEWCOMERS], now, time, self.most_owed(interval));
        count(&self.line[VISITS]);
    }

    /// Counts a page that begins.
    #[inline(always)]
    pub fn count_page(&self) {
        count(&self.line[PAGES]);
    }

    /// Counts `quarters` of a connection more, and whether they begin a page. (A refused one of a
    /// page counts as a quarter, because it comes again. Else pages that are cut short would look
    /// small, and more would be let in.) A lost race loses one.
    #[inline(always)]
    pub fn learn(&self, now: u64, quarters: u64, begins: bool) {
        let word = self.line[RECENT].load();
        let before = Counted::read(word);
        let is_first = before.pages == 0 && before.quarters == 0;
        let after = Counted {
            window: if is_first { now >> WINDOW_SHIFT & WINDOWS } else { before.window },
            pages: before.pages + begins as u64,
            quarters: before.quarters + quarters,
        };
        self.line[RECENT].replace(word, after.word());
    }

    /// Learns how many connections a page has, once enough were counted. They weigh as many pages
    /// as they were, so that sources count that never come again, which each page by itself would
    /// not show.
    ///
    /// And the gate takes back what those pages paid and did not need, or takes what they needed
    /// and did not pay. Else a page of one connection holds the room of six until that is learned,
    /// at 3/s for more than a minute. Two thirds of the budget were unused, while people waited.
    #[inline(always)]
    fn settle(&self, now: u64, interval: u64) {
        let word = self.line[RECENT].load();
        let counted = Counted::read(word);
        let lasted = (now >> WINDOW_SHIFT).wrapping_sub(counted.window) & WINDOWS;
        let is_long = lasted >= LONG;
        let is_enough = is_long && counted.pages > 0 || lasted > 0 && counted.pages >= FEWEST;
        if !is_enough || !self.line[RECENT].replace(word, 0) {
            return;
        }
        let page = self.page();
        // No page has more, whoever asks how often.
        let most = 4 * counted.pages * self.rules.page_most;
        let (paid, needed) = (counted.pages * page, least(counted.quarters, most) << 6);
        let remembered = if is_long { REMEMBERED_LONG } else { REMEMBERED };
        let new = ((page * remembered + needed) << 8) / (remembered + counted.pages);
        self.line[PAGE].replace(self.line[PAGE].load(), new);
        let time = |part: u64| (least(part, MOST_SETTLED) * interval) >> 8;
        if needed > paid {
            self.fill(now, time(needed - paid));
        } else {
            empty(&self.line[GATE], now, time(paid - needed), 2 * self.rules.gate);
        }
    }
}

/// Connections lately, in quarters, and pages.
#[derive(Clone, Copy)]
struct Counted {
    window: u64,
    pages: u64,
    quarters: u64,
}

impl Counted {
    #[inline(always)]
    const fn read(word: u64) -> Self {
        let (pages, quarters) = (word & MOST_PAGES, word >> 20 & MOST_QUARTERS);
        Self { window: word >> 44, pages, quarters }
    }

    /// One that is full stays so.
    #[inline(always)]
    const fn word(self) -> u64 {
        let (pages, quarters) = (self.pages, self.quarters);
        let pages = if pages < MOST_PAGES { pages } else { MOST_PAGES };
        let quarters = if quarters < MOST_QUARTERS { quarters } else { MOST_QUARTERS };
        self.window << 44 | quarters << 20 | pages
    }
}

/// Speed of the head in 2^-16 of the clock's, for a fullness: 16 up to an eighth, then sixteen
/// halvings up to a full one. There it stands.
#[inline(always)]
const fn speed(fullness: u64) -> u64 {
    let from = FULL / 8;
    if fullness >= FULL {
        return 0;
    }
    let over = fullness.saturating_sub(from);
    // In 256ths of a halving.
    let halvings = over * 8 / 7;
    let whole = (16 << 16) >> (halvings >> 8);
    // Between two halvings along a straight line.
    whole - ((whole * (halvings & 255)) >> 9)
}

/// A part of a whole, of [`FULL`], and no more than that.
#[inline(always)]
const fn part(part: u64, whole: u64) -> u64 {
    match (part * FULL).checked_div(whole) {
        Some(share) if share < FULL => share,
        _ => FULL,
    }
}

#[inline(always)]
const fn least(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[inline(always)]
const fn most(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// How full a word is, at most `most`. Past is empty; too far ahead is left over from other rules.
#[inline(always)]
const fn level(word: u64, now: u64, most: u64) -> u64 {
    match word.wrapping_sub(now) {
        ahead if ahead > most + SKEW => 0,
        ahead => least(ahead, most),
    }
}

/// Fills a word, up to `most`. Four lost races leave it as it is: that lets in a page too much, and
/// the budget holds.
#[inline(always)]
fn add<W: SharedWord>(word: &W, now: u64, time: u64, most: u64) {
    let mut tries = 0;
    while tries < 4 {
        tries += 1;
        let before = word.load();
        if word.replace(before, now + least(level(before, now, most) + time, most)) {
            return;
        }
    }
}

/// Takes time out of a word. A lost race leaves it as it is: then others wait a little longer.
#[inline(always)]
fn empty<W: SharedWord>(word: &W, now: u64, time: u64, most: u64) {
    let before = word.load();
    word.replace(before, now + level(before, now, most).saturating_sub(time));
}

#[inline(always)]
fn count<W: SharedWord>(word: &W) {
    let before = word.load();
    word.replace(before, before + 1);
}
