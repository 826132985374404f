//! Open connections: how many each source has, each service and the host, in eight bytes a source.
//!
//! A connection is counted once, when the kernel has made it for the server, and once more when it
//! ends: the kernel side notes at the socket itself what it was counted as ([`Opened`]), so what is
//! taken back is what was added, whatever the policy says by then. A socket without such a note was
//! not counted, and its end changes nothing: counts never fall below the truth of what was counted,
//! and never below zero.
//!
//! A set is one cache line of eight ways, found as in the source table. A way is `count << 32 |
//! fingerprint`. One whose count is 0 is free. There is no theft: where all eight are taken, a
//! newcomer is not counted, and so not limited (`uncounted` says how many). Errors of the table are
//! too few, never too many: it fails open. Two CPUs may give a source two ways at once; a count is
//! the sum of its ways.
//!
//! The kernel side must know that somebody counts, because a count that nobody takes back would
//! refuse for ever. Whoever counts says so with every socket of the host that changes ([`beat`]),
//! and [`judge`] takes nothing for counted that is silent for [`GONE`].

use crate::hash::Place;
use crate::record::{Opened, Opens};
use crate::source_table::WAYS;
use crate::word::{SharedNote, SharedWord};

/// Attempts at one compare-and-swap. A connection that is not counted is not limited, but an end
/// that is not counted stays: so there are many, and each that fails lets another CPU on.
const TRIES: usize = 24;
const COUNT_SHIFT: u32 = 32;
const FINGERPRINT: u64 = u32::MAX as u64;
/// Most connections that a way or a total counts.
pub const MOST: u64 = (1 << 24) - 1;

/// Words of a total, a cache line. The first is the total: `number of the service << 32 | count`.
pub const WORDS: usize = size_of::<Opens>() / size_of::<u64>();
const TOTAL: usize = 0;
// The others are of the host's line alone.
const BEAT: usize = 1;
const PROBE: usize = 2;
const UNCOUNTED: usize = 3;
const OLDER: usize = 4;

/// How long counts are taken for true without a sign of whoever counts, in nanoseconds: 30 s.
/// Longer than a host with users is without any socket that begins or ends.
pub const QUIET: u64 = 30_000_000_000;
/// How long after the last sign nothing is taken for counted any more: 60 s. In between one attempt
/// a second passes that would be refused; if it becomes a connection, that is a sign.
pub const GONE: u64 = 60_000_000_000;
const PROBES: u64 = 1_000_000_000;
/// How old a sign is before another one is written, so that the line is not written all the time.
const FRESH: u64 = 1_000_000_000;

/// Most open connections; 0 stands for any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Of the source.
    pub source: u64,
    /// Of the service.
    pub service: u64,
    /// Of the host.
    pub host: u64,
    /// The service has a waiting room, which a source that has enough does not see: that is asked
    /// also where a budget is spent.
    pub has_room: bool,
}

impl Bounds {
    /// Whether there is none.
    #[inline(always)]
    pub const fn are_none(&self) -> bool {
        self.source | self.service | self.host == 0
    }
}

/// What has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Full {
    /// The service, or the host.
    Budget = 1,
    /// The source.
    Source = 2,
}

impl Full {
    /// The inverse of `as u64`; `None` for any other number.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Budget),
            2 => Some(Self::Source),
            _ => None,
        }
    }
}

/// Where the counts live.
#[derive(Debug)]
pub struct Counts<'a, W> {
    /// The set of the source.
    pub set: &'a [W; WAYS],
    /// The line of the service.
    pub service: &'a [W; WORDS],
    /// The line of the host.
    pub host: &'a [W; WORDS],
}

/// One of the counts that a connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// Its source's.
    Source = Opened::SOURCE,
    /// Its service's.
    Service = Opened::SERVICE,
    /// The host's.
    Host = Opened::HOST,
    /// Its network's, which is one more source with a place of its own.
    Network = Opened::NETWORK,
}

impl Part {
    /// The inverse of `as u32`; `None` for any other number.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            Opened::SOURCE => Some(Self::Source),
            Opened::SERVICE => Some(Self::Service),
            Opened::HOST => Some(Self::Host),
            Opened::NETWORK => Some(Self::Network),
            _ => None,
        }
    }
}

/// What came of one try to change a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Step {
    /// It is changed, or there is nothing to take back.
    Done = 0,
    /// Another CPU changed it meanwhile.
    Again = 1,
    /// There is no place, or the count is at its most.
    Full = 2,
}

/// Counts a connection that begins, and notes where it could be counted. `add` is one try at one of
/// its counts, [`add`]: the kernel side has a function for it, which its verifier follows by
/// itself. Says whether its source is counted.
#[inline(always)]
pub fn begin(opened: &mut Opened, mut add: impl FnMut(Part) -> Step) -> bool {
    opened.counted = 0;
    for part in [Part::Source, Part::Service, Part::Host, Part::Network] {
        let is_asked = !matches!(part, Part::Network) || opened.network != 0;
        if is_asked && tried(|| add(part)) {
            opened.counted |= part as u32;
        }
    }
    opened.counted & Opened::SOURCE != 0
}

/// Takes back what [`begin`] counted. `subtract` is one try at one of its counts, [`subtract`].
#[inline(always)]
pub fn end(opened: &mut Opened, mut subtract: impl FnMut(Part) -> Step) {
    for part in [Part::Source, Part::Service, Part::Host, Part::Network] {
        if opened.counted & part as u32 != 0 {
            tried(|| subtract(part));
        }
    }
    opened.counted = 0;
}

/// Tries until it is done, and says whether it is.
#[inline(always)]
fn tried(mut step: impl FnMut() -> Step) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        match step() {
            Step::Done => return true,
            Step::Full => return false,
            Step::Again => {}
        }
    }
    false
}

/// Tries to add a connection of the service with `number` to one count. `place`: that of its
/// network for that part, else that of its source; the set is of the same.
#[inline(always)]
pub fn add<W: SharedWord>(counts: &Counts<'_, W>, part: Part, place: Place, number: u32) -> Step {
    match part {
        Part::Source | Part::Network => add_to_source(counts.set, place),
        Part::Service => add_to_total(counts.service, number),
        Part::Host => add_to_total(counts.host, 0),
    }
}

/// Tries to take one back.
#[inline(always)]
pub fn subtract<W: SharedWord>(
    counts: &Counts<'_, W>,
    part: Part,
    place: Place,
    number: u32,
) -> Step {
    match part {
        Part::Source | Part::Network => subtract_from_source(counts.set, place),
        Part::Service => subtract_from_total(counts.service, number),
        Part::Host => subtract_from_total(counts.host, 0),
    }
}

/// Notes that the source of a connection found no place.
#[inline(always)]
pub fn note_uncounted<W: SharedWord>(host: &[W; WORDS]) {
    bump(host, UNCOUNTED);
}

/// Notes that a connection is older than the count and cannot be counted.
#[inline(always)]
pub fn note_older<W: SharedWord>(host: &[W; WORDS]) {
    bump(host, OLDER);
}

/// What is full for one more connection of the service with `number`, if anything is. What only
/// looks (`peeks`) leaves it to its proof to try whether anybody counts.
#[inline(always)]
pub fn judge<W: SharedWord>(
    counts: &Counts<'_, W>,
    place: Place,
    number: u32,
    bounds: &Bounds,
    now: u64,
    peeks: bool,
) -> Option<Full> {
    let full = |bound: u64, open: u64| bound != 0 && open >= bound;
    let is_spent = full(bounds.service, total(counts.service, number))
        || full(bounds.host, total(counts.host, 0));
    // Else a flood would read one more random line.
    let looks = bounds.source != 0 && (!is_spent || bounds.has_room);
    let full = if looks && count(counts.set, place) >= bounds.source {
        Full::Source
    } else if is_spent {
        Full::Budget
    } else {
        return None;
    };
    is_counted(counts.host, now, peeks).then_some(full)
}

/// Whether the network at `place` has `bound` connections; 0 stands for any number. The set is that
/// of the network.
#[inline(always)]
pub fn is_network_full<W: SharedWord>(
    counts: &Counts<'_, W>,
    place: Place,
    bound: u64,
    now: u64,
    peeks: bool,
) -> bool {
    bound != 0 && count(counts.set, place) >= bound && is_counted(counts.host, now, peeks)
}

/// Whoever counts was here.
#[inline(always)]
pub fn beat<W: SharedNote>(host: &[W; WORDS], now: u64) {
    // Another CPU's clock may be ahead.
    if now.saturating_sub(host[BEAT].load()) > FRESH {
        host[BEAT].store(now);
    }
}

/// Whether somebody counts, so that what is full refuses.
#[inline(always)]
fn is_counted<W: SharedWord>(host: &[W; WORDS], now: u64, peeks: bool) -> bool {
    let silent = now.saturating_sub(host[BEAT].load());
    if silent < QUIET {
        return true;
    }
    if silent >= GONE || peeks {
        return false;
    }
    let probe = host[PROBE].load();
    now.saturating_sub(probe) < PROBES || !host[PROBE].replace(probe, now)
}

/// Connections of the source at `place`.
#[inline(always)]
pub fn count<W: SharedWord>(set: &[W; WAYS], place: Place) -> u64 {
    let (mut sum, mut way) = (0, 0);
    while way < WAYS {
        let word = set[way].load();
        if word & FINGERPRINT == fingerprint(place) {
            sum += word >> COUNT_SHIFT;
        }
        way += 1;
    }
    sum
}

/// Connections of the service with `number` whose line it is, 0 while the line is another's.
#[inline(always)]
pub fn total<W: SharedWord>(line: &[W; WORDS], number: u32) -> u64 {
    let word = line[TOTAL].load();
    if word >> COUNT_SHIFT == number as u64 { word & FINGERPRINT } else { 0 }
}

/// All 32 bits that do not choose the set; never 0, which marks a way that was never used.
#[inline(always)]
const fn fingerprint(place: Place) -> u64 {
    let low = place.0 & FINGERPRINT;
    if low == 0 { 1 } else { low }
}

#[inline(always)]
fn add_to_source<W: SharedWord>(set: &[W; WAYS], place: Place) -> Step {
    let mine = fingerprint(place);
    // The place of a way, and what stands in it: its own before a free one.
    let (mut best, mut word, mut rank, mut way) = (0, 0, 0, 0);
    while way < WAYS {
        let seen = set[way].load();
        let mut ranks = 0;
        if seen >> COUNT_SHIFT == 0 {
            ranks = 1;
        } else if seen & FINGERPRINT == mine {
            ranks = 2;
        }
        if ranks > rank {
            (best, word, rank) = (way, seen, ranks);
        }
        way += 1;
    }
    let open = word >> COUNT_SHIFT;
    if rank == 0 || open == MOST {
        return Step::Full;
    }
    replaced(set[best & (WAYS - 1)].replace(word, (open + 1) << COUNT_SHIFT | mine))
}

#[inline(always)]
fn subtract_from_source<W: SharedWord>(set: &[W; WAYS], place: Place) -> Step {
    let mine = fingerprint(place);
    let mut way = 0;
    while way < WAYS {
        let seen = set[way].load();
        if seen & FINGERPRINT == mine && seen >> COUNT_SHIFT != 0 {
            return replaced(set[way].replace(seen, seen - (1 << COUNT_SHIFT)));
        }
        way += 1;
    }
    Step::Done
}

#[inline(always)]
fn add_to_total<W: SharedWord>(line: &[W; WORDS], number: u32) -> Step {
    let word = line[TOTAL].load();
    // The line was another service's, whose connections are not of this one.
    let is_mine = word >> COUNT_SHIFT == number as u64;
    let open = if is_mine { word & FINGERPRINT } else { 0 };
    if open >= MOST {
        return Step::Full;
    }
    replaced(line[TOTAL].replace(word, (number as u64) << COUNT_SHIFT | (open + 1)))
}

#[inline(always)]
fn subtract_from_total<W: SharedWord>(line: &[W; WORDS], number: u32) -> Step {
    let word = line[TOTAL].load();
    let is_mine = word >> COUNT_SHIFT == number as u64;
    if !is_mine || word & FINGERPRINT == 0 {
        return Step::Done;
    }
    replaced(line[TOTAL].replace(word, word - 1))
}

#[inline(always)]
const fn replaced(replaced: bool) -> Step {
    if replaced { Step::Done } else { Step::Again }
}

/// Adds one to a word of which nothing depends.
#[inline(always)]
fn bump<W: SharedWord>(line: &[W; WORDS], index: usize) {
    let word = line[index].load();
    line[index].replace(word, word.saturating_add(1));
}

/// What the host's line says of the count itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Connections that are counted now.
    pub open: u64,
    /// When whoever counts was seen last, in nanoseconds of CLOCK_MONOTONIC; 0: never.
    pub beat: u64,
    /// Connections that found no place in the table, since the count began.
    pub uncounted: u64,
    /// Connections that were there before the count began and that it could not take over.
    pub older: u64,
}

impl State {
    /// The host's line as it is.
    pub const fn read(words: &[u64; WORDS]) -> Self {
        Self {
            open: words[TOTAL] & FINGERPRINT,
            beat: words[BEAT],
            uncounted: words[UNCOUNTED],
            older: words[OLDER],
        }
    }

    /// Whether limits by open connections hold at `now`.
    pub const fn is_counted(&self, now: u64) -> bool {
        now.saturating_sub(self.beat) < GONE
    }
}

/// Connections of the service with `number`, of its line.
pub const fn of_service(words: &[u64; WORDS], number: u32) -> u64 {
    if words[TOTAL] >> COUNT_SHIFT == number as u64 { words[TOTAL] & FINGERPRINT } else { 0 }
}
