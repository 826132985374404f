//! Budgets that follow their servers: once a second each is what its server can take. What is
//! decided is in [`limiter_common::auto`]; here are what is seen of a server, and the word in which
//! a rate is put into force. It ends in the kernel by itself, and then what is stated is in force.

pub mod probe;
pub mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use limiter_common::auto::{self, Bounds, Second};
use limiter_common::rate::Rate;
use limiter_common::share::Share;
use limiter_common::switch::Mode;
use limiter_policy::auto::Auto;
use tracing::{info, warn};

use crate::kernel::{Maps, Pins, clock};
use crate::report::Sample;
use server::{Health, Server};

/// How often a server is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a rate is in force after the daemon wrote it.
const TERM: Duration = Duration::from_secs(30);
/// The log has a line for a budget at most so often.
const TOLD: Duration = Duration::from_secs(60);
/// Rates are followed in thousandths of a connection per second.
const UNIT: u64 = 1000;
/// Nanoseconds of a rate of one of those.
const LONGEST: u64 = 1_000_000_000 * UNIT;

/// The most that a budget should be now, by its name: what a fleet's node asks for and takes no
/// more of. In thousandths of a connection per second.
#[derive(Clone, Debug, Default)]
pub struct Caps(Arc<Mutex<BTreeMap<String, u64>>>);

impl Caps {
    /// That of a budget.
    pub fn of(&self, budget: &str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(budget).copied()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn set(&self, budget: &str, cap: Option<u64>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match cap {
            Some(cap) => all.insert(budget.to_owned(), cap),
            None => all.remove(budget),
        };
    }
}

/// One budget and its server.
struct Followed {
    said: Auto,
    server: Server,
    law: Option<auto::Auto>,
    /// What was admitted and what the kernel made until the look before, and when that was.
    before: Option<(Instant, [u64; 2])>,
    /// The word that was written last.
    word: Share,
    /// What the log was told last, and when.
    told: Option<(Instant, u64)>,
}

/// Follows for ever; drop it to end that. Rates in force stay until they end. `in_fleet`: this node
/// takes budgets of a fleet.
pub async fn run(all: Vec<Auto>, in_fleet: bool, pins: &Pins, caps: &Caps) {
    let mut followed: Vec<Followed> = all.into_iter().map(Followed::new).collect();
    let mut failure = String::new();
    loop {
        let next = tokio::time::Instant::now() + EVERY;
        let result = look(&mut followed, in_fleet, pins, caps).await;
        let error = result.err().map_or_else(String::new, |error| format!("{error:#}"));
        if error != failure && !error.is_empty() {
            warn!(%error, "budgets do not follow their servers: what the policy states is in force");
        }
        failure = error;
        tokio::time::sleep_until(next).await;
    }
}

async fn look(followed: &mut [Followed], in_fleet: bool, pins: &Pins, caps: &Caps) -> Result<()> {
    for one in followed.iter_mut() {
        one.server.ask().await;
    }
    let maps = Maps::open(&pins.root()).context("limiter is not loaded")?;
    let (sample, budgets) = (Sample::take(&maps)?, maps.budgets()?);
    let selection = maps.selection()?;
    let policy = maps.policy(selection.slot)?;
    let seen = server::Servers::now()?;
    for one in followed {
        let name = &one.said.service.to_string();
        let (Some((index, stated)), Some(service)) =
            (budgets.get(name), policy.service(&one.said.service))
        else {
            one.rest(caps);
            continue;
        };
        let admitted = sample.counters.get(*index as usize + 1).map_or(0, server::admitted);
        // In observe mode all are let in, whatever the budget: there is nothing to learn.
        if selection.mode == Mode::Observe {
            one.rest(caps);
            one.put(&maps, *index, Share::NONE)?;
            continue;
        }
        let health = one.server.health(&service.listeners, &seen);
        let counts = [admitted, seen.made];
        let Some(rate) = one.second(sample.at, counts, per_second(stated.interval), &health) else {
            continue;
        };
        caps.set(name, Some(rate));
        let interval = interval(rate, stated.interval, in_fleet);
        let share = Share::new(interval, clock::after(TERM));
        let share = share.filter(|_| interval != stated.interval).unwrap_or(Share::NONE);
        one.put(&maps, *index, share)?;
    }
    Ok(())
}

/// Nanoseconds of a rate where `stated` is the policy's interval. Alone a node of a fleet may use
/// what its policy states: the rest of the fleet's budget is others'.
fn interval(rate: u64, stated: u64, in_fleet: bool) -> u64 {
    let interval = (LONGEST / rate.max(1)).max(1);
    if in_fleet { interval.max(stated) } else { interval }
}

/// Thousandths of a connection per second of an interval in nanoseconds.
fn per_second(interval: u64) -> u64 {
    LONGEST / interval.max(1)
}

fn thousandths(rate: Rate) -> u64 {
    let rate = u128::from(rate.count) * u128::from(LONGEST) / u128::from(rate.period.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

impl Followed {
    fn new(said: Auto) -> Self {
        let server = Server::new(said.probe.clone());
        Self { said, server, law: None, before: None, word: Share::NONE, told: None }
    }

    /// Nothing is followed for now.
    fn rest(&mut self, caps: &Caps) {
        (self.law, self.before) = (None, None);
        caps.set(self.said.service.as_str(), None);
    }

    /// The budget after one more look; `None`: it is the first one.
    fn second(
        &mut self,
        at: Instant,
        counts: [u64; 2],
        stated: u64,
        health: &Health,
    ) -> Option<u64> {
        let (then, before) = self.before.replace((at, counts))?;
        let time = at.duration_since(then).as_millis().max(1) as u64;
        // What was admitted and came to nothing was forged: it says nothing of the server.
        let more = |index: usize| counts[index].wrapping_sub(before[index]);
        let admitted = more(0).min(more(1)).saturating_mul(1000 * UNIT) / time;
        let least = thousandths(self.said.least).min(stated);
        let bounds = Bounds { stated, least, most: thousandths(self.said.most).max(stated) };
        let law = self.law.filter(|law| law.bounds() == bounds);
        let mut law = law.unwrap_or_else(|| auto::Auto::new(bounds));
        let rate = law.second(Second { admitted, load: health.load, lost: health.lost });
        self.law = Some(law);
        self.tell(rate, stated, health);
        Some(rate)
    }

    /// Puts a word into force, unless a share of the fleet's is: that is no more than the cap.
    fn put(&mut self, maps: &Maps, index: u32, share: Share) -> Result<()> {
        let there = maps.share(index)?;
        if there != self.word && there.ends() > clock::now() {
            return Ok(());
        }
        if there != share {
            maps.set_share(index, share)?;
        }
        self.word = share;
        Ok(())
    }

    fn tell(&mut self, rate: u64, stated: u64, health: &Health) {
        let (at, from) = self.told.unwrap_or((Instant::now(), stated));
        if from == rate || self.told.is_some() && at.elapsed() < TOLD {
            return;
        }
        self.told = Some((Instant::now(), rate));
        let show = |rate: u64| format!("{:.0}/s", rate as f64 / UNIT as f64);
        info!(
            service = %self.said.service,
            from = show(from),
            to = show(rate),
            stated = show(stated),
            %health,
            "the budget follows its server"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::interval;

    #[test]
    fn in_a_fleet_no_rate_is_above_what_the_policy_states() {
        // 1,000/s are stated; its server could take 3,000/s, or 400/s.
        for (rate, alone, in_fleet) in
            [(3_000_000, 333_333, 1_000_000), (400_000, 2_500_000, 2_500_000)]
        {
            assert_eq!(interval(rate, 1_000_000, false), alone);
            assert_eq!(interval(rate, 1_000_000, true), in_fleet);
        }
    }
}
