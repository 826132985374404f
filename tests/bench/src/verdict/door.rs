//! limiter in simulated time: what its XDP program decides and notes of each packet, by the same
//! code of `limiter-common`, over vectors instead of maps.

use std::cell::{Cell, RefCell};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use limiter::policy::Policy;
use limiter::policy::encode::{self, Known};
use limiter::policy::file::Document;
use limiter_common::address::Address;
use limiter_common::admission::{Attempt, Case, Ruling, Stage, State};
use limiter_common::budget::{Lease, Look, Take};
use limiter_common::challenge;
use limiter_common::hash::{Place, place};
use limiter_common::line::{self, Arrival, Judged};
use limiter_common::purse::{self, Fill, Purse};
use limiter_common::reason::Reason;
use limiter_common::record::{BUDGET_LINES, Class, Host, Network, REASONS, Service};
use limiter_common::source_table::{self, Charged, Ticks, WAYS};
use limiter_common::turn;

use super::notes::Notes;

/// Sets of the source table, as limiter makes them unless it is told otherwise.
const SETS: u32 = 65_536;
/// The service has the first id.
const ID: u32 = 0;

/// A limiter with one service.
pub struct Door {
    pub policy: Policy,
    pub enforces: bool,
    /// Whether services ask for proofs: their challenge is on, and the kernel makes cookies.
    pub asks: bool,
    pub service: Service,
    host: Host,
    memory: Memory,
    pub notes: Notes,
    /// Packets whose verdict was carried out, and those that were only counted.
    pub decided: [u64; REASONS],
    pub observed: [u64; REASONS],
}

struct Memory {
    leases: RefCell<Vec<Lease>>,
    lines: Vec<Cell<u64>>,
    sources: Vec<[Cell<u64>; WAYS]>,
    visits: Vec<[Cell<u64>; WAYS]>,
    line: [Cell<u64>; line::WORDS],
    seats: line::seats::Seats<Cell<u64>>,
    challenge: [Cell<u64>; challenge::WORDS],
}

impl State for Memory {
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Fill> {
        let limit = purse.limit(case.service, case.host);
        if limit.interval == 0 {
            return Some(Fill::UNLIMITED);
        }
        let index = purse.index(case.id) as usize;
        let (lease, line) = (&mut self.leases.borrow_mut()[index], &self.lines[index]);
        Some(purse::look(lease, line, limit, case.now, || case.now))
    }

    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take> {
        let limit = purse.limit(case.service, case.host);
        if limit.interval == 0 {
            return Some(Take::Taken);
        }
        let index = purse.index(case.id) as usize;
        let (lease, line) = (&mut self.leases.borrow_mut()[index], &self.lines[index]);
        Some(purse::take(lease, line, limit, look, || case.now))
    }

    fn give_back(&self, case: &Case<'_>, purse: Purse) {
        if purse.limit(case.service, case.host).interval != 0 {
            self.leases.borrow_mut()[purse.index(case.id) as usize].give_back();
        }
    }

    fn class(&self, _: &Case<'_>) -> (u32, Option<&Class>) {
        (0, None)
    }

    fn network(&self, _: &Case<'_>, _: u32) -> Option<&Network> {
        None
    }

    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place> {
        Some(place(&[3, 4], service, class, source))
    }

    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        let set = &self.sources[place.set(SETS) as usize];
        let (mark, now, own) =
            (place.fingerprint(), Ticks::at(attempt.now), attempt.limit.horizon());
        if attempt.peeks {
            let exceeds = source_table::exceeds(set, mark, now, attempt.limit, own);
            return Some(Charged::peek(exceeds));
        }
        Some(source_table::charge(set, mark, now, attempt.limit, own, attempt.horizon))
    }

    fn line(&self, case: &Case<'_>, arrival: &Arrival) -> Option<Judged> {
        let service = line::Service { line: &self.line, rules: &case.service.line };
        let set = &self.visits[arrival.place.set(SETS) as usize];
        let peeks = matches!(case.stage, Stage::Peeks);
        Some(line::arrival::judge(&service, set, &self.seats, arrival, peeks))
    }

    fn challenge(&self, _: u32, ask: challenge::Ask, now: u64) -> Option<bool> {
        Some(challenge::ask(&self.challenge, ask, now))
    }
}

impl Door {
    /// A limiter with this policy file, whose first service is asked.
    pub fn new(text: &str, enforces: bool, cookies: bool, seed: u64) -> Result<Self> {
        let document = Document::parse(text, "policy.toml", Path::new("/"))
            .map_err(|problems| anyhow!("{problems}\n{text}"))?;
        let policy = document.policy;
        let encoded = encode::encode(&policy, 0, 1, &Known::default())?;
        let service = *encoded.services.get(&ID).context("the policy has no service")?;
        let sets = || (0..SETS).map(|_| Default::default()).collect();
        let lines = BUDGET_LINES as usize;
        Ok(Self {
            asks: enforces && cookies && policy.may_challenge(),
            policy,
            enforces,
            service,
            host: encoded.host,
            memory: Memory {
                leases: RefCell::new(vec![Lease::default(); lines]),
                lines: vec![Cell::new(0); lines],
                sources: sets(),
                visits: sets(),
                line: Default::default(),
                seats: Default::default(),
                challenge: Default::default(),
            },
            notes: Notes::new(seed),
            decided: [0; REASONS],
            observed: [0; REASONS],
        })
    }

    fn judge(&self, client: Address, now: u64, stage: Stage) -> (Reason, bool) {
        let (service, host) = (&self.service, &self.host);
        let case = Case { slot: 0, id: ID, service, host, client, now, stage };
        let outcome = turn::judge(&self.memory, &case);
        let reason = match outcome.verdict {
            Ruling::Challenge => Reason::Challenged,
            Ruling::Decided(reason) => reason,
        };
        (reason, outcome.stole)
    }

    /// A SYN. What is dropped or answered is so in enforce mode only.
    pub fn syn(&mut self, client: Address, now: u64) -> Reason {
        let stage = if self.asks { Stage::Peeks } else { Stage::Pays };
        let (reason, stole) = self.judge(client, now, stage);
        if reason == Reason::Challenged {
            challenge::issue(&self.memory.challenge, now);
        }
        self.count(reason);
        self.notes.attempt(client, now, self.service.number, reason, self.enforces, stole);
        reason
    }

    /// The ACK that brings a cookie back.
    pub fn proof(&mut self, client: Address, now: u64) -> Reason {
        let (reason, _) = self.judge(client, now, Stage::Proof);
        self.count(reason);
        reason
    }

    /// Whether a verdict ends the packet here.
    pub fn ends(&self, reason: Reason) -> bool {
        self.enforces && (reason.drops() || reason == Reason::Challenged)
    }

    /// Counts a packet with a reason.
    pub fn count(&mut self, reason: Reason) {
        let passes = !reason.drops() && reason != Reason::Challenged;
        let counter = if self.enforces || passes { &mut self.decided } else { &mut self.observed };
        counter[reason as usize] += 1;
    }

    /// Whether sources are challenged now.
    pub fn is_challenging(&self, now: u64) -> bool {
        self.asks && challenge::is_on(&self.memory.challenge, now)
    }
}
