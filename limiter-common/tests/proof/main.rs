//! Connections are charged once, whole and never touched: random sequences of packets through the rules, against a model of the kernel.

mod attacker;
mod client;
mod cookie;
mod kernel;
mod packet;
mod purse;
mod real;
mod sequence;
mod sketch;
mod world;

use real::Real;
use sequence::Sequence;
use sketch::{Flaw, Sketch};
use world::{Broken, Limiter, World};

impl Sequence {
    fn run<L: Limiter>(&self, limiter: L) -> Result<World<L>, Broken> {
        let mut world = World::new(limiter, self.rules, self.seed);
        for action in &self.actions {
            world.act(*action)?;
        }
        world.finish()?;
        Ok(world)
    }

    /// The shortest sequence, found by leaving out, that breaks a promise too.
    fn shortened<L: Limiter>(mut self, make: &impl Fn(bool) -> L) -> Self {
        let mut at = 0;
        while at < self.actions.len() {
            let action = self.actions.remove(at);
            if self.run(make(self.challenges)).is_ok() {
                self.actions.insert(at, action);
                at += 1;
            }
        }
        self
    }
}

/// Runs sequences until one breaks a promise, and tells how.
fn broken<L: Limiter>(sequences: u64, make: impl Fn(bool) -> L) -> Option<(u64, String)> {
    for seed in 0..sequences {
        let sequence = Sequence::new(seed);
        if sequence.run(make(sequence.challenges)).is_err() {
            let short = sequence.shortened(&make);
            let broken = short.run(make(short.challenges)).err().unwrap_or_default();
            let (rules, challenges) = (short.rules, short.challenges);
            return Some((
                seed,
                format!("{broken}\n{rules:?}, challenges: {challenges}\n{:#?}", short.actions),
            ));
        }
    }
    None
}

#[test]
fn the_rules_keep_every_promise() {
    let found = broken(1_000_000, |challenges| Sketch::new(Flaw::None, challenges));
    if let Some((seed, how)) = found {
        panic!("sequence {seed}: {how}");
    }
}

/// The project's own code, called as the kernel side calls it.
#[test]
fn the_notes_of_flows_keep_every_promise() {
    if let Some((seed, how)) = broken(1_000_000, Real::new) {
        panic!("sequence {seed}: {how}");
    }
}

/// The same where notes of flows that have paid go at random, as in a table that is full: what
/// comes of such a flow may pay once more, and no connection is cut.
#[test]
fn notes_that_had_to_go_break_no_promise() {
    if let Some((seed, how)) = broken(300_000, Real::forgetful) {
        panic!("sequence {seed}: {how}");
    }
}

/// Without any of its rules a promise is broken, and the sequences find it.
#[test]
fn each_rule_is_needed() {
    let flaws = [
        Flaw::AsksWhatFragmentsMeet,
        Flaw::ForgetsResets,
        Flaw::ForgetsFins,
        Flaw::TrustsConnections,
        Flaw::TakesReuseFree,
        Flaw::ForgetsTheQueue,
        Flaw::AdmitsAnyByte,
        Flaw::IsSilent,
        Flaw::AsksTheSocket,
        Flaw::NotesByCpu,
    ];
    for flaw in flaws {
        let found = broken(1_000_000, |challenges| Sketch::new(flaw, challenges));
        let (seed, how) = found.unwrap_or_else(|| panic!("{flaw:?} breaks nothing"));
        println!("{flaw:?}, found after {seed} sequences: {how}");
    }
}
