//! Nodes, their kernel sides, the engine and the messages between them, in virtual time.

mod engine;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use fastrand::Rng;
use limiter_fleet::allocator::Seen;
use limiter_fleet::engine::Transaction;
use limiter_fleet::fill::{Want, fill};
use limiter_fleet::memory::Store;
use limiter_fleet::record::{Amount, Amounts, Grant, Report};
use limiter_fleet::{Allocator, Member, Round, Terms};

/// The one budget.
const BUDGET: &str = "web";
/// How long a leader that is not heard of stays one.
const LEADERSHIP: u64 = 5 * SECOND;
/// How long a leader waits for an answer.
const PATIENCE: u64 = 2 * SECOND;
pub const SECOND: u64 = 1_000_000_000;
pub const MS: u64 = 1_000_000;

/// The rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    NewestGrant,
    WrittenSilence,
    Unchanged,
    Fallback,
    Acknowledgment,
    Order,
}

/// What becomes of messages.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Least and most time on the way, each way.
    pub delay: (u64, u64),
    /// Of a thousand, so many are lost, and so many come twice.
    pub lost: u64,
    pub doubled: u64,
}

/// What happens to nodes and to the engine.
#[derive(Clone, Debug)]
pub enum Fault {
    Demand(Vec<Amount>),
    MachineDies(Vec<usize>),
    MachineBoots(Vec<usize>),
    DaemonDies(Vec<usize>),
    DaemonStarts(Vec<usize>),
    Cut(Vec<usize>, bool),
    Engine(bool),
    /// Of those whose machine is dead.
    Forget(Vec<usize>),
    Network(Network),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Report(usize),
    Grant(usize),
    Round,
}

#[derive(Clone, Debug)]
enum Value {
    Report(Report),
    Grant(Grant),
    Round,
}

#[derive(Clone, Debug)]
enum Event {
    Report(usize),
    Decide(usize),
    Lead(usize),
    Sample,
    Fault(Fault),
    Ask(usize, u64, Ask),
    Answer(usize, u64, Answer),
}

#[derive(Clone, Debug)]
enum Ask {
    Report { sent: Duration, report: Report },
    Round { id: u64, round: Round },
    Read { id: u64 },
    Lead,
}

#[derive(Clone, Debug)]
enum Answer {
    Renewed { sent: Duration },
    Granted { revision: u64, grant: Grant },
    Forgotten,
    Heard { node: usize, revision: u64, report: Report },
    Done { id: u64, revision: Option<u64> },
    Read { id: u64, seen: Seen },
    Leads(bool),
}

/// What a leader is about.
struct Leader {
    allocator: Option<Allocator>,
    /// A number of what it waits for, since when, and the round if it is one.
    waits: Option<(u64, u64, Option<Round>)>,
    is_news: bool,
}

struct Node {
    name: String,
    speed: f64,
    is_up: bool,
    is_cut: bool,
    /// Its daemon, if it runs; and how often it was started.
    daemon: Option<Member>,
    life: u64,
    leader: Option<Leader>,
    /// What the kernel side has: a share and when it ends, by the clock of the machine.
    share: (Amount, Duration),
    fallback: Amount,
    demand: Amount,
}

impl Node {
    fn in_force(&self, now: u64) -> Amount {
        let (rate, ends) = self.share;
        match (self.is_up, self.clock(now) < ends) {
            (false, _) => 0,
            (true, true) => rate,
            (true, false) => self.fallback,
        }
    }

    fn clock(&self, now: u64) -> Duration {
        Duration::from_nanos((now as f64 * self.speed) as u64)
    }

    /// Puts into the kernel what the daemon has.
    fn enforce(&mut self) {
        if let Some(member) = &self.daemon
            && let Some(share) = member.share(BUDGET)
        {
            self.share = (share, member.ends());
        }
    }
}

/// What was seen of a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct History {
    /// The most that was in force at any moment, of the budget.
    pub most: f64,
    /// What was admitted at the end, of what could be.
    pub used: f64,
    pub grants: u64,
    pub written_off: u64,
    pub leaders: u64,
}

pub struct World {
    pub budget: Amount,
    terms: Terms,
    without: Without,
    network: Network,
    report_every: u64,
    random: Rng,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    count: u64,
    nodes: Vec<Node>,
    store: Store<Key, Value>,
    is_engine_up: bool,
    leader: Option<(usize, u64)>,
    pub history: History,
}

impl World {
    pub fn new(
        fallbacks: &[Amount],
        budget: Amount,
        without: Without,
        every: u64,
        seed: u64,
    ) -> Self {
        let mut random = Rng::with_seed(seed);
        let terms = Terms::default();
        let node = |(index, fallback): (usize, &Amount)| Node {
            name: format!("n{index:05}"),
            speed: 0.99 + 0.02 * random.f64(),
            is_up: true,
            is_cut: false,
            daemon: Some(member(terms, *fallback, without)),
            life: 0,
            leader: None,
            share: (0, Duration::ZERO),
            fallback: *fallback,
            demand: 0,
        };
        let nodes: Vec<Node> = fallbacks.iter().enumerate().map(node).collect();
        let mut world = Self {
            budget,
            terms,
            without,
            network: Network { delay: (MS, MS), lost: 0, doubled: 0 },
            report_every: every,
            random,
            now: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            count: 0,
            nodes,
            store: Store::default(),
            is_engine_up: true,
            leader: None,
            history: History::default(),
        };
        for node in 0..world.nodes.len() {
            let begin = world.random.u64(0..every);
            world.at(begin, Event::Report(node));
            world.at(begin, Event::Lead(node));
        }
        world.at(0, Event::Sample);
        world
    }

    pub fn fault(&mut self, time: u64, fault: Fault) {
        self.at(time, Event::Fault(fault));
    }

    fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((time, self.count)));
        self.events.insert(self.count, event);
    }

    /// Runs until `end`.
    pub fn run(&mut self, end: u64) {
        while let Some(Reverse((time, id))) = self.queue.pop() {
            let Some(event) = self.events.remove(&id) else { continue };
            if time > end {
                break;
            }
            self.now = time;
            self.event(event);
        }
        self.history.used = self.used();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Report(node) => {
                let pause = self.report_every * self.random.u64(90..110) / 100;
                self.at(self.now + pause, Event::Report(node));
                self.report(node);
            }
            Event::Lead(node) => {
                self.at(self.now + SECOND, Event::Lead(node));
                self.ask(node, Ask::Lead);
            }
            Event::Decide(node) => self.decide(node),
            Event::Sample => {
                let step = if self.nodes.len() > 100 { 500 * MS } else { 50 * MS };
                self.at(self.now + step, Event::Sample);
                self.look();
            }
            Event::Fault(fault) => self.happens(fault),
            Event::Ask(node, life, ask) => {
                if self.is_engine_up && !self.nodes[node].is_cut {
                    self.engine(node, life, ask);
                }
            }
            Event::Answer(node, life, answer) => {
                let to = &self.nodes[node];
                if to.life == life && to.daemon.is_some() && !to.is_cut {
                    self.answered(node, answer);
                }
            }
        }
    }

    /// Sends: once, twice or not at all.
    fn send(&mut self, event: &Event) {
        let Network { delay, lost, doubled } = self.network;
        let dice = self.random.u64(0..1000);
        let copies = if dice < lost {
            0
        } else if dice < lost + doubled {
            2
        } else {
            1
        };
        for copy in 0..copies {
            let late = copy * self.random.u64(0..3 * SECOND);
            let time = self.now + self.random.u64(delay.0..=delay.1) + late;
            self.at(time, event.clone());
        }
    }

    fn ask(&mut self, node: usize, ask: Ask) {
        let from = &self.nodes[node];
        if from.daemon.is_some() && !from.is_cut {
            self.send(&Event::Ask(node, from.life, ask));
        }
    }

    fn report(&mut self, node: usize) {
        let from = &self.nodes[node];
        let Some(member) = &from.daemon else { return };
        let demand: Amounts = [(BUDGET.to_owned(), from.demand)].into();
        let (sent, report) = (from.clock(self.now), member.report(&demand));
        self.ask(node, Ask::Report { sent, report });
    }

    fn answered(&mut self, node: usize, answer: Answer) {
        let now = self.nodes[node].clock(self.now);
        match answer {
            Answer::Renewed { sent } => {
                let to = &mut self.nodes[node];
                if let Some(member) = &mut to.daemon {
                    member.renewed(sent);
                }
                to.enforce();
                self.look();
            }
            Answer::Granted { revision, grant } => {
                let to = &mut self.nodes[node];
                if to.daemon.as_mut().is_some_and(|member| member.take(revision, &grant)) {
                    to.enforce();
                    self.look();
                    self.report(node);
                }
            }
            Answer::Forgotten => {
                if let Some(member) = &mut self.nodes[node].daemon {
                    member.forgotten();
                }
            }
            Answer::Heard { node: from, revision, report } => {
                let name = self.nodes[from].name.clone();
                if let Some(leader) = &mut self.nodes[node].leader
                    && let Some(allocator) = &mut leader.allocator
                {
                    let fits = allocator.heard(&name, revision, &report, now);
                    leader.is_news = true;
                    if !fits && leader.waits.is_none() {
                        self.read(node);
                    }
                }
            }
            Answer::Done { id, revision } => self.done(node, id, revision),
            Answer::Read { id, seen } => {
                let terms = self.terms;
                let Some(leader) = &mut self.nodes[node].leader else { return };
                if leader
                    .waits
                    .as_ref()
                    .is_some_and(|(waited, _, round)| *waited == id && round.is_none())
                {
                    leader.waits = None;
                    match &mut leader.allocator {
                        Some(allocator) => allocator.refresh(seen, now),
                        none => *none = Some(Allocator::new(terms, seen, now)),
                    }
                    leader.is_news = true;
                }
            }
            Answer::Leads(true) => {
                if self.nodes[node].leader.is_none() {
                    let leader = Leader { allocator: None, waits: None, is_news: false };
                    self.nodes[node].leader = Some(leader);
                    self.read(node);
                    self.at(self.now + 100 * MS, Event::Decide(node));
                }
            }
            // A leader learns late that it is none any more.
            Answer::Leads(false) => self.nodes[node].leader = None,
        }
    }

    fn done(&mut self, node: usize, id: u64, revision: Option<u64>) {
        let (now, without) = (self.nodes[node].clock(self.now), self.without);
        let Some(leader) = &mut self.nodes[node].leader else { return };
        let Some((_, _, round)) =
            leader.waits.take_if(|(waited, _, round)| *waited == id && round.is_some())
        else {
            return;
        };
        let (Some(revision), Some(round), Some(allocator)) =
            (revision, round, &mut leader.allocator)
        else {
            self.read(node);
            return;
        };
        let granted: Vec<String> = round.grants.iter().map(|(name, _, _)| name.clone()).collect();
        allocator.committed(round, revision);
        if without == Without::Acknowledgment {
            let mut seen = allocator.seen().clone();
            for name in granted {
                seen.nodes.entry(name).or_default().report.1.holds = revision;
            }
            allocator.refresh(seen, now);
        }
        leader.is_news = true;
    }

    /// Reads everything anew.
    fn read(&mut self, node: usize) {
        self.count += 1;
        let (id, now) = (self.count, self.now);
        if let Some(leader) = &mut self.nodes[node].leader {
            leader.waits = Some((id, now, None));
            self.ask(node, Ask::Read { id });
        }
    }

    fn decide(&mut self, node: usize) {
        let (now, time) = (self.nodes[node].clock(self.now), self.now);
        let seconds = (self.now / (100 * MS)).is_multiple_of(10);
        let Some(leader) = &mut self.nodes[node].leader else { return };
        let is_late = leader.waits.as_ref().map(|(_, since, _)| time - since > PATIENCE);
        let due = std::mem::take(&mut leader.is_news) || seconds;
        let round = match (is_late, &leader.allocator) {
            (None, Some(allocator)) if due => allocator.decide(now),
            _ => None,
        };
        self.at(self.now + 100 * MS, Event::Decide(node));
        if is_late == Some(true) {
            self.read(node);
        } else if let Some(round) = round {
            self.count += 1;
            let id = self.count;
            if let Some(leader) = &mut self.nodes[node].leader {
                leader.waits = Some((id, time, Some(round.clone())));
            }
            self.ask(node, Ask::Round { id, round });
        }
    }

    fn happens(&mut self, fault: Fault) {
        match fault {
            Fault::Demand(demand) => {
                self.nodes.iter_mut().zip(demand).for_each(|(node, demand)| node.demand = demand);
            }
            Fault::MachineDies(which) => which.into_iter().for_each(|node| {
                let node = &mut self.nodes[node];
                (node.is_up, node.daemon, node.leader) = (false, None, None);
            }),
            Fault::MachineBoots(which) => which.into_iter().for_each(|index| {
                let node = &mut self.nodes[index];
                (node.is_up, node.share) = (true, (0, Duration::ZERO));
                self.start(index);
            }),
            Fault::DaemonDies(which) => which.into_iter().for_each(|node| {
                let node = &mut self.nodes[node];
                (node.daemon, node.leader) = (None, None);
            }),
            Fault::DaemonStarts(which) => which.into_iter().for_each(|node| {
                if self.nodes[node].is_up {
                    self.start(node);
                }
            }),
            Fault::Cut(which, is_cut) => {
                which.into_iter().for_each(|node| self.nodes[node].is_cut = is_cut);
            }
            Fault::Engine(is_up) => self.is_engine_up = is_up,
            Fault::Forget(which) => {
                for node in which.into_iter().filter(|node| !self.nodes[*node].is_up) {
                    let writes = vec![
                        (Key::Round, Some(Value::Round)),
                        (Key::Grant(node), None),
                        (Key::Report(node), None),
                    ];
                    self.store.transact(&Transaction { conditions: vec![], writes });
                }
            }
            Fault::Network(network) => self.network = network,
        }
    }

    fn start(&mut self, index: usize) {
        let (terms, without) = (self.terms, self.without);
        let node = &mut self.nodes[index];
        if node.daemon.is_none() {
            node.life += 1;
            node.daemon = Some(member(terms, node.fallback, without));
        }
    }

    /// Adds up what is in force on all nodes that the fleet has.
    fn look(&mut self) {
        let is_in = |index: usize| self.store.entries().contains_key(&Key::Grant(index));
        let nodes = self.nodes.iter().enumerate().filter(|(index, _)| is_in(*index));
        let sum: Amount = nodes.map(|(_, node)| node.in_force(self.now)).sum();
        let part = sum as f64 / self.budget as f64;
        self.history.most = self.history.most.max(part);
    }

    /// What is admitted now, of what would be if every demand were known and no share were quiet.
    fn used(&self) -> f64 {
        let want =
            |node: &Node| Want { least: node.fallback, wants: node.demand, most: Amount::MAX };
        let wants: Vec<Want> = self.nodes.iter().map(want).collect();
        let best = fill(self.budget, &wants).into_iter().zip(&self.nodes);
        let best: Amount = best.map(|(share, node)| share.min(node.demand)).sum();
        let admits = |node: &Node| node.demand.min(node.in_force(self.now));
        let admitted: Amount = self.nodes.iter().map(admits).sum();
        admitted as f64 / best.max(1) as f64
    }
}

fn member(terms: Terms, fallback: Amount, without: Without) -> Member {
    let stated = if without == Without::Fallback { 0 } else { fallback };
    Member::new(terms, [(BUDGET.to_owned(), (stated, 0))].into())
}

fn index(name: &str) -> usize {
    name[1..].parse().expect("a name of ours")
}
