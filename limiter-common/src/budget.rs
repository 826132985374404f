//! Budgets: how many attempts a service, or the host, takes per second, counted over all CPUs.
//!
//! A budget is one shared word, the theoretical arrival time of a GCRA in nanoseconds, alone on its cache line. A CPU takes
//! a *lease* of up to `lease` tokens with one compare-and-swap and spends it locally; what it has not spent after
//! [`LEASE_LIFE`] is lost. When the budget is spent it notes until when, and refuses without touching the shared line.
//! Looking and taking are two steps, so that the source limit can be asked between them: what it refuses costs no
//! budget, and what a budget refuses is not charged to its source.
//!
//! Bound: in any window t, admitted <= rate x t + burst + CPUs x lease, and without the last term
//! when `lease` is 1.
//!
//! Draws read the precise clock, everything else the caller's (coarse) one. It may lag, so what it sees free is free, and a look needs
//! the precise one only when the coarse one sees nothing: an attempt that its source limit refuses, the commonest of a flood from few
//! sources, is spared a read (95 ns where it now is 62). It may refuse too long, by at most its resolution (1-10 ms), which is why a burst
//! must hold at least [`LEASE_LIFE`] of its rate.

use crate::word::SharedWord;

/// How long a leased token may wait to be spent, and how long a CPU may refuse without looking at the shared word: 10 ms.
pub const LEASE_LIFE: u64 = 10_000_000;
/// How much older than another CPU's clock this one's may be when both draw: 1 s, far more than anybody is held up.
pub const SKEW: u64 = 1_000_000_000;
/// Attempts at one compare-and-swap before the verdict is "contended".
pub const TRIES: usize = 8;

/// A budget as the kernel side applies it. An interval of 0 means no budget.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLimit {
    /// 1/rate in nanoseconds.
    pub interval: u64,
    /// interval x burst, in nanoseconds.
    pub capacity: u64,
    /// Most tokens that a CPU takes at once, 1 to 64.
    pub lease: u64,
}

/// What one CPU holds of a budget.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Tokens left.
    pub tokens: u64,
    /// When they expire, in nanoseconds.
    pub expires: u64,
    /// Until when the budget is known to be spent, in nanoseconds.
    pub spent_until: u64,
    /// Draws from the shared word that this CPU has made, for the record.
    pub draws: u64,
    /// How much of the capacity was used when this CPU last looked, in nanoseconds.
    pub used: u64,
}

/// What a CPU sees when it looks at a budget. Looking takes nothing. One number, because BPF has few registers and a small stack: one of the
/// two below, or the time in nanoseconds at which the shared word held a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(pub u64);

impl Look {
    /// There is none.
    pub const SPENT: Self = Self(0);
    /// The lease holds a token.
    pub const LEASED: Self = Self(1);
}

/// What came of taking a token that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is taken.
    Taken,
    /// Another CPU was faster.
    Gone,
    /// Too many CPUs drew at once; nothing was taken.
    Contended,
}

impl Lease {
    /// Whether there is a token to take. `now` is the coarse clock; `precise` reads the other one,
    /// and is only called when the shared word has to be looked at and seems spent.
    #[inline(always)]
    pub fn look<W: SharedWord>(
        &mut self,
        shared: &W,
        limit: &BudgetLimit,
        now: u64,
        precise: impl FnOnce() -> u64,
    ) -> Look {
        if self.tokens > 0 && now < self.expires {
            return Look::LEASED;
        }
        self.tokens = 0;
        if now < self.spent_until {
            return Look::SPENT;
        }
        self.used = used(shared.load(), limit, now);
        if free(limit, self.used) >= limit.interval {
            return Look(now);
        }
        let now = precise();
        self.used = used(shared.load(), limit, now);
        let free = free(limit, self.used);
        if free < limit.interval {
            self.spent(limit.interval - free, now);
            return Look::SPENT;
        }
        Look(now)
    }

    /// Takes the token that [`Lease::look`] saw. `precise` reads the precise clock: by an older one the word would
    /// be set too early, which grants up to a tick too much.
    #[inline(always)]
    pub fn take<W: SharedWord>(
        &mut self,
        seen: Look,
        shared: &W,
        limit: &BudgetLimit,
        precise: impl FnOnce() -> u64,
    ) -> Take {
        match seen {
            Look::LEASED => {
                self.tokens -= 1;
                return Take::Taken;
            }
            Look::SPENT => return Take::Gone,
            Look(_) => {}
        }
        let now = precise();
        self.draws += 1;
        match draw(shared, limit, now) {
            Draw::Tokens(tokens) => {
                self.tokens = tokens - 1;
                self.expires = now + LEASE_LIFE;
                Take::Taken
            }
            Draw::SpentFor(time) => {
                self.spent(time, now);
                Take::Gone
            }
            Draw::Contended => Take::Contended,
        }
    }

    /// Gives back the token that [`Lease::take`] just took: another budget refused the attempt.
    #[inline(always)]
    pub fn give_back(&mut self) {
        self.tokens += 1;
    }

    /// Notes until when there is nothing. Not longer than [`LEASE_LIFE`]: a policy with a higher rate must be felt at once.
    #[inline(always)]
    fn spent(&mut self, time: u64, now: u64) {
        self.spent_until = now + if time < LEASE_LIFE { time } else { LEASE_LIFE };
    }
}

enum Draw {
    Tokens(u64),
    SpentFor(u64),
    Contended,
}

/// How much of the capacity is used at `now`, in nanoseconds.
#[inline(always)]
fn used(arrival: u64, limit: &BudgetLimit, now: u64) -> u64 {
    match arrival.wrapping_sub(now) {
        // Past, or so far ahead that another policy put it there: the budget starts full. A little too far is a CPU whose clock was
        // read after ours, and no reason to forget what was spent.
        ahead if ahead > limit.capacity + SKEW => 0,
        ahead if ahead > limit.capacity => limit.capacity,
        ahead => ahead,
    }
}

/// What is left.
#[inline(always)]
fn free(limit: &BudgetLimit, used: u64) -> u64 {
    limit.capacity - used
}

#[inline(always)]
fn draw<W: SharedWord>(shared: &W, limit: &BudgetLimit, now: u64) -> Draw {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let arrival = shared.load();
        let used = used(arrival, limit, now);
        let free = free(limit, used);
        let Some(tokens) = free.checked_div(limit.interval) else {
            return Draw::Tokens(1);
        };
        if tokens == 0 {
            return Draw::SpentFor(limit.interval - free);
        }
        let tokens = if tokens > limit.lease { limit.lease } else { tokens };
        if shared.replace(arrival, now + used + tokens * limit.interval) {
            return Draw::Tokens(tokens);
        }
    }
    Draw::Contended
}
