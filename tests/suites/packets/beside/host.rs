//! The way of a packet once more, over host memory: what the shipped program must say, and what it must leave behind.
//!
//! The limits are `limiter_common`'s own. Services, classes and lists are found by looking at every one of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;

use limiter::kernel::Maps;
use limiter::kernel::lists::Entry;
use limiter::policy::prefix::{Prefix, ip};
use limiter::policy::{Policy, text};
use limiter_common::address::Address;
use limiter_common::admission::{Attempt, Case, Ruling, Stage, State};
use limiter_common::budget::{Lease, Look, Take};
use limiter_common::challenge;
use limiter_common::hash::{self, Key, Place};
use limiter_common::line::seats::Seats;
use limiter_common::line::{self, Arrival, Judged as InLine};
use limiter_common::packet::{self, Cursor, Segment};
use limiter_common::purse::{self, Fill, Purse};
use limiter_common::reason::{Reason, Verdict};
use limiter_common::record::{
    self, BUDGET_LINES, Class, Counters, List, Network, SERVICES, Service,
};
use limiter_common::shadow::{self, Tried};
use limiter_common::source_table::{self, Charge, Charged, Ticks, WAYS};
use limiter_common::switch::{Mode, Switch};
use limiter_common::turn;

use super::super::{DROP, PASS};

/// A cache line of a table.
pub type Line = [Cell<u64>; WAYS];

/// What the kernel side keeps in its state maps.
pub struct Memory {
    /// Secret of the hash.
    pub key: Key,
    /// The source table.
    pub sources: Vec<Line>,
    /// Debts to limits that are tried.
    pub shadowed: Vec<Line>,
    /// What the lines keep of sources.
    pub visits: Vec<Line>,
    /// The lines by service.
    pub lines: Vec<Line>,
    /// Who is present, by service.
    pub seats: Vec<Seats<Cell<u64>>>,
    /// Challenges by service.
    pub challenges: Vec<Line>,
    /// Shared words of budgets.
    pub budgets: Vec<Cell<u64>>,
    /// What the one CPU holds.
    pub leases: RefCell<Vec<Lease>>,
    /// Places that were looked at since they were last taken.
    pub touched: RefCell<Vec<Place>>,
}

impl Memory {
    /// All zeros.
    pub fn new(key: Key, sets: u32) -> Self {
        let lines = |count| (0..count).map(|_| Line::default()).collect::<Vec<_>>();
        Self {
            key,
            sources: lines(sets),
            shadowed: lines(shadow::SETS),
            visits: lines(sets),
            lines: lines(SERVICES),
            seats: (0..SERVICES).map(|_| Seats::default()).collect(),
            challenges: lines(SERVICES),
            budgets: vec![Cell::new(0); BUDGET_LINES as usize],
            leases: RefCell::new(vec![Lease::default(); BUDGET_LINES as usize]),
            touched: RefCell::default(),
        }
    }

    /// The words of a service's seats.
    pub fn seat_words(&self, id: usize) -> impl Iterator<Item = &Cell<u64>> {
        let Seats { taken, next, seen } = &self.seats[id];
        [taken, next].into_iter().chain(seen.iter().flatten())
    }

    /// The set of a place.
    pub fn set(&self, place: Place) -> usize {
        place.set(self.sources.len() as u32) as usize
    }
}

/// The policy of one slot, the lists, and the memory.
pub struct Host {
    policy: Policy,
    switch: Switch,
    record: record::Host,
    services: BTreeMap<u32, Service>,
    classes: BTreeMap<u32, Class>,
    networks: BTreeMap<u32, Network>,
    lists: Vec<(List, Entry)>,
    /// The precise clock, a little after the kernel read it.
    precise: u64,
    /// The state.
    pub memory: Memory,
    /// What was counted; index 0 for what belongs to no service.
    pub counters: Vec<Counters>,
}

/// What is said of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Index of the counters.
    pub counter: usize,
    /// Why.
    pub reason: Reason,
    /// XDP's number.
    pub action: u32,
}

struct Decision {
    counter: usize,
    reason: Reason,
    mode: Mode,
    stole: bool,
    step: u8,
    tried: Option<(u64, Tried)>,
}

impl Host {
    /// What stands in the maps now, with state of all zeros. `sets`: of the tables.
    pub fn of(maps: &Maps, policy: &Policy, sets: u32) -> Self {
        let switch = maps.switch().expect("the switch");
        let slot = switch.fallback().slot;
        let entries =
            |list| maps.entries(list).expect("a list").into_iter().map(move |entry| (list, entry));
        let key = maps.instance.get(&0, 0).expect("the instance").0.key;
        Self {
            policy: policy.clone(),
            switch,
            record: maps.host.get(&slot, 0).expect("the policy").0,
            services: maps.services(slot).expect("the services"),
            classes: maps.classes(slot).expect("the classes"),
            networks: maps.networks(slot).expect("the limits of networks"),
            lists: entries(List::Allow).chain(entries(List::Ban)).collect(),
            precise: 0,
            memory: Memory::new(key, sets),
            counters: vec![Counters::default(); SERVICES as usize + 1],
        }
    }

    /// Decides on a frame at `now` (coarse clock, nanoseconds; `precise`: the other one), counts it, and changes the memory.
    pub fn decide(&mut self, frame: &[u8], now: u64, precise: u64) -> Said {
        self.precise = precise;
        let decision = self.decision(frame, now);
        let Decision { counter, reason, mode, stole, step, tried } = decision;
        let (stops, enforced) = (reason.verdict() != Verdict::Pass, mode == Mode::Enforce);
        let counters = &mut self.counters[counter];
        let counted =
            if stops && !enforced { &mut counters.observed } else { &mut counters.decided };
        counted[reason as usize] += 1;
        counters.steals += u64::from(stole);
        if step != 0 {
            counters.debts[usize::from(step)] += 1;
        }
        if let Some((mark, tried)) = tried {
            shadow::count(&mut counters.shadow, mark, tried);
        }
        // Nobody listens here, so nothing is ever answered.
        Said { counter, reason, action: if stops && enforced { DROP } else { PASS } }
    }

    fn decision(&self, frame: &[u8], now: u64) -> Decision {
        let mut decision = Decision {
            counter: 0,
            reason: Reason::NoPolicy,
            mode: self.switch.at(now).mode,
            stole: false,
            step: 0,
            tried: None,
        };
        match packet::parse(Cursor::new(frame)) {
            Err(reason) => {
                decision.reason = packet::second_look(Cursor::new(frame), || true, reason)
            }
            Ok(segment) => self.judge(&segment, now, &mut decision),
        }
        decision
    }

    fn judge(&self, segment: &Segment<'_>, now: u64, decision: &mut Decision) {
        let attempt = segment.is_attempt();
        decision.reason = Reason::NotAttempt;
        let parked = !attempt && self.switch.charges_proofs() && self.parks(segment);
        if !attempt && !segment.hides_flags && !self.switch.has_bans() && !parked {
            return;
        }
        let Some((id, service)) = self.service(segment) else {
            if attempt || segment.hides_flags {
                decision.reason = Reason::NotProtected;
            }
            return;
        };
        decision.counter = id as usize + 1;
        let client = segment.network.source();
        let listed = |list| {
            let host = Prefix { address: client, length: 128 };
            self.lists
                .iter()
                .any(|(on, entry)| *on == list && now < entry.expires && entry.prefix.covers(&host))
        };
        if segment.hides_flags {
            decision.reason = Reason::ShortFragment;
        } else if listed(List::Allow) {
            if attempt {
                decision.reason = Reason::Allowed;
            } else if !self.switch.has_bans() {
                decision.counter = 0;
            }
        } else if listed(List::Ban) {
            decision.reason = Reason::Banned;
        } else if attempt {
            decision.reason = self.limits(id, service, segment, now, decision);
        } else if parked {
            decision.reason = Reason::BadCookie;
        }
    }

    /// Whether it is a reset in a fragment, to what may be a service. (No random frame brings a
    /// good cookie.)
    fn parks(&self, segment: &Segment<'_>) -> bool {
        let mut listeners = self.policy.services.iter().flat_map(|service| &service.listeners);
        segment.is_reset()
            && segment.is_fragment
            && listeners.any(|listener| listener.port() == segment.port)
    }

    /// The limits. Nobody listens here: what the kernel should ask for a proof is judged again as
    /// what nobody asks.
    fn limits(
        &self,
        id: u32,
        service: &Service,
        segment: &Segment<'_>,
        now: u64,
        decision: &mut Decision,
    ) -> Reason {
        let (mode, client) = (decision.mode, segment.network.source());
        let mut judge = |stage| {
            decision.tried = None;
            let case = Case { slot: 0, id, service, host: &self.record, client, now, stage };
            let outcome = turn::judge(self, &case);
            decision.stole |= outcome.stole;
            decision.step = outcome.step;
            match outcome.verdict {
                Ruling::Decided(reason) => {
                    if service.has_shadow() && shadow::is_asked(reason) {
                        decision.tried = shadow::judge(self, &case);
                    }
                    reason
                }
                Ruling::Challenge => Reason::Challenged,
            }
        };
        if !self.switch.asks() {
            return judge(Stage::Pays);
        }
        if segment.has_bad_flags() {
            return Reason::BadFlags;
        }
        match judge(Stage::Peeks) {
            Reason::Challenged if mode == Mode::Observe => Reason::Challenged,
            Reason::Challenged | Reason::Asked => judge(Stage::Unanswerable),
            reason => reason,
        }
    }

    /// The service that a segment is for: its address and port, or else every address and its port.
    fn service(&self, segment: &Segment<'_>) -> Option<(u32, &Service)> {
        let address = wire(segment.network.destination(), segment.network.is_v6());
        let any: IpAddr = if segment.network.is_v6() { [0; 16].into() } else { [0; 4].into() };
        let at = |ip: IpAddr| {
            let place = std::net::SocketAddr::new(ip, segment.port);
            self.policy.services.iter().find(|service| service.listeners.contains(&place))
        };
        let name = &at(address).or_else(|| at(any))?.name;
        let found = self
            .services
            .iter()
            .find(|(_, record)| text::name(&record.name).as_ref() == Some(name))?;
        Some((*found.0, found.1))
    }
}

/// An address as the header had it.
fn wire(address: Address, v6: bool) -> IpAddr {
    match ip(address) {
        IpAddr::V4(v4) if v6 => v4.to_ipv6_mapped().into(),
        other => other,
    }
}

impl State for Host {
    fn look(&self, case: &Case<'_>, purse: Purse) -> Option<Fill> {
        let index = purse.index(case.id) as usize;
        let lease = &mut self.memory.leases.borrow_mut()[index];
        let (line, limit) = (&self.memory.budgets[index], purse.limit(case.service, case.host));
        Some(purse::look(lease, line, limit, case.now, || self.precise))
    }

    fn take(&self, case: &Case<'_>, purse: Purse, look: Look) -> Option<Take> {
        let index = purse.index(case.id) as usize;
        let lease = &mut self.memory.leases.borrow_mut()[index];
        let (line, limit) = (&self.memory.budgets[index], purse.limit(case.service, case.host));
        Some(purse::take(lease, line, limit, look, || self.precise))
    }

    fn give_back(&self, case: &Case<'_>, purse: Purse) {
        if purse.limit(case.service, case.host).interval != 0 {
            self.memory.leases.borrow_mut()[purse.index(case.id) as usize].give_back();
        }
    }

    fn class(&self, case: &Case<'_>) -> (u32, Option<&Class>) {
        let host = Prefix { address: case.client, length: 128 };
        let Some(class) = self.policy.class_of(&host) else { return (0, None) };
        let found = self
            .classes
            .iter()
            .find(|(_, record)| text::name(&record.name).as_ref() == Some(&class.name));
        found.map_or((0, None), |(id, record)| (*id, Some(record)))
    }

    fn network(&self, case: &Case<'_>, class: u32) -> Option<&Network> {
        self.networks.get(&Network::index(case.id, class))
    }

    fn place(&self, service: u32, class: u32, source: Address) -> Option<Place> {
        let place = hash::place(&self.memory.key, service, class, source);
        self.memory.touched.borrow_mut().push(place);
        Some(place)
    }

    fn charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        let set = &self.memory.sources[self.memory.set(*place)];
        self.memory.touched.borrow_mut().push(*place);
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

    fn try_charge(&self, place: &Place, attempt: &Attempt<'_>) -> Option<Charge> {
        let set = &self.memory.shadowed[place.set(shadow::SETS) as usize];
        self.memory.touched.borrow_mut().push(*place);
        let (now, limit) = (Ticks::at(attempt.now), attempt.limit);
        let (own, horizon) = (limit.horizon(), attempt.horizon);
        Some(source_table::charge(set, place.fingerprint(), now, limit, own, horizon).charge)
    }

    fn line(&self, case: &Case<'_>, arrival: &Arrival) -> Option<InLine> {
        let line = &self.memory.lines[case.id as usize];
        let service = line::Service { line, rules: &case.service.line };
        let set = &self.memory.visits[self.memory.set(arrival.place)];
        let (seats, peeks) =
            (&self.memory.seats[case.id as usize], matches!(case.stage, Stage::Peeks));
        Some(line::arrival::judge(&service, set, seats, arrival, peeks))
    }

    fn challenge(&self, id: u32, ask: challenge::Ask, now: u64) -> Option<bool> {
        Some(challenge::ask(&self.memory.challenges[id as usize], ask, now))
    }
}
