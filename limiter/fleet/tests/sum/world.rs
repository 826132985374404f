//! Nodes, their kernel sides, the engine and the messages between them, in virtual time.

mod engine;
mod leader;
mod node;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use fastrand::Rng;
use limiter_fleet::allocator::FleetView;
use limiter_fleet::engine::Transaction;
use limiter_fleet::memory::Store;
use limiter_fleet::record::{Amount, Amounts, Grant, Report};
use limiter_fleet::{Round, Terms};

use node::{Node, Shares, member};

/// The budgets: a rate, and places.
const RATE: &str = "web";
const PLACES: &str = "web.users";
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
    /// Places of users who came when the share was larger are free at once.
    UserLeft,
    /// And those of a node that is silent.
    SilentUsers,
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
    Read { id: u64, seen: FleetView },
    Leads(bool),
}

/// What was seen of a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct History {
    /// The most that was in force at any moment, of the budget.
    pub most: f64,
    /// What was admitted at the end, of what could be.
    pub used: f64,
    /// The most places that were taken at any moment, of all.
    pub most_taken: f64,
    /// Those taken at the end, of those that could be.
    pub taken: f64,
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
        let node = |(index, fallback): (usize, &Amount)| {
            Node::new(
                index,
                0.99 + 0.02 * random.f64(),
                *fallback,
                member(terms, *fallback, without),
            )
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
        (self.history.used, self.history.taken) = self.used();
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
                for node in &mut self.nodes {
                    node.users_leave(self.random.u64(0..50));
                }
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
        let demand: Amounts = [RATE, PLACES].map(|name| (name.to_owned(), from.demand)).into();
        let taken = if self.without == Without::UserLeft { 0 } else { from.taken };
        let used: Amounts = [(PLACES.to_owned(), taken)].into();
        let (sent, report) = (from.clock(self.now), member.report(&demand, &used));
        self.ask(node, Ask::Report { sent, report });
    }

    fn happens(&mut self, fault: Fault) {
        match fault {
            Fault::Demand(demand) => {
                self.nodes.iter_mut().zip(demand).for_each(|(node, demand)| node.demand = demand);
            }
            Fault::MachineDies(which) => which.into_iter().for_each(|node| {
                let node = &mut self.nodes[node];
                (node.is_up, node.daemon, node.leader, node.taken) = (false, None, None, 0);
            }),
            Fault::MachineBoots(which) => which.into_iter().for_each(|index| {
                let node = &mut self.nodes[index];
                (node.is_up, node.shares) = (true, Shares::default());
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
}

fn index(name: &str) -> usize {
    name[1..].parse().expect("a name of ours")
}
