//! A surge, second by second: clients, limiter and the server, counted as in production.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use limiter::incident::series::{Distinct, Limiter, Service, Tick};

use super::draw::Draw;
use super::scene::{Clients, Scene};

/// Seconds of calm, of the surge, and of calm after it.
const CALM: u64 = 120;
pub const SURGE: u64 = 90;
const AFTER: u64 = 20;
/// Seconds after which a SYN without an answer is sent again, counted from the one before.
const AGAIN: [u64; 5] = [1, 2, 4, 8, 16];
/// Length of an interval in which sources are counted, in seconds.
const INTERVAL: f64 = 17.18;
/// Attempts that one counter of `top` stands for.
const ONE_IN: u64 = 64;

/// What was recorded.
pub struct Recorded {
    /// A line a second.
    pub ticks: Vec<Tick>,
    /// What `top` has counted at each second of the surge: refused, or else attempts.
    pub top: Vec<Vec<(IpAddr, u64)>>,
}

/// An attempt that is due.
#[derive(Clone, Copy)]
struct Attempt {
    group: usize,
    client: u64,
    /// How often it was sent before.
    sent: usize,
}

/// Where a client stands.
#[derive(Clone, Copy, Default)]
struct Client {
    rounds: u64,
}

struct World<'a> {
    scene: &'a Scene,
    groups: Vec<Clients>,
    draw: Draw,
    due: VecDeque<Vec<Attempt>>,
    clients: HashMap<(usize, u64), Client>,
    debts: HashMap<u64, (f64, u64)>,
    budget: f64,
    waiting: f64,
    counts: BTreeMap<&'static str, [u64; 2]>,
    tcp: [u64; 2],
    seen: VecDeque<HashSet<u64>>,
    forged_seen: VecDeque<u64>,
    sampled: HashMap<u64, u64>,
}

/// Plays a surge.
pub fn play(scene: &Scene, seed: u64) -> Recorded {
    let mut groups = scene.clients.clone();
    let mut draw = Draw::new(seed);
    // Calm visitors: each for a page or two, then somebody else.
    let seconds = CALM + SURGE + AFTER;
    let visitors = (scene.calm * seconds as f64 / 4.0).max(1.0);
    groups.push(Clients {
        number: visitors as u64,
        arrive: seconds as f64,
        at_once: 2,
        pause: 10.0,
        rounds: 2,
        addresses: (visitors / 2.0).max(1.0) as u64,
        networks: (visitors / 6.0).max(1.0) as u64,
        in_one: 0.0,
        sends_again: true,
        finishes: true,
        pulse: None,
    });
    let mut world = World {
        scene,
        due: vec![Vec::new(); 128].into(),
        clients: HashMap::new(),
        debts: HashMap::new(),
        budget: scene.budget.unwrap_or(0.0) * 2.0,
        waiting: 0.0,
        counts: BTreeMap::new(),
        tcp: [1000; 2],
        seen: vec![HashSet::new()].into(),
        forged_seen: vec![0].into(),
        sampled: HashMap::new(),
        draw: draw.clone(),
        groups,
    };
    let phase = draw.between(0.0, INTERVAL);
    let (mut ticks, mut top) = (vec![world.tick(0, phase)], Vec::new());
    for second in 0..seconds {
        world.arrivals(second);
        world.second(second);
        let of = |second: u64| ((second as f64 + phase) / INTERVAL) as u64;
        ticks.push(world.tick(second + 1, phase));
        if (CALM..CALM + SURGE).contains(&second) {
            top.push(world.sampled.iter().map(|(source, count)| (world.ip(*source), *count)).collect());
        }
        if of(second + 1) != of(second) {
            world.seen.push_back(HashSet::new());
            world.forged_seen.push_back(0);
            // Counters of `top` are taken over by others after a while.
            world.sampled.clear();
        }
    }
    Recorded { ticks, top }
}

/// Seconds from the beginning to the surge.
pub const fn surge_begins() -> u64 {
    CALM
}

impl World<'_> {
    fn arrivals(&mut self, second: u64) {
        let surging = (CALM..CALM + SURGE).contains(&second);
        let last = self.groups.len() - 1;
        for group in 0..self.groups.len() {
            let clients = &self.groups[group];
            let (begins, surges) = if group == last { (0, true) } else { (CALM, surging) };
            let since = (second - begins.min(second)) as f64;
            let so_far = |since: f64| (clients.number as f64 * (since / clients.arrive).min(1.0)) as u64;
            if surges && second >= begins {
                for client in so_far(since)..so_far(since + 1.0) {
                    self.round(group, client, 0);
                }
            }
        }
    }

    /// A client begins a round of connections, so many seconds from now.
    fn round(&mut self, group: usize, client: u64, after: usize) {
        let at_once = self.groups[group].at_once;
        if let Some(due) = self.due.get_mut(after) {
            due.extend((0..at_once).map(|_| Attempt { group, client, sent: 0 }));
        }
    }

    fn second(&mut self, second: u64) {
        let mut due = self.due.pop_front().unwrap_or_default();
        self.due.push_back(Vec::new());
        let surging = (CALM..CALM + SURGE).contains(&second);
        let is_on =
            |pulse: Option<(u64, u64)>| pulse.is_none_or(|(on, off)| (second - CALM.min(second)) % (on + off) < on);
        let last = self.groups.len() - 1;
        due.retain(|attempt| attempt.group == last || surging);
        // The order within a second is by chance.
        for index in (1..due.len()).rev() {
            due.swap(index, (self.draw.word() % (index as u64 + 1)) as usize);
        }
        let forged = if surging && is_on(self.scene.pulse) { self.draw.count(self.scene.forged) } else { 0 };
        *self.forged_seen.back_mut().expect("one") += forged;
        if let Some(budget) = self.scene.budget {
            self.budget = (self.budget + budget).min(budget * 2.0);
        }
        let mut room = self.scene.queue - self.waiting + self.scene.server;
        let count = due.len().max(1) as u64;
        for (index, attempt) in due.iter().enumerate() {
            // Forged ones come in between.
            let before = forged * (index as u64 + 1) / count - forged * index as u64 / count;
            self.forged(before, room);
            if !is_on(self.groups[attempt.group].pulse) {
                let clients = &self.groups[attempt.group];
                let pause = clients.pause.ceil().clamp(1.0, 100.0) as usize;
                self.due[pause].push(*attempt);
                continue;
            }
            self.attempt(*attempt, second, &mut room);
        }
        if due.is_empty() {
            self.forged(forged, room);
        }
        self.waiting = (self.scene.queue - room).clamp(0.0, self.scene.queue);
    }

    /// So many attempts from addresses that are drawn once.
    fn forged(&mut self, number: u64, room: f64) {
        let granted = match self.scene.budget {
            None => number,
            Some(_) => number.min(self.budget as u64),
        };
        self.budget -= granted as f64;
        self.add("admitted", false, granted);
        self.add("service_budget", true, number - granted);
        let passed = if self.scene.enforces { granted } else { number };
        if room < 1.0 {
            self.tcp[1] += passed;
        }
    }

    fn add(&mut self, reason: &'static str, refuses: bool, number: u64) {
        if number > 0 {
            let only_counted = refuses && !self.scene.enforces;
            self.counts.entry(reason).or_default()[usize::from(only_counted)] += number;
        }
    }

    fn attempt(&mut self, attempt: Attempt, second: u64, room: &mut f64) {
        let clients = self.groups[attempt.group].clone();
        let source = (attempt.group as u64) << 40 | attempt.client % clients.addresses.max(1);
        self.seen.back_mut().expect("one").insert(source);
        let rate = self.scene.source;
        let debt = self.debts.entry(source).or_insert((0.0, second));
        debt.0 = (debt.0 - rate * (second - debt.1) as f64).max(0.0);
        debt.1 = second;
        let reason = if debt.0 + 1.0 > rate * 2.0 {
            "source_limit"
        } else if self.scene.budget.is_some() && self.budget < 1.0 {
            "service_budget"
        } else {
            debt.0 += 1.0;
            self.budget -= 1.0;
            "admitted"
        };
        let refused = reason != "admitted";
        self.add(reason, refused, 1);
        if (refused || self.scene.budget.is_none())
            && (reason == "source_limit" || self.draw.word().is_multiple_of(ONE_IN))
        {
            *self.sampled.entry(source).or_default() += 1;
        }
        let passed = !refused || !self.scene.enforces;
        let served = passed && *room >= 1.0;
        if served && clients.finishes {
            *room -= 1.0;
            self.tcp[0] += 1;
        } else if passed && !served {
            self.tcp[1] += 1;
        }
        if !served && clients.sends_again && attempt.sent < AGAIN.len() {
            let again = Attempt { sent: attempt.sent + 1, ..attempt };
            self.due[AGAIN[attempt.sent] as usize - 1].push(again);
            return;
        }
        // The last of a round begins the next; each of the others ends here.
        let state = self.clients.entry((attempt.group, attempt.client)).or_default();
        state.rounds += 1;
        if state.rounds.is_multiple_of(clients.at_once.max(1)) && state.rounds / clients.at_once.max(1) < clients.rounds
        {
            let pause = clients.pause * self.draw.between(0.5, 1.5);
            let pause = if self.draw.is(pause.fract()) { pause.ceil() } else { pause.floor() };
            self.round(attempt.group, attempt.client, (pause as usize).clamp(1, 120) - 1);
        }
    }

    fn ip(&self, source: u64) -> IpAddr {
        let (group, client) = ((source >> 40) as usize, source & 0xff_ffff_ffff);
        let clients = &self.groups[group];
        let mixed = |word: u64| word.wrapping_add(group as u64 * 77_777).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let network = mixed(client % clients.networks.max(1)) as u32;
        let in_one = (mixed(client) % 1000) < (clients.in_one * 1000.0) as u64;
        let high = if in_one { 185 << 16 | 20 << 8 | (network & 0xff) } else { network };
        IpAddr::V4((high << 8 | (client as u32 & 0xff)).into())
    }

    fn tick(&mut self, second: u64, phase: f64) -> Tick {
        let lately: HashSet<u64> = self.seen.iter().rev().take(3).flatten().copied().collect();
        let before: HashSet<u64> = self.seen.iter().rev().skip(3).take(35).flatten().copied().collect();
        let networks: HashSet<IpAddr> = lately
            .iter()
            .map(|source| match self.ip(*source) {
                IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & !0xff).into()),
                ip => ip,
            })
            .collect();
        let forged: u64 = self.forged_seen.iter().rev().take(3).sum();
        // Random addresses fall into networks of which there are 2^24.
        let random = (1.0 - (-(forged as f64) / 16_777_216.0).exp()) * 16_777_216.0;
        let back = lately.intersection(&before).count() as f64;
        let sources = lately.len() as f64 + forged as f64;
        let mut about = |number: f64| (number * self.draw.between(0.96, 1.04)).round() as u64;
        let distinct = Distinct {
            seconds: (second as f64).min(2.0 * INTERVAL + (second as f64 + phase) % INTERVAL).max(1.0),
            sources: about(sources),
            prefixes_24: about(networks.len() as f64 + random),
            prefixes_48: 0,
            returning_percent: (!before.is_empty()).then(|| 100.0 * back / sources.max(1.0)),
            standard_error_percent: 2.3,
        };
        let of = |index: usize| {
            let all = self.counts.iter().filter(|(_, counts)| counts[index] > 0);
            all.map(|(reason, counts)| ((*reason).to_owned(), counts[index])).collect()
        };
        let service = Service { name: "web".to_owned(), decided: of(0), observed: of(1), ..Service::default() };
        let limiter = Limiter {
            mode: if self.scene.enforces { "enforce" } else { "observe" }.to_owned(),
            generation: 1,
            services: vec![service],
            distinct: (distinct.sources > 0).then_some(distinct),
            ..Limiter::default()
        };
        let tcp = [("PassiveOpens", self.tcp[0]), ("ListenOverflows", self.tcp[1])];
        Tick {
            time: Some((UNIX_EPOCH + Duration::from_secs(1_617_696_000 + second)).into()),
            monotonic: 1000.0 + second as f64,
            limiter: Some(limiter),
            tcp: tcp.map(|(name, count)| (name.to_owned(), count)).into(),
            ..Tick::default()
        }
    }
}
