//! The engine: what it makes of requests, and whom it tells. It is linearizable; messages to and
//! from it are not.

use std::collections::BTreeMap;
use std::time::Duration;

use limiter_fleet::Round;
use limiter_fleet::allocator::{FleetView, Why};
use limiter_fleet::engine::Transaction;
use limiter_fleet::record::Report;

use super::{Answer, Ask, Event, Key, LEADERSHIP, PLACES, RATE, Value, Without, World, index};

impl World {
    /// What the engine makes of a request.
    pub(super) fn engine(&mut self, node: usize, life: u64, ask: Ask) {
        match ask {
            Ask::Report { sent, report } => self.commit_report(node, life, sent, report),
            Ask::Round { id, round } => {
                let revision = self.commit_round(&round);
                self.send(&Event::Answer(node, life, Answer::Done { id, revision }));
            }
            Ask::Read { id } => {
                let seen = self.seen();
                self.send(&Event::Answer(node, life, Answer::Read { id, seen }));
            }
            Ask::Lead => {
                let is_free =
                    self.leader.is_none_or(|(holder, until)| holder == node || until < self.now);
                if is_free {
                    self.history.leaders +=
                        u64::from(self.leader.is_none_or(|(holder, _)| holder != node));
                    self.leader = Some((node, self.now + LEADERSHIP));
                }
                self.send(&Event::Answer(node, life, Answer::Leads(is_free)));
            }
        }
    }

    fn commit_report(&mut self, node: usize, life: u64, sent: Duration, report: Report) {
        let key = Key::Grant(node);
        let newest = self.store.revision_of(&key);
        if newest != report.holds && self.without != Without::NewestGrant {
            let answer = match self.store.entries().get(&key).map(|entry| &entry.value) {
                Some(Value::Grant(grant)) => {
                    Answer::Granted { revision: newest, grant: grant.clone() }
                }
                _ => Answer::Forgotten,
            };
            self.send(&Event::Answer(node, life, answer));
            return;
        }
        let write = (Key::Report(node), Some(Value::Report(report.clone())));
        let done = self.store.transact(&Transaction { conditions: vec![], writes: vec![write] });
        assert!(done.is_some(), "it asks nothing");
        let revision = self.store.revision();
        self.send(&Event::Answer(node, life, Answer::Renewed { sent }));
        for leader in 0..self.nodes.len() {
            if self.nodes[leader].leader.is_some() && !self.nodes[leader].is_cut {
                let answer = Answer::Heard { node, revision, report: report.clone() };
                self.send(&Event::Answer(leader, self.nodes[leader].life, answer));
            }
        }
    }

    fn commit_round(&mut self, round: &Round) -> Option<u64> {
        let mut conditions = Vec::new();
        if self.without != Without::Order {
            conditions.push((Key::Round, round.follows));
        }
        if self.without != Without::Unchanged {
            let reports = round.unchanged.iter();
            conditions.extend(reports.map(|(name, at)| (Key::Report(index(name)), *at)));
        }
        let is_written = |why: Why| why != Why::Silent || self.without != Without::WrittenSilence;
        let written: Vec<_> = round.grants.iter().filter(|(_, _, why)| is_written(*why)).collect();
        let mut writes = vec![(Key::Round, Some(Value::Round))];
        writes.extend(
            written.iter().map(|(name, grant, _)| {
                (Key::Grant(index(name)), Some(Value::Grant(grant.clone())))
            }),
        );
        self.store.transact(&Transaction { conditions, writes })?;
        let revision = self.store.revision();
        self.history.grants += round.grants.len() as u64;
        self.history.written_off += round.unchanged.len() as u64;
        for (name, grant, _) in written {
            let to = index(name);
            if !self.nodes[to].is_cut {
                let answer = Answer::Granted { revision, grant: grant.clone() };
                self.send(&Event::Answer(to, self.nodes[to].life, answer));
            }
        }
        Some(revision)
    }

    /// Everything, as a leader reads it.
    fn seen(&self) -> FleetView {
        let mut seen = FleetView {
            round: self.store.revision_of(&Key::Round),
            budgets: [RATE, PLACES].map(|name| (name.to_owned(), self.budget)).into(),
            nodes: BTreeMap::new(),
        };
        for (key, entry) in self.store.entries() {
            match (key, &entry.value) {
                (Key::Report(index), Value::Report(report)) => {
                    let name = self.nodes[*index].name.clone();
                    seen.nodes.entry(name).or_default().report = (entry.revision, report.clone());
                }
                (Key::Grant(index), Value::Grant(grant)) => {
                    let name = self.nodes[*index].name.clone();
                    seen.nodes.entry(name).or_default().grant =
                        Some((entry.revision, grant.clone()));
                }
                _ => {}
            }
        }
        seen
    }
}
