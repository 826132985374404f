//! One service in simulated time: the algorithms of admission over vectors instead of maps.

use std::cell::{Cell, RefCell};

use limiter_common::address::{Address, SourceMask};
use limiter_common::admission::{Attempt, Case, Outcome, Ruling, Stage, State};
use limiter_common::budget::{BudgetLimit, Lease, Look, Take};
use limiter_common::challenge::{self, Challenge};
use limiter_common::hash::{Place, place};
use limiter_common::line::{self, Arrival, Judged};
use limiter_common::open::{Bounds, Full};
use limiter_common::purse::{self, Fill, Purse};
use limiter_common::rate::{Limit, Rate};
use limiter_common::reason::Reason;
use limiter_common::record::{self, BUDGET_LINES, Class, Host, NAME, Network, Service, Stated};
use limiter_common::shadow::{self, Shadow};
use limiter_common::source_table::{self, Charge, Charged, SourceLimit, Ticks, WAYS};
use limiter_common::turn;

pub const SECOND: u64 = 1_000_000_000;
const SETS: u32 = 65_536;

/// The state of one service on one CPU, in vectors instead of maps.
pub struct Memory {
    pub leases: RefCell<Vec<Lease>>,
    lines: Vec<Cell<u64>>,
    sources: Vec<[Cell<u64>; WAYS]>,
    visits: Vec<[Cell<u64>; WAYS]>,
    shadowed: Vec<[Cell<u64>; WAYS]>,
    /// Connections that every source has open, and every network.
    pub open: Cell<u64>,
    line: [Cell<u64>; line::WORDS],
    seats: line::seats::Seats<Cell<u64>>,
    pub challenge: [Cell<u64>; challenge::WORDS],
    /// What becomes of taking from these purses, because another CPU was faster.
    pub races: Cell<&'static [(Purse, Take)]>,
    /// Limits of networks: of the service's sources, then of the class's.
    pub networks: Vec<Network>,
    /// First and last IPv4 address of a class.
    pub classes: Vec<(u32, u32, Class)>,
}

impl Memory {
    fn new() -> Self {
        let sets = || (0..SETS).map(|_| Default::default()).collect();
        Self {
            leases: RefCell::new(vec![Lease::default(); BUDGET_LINES as usize]),
            lines: vec![Cell::new(0); BUDGET_LINES as usize],
            sources: sets(),
            visits: sets(),
            shadowed: (0..shadow::SETS).map(|_| Default::default()).collect(),
            open: Cell::new(0),
            line: Default::default(),
            seats: Default::default(),
            challenge: Default::default(),
            races: Cell::new(&[]),
            networks: vec![Network::NONE; 2],
            classes: Vec::new(),
        }
    }
}

impl State for Memory {
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Fill> {
        let index = purse.index(case.id) as usize;
        let (lease, line) = (&mut self.leases.borrow_mut()[index], &self.lines[index]);
        let limit = purse.limit(case.service, case.host);
        Some(purse::look(lease, line, limit, case.now, || case.now))
    }

    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take> {
        let mut races = self.races.get().iter();
        if let Some(take) = races.find_map(|(lost, take)| (*lost == purse).then_some(*take)) {
            return Some(take);
        }
        let index = purse.index(case.id) as usize;
        let (lease, line) = (&mut self.leases.borrow_mut()[index], &self.lines[index]);
        let limit = purse.limit(case.service, case.host);
        Some(purse::take(lease, line, limit, look, || case.now))
    }

    fn give_back(&self, case: &Case<'_>, purse: Purse) {
        self.leases.borrow_mut()[purse.index(case.id) as usize].give_back();
    }

    fn class(&self, case: &Case<'_>) -> (u32, Option<&Class>) {
        let class = self
            .classes
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&(case.client.low as u32)));
        class.map_or((0, None), |(_, _, class)| (1, Some(class)))
    }

    fn network(&self, _: &Case<'_>, class: u32) -> Option<&Network> {
        self.networks.get(class as usize)
    }

    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place> {
        Some(place(&[3, 4], service, class, source))
    }

    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        let set = &self.sources[place.set(SETS) as usize];
        let (fingerprint, now, own) =
            (place.fingerprint(), Ticks::at(attempt.now), attempt.limit.horizon());
        if attempt.peeks {
            return Some(Charged::peek(source_table::exceeds(
                set,
                fingerprint,
                now,
                attempt.limit,
                own,
            )));
        }
        Some(source_table::charge(set, fingerprint, now, attempt.limit, own, attempt.horizon))
    }

    fn full(&self, _: &Case<'_>, _: &Place, bounds: &Bounds) -> Option<Full> {
        (bounds.source != 0 && self.open.get() >= bounds.source).then_some(Full::Source)
    }

    fn is_network_full(&self, case: &Case<'_>, class: u32) -> bool {
        let most = self.network(case, class).map_or(0, |network| network.open);
        most != 0 && self.open.get() >= most.into()
    }

    fn try_charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charge> {
        let set = &self.shadowed[place.set(shadow::SETS) as usize];
        let (now, limit) = (Ticks::at(attempt.now), attempt.limit);
        let (own, horizon) = (limit.horizon(), attempt.horizon);
        Some(source_table::charge(set, place.fingerprint(), now, limit, own, horizon).charge)
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

/// A service with a budget, and no line.
pub struct World {
    pub memory: Memory,
    pub service: Service,
    pub host: Host,
    /// What was counted of the limits in the shadow.
    pub tried: Cell<shadow::Counts>,
}

impl World {
    pub fn new(budget: u64, burst: u64, challenge: Challenge) -> Self {
        let budget =
            Limit { rate: Rate::per_second(budget), burst }.to_budget(1).expect("keepable");
        let budget = BudgetLimit { lease: 1, ..budget };
        let none = BudgetLimit { lease: 1, ..BudgetLimit::default() };
        let admission = record::Admission {
            challenge: challenge as u32,
            unproven: purse::unproven([&none, &budget]),
            unanswerable: purse::unanswerable([&none, &budget]),
            refuse: 0,
        };
        let source = SourceLimit { interval: 0, window: 0 };
        let (stated, name) = (Stated::default(), [0; NAME]);
        Self {
            memory: Memory::new(),
            service: Service {
                source,
                mask: SourceMask::new(32, 64),
                budget,
                admission,
                number: 0,
                more: 0,
                stated,
                name,
                line: line::Rules::default(),
                open: 0,
                open_budget: 0,
                mss: 0,
                room: [0; 3],
            },
            host: Host {
                budget: none,
                horizon: 0,
                resets: none,
                stated,
                generation: 1,
                ends: 0,
                class_prefixes: 0,
                is_unfinished: 0,
                profile: [0; NAME],
                diverts: BudgetLimit::default(),
                stated_diverts: Limit::default(),
                open_budget: 0,
                counts_open: 0,
                tried_horizon: 0,
                before: 0,
                room: [0; 8],
            },
            tried: Cell::default(),
        }
    }

    /// Gives the networks of the service (0) or of its class (1) a limit: /24 and /48.
    pub fn limit_networks(&mut self, class: usize, per_second: u64, burst: u64) {
        let limit = Limit { rate: Rate::per_second(per_second), burst };
        let limit = limit.to_source().expect("keepable");
        self.memory.networks[class] =
            Network { limit, mask: SourceMask::new(24, 48), ..Network::NONE };
        self.service.more |= Service::NETWORKS;
        self.host.horizon = self.host.horizon.max(limit.horizon());
    }

    pub fn judge(&self, source: u32, now: u64, stage: Stage) -> Outcome {
        let (service, host, client) = (&self.service, &self.host, Address::v4(source));
        let case = Case { slot: 0, id: 0, service, host, client, now, stage };
        let outcome = turn::judge(&self.memory, &case);
        if let Ruling::Decided(reason) = outcome.verdict
            && self.service.has_shadow()
            && shadow::is_asked(reason)
            && let Some((mark, tried)) = shadow::judge(&self.memory, &case)
        {
            let mut counts = self.tried.get();
            shadow::count(&mut counts, mark, tried);
            self.tried.set(counts);
        }
        outcome
    }

    /// Has the service try a limit of each source, unless `per_second` is 0, and a number of open
    /// connections, unless that is 0.
    pub fn tries(&mut self, per_second: u64, burst: u64, open: u64) {
        let limit = match per_second {
            0 => SourceLimit::default(),
            _ => {
                let limit = Limit { rate: Rate::per_second(per_second), burst };
                limit.to_source().expect("keepable")
            }
        };
        let shadow = Shadow { limit, open, ..Shadow::NONE }.marked();
        self.memory.networks[0].shadow = shadow;
        self.service.more |= Service::SHADOW;
        self.host.tried_horizon = limit.horizon();
        self.host.counts_open |= u64::from(open != 0);
    }

    /// Within what is tried, over the source limit, over what may be open.
    pub fn counted(&self) -> [u64; 3] {
        let [_, within, source, open] = self.tried.get();
        [within, source, open]
    }

    /// An attempt where nothing has to be proven.
    pub fn syn(&self, source: u32, now: u64) -> Ruling {
        self.judge(source, now, Stage::Pays).verdict
    }

    /// An attempt that a proof will pay for.
    pub fn peek(&self, source: u32, now: u64) -> Ruling {
        self.judge(source, now, Stage::Peeks).verdict
    }

    pub fn proof(&self, source: u32, now: u64) -> Ruling {
        self.judge(source, now, Stage::Proof).verdict
    }
}

pub fn is(reason: Reason) -> Ruling {
    Ruling::Decided(reason)
}

pub const START: u64 = 1 << 50;
