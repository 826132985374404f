//! `limiter suggest`.

mod open;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use limiter_common::address::{Address, SourceMask};
use limiter_common::rate::{Limit, Rate};
use limiter_common::record;
use limiter_common::sighting::{Sighting, What};
use serde::Serialize;

use super::{Context, known_service};
use crate::kernel::{Maps, clock};
use crate::observe::suggest::{Counted, Judged, Observed};
use crate::observe::{Ranking, Ring, heavy};
use crate::policy::prefix::{self, Prefix};
use crate::policy::{Name, Policy, text};
use crate::report::{self, numbers};

/// Rates that are tried, per second.
const LADDER: [u64; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
/// Fewer attempts or seconds than these say little of tomorrow.
const LITTLE: (usize, f64) = (200, 60.0);

/// Arguments of `suggest`.
#[derive(Args, Debug)]
pub struct Suggest {
    /// Look at this service only.
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Show what this rate would have refused, such as `20/s`.
    #[arg(long, value_name = "RATE", value_parser = text::rate)]
    source_rate: Option<Rate>,
    /// The burst of that rate [default: two seconds of the rate, at least 10].
    #[arg(long, value_name = "N", requires = "source_rate", value_parser = clap::value_parser!(u64).range(1..))]
    source_burst: Option<u64>,
    /// Show what a limit on each network would have refused; with --open, what it would leave out.
    /// A network is what the policy's prefixes say (/24 and /48 by default); sources in classes do
    /// not count.
    #[arg(long)]
    networks: bool,
    /// Show how many of the connections open now would be over various limits on the open
    /// connections of a source.
    #[arg(long, conflicts_with_all = ["source_rate", "over"])]
    open: bool,
    /// Highest percentage of the attempts, or of the open connections, that the suggested limit may
    /// refuse.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    allow: f64,
    /// Look at the attempts of this much time; the kernel keeps about 70 minutes of them.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = text::duration)]
    over: Duration,
}

/// What was seen of a service, and what limits would have done.
#[derive(Serialize)]
struct Answer {
    service: String,
    /// From the first attempt to the last, in seconds.
    seconds: f64,
    /// Attempts that were looked at.
    attempts: usize,
    /// Sources that made them.
    sources: usize,
    /// Attempts that these stand for, an estimate.
    estimated_attempts: u64,
    /// Whether every source was kept. If not, these are a sample.
    complete: bool,
    /// Whether some of the attempts were refused: their clients tried again.
    enforced: bool,
    limits: Vec<Tried>,
    /// The lowest limit that would have refused no more than `--allow`.
    suggested: Option<Tried>,
}

/// A limit that was tried.
#[derive(Clone, Serialize)]
struct Tried {
    rate: String,
    burst: u64,
    /// Percent of the attempts that it would have refused, and between which numbers that is in 95 of 100 cases.
    refused_percent: f64,
    at_least_percent: f64,
    at_most_percent: f64,
    /// Sources of which it would have refused some: an estimate.
    sources: u64,
    /// These by class, of those that were looked at; `-` for none.
    by_class: BTreeMap<String, usize>,
}

impl Suggest {
    /// Judges what was seen by other limits.
    pub fn run(&self, context: &Context) -> Result<()> {
        ensure!(
            (0.0..100.0).contains(&self.allow),
            "--allow {}: give a percentage from 0 to below 100, such as 0.1",
            self.allow
        );
        context.pins.require()?;
        let maps = Maps::open(&context.pins.root())?;
        if let Some(service) = &self.service {
            known_service(&maps, service)?;
        }
        if self.open {
            return open::run(context, &maps, self.service.as_ref(), self.networks, self.allow);
        }
        let slot = maps.selection()?.slot;
        let policy = maps.policy(slot)?;
        let since = clock::now().saturating_sub(self.over.as_nanos() as u64);
        let mut sightings = Ring::attempts().look(&maps)?.seen;
        sightings.retain(|sighting| sighting.time >= since);
        let mut answers = Vec::new();
        for record in maps.services(slot)?.values() {
            let Some(name) = text::name(&record.name) else { continue };
            if self.service.as_ref().is_none_or(|asked| *asked == name) {
                answers.push(self.answer(&maps, &policy, record, &name, &sightings)?);
            }
        }
        report::print(context.format, &answers, |answers| {
            answers.iter().map(|answer| self.describe(answer)).collect()
        })
    }

    fn answer(
        &self,
        maps: &Maps,
        policy: &Policy,
        record: &record::Service,
        name: &Name,
        sightings: &[Sighting],
    ) -> Result<Answer> {
        let networks = policy.service(name).map(|service| service.networks).unwrap_or_default();
        let mask = match self.networks {
            true => SourceMask::new(networks.prefixes.v4, networks.prefixes.v6),
            false => record.mask,
        };
        let is_in_class = |sighting: &&Sighting| {
            let address = Address { high: sighting.high, low: sighting.low };
            policy.class_of(&Prefix { address, length: 128 }).is_some()
        };
        let outside: Vec<Sighting>;
        let sightings = match self.networks && !policy.classes.is_empty() {
            true => {
                outside = sightings.iter().filter(|one| !is_in_class(one)).copied().collect();
                &outside
            }
            false => sightings,
        };
        let seen = match self.networks {
            true => Observed::of_networks(sightings, record.number, &mask),
            false => Observed::of(sightings, record.number, &mask),
        };
        let counted = heavy::read(maps, Ranking::Attempts, None, Some(name.as_str()), usize::MAX)?;
        let counted = counted.iter().filter_map(|heavy| {
            let address = prefix::address(heavy.address.parse().ok()?);
            // Since when it is counted is longer than what is looked at.
            let share = (seen.seconds() / heavy.first_seconds_ago.max(1.0)).min(1.0);
            // What it may have from another is left out: that one counts, too. (It may be read while it is written.)
            let attempts = heavy.count.saturating_sub(heavy.uncertain) as f64 * share;
            Some(Counted { source: mask.apply(address), attempts })
        });
        // A network is made of many sources: what its sources' counters know is not all of it.
        let known = match self.networks {
            true => Vec::new(),
            false => seen.known(counted),
        };
        let tries = match self.source_rate {
            Some(rate) => vec![Limit {
                rate,
                burst: self.source_burst.unwrap_or_else(|| text::usual_burst(rate)),
            }],
            None => (LADDER.iter().map(|count| Rate::per_second(*count)))
                .map(|rate| Limit { rate, burst: text::usual_burst(rate) })
                .collect(),
        };
        let limits: Vec<Tried> = (tries.into_iter())
            .filter_map(|limit| Some(Tried::new(limit, seen.judge(limit, &known)?, policy)))
            .collect();
        let suggested = limits.iter().find(|tried| tried.at_most_percent <= self.allow).cloned();
        Ok(Answer {
            service: name.to_string(),
            seconds: seen.seconds(),
            attempts: seen.attempts(),
            sources: seen.sources(),
            estimated_attempts: seen.estimated_attempts().round() as u64,
            complete: seen.is_complete(),
            enforced: (sightings.iter().map(|sighting| What(sighting.what)))
                .any(|what| what.service() == record.number && what.is_enforced()),
            limits,
            suggested,
        })
    }

    fn describe(&self, answer: &Answer) -> String {
        let Answer {
            service,
            seconds,
            attempts,
            sources,
            complete,
            enforced,
            limits,
            suggested,
            ..
        } = answer;
        if limits.is_empty() {
            return format!(
                "{service}: no attempts were seen in this time, so there is nothing to suggest yet\n"
            );
        }
        let what = if *complete { "all of them" } else { "a sample of the sources, whole" };
        let mut text = format!(
            "{service}: {} attempts by {} sources in {} ({what})\n",
            numbers::count(*attempts as u64),
            numbers::count(*sources as u64),
            numbers::seconds(*seconds),
        );
        if *attempts < LITTLE.0 || *seconds < LITTLE.1 {
            text.push_str(
                "  NOTE: this is too little to go by. Look again after the busiest hour\n",
            );
        }
        if *enforced {
            text.push_str(
                "  NOTE: in enforce mode refused clients try again, so this counts too many; a \
                 calm time in observe mode is best\n",
            );
        }
        text.push_str(if self.networks {
            "  limit of each network    would have refused            networks\n"
        } else {
            "  limit of each source     would have refused            sources\n"
        });
        for tried in limits {
            text.push_str(&format!("  {}\n", tried.line()));
        }
        match suggested {
            Some(tried) if self.source_rate.is_none() => text.push_str(&format!(
                "  the lowest that refuses at most {}%: limiter set --service {service} --{what}-rate {} --{what}-burst {}\n",
                self.allow,
                tried.rate,
                tried.burst,
                what = if self.networks { "network" } else { "source" },
            )),
            None if self.source_rate.is_none() => text.push_str(&format!(
                "  none of these is sure to refuse {}% or less: allow more with --allow, or give \
                 the large sources a class of their own\n",
                self.allow,
            )),
            _ => {}
        }
        text
    }
}

impl Tried {
    fn new(limit: Limit, judged: Judged, policy: &Policy) -> Self {
        let mut by_class = BTreeMap::new();
        for source in &judged.sources {
            let class = policy.class_of(&Prefix { address: *source, length: 128 });
            *by_class
                .entry(class.map_or("-".to_owned(), |class| class.name.to_string()))
                .or_default() += 1;
        }
        Self {
            rate: text::show_rate(limit.rate),
            burst: limit.burst,
            refused_percent: judged.refused_percent,
            at_least_percent: judged.at_least_percent,
            at_most_percent: judged.at_most_percent,
            sources: judged.estimated_sources.round() as u64,
            by_class,
        }
    }

    fn line(&self) -> String {
        let limit = format!("{}, burst {}", self.rate, self.burst);
        let range = if self.at_most_percent - self.at_least_percent < 0.005 {
            String::new()
        } else {
            format!(" ({:.2} to {:.2})", self.at_least_percent, self.at_most_percent)
        };
        let classes: Vec<String> = match self.by_class.len() {
            0 => Vec::new(),
            1 if self.by_class.contains_key("-") => Vec::new(),
            1 => self.by_class.keys().map(|class| format!("all in class {class}")).collect(),
            _ => (self.by_class.iter())
                .map(|(class, count)| match class.as_str() {
                    "-" => format!("{count} in no class"),
                    class => format!("{count} in class {class}"),
                })
                .collect(),
        };
        let share = format!("{:.2}%{range}", self.refused_percent);
        format!("{limit:<23}  {share:<28}  {}  {}", self.sources, classes.join(", "))
            .trim_end()
            .to_owned()
    }
}
