//! Which sources come most: the kernel side's counters, added up over its CPUs.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use limiter_common::address::{Address, SourceMask};
use limiter_common::heavy::{self, Head, SETS, Set};
use serde::{Deserialize, Serialize};

use crate::kernel::maps::Raw;
use crate::kernel::{Maps, clock};
use crate::policy::prefix::{self, Prefix};
use crate::policy::{Policy, Prefixes, text};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Attempts over the source limit.
    Refused,
    /// Attempts that a budget did not have, or that wait in line for it: a sample, one in 64.
    Budget,
    /// All attempts: those over the source limit, and a sample of the others, one in 64.
    Attempts,
}

/// A source that comes often.
#[derive(Clone, Debug, Serialize)]
pub struct Heavy {
    /// The source, by the prefix in force, of IPv6 at most a /64; or the prefix that was asked for.
    pub source: String,
    /// The address of the last packet that was counted.
    pub address: String,
    /// Addresses (of IPv6: /64) that are counted in it: 1, or those of its prefix that have a
    /// counter.
    pub sources: usize,
    /// The service.
    pub service: String,
    /// Name of its class, if it has one.
    pub class: Option<String>,
    /// How often it was counted.
    pub count: u64,
    /// How many of these may be another's, because the counter was taken over: most often 0.
    pub uncertain: u64,
    /// Seconds since it was first counted.
    pub first_seconds_ago: f64,
    /// Seconds since it was last counted.
    pub last_seconds_ago: f64,
}

/// Seconds after which a counter says nothing of now.
const LATELY: f64 = 10.0;
/// Seconds after which a source is no new one.
pub const OLD: f64 = 300.0;
/// So many sources are few.
const FEW: usize = 10;
/// So many counts are enough to say who makes them; of a sample so many times that.
const ENOUGH: f64 = 64.0;
const SAMPLED: f64 = 40.0;
/// Seconds that every counter is taken to be older than it is: one that has just begun with one hit
/// is no heavy source.
const YOUNG: f64 = 5.0;

/// Which part the heaviest have of what was counted lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lately {
    /// Sources that have a counter: of more than some hundred not all have one.
    pub sources: usize,
    /// The share, 0 to 1, of the ten heaviest; `None`: too little was counted.
    pub of_ten: Option<f64>,
    /// Attempts per second of these ten, since each was counted first.
    pub rate: f64,
    /// The share of what these ten are counted for whose source came five minutes ago already.
    pub familiar: f64,
    /// Those of the ten that come most.
    pub heaviest: Vec<String>,
}

impl Lately {
    /// Of all that is counted. Counters that began at different times are compared by their rates.
    /// `is_sample`: whether one in 64 was counted. `is_old`: whether a source is known to have come
    /// five minutes ago.
    pub fn of(all: &[Heavy], is_sample: bool, is_old: impl Fn(&Heavy) -> bool) -> Self {
        let enough = if is_sample { ENOUGH * SAMPLED } else { ENOUGH };
        let now = all.iter().filter(|heavy| heavy.last_seconds_ago <= LATELY);
        let own = |heavy: &Heavy| heavy.count.saturating_sub(heavy.uncertain) as f64;
        let (mut rates, mut counted) = (Vec::new(), 0.0);
        for heavy in now {
            counted += own(heavy);
            rates.push((own(heavy) / (heavy.first_seconds_ago + YOUNG), heavy));
        }
        rates.sort_by(|one, other| other.0.total_cmp(&one.0));
        let [few, sum] = [FEW, rates.len()]
            .map(|most| rates.iter().take(most).map(|(rate, _)| rate).sum::<f64>());
        let sources = rates.len();
        rates.truncate(FEW);
        let old = rates.iter().filter(|(_, heavy)| heavy.first_seconds_ago >= OLD || is_old(heavy));
        let old: f64 = old.map(|(_, heavy)| own(heavy)).sum();
        let all: f64 = rates.iter().map(|(_, heavy)| own(heavy)).sum();
        Self {
            sources,
            of_ten: (counted >= enough).then(|| few / sum),
            rate: few,
            familiar: old / all.max(1e-9),
            // Whom the operator has named in a class he knows.
            heaviest: (rates.iter())
                .filter(|(rate, heavy)| *rate >= few / 20.0 && heavy.class.is_none())
                .map(|(_, heavy)| heavy.source.clone())
                .collect(),
        }
    }
}

/// Lengths of the prefixes to add up: IPv4 and IPv6.
pub type Lengths = (u8, u8);

struct Sum {
    count: u64,
    uncertain: u64,
    first: u64,
    last: u64,
    address: Address,
    sources: usize,
}

/// The `most` sources that were counted most. `lengths`: added up by prefix; else by those in
/// force. `service`: of this one only.
///
/// # Errors
/// When a map cannot be read.
pub fn read(
    maps: &Maps,
    kind: Ranking,
    lengths: Option<Lengths>,
    service: Option<&str>,
    most: usize,
) -> Result<Vec<Heavy>> {
    let selection = maps.selection()?;
    let policy = maps.policy(selection.slot)?;
    let names: HashMap<u64, String> = (maps.services(selection.slot)?.values())
        .filter_map(|record| Some((record.number.into(), text::name(&record.name)?.to_string())))
        .collect();
    let now = clock::now();
    let kinds = match kind {
        Ranking::Refused => &[heavy::Tallied::Refused][..],
        Ranking::Budget => &[heavy::Tallied::Budget],
        Ranking::Attempts => &[heavy::Tallied::Refused, heavy::Tallied::Others],
    };
    let mut sums = HashMap::new();
    for kind in kinds {
        for index in *kind as u32 * SETS..(*kind as u32 + 1) * SETS {
            let cpus = maps.heavy.get(&index, 0).context("cannot read who comes most")?;
            cpus.iter().for_each(|Raw(set)| add(set, &mut sums));
        }
    }
    Ok(list(sums, &Naming { policy: &policy, names: &names, now }, lengths, service, most))
}

/// What the counters are listed with.
struct Naming<'a> {
    policy: &'a Policy,
    names: &'a HashMap<u64, String>,
    now: u64,
}

/// Sources of a policy with one service, from the counters in `sets`, at `now`: the most counted
/// first.
pub fn of<'a>(
    sets: impl Iterator<Item = &'a Set>,
    policy: &Policy,
    number: u64,
    now: u64,
) -> Vec<Heavy> {
    let mut sums = HashMap::new();
    sets.for_each(|set| add(set, &mut sums));
    let service = policy.services.first().map(|service| (number, service.name.to_string()));
    let names = service.into_iter().collect();
    list(sums, &Naming { policy, names: &names, now }, None, None, usize::MAX)
}

fn list(
    sums: Sums,
    with: &Naming<'_>,
    lengths: Option<Lengths>,
    service: Option<&str>,
    most: usize,
) -> Vec<Heavy> {
    let Naming { policy, names, now } = with;
    let lengths = |service: u64, address: Address| {
        lengths.unwrap_or_else(|| in_force(policy, names.get(&service), address))
    };
    let sums = by_prefix(sums, lengths);
    let mut all: Vec<(Address, u64, Sum)> =
        sums.into_iter().map(|((source, service), sum)| (source, service, sum)).collect();
    all.sort_by_key(|(source, service, sum)| (Reverse(sum.count), *source, *service));
    let is_asked = |number: &u64| {
        service.is_none_or(|asked| names.get(number).is_some_and(|name| name == asked))
    };
    all.into_iter()
        .filter(|(_, number, _)| is_asked(number))
        .take(most)
        .map(|(source, service, sum)| Heavy {
            source: show(source, lengths(service, sum.address)),
            address: prefix::ip(sum.address).to_string(),
            sources: sum.sources,
            // A service that is gone has taken its name along.
            service: names.get(&service).cloned().unwrap_or_else(|| format!("#{service}")),
            class: class(policy, sum.address),
            count: sum.count,
            uncertain: sum.uncertain,
            first_seconds_ago: now.saturating_sub(sum.first) as f64 / 1e9,
            last_seconds_ago: now.saturating_sub(sum.last) as f64 / 1e9,
        })
        .collect()
}

type Sums = HashMap<(Address, u64), Sum>;

/// Adds the counters of a set.
fn add(set: &Set, sums: &mut Sums) {
    for (head, entry) in set.heads.iter().zip(&set.entries) {
        let count = Head(*head).count();
        if count == 0 {
            continue;
        }
        let source = Address { high: entry.high, low: entry.low };
        let address = Address { high: entry.high, low: entry.last_low };
        let sum = Sum {
            count,
            uncertain: entry.taken_over,
            first: entry.first,
            last: entry.last,
            address,
            sources: 1,
        };
        merge(sums, (source, entry.service), sum);
        if let Some(sum) = sums.get_mut(&(source, entry.service)) {
            sum.sources = 1;
        }
    }
}

/// The prefixes that make a source of an address at a service. A counter knows no more than a /64
/// of IPv6.
fn in_force(policy: &Policy, service: Option<&String>, address: Address) -> Lengths {
    let service =
        policy.services.iter().find(|one| service.is_some_and(|name| name == one.name.as_str()));
    let class = policy.class_of(&Prefix { address, length: 128 });
    let own = class.and_then(|class| class.prefixes).or(service.and_then(|one| one.prefixes));
    let Prefixes { v4, v6 } = own.unwrap_or(policy.prefixes);
    (v4, v6.min(64))
}

fn by_prefix(sums: Sums, lengths: impl Fn(u64, Address) -> Lengths) -> Sums {
    let mut grouped = HashMap::new();
    for ((source, service), sum) in sums {
        let (v4, v6) = lengths(service, sum.address);
        let mask = SourceMask::new(v4, v6);
        merge(&mut grouped, (mask.apply(source), service), sum);
    }
    grouped
}

fn merge(sums: &mut Sums, key: (Address, u64), more: Sum) {
    let Some(sum) = sums.get_mut(&key) else {
        sums.insert(key, more);
        return;
    };
    sum.count = sum.count.saturating_add(more.count);
    sum.uncertain = sum.uncertain.saturating_add(more.uncertain);
    sum.sources += more.sources;
    sum.first = sum.first.min(more.first);
    if more.last > sum.last {
        (sum.last, sum.address) = (more.last, more.address);
    }
}

fn show(source: Address, (v4, v6): Lengths) -> String {
    match prefix::ip(source) {
        IpAddr::V4(ip) if v4 >= 32 => ip.to_string(),
        IpAddr::V4(ip) => format!("{ip}/{v4}"),
        IpAddr::V6(ip) => format!("{ip}/{}", v6.min(64)),
    }
}

fn class(policy: &Policy, address: Address) -> Option<String> {
    if policy.classes.is_empty() {
        return None;
    }
    policy.class_of(&Prefix { address, length: 128 }).map(|class| class.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Class;

    /// Sources are added up as their limit counts them: by the prefixes of the class, of the
    /// service, of the host.
    #[test]
    fn sources_are_added_up_by_the_prefixes_in_force() {
        let address = |text: &str| prefix::address(text.parse().expect("an address"));
        let mut policy = Policy { prefixes: Prefixes { v4: 31, v6: 64 }, ..Policy::default() };
        let mut web = text::service("web=*:80").expect("a service");
        web.prefixes = Some(Prefixes { v4: 24, v6: 128 });
        policy.services = vec![web, text::service("mail=*:25").expect("a service")];
        policy.classes = vec![Class {
            members: vec!["10.0.0.0/8".parse().expect("a prefix")],
            prefixes: Some(Prefixes { v4: 16, v6: 48 }),
            ..Class::bare("schools".parse().expect("a name"))
        }];
        let sum = |address| Sum { count: 2, uncertain: 0, first: 1, last: 2, address, sources: 1 };
        let came = [("192.0.2.1", 1), ("192.0.2.200", 1), ("192.0.2.200", 2), ("192.0.2.201", 2)];
        let of_class = [("10.1.2.3", 1), ("10.1.200.3", 1), ("2001:db8::1", 1)];
        let came = came.into_iter().chain(of_class).map(|(text, service)| {
            let address = address(text);
            ((address, service), sum(address))
        });
        let names = HashMap::from([(1, "web".to_owned()), (2, "mail".to_owned())]);
        let lengths =
            |service: u64, address: Address| in_force(&policy, names.get(&service), address);
        let grouped = by_prefix(came.collect(), lengths);
        let mut shown: Vec<_> = (grouped.iter())
            .map(|((source, service), sum)| {
                (show(*source, lengths(*service, sum.address)), *service, sum.count, sum.sources)
            })
            .collect();
        shown.sort();
        let one = |text: &str, service, count, sources| (text.to_owned(), service, count, sources);
        assert_eq!(
            shown,
            [
                one("10.1.0.0/16", 1, 4, 2),
                one("192.0.2.0/24", 1, 4, 2),
                one("192.0.2.200/31", 2, 4, 2),
                one("2001:db8::/64", 1, 2, 1),
            ]
        );
    }

    fn heavy(count: u64, first: f64, last: f64) -> Heavy {
        Heavy {
            source: String::new(),
            address: String::new(),
            sources: 1,
            service: String::new(),
            class: None,
            count,
            uncertain: 0,
            first_seconds_ago: first,
            last_seconds_ago: last,
        }
    }

    #[test]
    fn counters_of_yesterday_do_not_hide_those_of_now() {
        let mut all = vec![heavy(90_000, 80_000.0, 1.0); 20];
        let now = Heavy { source: "192.0.2.7".to_owned(), ..heavy(3000, 10.0, 0.1) };
        all.extend(vec![now; 5]);
        let few = Lately::of(&all, false, |_| false);
        assert!(few.sources == 25 && few.of_ten.is_some_and(|share| share > 0.9), "{few:?}");
        assert_eq!(few.heaviest[0], "192.0.2.7");
        let gone = Lately::of(&[heavy(90_000, 100.0, 60.0)], false, |_| false);
        assert_eq!(gone, Lately::default(), "it stopped a minute ago");
        let many = Lately::of(&vec![heavy(40, 20.0, 0.5); 200], false, |_| false);
        assert!(many.of_ten.is_some_and(|share| (share - 0.05).abs() < 1e-9), "{many:?}");
        assert_eq!(
            Lately::of(&[heavy(3, 2.0, 0.5)], false, |_| false).of_ten,
            None,
            "too little to say"
        );
        // Ten hits of a sample are of ten sources, however many come.
        let hits: Vec<_> = (0..10).map(|at| heavy(64, f64::from(at), 0.5)).collect();
        assert_eq!(Lately::of(&hits, true, |_| false).of_ten, None);
    }
}
