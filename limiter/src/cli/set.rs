//! `limiter set`: the whole policy is written again beside the one that decides, then switched to.

use anyhow::{Context as _, Result};
use clap::Args;
use limiter_common::rate::Rate;
use serde::Serialize;

use super::{Context, Usage, limits};
use crate::kernel::Maps;
use crate::policy::{Name, Policy, Prefixes, text};
use crate::report;

/// Arguments of `set`.
#[derive(Args, Debug)]
pub struct Set {
    /// Change this service, rather than the defaults and the budget of the host.
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Attempts of one source to one service: `20/s`, `600/min`, or `none`.
    #[arg(long, value_name = "RATE", value_parser = text::rate)]
    source_rate: Option<Rate>,
    /// Attempts of one source at once after a rest [default: two seconds of the rate, at least 10].
    #[arg(long, value_name = "N")]
    source_burst: Option<u64>,
    /// New connections of the service, or of the whole host: `1000/s`, or `none`.
    #[arg(long, value_name = "RATE", value_parser = text::rate)]
    budget: Option<Rate>,
    /// New connections at once [default: two seconds of the budget, at least 10].
    #[arg(long, value_name = "N")]
    budget_burst: Option<u64>,
    /// Bits of an IPv4 address that make a source, 1 to 32.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=32))]
    prefix_v4: Option<u8>,
    /// Bits of an IPv6 address that make a source, 1 to 128.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=128))]
    prefix_v6: Option<u8>,
    /// Let the service follow the default source limit and prefixes again.
    #[arg(long, requires = "service", conflicts_with_all = ["source_rate", "source_burst", "prefix_v4", "prefix_v6"])]
    follow_default: bool,
}

#[derive(Serialize)]
struct Done {
    scope: String,
    changed: Vec<Change>,
}

#[derive(Serialize)]
struct Change {
    what: &'static str,
    from: String,
    to: String,
}

impl Set {
    /// Changes what was named, in one switch.
    pub fn run(&self, context: &Context) -> Result<()> {
        self.check_usage()?;
        context.pins.require()?;
        let _lock = context.pins.lock_for_change()?;
        let mut maps = Maps::open(&context.pins.root())?;
        let old = maps.policy(maps.selection()?.slot)?;
        let mut new = old.clone();
        self.apply(&mut new)?;
        let switch = maps.stage_policy(&new)?;
        maps.set_switch(switch)?;
        Maps::settle();
        let scope = self.service.as_ref().map_or_else(|| "host".to_owned(), |name| format!("service {name}"));
        let done = Done { scope, changed: changes(self.shown(&old)?, self.shown(&new)?) };
        report::print(context.format, &done, describe)
    }

    fn check_usage(&self) -> Result<(), Usage> {
        let any = self.source_rate.is_some() || self.source_burst.is_some() || self.budget.is_some();
        let more = self.budget_burst.is_some() || self.prefix_v4.is_some() || self.prefix_v6.is_some();
        if any || more || self.follow_default {
            return Ok(());
        }
        Err(Usage("nothing to set; say what, such as `limiter set --source-rate 20/s` or `limiter set --service web --budget 500/s`".to_owned()))
    }

    fn apply(&self, policy: &mut Policy) -> Result<()> {
        let Some(name) = &self.service else {
            policy.source = limits::limit("source-rate", self.source_rate, self.source_burst, policy.source)?;
            policy.budget = limits::limit("budget", self.budget, self.budget_burst, policy.budget)?;
            policy.prefixes = self.prefixes(policy.prefixes);
            return Ok(());
        };
        let (source, prefixes) = (policy.source, policy.prefixes);
        let names: Vec<_> = policy.services.iter().map(|service| service.name.to_string()).collect();
        let service = policy.service_mut(name).with_context(|| match names.len() {
            0 => format!("there is no service {name}, nor any other"),
            _ => format!("there is no service {name}; there are: {}", names.join(", ")),
        })?;
        if self.source_rate.is_some() || self.source_burst.is_some() {
            let old = service.source.unwrap_or(source);
            service.source = Some(limits::limit("source-rate", self.source_rate, self.source_burst, old)?);
        }
        if self.prefix_v4.is_some() || self.prefix_v6.is_some() {
            service.prefixes = Some(self.prefixes(service.prefixes.unwrap_or(prefixes)));
        }
        if self.follow_default {
            (service.source, service.prefixes) = (None, None);
        }
        service.budget = limits::limit("budget", self.budget, self.budget_burst, service.budget)?;
        Ok(())
    }

    fn prefixes(&self, old: Prefixes) -> Prefixes {
        Prefixes { v4: self.prefix_v4.unwrap_or(old.v4), v6: self.prefix_v6.unwrap_or(old.v6) }
    }

    /// What this command can change, as it stands in `policy`.
    fn shown(&self, policy: &Policy) -> Result<[(&'static str, String); 3]> {
        let (source, prefixes, budget) = match &self.service {
            None => (policy.source, policy.prefixes, policy.budget),
            Some(name) => {
                let service =
                    policy.services.iter().find(|service| service.name == *name).context("the service is gone")?;
                (service.source.unwrap_or(policy.source), service.prefixes.unwrap_or(policy.prefixes), service.budget)
            }
        };
        Ok([
            ("source limit", text::show_limit(source)),
            ("budget", text::show_limit(budget)),
            ("source prefixes", format!("/{} and /{}", prefixes.v4, prefixes.v6)),
        ])
    }
}

fn changes(old: [(&'static str, String); 3], new: [(&'static str, String); 3]) -> Vec<Change> {
    let pairs = old.into_iter().zip(new);
    pairs.filter(|(old, new)| old != new).map(|((what, from), (_, to))| Change { what, from, to }).collect()
}

fn describe(done: &Done) -> String {
    if done.changed.is_empty() {
        return format!("{}: that is how it was already\n", done.scope);
    }
    done.changed
        .iter()
        .map(|change| format!("{} {}: {} -> {}\n", done.scope, change.what, change.from, change.to))
        .collect()
}
