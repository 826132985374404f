//! Budgets: how many attempts a service, or the host, takes per second, counted over all CPUs.
//!
//! A budget is one shared word, the theoretical arrival time of a GCRA in nanoseconds, alone on its cache line. A CPU takes
//! a *lease* of up to `lease` tokens with one compare-and-swap and spends it locally; what it has not spent after
//! [`LEASE_LIFE`] is lost. When the budget is spent it notes until when, and refuses without touching the shared line.
//!
//! Bound: in any window t, admitted <= rate x t + burst + CPUs x lease, and without the last term when `lease` is 1.
//! Draws read the precise clock, everything else the caller's (coarse) one: it may lag, so it only ever refuses too long,
//! by at most its resolution (1-10 ms), which is why a burst must hold at least [`LEASE_LIFE`] of its rate.

use crate::word::SharedWord;

/// How long a leased token may wait to be spent, and how long a CPU may refuse without looking at the shared word: 10 ms.
pub const LEASE_LIFE: u64 = 10_000_000;
/// How much older than another CPU's clock this one's may be when both draw: 1 s, far more than anybody is held up.
pub const SKEW: u64 = 1_000_000_000;
/// Attempts at one compare-and-swap before the verdict is "contended".
pub const TRIES: usize = 8;

/// A budget as the kernel side applies it. An interval of 0 means no budget.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// What a budget says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// A token was there and is spent.
    Granted,
    /// None is there.
    Refused,
    /// Too many CPUs drew at once; nothing was taken.
    Contended,
}

impl Lease {
    /// Whether this CPU knows, without looking further, that it has nothing to spend.
    #[inline(always)]
    pub fn is_spent(&self, now: u64) -> bool {
        now < self.spent_until && !self.has_token(now)
    }

    #[inline(always)]
    fn has_token(&self, now: u64) -> bool {
        self.tokens > 0 && now < self.expires
    }

    /// Spends one token, drawing from the shared word when the lease has none. `precise` reads the precise clock.
    #[inline(always)]
    pub fn spend<W: SharedWord>(
        &mut self,
        shared: &W,
        limit: &BudgetLimit,
        now: u64,
        precise: impl FnOnce() -> u64,
    ) -> Spend {
        if self.has_token(now) {
            self.tokens -= 1;
            return Spend::Granted;
        }
        if now < self.spent_until {
            return Spend::Refused;
        }
        let now = precise();
        self.draws += 1;
        match draw(shared, limit, now) {
            Draw::Tokens(tokens) => {
                self.tokens = tokens - 1;
                self.expires = now + LEASE_LIFE;
                Spend::Granted
            }
            Draw::SpentFor(time) => {
                // Not longer than LEASE_LIFE: a policy with a higher rate must be felt at once.
                self.tokens = 0;
                self.spent_until = now + if time < LEASE_LIFE { time } else { LEASE_LIFE };
                Spend::Refused
            }
            Draw::Contended => Spend::Contended,
        }
    }

    /// Gives back the token that [`Lease::spend`] just granted: another budget refused the attempt.
    #[inline(always)]
    pub fn give_back(&mut self) {
        self.tokens += 1;
    }
}

enum Draw {
    Tokens(u64),
    SpentFor(u64),
    Contended,
}

#[inline(always)]
fn draw<W: SharedWord>(shared: &W, limit: &BudgetLimit, now: u64) -> Draw {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let arrival = shared.load();
        let ahead = arrival.wrapping_sub(now);
        // Past, or so far ahead that another policy put it there: the budget starts full. A little too far is a CPU whose clock was
        // read after ours, and no reason to forget what was spent.
        let leftover = ahead > limit.capacity + SKEW;
        let used = match ahead {
            _ if leftover => 0,
            ahead if ahead > limit.capacity => limit.capacity,
            ahead => ahead,
        };
        let free = limit.capacity - used;
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
