//! Reads what `status` shows from a limiter that is loaded.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use limiter_common::budget::BudgetLimit;
use limiter_common::challenge::{Challenge, State};
use limiter_common::line::service::FULL;
use limiter_common::line::{self, seats};
use limiter_common::open::of_service;
use limiter_common::record::{self, Counters, HOST_BUDGET, List, Refuse};
use limiter_common::share;
use limiter_common::source_table::{self, STEPS, Ticks, WAYS};
use limiter_common::switch::Mode;

use super::sample::{self, Sample};
use super::shadow::Shadow;
use super::snapshot::{
    Admission, Class, Interface, Line, Open, OpenOfService, Revert, Room, Service, Snapshot, Table,
};
use super::{Counts, Rates, fullness};
use crate::kernel::words::{Access, Words};
use crate::kernel::{self, Maps, Pins, clock, link};
use crate::observe::waiting;
use crate::observe::{Ranking, Ring, Sources, concentrated, distinct, heavy};
use crate::policy::text::{self, show_mode as mode};
use crate::policy::{self, Policy};
use crate::tcp;
use crate::tree::Tree;

/// Sets of a table that are looked at.
const LOOKED_AT: usize = 4096;
/// Sources that are shown of those that were refused most.
const REFUSED_MOST: usize = 10;

/// Reads everything, and the counters a second time after `measure` for rates (not at all if that is zero).
///
/// # Errors
/// When limiter's maps cannot be read.
pub fn take(pins: &Pins, maps: &Maps, measure: Duration) -> Result<Snapshot> {
    let [allowed, banned] = maps.list_lengths()?;
    take_counting(pins, maps, measure, |list| {
        Ok(if list == List::Allow { allowed } else { banned })
    })
}

/// The same, with the entries of the lists counted by `count`: long lists take long to read.
///
/// # Errors
/// When limiter's maps cannot be read.
pub fn take_counting(
    pins: &Pins,
    maps: &Maps,
    measure: Duration,
    mut count: impl FnMut(List) -> Result<usize>,
) -> Result<Snapshot> {
    let before = Sample::take(maps)?;
    let counted = counts(&before);
    let mut after = None;
    if !measure.is_zero() {
        std::thread::sleep(measure);
        after = Some(Sample::take(maps)?);
    }
    let measured = after.as_ref().map(counts);
    let (after, counts) = (after.unwrap_or_else(|| before.clone()), measured.unwrap_or(counted));
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    let (switch, now) = (maps.switch()?, clock::now());
    let selection = switch.at(now);
    let policy = maps.policy(selection.slot)?;
    let total = after.total();
    let (host, cookies) = (maps.host.get(&selection.slot, 0)?.0, maps.cookies()?);
    let host_used = used(maps, HOST_BUDGET, &host.budget)?;
    // Whether a challenge would be answered with a cookie.
    let answers = selection.mode == Mode::Enforce && cookies.works();
    let lines = maps.services(selection.slot)?.values().any(|one| one.line.interval != 0);
    let sample = Ring::attempts().look(maps)?.seen;
    Ok(Snapshot {
        version: 6,
        mode: mode(selection.mode),
        reverts: switch.revert().filter(|at| *at > now).map(|at| Revert {
            in_seconds: (at - now) as f64 / 1e9,
            mode: mode(switch.fallback().mode),
            policy: switch.trial(now).is_some(),
        }),
        profile: maps.origin(selection.slot)?.profile.map(|name| name.to_string()),
        generation: host.generation,
        classes: policy.classes.iter().map(class).collect(),
        interfaces: link::attached(pins)?.into_iter().map(interface).collect(),
        budget: text::show_limit(policy.budget),
        budget_used_percent: fullness::percent(host_used, &host.budget),
        shares: maps.shares()?,
        source_limit: text::show_limit(policy.source),
        prefixes: policy.prefixes,
        services: services(maps, selection.slot, &policy, answers, &before, &after, seconds)?,
        other: sample::decided(&after.counters[0]),
        decided: sample::decided(&total),
        observed: sample::observed(&total),
        measured_seconds: seconds,
        table: table(maps, selection.slot, total.steals)?,
        waiting: if lines { Some(waiting::read(maps)?) } else { None },
        room: waiting_room(maps, &policy)?,
        open: open(pins, maps, &policy)?,
        cookies,
        allowed: count(List::Allow)?,
        banned: count(List::Ban)?,
        distinct: distinct::read(maps)?,
        refused_most: heavy::read(maps, Ranking::Refused, None, None, REFUSED_MOST)?,
        sources: Sources::read(maps, &sample)?,
        counts,
        now: (measured.and_then(|counts| counts.since(&counted)))
            .map(|counts| Rates { counts, seconds }),
        common: concentrated::common(maps, &sample)?,
        concentrated: concentrated::findings(maps, &sample)?,
    })
}

/// Open connections, where the policy bounds any.
fn open(pins: &Pins, maps: &Maps, policy: &Policy) -> Result<Option<Open>> {
    if !policy.counts_open() {
        return Ok(None);
    }
    let state = kernel::open::state(maps)?;
    let share = maps.share_of_places(share::OPEN + HOST_BUDGET)?;
    let hosts = share.places(policy.open_budget, clock::now());
    Ok(Some(Open {
        counted: kernel::open::is_counted(pins, maps)?,
        connections: state.open,
        budget: bound(hosts),
        uncounted: state.uncounted,
        older: state.older,
    }))
}

/// A number of open connections, unless it stands for any number.
fn bound(most: u64) -> Option<u64> {
    (most != 0).then_some(most)
}

/// Those of a service.
fn open_of_service(maps: &Maps, id: u32, record: &record::Service) -> Result<OpenOfService> {
    let share = maps.share_of_places(share::OPEN + id)?;
    Ok(OpenOfService {
        connections: of_service(&maps.opens.get(&id, 0)?.0, record.number),
        budget: bound(share.places(record.open_budget, clock::now())),
        source: bound(record.open),
    })
}

/// The waiting room, where a service sends anybody there.
///
/// # Errors
/// When the map cannot be read.
pub fn waiting_room(maps: &Maps, policy: &Policy) -> Result<Option<Room>> {
    let services = policy.services.iter().filter(|one| one.admission.refuse == Refuse::Room);
    let wanted: BTreeSet<_> =
        services.flat_map(|one| one.listeners.iter().map(SocketAddr::port)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let ports = kernel::room::ports(maps)?;
    let (open, closed) = wanted.into_iter().partition(|port| ports.contains(port));
    Ok(Some(Room { open, closed }))
}

/// All packets, and what the kernel counts beside them.
fn counts(sample: &Sample) -> Counts {
    let total = sample.total();
    Counts::of_numbers(&total.decided, &total.observed).with_kernel(&tcp::counters(&Tree::at("/")))
}

fn class(class: &policy::Class) -> Class {
    Class {
        name: class.name.to_string(),
        prefixes: class.members.len(),
        source_limit: if class.source.is_none() {
            "unlimited".to_owned()
        } else {
            text::show_limit(class.source)
        },
        network_limit: network_limit(&class.networks),
        open: class.open,
    }
}

/// `200/s, burst 400, 500 open, of each /24 and /48`.
pub fn network_limit(networks: &policy::Networks) -> Option<String> {
    let policy::Networks { limit, prefixes, open } = *networks;
    let limit = (!limit.is_none()).then(|| text::show_limit(limit));
    let open = (open != 0).then(|| format!("{open} open"));
    let limits: Vec<_> = limit.into_iter().chain(open).collect();
    (!limits.is_empty())
        .then(|| format!("{}, of each /{} and /{}", limits.join(", "), prefixes.v4, prefixes.v6))
}

fn interface(attached: link::Attached) -> Interface {
    let link::Attached { name, index, attachment, in_dispatcher } = attached;
    Interface { name, index, attachment, in_dispatcher }
}

fn services(
    maps: &Maps,
    slot: u32,
    policy: &Policy,
    answers: bool,
    before: &Sample,
    after: &Sample,
    seconds: f64,
) -> Result<Vec<Service>> {
    let records = maps.services(slot)?;
    let opens = policy.counts_open();
    let services = records.iter().filter_map(|(id, record)| {
        let counters = &after.counters[*id as usize + 1];
        let mut admission = admission(maps, *id, record, answers, counters, opens).ok()?;
        let name = text::name(&record.name)?;
        let service = policy.services.iter().find(|service| service.name == name)?;
        let index = *id as usize + 1;
        let (old, new) = (&before.counters[index], &after.counters[index]);
        let rate = |count: fn(&Counters) -> u64| {
            if seconds > 0.0 { count(new).saturating_sub(count(old)) as f64 / seconds } else { 0.0 }
        };
        admission.shadow = Shadow::of(&service.shadow, new);
        let own = if service.source.is_some() { "" } else { " (default)" };
        Some(Service {
            name: name.to_string(),
            listeners: text::show_listeners(&service.listeners),
            source_limit: format!(
                "{}{own}",
                text::show_limit(service.source.unwrap_or(policy.source))
            ),
            budget: text::show_limit(service.budget),
            attempts: sample::attempts(new),
            admitted: sample::admitted(new),
            refused: sample::refused(new),
            attempts_per_second: rate(sample::attempts),
            refused_per_second: rate(sample::refused),
            decided: sample::decided(new),
            observed: sample::observed(new),
            debts: new.debts[1..STEPS].to_vec(),
            settings: service.clone(),
            admission,
        })
    });
    Ok(services.collect())
}

fn admission(
    maps: &Maps,
    id: u32,
    record: &record::Service,
    answers: bool,
    counters: &Counters,
    opens: bool,
) -> Result<Admission> {
    let (now, admission, budget) = (clock::now(), &record.admission, &record.budget);
    let state = State::read(&maps.challenge.get(&id, 0)?.0.words);
    let challenge = Challenge::from_number(admission.challenge);
    let used = used(maps, id, budget)?;
    let on = match challenge {
        Challenge::Off => false,
        Challenge::Auto => now < state.on_until,
        Challenge::Always => true,
    };
    Ok(Admission {
        challenging: on && answers,
        challenge_turns: state.turns,
        line: line(maps, id, record, now)?,
        resets_sent: counters.resets,
        budget_used_percent: fullness::percent(used, budget),
        open: if opens { Some(open_of_service(maps, id, record)?) } else { None },
        shadow: None,
    })
}

/// Where the line stands, with its head as an attempt would move it now: nobody moves it while
/// nobody comes.
fn line(maps: &Maps, id: u32, record: &record::Service, now: u64) -> Result<Option<Line>> {
    let rules = &record.line;
    if rules.interval == 0 {
        return Ok(None);
    }
    let users = maps.share_of_places(id)?.places(rules.users, now);
    let present = match users {
        0 => None,
        _ => Some(seats::present(&maps.seats.get(&id, 0)?.0, rules, now)),
    };
    let words = maps.line.get(&id, 0)?.0.map(Cell::new);
    let service = line::Service { line: &words, rules };
    let stands = present.is_some_and(|present| present >= users);
    let index = if record.budget.interval == 0 { HOST_BUDGET } else { id };
    let interval = maps.share(index)?.interval(rules.interval, now);
    service.advance(now, interval, if stands { FULL } else { 0 });
    let page = service.page() as f64 / 256.0;
    let state = line::State::read(&words.map(Cell::into_inner), now);
    Ok(Some(Line {
        wait_seconds: Duration::from_nanos(state.wait).as_secs_f64(),
        visits: state.visits,
        pages: state.pages,
        connections_per_page: page,
        present,
        users: (users != 0).then_some(users),
    }))
}

/// What of a budget is used now, in nanoseconds of its capacity.
fn used(maps: &Maps, line: u32, budget: &BudgetLimit) -> Result<u64> {
    Ok(fullness::used(maps.budget.get(&line, 0)?.0.arrival, clock::now(), budget))
}

fn table(maps: &Maps, slot: u32, steals: u64) -> Result<Table> {
    // No policy has a longer one than the table's clock can tell apart.
    let horizon = maps.host.get(&slot, 0)?.0.horizon.min(u64::MAX / 2);
    let now = Ticks::at(clock::now());
    let words = maps.sources.words(Access::Read)?;
    let live = count_some(&words, |word| source_table::debt(word, now, horizon) > 0);
    Ok(Table { ways: words.len(), live, steals })
}

/// How many words of a table are so. Of a large table every so-manieth set is looked at, and stands for the others: the hash spreads sources evenly
/// over the sets, and reading all of it, again and again, would take the cache away from the packets.
fn count_some(words: &Words<'_>, is: impl Fn(u64) -> bool) -> usize {
    let sets = words.len() / WAYS;
    let step = sets.div_ceil(LOOKED_AT).max(1);
    let looked_at = (0..sets).step_by(step).flat_map(|set| set * WAYS..(set + 1) * WAYS);
    looked_at.filter(|index| words.get(*index).is_some_and(&is)).count() * step
}
