//! What answers are to a node, and to one that leads: what it waits for, reads and decides.

use limiter_fleet::allocator::Why;
use limiter_fleet::{Allocator, Round};

use super::{Answer, Ask, Event, MS, PATIENCE, PLACES, Without, World};

/// What a leader is about.
pub struct Leader {
    pub allocator: Option<Allocator>,
    /// A number of what it waits for, since when, and the round if it is one.
    pub waits: Option<(u64, u64, Option<Round>)>,
    pub is_news: bool,
}

impl World {
    pub(super) fn answered(&mut self, node: usize, answer: Answer) {
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
        let granted: Vec<(String, Why)> =
            round.grants.iter().map(|(name, _, why)| (name.clone(), *why)).collect();
        allocator.committed(round, revision);
        let mut seen = allocator.seen().clone();
        for (name, why) in granted {
            let node = seen.nodes.entry(name).or_default();
            if without == Without::Acknowledgment {
                node.report.1.holds = revision;
            }
            if without == Without::SilentUsers && why == Why::Silent {
                let share = node.grant.iter_mut().filter_map(|(_, one)| one.shares.get_mut(PLACES));
                share.for_each(|share| share.most = share.rate);
                let claim = node.report.1.claims.get_mut(PLACES);
                claim.into_iter().for_each(|claim| claim.used = 0);
            }
        }
        if matches!(without, Without::Acknowledgment | Without::SilentUsers) {
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

    pub(super) fn decide(&mut self, node: usize) {
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
}
