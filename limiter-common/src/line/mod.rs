//! The line: who is let in when more come than a service can serve.
//!
//! It optimises *users with whole pages per second, in the order in which they came, each source at
//! most its equal part, nobody starved*, with eight bytes a source ([`visit`]), one cache line a
//! service ([`service`]) and no timer.
//!
//! - A *page*, not a connection, is let in: the first connection of a page takes the room of a
//!   whole one from the *gate*, and for five seconds those behind it pass. A part of a page is
//!   worth nothing to its reader and costs the server as much.
//! - A *visit*, not a page, waits: who was let in stays *present* until he has not come for
//!   [`Rules::idle`].
//! - Who is not present waits in *line*: his place is the time at which he was first refused, the
//!   line's *head* is a time too, and who has a place before it may come in. The head moves as the
//!   gate has room: sixteen seconds in a second while it is nearly empty, not at all while it is
//!   full. How far it lags is what a newcomer waits.
//! - A place is also the *share*: each connection sends its source back by a part of the line's
//!   length, so that [`Part::allowance`] connections send it from the head to the end, and there it
//!   waits again. Nothing is remembered longer than the line is.
//!
//! Bounds. What is let in draws from the budgets, whose bounds stay as they are. Nobody is let in
//! before somebody who was refused first and still comes once in [`Rules::forget`]; ties within 17
//! ms. Newcomers at the head get [`Rules::right`]; while those who are in want all that there is,
//! it stands. A source that makes fewer connections than its allowance in [`Rules::patience`] is
//! never sent back. When there is room again, a line of two minutes is gone in eight seconds.
//! Places are told apart for [`visit::LONGEST_WAIT`]; who waits longer is at the head.
//!
//! What it does not do: a place is kept by one attempt in [`Rules::forget`], so somebody with N
//! addresses gets N places. Where the kernel makes cookies an attempt only asks ([`judge::peek`])
//! and its proof is judged, so they must be addresses of his own.

pub mod arrival;
pub mod judge;
pub mod phases;
pub mod seats;
pub mod service;
pub mod visit;

pub use arrival::Arrival;
pub use judge::{Coming, Judged, Peeked, Said, peek};
pub use phases::judge;
pub use service::{Service, State, WORDS};
pub use visit::Visit;

use crate::budget::BudgetLimit;
use visit::SEEN_SHIFT;

/// How one service lets sources in, as the kernel side applies it; made by [`Rules::of`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// One connection's time at the gate, 1/rate, in nanoseconds; 0: there is no line.
    pub interval: u64,
    /// What the gate holds, in nanoseconds of that time.
    pub gate: u64,
    /// What newcomers may fill of it while others wait, in nanoseconds.
    pub ceiling: u64,
    /// 1/rate in nanoseconds of what newcomers have by right while those who are present fill the
    /// gate.
    pub right: u64,
    /// Longest wait that is priced, in nanoseconds; at most 2^37.
    pub patience: u64,
    /// How long a source that does not come stays present, in units of [`visit::SEEN_SHIFT`].
    pub idle: u64,
    /// How long a place is kept of a source that does not come, in the same units.
    pub forget: u64,
    /// Connections that a page has at most, 1 to [`visit::MOST_CONNECTIONS`].
    pub page_most: u64,
    /// Connections that a page has until some have been seen, in 256ths.
    pub page: u64,
    /// Most sources that may be present; 0: any number.
    pub users: u64,
    /// Width of a bucket of [`seats`], in units of [`visit::SEEN_SHIFT`], as a power of two.
    pub bucket_shift: u64,
    /// What a source may have.
    pub part: Part,
}
const _: () = assert!(size_of::<Rules>() == 112);

/// What one source may have. A class of many people has more, as its weight says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Connections that send it from the head of the line to its end.
    pub allowance: u64,
    /// 2^24 divided by that.
    pub price: u64,
    /// 1 if its pages are those of many, so that more than [`Rules::page_most`] connections may
    /// come together.
    pub many: u64,
}
const _: () = assert!(size_of::<Part>() == 24);

impl Part {
    /// The part of a source with so many people behind it.
    pub const fn of(allowance: u64, weight: u64) -> Self {
        let allowance = if allowance * weight == 0 { 1 } else { allowance * weight };
        Self { allowance, price: (1 << 24) / allowance, many: (weight > 1) as u64 }
    }
}

/// What newcomers have by right of a budget with so long an interval: a twentieth.
#[inline(always)]
const fn right(interval: u64) -> u64 {
    interval * 20
}

/// What newcomers may fill of a gate while others wait. Seven tenths are kept for those who are
/// present, but no more than a second of the budget or two pages: so it is 14 of 30 connections at
/// 10/s with a burst of 20, and 27 of 90 at 560/s with one of 100. It is at most seven tenths of
/// the burst, or those who are present would find no token.
const fn ceiling(gate: u64, interval: u64, burst: u64) -> u64 {
    let pages = KEPT * interval;
    let most = if pages > SECOND { pages } else { SECOND };
    let kept = gate / 10 * 7;
    let ceiling = gate - if kept < most { kept } else { most };
    let within = burst / 10 * 7;
    if burst == 0 || ceiling < within { ceiling } else { within }
}

/// Connections of a visit: five or six pages of six.
pub const ALLOWANCE: u64 = 36;
/// What stands for a budget where only the number of present sources is bounded: a million
/// connections a second.
const NO_BUDGET: BudgetLimit = BudgetLimit { interval: 1000, capacity: SECOND, lease: 1 };
/// Least connections in the gate at which a page of eight can pass.
const LEAST_GATE: u64 = 30;
/// Connections that are kept for those who are present, two large pages.
const KEPT: u64 = 16;
/// Longest time of a connection at the gate, 1.2 h: slower budgets hold by themselves.
const LONGEST_INTERVAL: u64 = 1 << 42;
/// What a gate holds at most: 13 days.
const LARGEST_GATE: u64 = 1 << 50;
const SECOND: u64 = 1_000_000_000;

/// How the usual rules differ for a service; [`Default`] is what suits a site whose visits are of
/// three to seven pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Connections of a visit, 2 to 65,536.
    pub allowance: u64,
    /// How long a visit may be idle, in seconds, 6 to 1,000. Less counts as 6: a page's connections
    /// come within 5.
    pub idle_seconds: u64,
    /// Most sources that may be present; 0: any number.
    pub users: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Self { allowance: ALLOWANCE, idle_seconds: 30, users: 0 }
    }
}

impl Rules {
    /// How long a place is kept of a source that does not come, in seconds.
    pub const FORGET_SECONDS: u64 = 20;

    /// The rules that go with a budget, or with a number of users; none without either. A burst
    /// below [`LEAST_GATE`] connections is taken for so many at the gate, or not even one page would
    /// ever fit.
    pub fn of(budget: &BudgetLimit, habits: &Habits) -> Self {
        let budget = match (budget.interval, habits.users) {
            (0, 0) => return Self::default(),
            (0, _) => &NO_BUDGET,
            _ => budget,
        };
        // No product of the two with what the kernel side multiplies them by is beyond 64 bits.
        let interval = core::cmp::min(budget.interval, LONGEST_INTERVAL);
        let gate = core::cmp::max(budget.capacity - budget.capacity / 10, LEAST_GATE * interval);
        let gate = core::cmp::min(gate, LARGEST_GATE);
        let idle = (habits.idle_seconds.clamp(6, 1000) * SECOND) >> SEEN_SHIFT;
        // So wide that the buckets of all who may be present are fewer than there are.
        let width = (idle / (seats::BUCKETS as u64 - 4)).next_power_of_two();
        let bucket_shift =
            if idle < seats::BUCKETS as u64 - 4 { 0 } else { u64::from(width.trailing_zeros()) };
        Self {
            interval,
            gate,
            ceiling: ceiling(gate, interval, budget.capacity),
            right: right(interval),
            patience: 120 * SECOND,
            idle: (idle >> bucket_shift) << bucket_shift,
            forget: (Self::FORGET_SECONDS * SECOND) >> SEEN_SHIFT,
            page_most: 8,
            page: 6 << 8,
            users: habits.users,
            bucket_shift,
            part: Part::of(habits.allowance, 1),
        }
    }
}
