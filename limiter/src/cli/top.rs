//! `limiter top`.

use anyhow::Result;
use clap::Args;

use super::{Context, known_service};
use crate::kernel::Maps;
use crate::observe::networks::Share;
use crate::observe::open::{self, Holder};
use crate::observe::{Heavy, Ranking, concentrated, heavy, networks};
use crate::policy::Name;
use crate::report::{self, numbers};

/// Bits of an IPv6 address that go with a prefix of IPv4: what one site is given.
const SITE: u8 = 48;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Refused,
    Budget,
    Attempts,
    Open,
}

/// Arguments of `top`.
#[derive(Args, Debug)]
pub struct Top {
    /// What to count: attempts `refused` by the source's own limit, refused by a `budget` or in
    /// line for it (a sample), all `attempts` (a sample), or connections that are `open` now.
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true, default_value_t = By::Refused)]
    by: By,
    /// Show this service only.
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Add up sources by IPv4 prefixes of this length, such as 24, and by IPv6 /48.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=32))]
    prefix: Option<u8>,
    /// Add up sources by IPv6 prefixes of this length; needs --prefix.
    #[arg(long, value_name = "BITS", requires = "prefix", value_parser = clap::value_parser!(u8).range(1..=64))]
    prefix_v6: Option<u8>,
    /// Show the networks that made the most attempts in the last two minutes. A network is what the
    /// policy's prefixes say, /24 and /48 by default.
    #[arg(long, conflicts_with_all = ["prefix", "by"])]
    networks: bool,
    /// Show this many sources.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
}

impl Top {
    /// Reads the counters and prints them.
    pub fn run(&self, context: &Context) -> Result<()> {
        context.pins.require()?;
        let maps = Maps::open(&context.pins.root())?;
        if let Some(service) = &self.service {
            known_service(&maps, service)?;
        }
        if self.networks {
            let service = self.service.as_ref().map(Name::as_str);
            let shares = networks::shares(&maps, service, self.lines)?;
            return report::print(context.format, &shares, |shares| describe_networks(shares));
        }
        let lengths = self.prefix.map(|bits| (bits, self.prefix_v6.unwrap_or(SITE)));
        let service = self.service.as_ref().map(Name::as_str);
        let kind = match self.by {
            By::Refused => Ranking::Refused,
            By::Budget => Ranking::Budget,
            By::Attempts => Ranking::Attempts,
            By::Open => {
                let by = lengths.map_or(open::By::Sources, |(v4, v6)| open::By::Lengths(v4, v6));
                let holders = open::read(&maps, by, service, self.lines)?;
                return report::print(context.format, &holders, |holders| held(holders));
            }
        };
        let top = heavy::read(&maps, kind, lengths, service, self.lines)?;
        let mut common = concentrated::common_now(&maps)?;
        common.retain(|common| service.is_none_or(|name| name == common.service));
        report::print(context.format, &top, |top| {
            let lines = common.iter().map(|common| format!("{}\n", common.words()));
            describe(top, kind, self.prefix.is_some()) + &lines.collect::<String>()
        })
    }
}

/// Who holds open connections.
fn held(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "no connection is open to a service in this network namespace\n".to_owned();
    }
    let width = |label: &str, of: fn(&Holder) -> &str| {
        holders.iter().map(|one| of(one).len()).max().unwrap_or(0).max(label.len())
    };
    let sources = width("SOURCE", |one| &one.source);
    let services = width("SERVICE", |one| &one.service);
    let mut text = format!("{:<sources$}  {:<services$}  CLASS    OPEN\n", "SOURCE", "SERVICE");
    for one in holders {
        text.push_str(&format!(
            "{:<sources$}  {:<services$}  {:<7}  {}\n",
            one.source,
            one.service,
            one.class.as_deref().unwrap_or("-"),
            numbers::count(one.count),
        ));
    }
    text
}

fn describe_networks(shares: &[Share]) -> String {
    if shares.is_empty() {
        return "no attempt was seen in the last two minutes\n".to_owned();
    }
    let width = shares.iter().map(|share| share.network.len()).max().unwrap_or(0).max(7);
    let services = shares.iter().map(|share| share.service.len()).max().unwrap_or(0).max(7);
    let head = ["NETWORK", "SERVICE", "SOURCES", "OF ALL", "CLASS", "ATTEMPTS (estimated)"];
    let [network, service, sources, percent, class, attempts] = head;
    let mut text = format!(
        "{network:<width$}  {service:<services$}  {sources:>7}  {percent:>6}  {class:<7}  {attempts}\n"
    );
    for share in shares {
        text.push_str(&format!(
            "{:<width$}  {:<services$}  {:>7}  {:>5.1}%  {:<7}  {}\n",
            share.network,
            share.service,
            numbers::count(share.sources),
            share.percent,
            share.class.as_deref().unwrap_or("-"),
            numbers::count(share.attempts),
        ));
    }
    text
}

fn describe(top: &[Heavy], by: Ranking, are_prefixes: bool) -> String {
    if top.is_empty() {
        return match by {
            Ranking::Refused => "no source was refused by its own limit; the most active: `limiter top --by attempts`\n",
            Ranking::Budget => "no attempt was refused by a budget\n",
            Ranking::Attempts => "no attempt was seen\n",
        }
        .to_owned();
    }
    let counted = match by {
        Ranking::Refused => "REFUSED",
        Ranking::Budget => "REFUSED BY BUDGET (sampled)",
        Ranking::Attempts => "ATTEMPTS (sampled)",
    };
    let width = top.iter().map(|heavy| heavy.source.len()).max().unwrap_or(0).max("SOURCE".len());
    let services =
        top.iter().map(|heavy| heavy.service.len()).max().unwrap_or(0).max("SERVICE".len());
    let of = if are_prefixes { "  SOURCES" } else { "" };
    let mut text = format!(
        "{:<width$}  {:<services$}  {:>14}  {:>14}{of}  CLASS    {counted}\n",
        "SOURCE", "SERVICE", "FIRST", "LAST"
    );
    for heavy in top {
        let ago = |seconds: f64| format!("{} ago", numbers::seconds_short(seconds));
        let of = if are_prefixes { format!("  {:>7}", heavy.sources) } else { String::new() };
        let uncertain = match heavy.uncertain {
            0 => String::new(),
            more => format!(" (of these up to {} may be others')", numbers::count(more)),
        };
        text.push_str(&format!(
            "{:<width$}  {:<services$}  {:>14}  {:>14}{of}  {:<7}  {}{uncertain}\n",
            heavy.source,
            heavy.service,
            ago(heavy.first_seconds_ago),
            ago(heavy.last_seconds_ago),
            heavy.class.as_deref().unwrap_or("-"),
            numbers::count(heavy.count),
        ));
    }
    text
}
