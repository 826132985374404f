//! `limiter set`: the whole policy is written again beside the one that decides, then switched to.

use anyhow::{Context as _, Result};
use clap::Args;
use limiter_common::challenge::Challenge;
use limiter_common::rate::Rate;
use serde::Serialize;

use super::{Context, Usage, limits, settle};
use crate::kernel::Maps;
use crate::kernel::slots::Origin;
use crate::policy::diff::{self, Change};
use crate::policy::{Admission, Name, Policy, Prefixes, text};
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
    /// Answer attempts of sources without a ticket with a SYN cookie: `off`, `auto` (while a budget is short) or `always`.
    #[arg(long, requires = "service", value_name = "WHEN", value_parser = text::challenge)]
    challenge: Option<Challenge>,
    /// How long a source that proved itself (or, without a challenge, was admitted) keeps its ticket: `15m`, or `none`.
    #[arg(long, requires = "service", value_name = "TIME", value_parser = text::ticket)]
    tickets: Option<u64>,
    /// Percent of the budgets that is kept for sources with a ticket, 0 to 90.
    #[arg(long, requires = "service", value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=90))]
    reserve: Option<u8>,
    /// Sources without a ticket that are let in: `50/s`, or `none` for no such limit.
    #[arg(long, requires = "service", value_name = "RATE", value_parser = text::rate)]
    newcomers: Option<Rate>,
    /// Those at once [default: two seconds of the rate, at least 10].
    #[arg(long, requires = "service", value_name = "N")]
    newcomers_burst: Option<u64>,
    /// When a budget is short, refuse first what exceeds an equal share of it.
    #[arg(long, requires = "service", value_name = "yes|no", value_parser = text::yes)]
    fair_share: Option<bool>,
    /// Answer what a limit refuses with a reset, rather than with silence (at most 1,000 resets per second).
    #[arg(long, requires = "service", value_name = "yes|no", value_parser = text::yes)]
    reset: Option<bool>,
    /// Let limiter set net.ipv4.tcp_syncookies to 2 while it enforces a challenge; it is put back when that ends.
    #[arg(long, value_name = "yes|no", value_parser = text::yes)]
    set_syncookies: Option<bool>,
    /// Let the service follow the default source limit and prefixes again.
    #[arg(long, requires = "service", conflicts_with_all = ["source_rate", "source_burst", "prefix_v4", "prefix_v6"])]
    follow_default: bool,
}

#[derive(Serialize)]
struct Done {
    scope: String,
    changed: Vec<Change>,
    challenge_works: bool,
}

impl Set {
    /// Changes what was named, in one switch.
    pub fn run(&self, context: &Context) -> Result<()> {
        self.check_usage()?;
        context.pins.require()?;
        let _lock = context.lock()?;
        let mut maps = Maps::open(&context.pins.root())?;
        let slot = maps.selection()?.slot;
        let (old, origin) = (maps.policy(slot)?, Origin { ends: 0, ..maps.origin(slot)? });
        let may_before = maps.cookies()?.may_set;
        let note = context.note(Some(&maps));
        let mut new = old.clone();
        self.apply(&mut new)?;
        let switch = maps.stage_policy(&new, &origin)?;
        if let Some(may) = self.set_syncookies {
            maps.let_set_syncookies(may)?;
        }
        maps.set_switch(switch)?;
        Maps::settle();
        let scope = self.service.as_ref().map_or_else(|| "host".to_owned(), |name| format!("service {name}"));
        let mut changed = self.changes(&old, &new);
        if let Some(may) = self.set_syncookies
            && may != may_before
        {
            changed.push(Change { what: "may set tcp_syncookies", from: may_before.to_string(), to: may.to_string() });
        }
        note.record(Some(&maps), changed.iter().map(|change| format!("{scope} {change}")).collect());
        settle::now_and_later(&context.pins, &mut maps)?;
        let challenge_works = !new.may_challenge() || maps.cookies()?.works() || maps.cookies()?.may_set;
        let done = Done { scope, changed, challenge_works };
        report::print(context.format, &done, describe)
    }

    fn check_usage(&self) -> Result<(), Usage> {
        let any = self.source_rate.is_some() || self.source_burst.is_some() || self.budget.is_some();
        let more = self.budget_burst.is_some() || self.prefix_v4.is_some() || self.prefix_v6.is_some();
        if any || more || self.follow_default || self.set_syncookies.is_some() || self.admits_otherwise() {
            return Ok(());
        }
        Err(Usage("nothing to set; say what, such as `limiter set --source-rate 20/s` or `limiter set --service web --budget 500/s`".to_owned()))
    }

    fn admits_otherwise(&self) -> bool {
        self.challenge.is_some()
            || self.tickets.is_some()
            || self.reserve.is_some()
            || self.newcomers.is_some()
            || self.newcomers_burst.is_some()
            || self.fair_share.is_some()
            || self.reset.is_some()
    }

    fn admission(&self, old: Admission) -> Result<Admission, Usage> {
        let mut new = Admission {
            challenge: self.challenge.unwrap_or(old.challenge),
            ticket_seconds: self.tickets.unwrap_or(old.ticket_seconds),
            reserve: self.reserve.unwrap_or(old.reserve),
            newcomers: limits::limit("newcomers", self.newcomers, self.newcomers_burst, old.newcomers)?,
            fair_share: self.fair_share.unwrap_or(old.fair_share),
            reset: self.reset.unwrap_or(old.reset),
        };
        // A challenge and a rate of newcomers need tickets: without a word about them, they are the usual ones.
        let needs = new.challenge != Challenge::Off || !new.newcomers.is_none() || self.reserve.is_some();
        if needs && new.ticket_seconds == 0 && self.tickets.is_none() {
            new.ticket_seconds = Admission::usual().ticket_seconds;
        }
        if old.ticket_seconds == 0 && new.ticket_seconds != 0 && self.reserve.is_none() {
            new.reserve = Admission::usual().reserve;
        }
        // One real host gets a ticket, and its address can be borne by anybody: what a share is for.
        if old.challenge == Challenge::Off && new.challenge != Challenge::Off && self.fair_share.is_none() {
            new.fair_share = true;
        }
        Ok(new)
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
        service.admission = self.admission(service.admission)?;
        Ok(())
    }

    fn prefixes(&self, old: Prefixes) -> Prefixes {
        Prefixes { v4: self.prefix_v4.unwrap_or(old.v4), v6: self.prefix_v6.unwrap_or(old.v6) }
    }

    /// What came out differently of what this command can change.
    fn changes(&self, old: &Policy, new: &Policy) -> Vec<Change> {
        let Some(name) = &self.service else { return diff::host(old, new) };
        match (old.service(name), new.service(name)) {
            (Some(was), Some(is)) => diff::service_in_effect(old, was, new, is),
            _ => Vec::new(),
        }
    }
}

fn describe(done: &Done) -> String {
    let mut text = match done.changed.is_empty() {
        true => format!("{}: that is how it was already\n", done.scope),
        false => String::new(),
    };
    for change in &done.changed {
        text.push_str(&format!("{} {change}\n", done.scope));
    }
    if !done.challenge_works {
        text.push_str(
            "but nobody is challenged: net.ipv4.tcp_syncookies is not 2; set it, or let limiter: `limiter set --set-syncookies yes`\n",
        );
    }
    text
}
