//! The shipped program beside the host: random policies, random states, a million random frames; the same verdict and reason for each,
//! and the same words left behind in the tables.
//!
//! Both run on the same clock. The coarse one is read before and after each frame; where it ticked in between, nobody knows what the
//! program saw: that frame (one in two thousand) is not compared, and the host takes over the kernel's state. The precise clock, which only
//! draws from budgets read, is known to microseconds; at rates of one an hour that decides nothing, and what it leaves in a budget's word is
//! compared within a second and then taken over. Leases of more than one token live ten milliseconds of that clock: they are `exact`'s and
//! `accuracy`'s, not this one's.

pub mod drawn;
mod host;

use std::time::{Duration, Instant};

use aya::maps::MapData;
use lab::Namespace;
use limiter::kernel::clock;
use limiter::kernel::maps::Raw;
use limiter::kernel::words::{Access, Words};
use limiter_common::line::seats::BUCKETS;
use limiter_common::names;
use limiter_common::reason::Reason;
use limiter_common::record::{
    BUDGET_LINES, HOST_BUDGET, Instance, List, PRESENT, SERVICES, UNPROVEN,
};
use limiter_common::shadow::SETS;
use limiter_common::source_table::WAYS;
use limiter_common::switch::{Mode, Regime};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::Judge;
use fastrand::Rng;
use host::{Host, Line, Said};

/// Policies at most, each with tables of its own, and frames of each at least: to load the program
/// for one takes an emulated machine ten seconds.
const POLICIES: u64 = 20;
const FRAMES: u64 = 2_000;
/// On an emulated machine there are fewer frames: so long at most, but for the first of each
/// policy. There the clock ticks during most of them, and each such frame costs a copy of all
/// tables.
const LONGEST: Duration = Duration::from_secs(60);
const FIRST: u64 = 1;
/// Between two ticks of the coarse clock, in nanoseconds.
const LONGEST_TICK: u64 = 10_000_000;
/// The last word of a line that is a time.
const HEAD_AND_TIMES: usize = 3;
/// Words of a service's seats.
const SEATS: usize = 2 + BUCKETS;
/// The CPU that all runs on: leases and counters are per CPU.
const CPU: usize = 0;

/// State maps, mapped into memory.
struct Kernel<'a> {
    sources: Words<'a>,
    shadowed: Words<'a>,
    visits: Words<'a>,
    lines: Words<'a>,
    seats: Words<'a>,
    challenges: Words<'a>,
    budgets: Words<'a>,
}

/// A number in the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn a_million_frames_beside_the_host() {
    let frames = number("LIMITER_BESIDE_FRAMES", 1_000_000);
    let seed = number("LIMITER_BESIDE_SEED", 0x1e55_e4f1);
    let policies = (frames / FRAMES).clamp(1, POLICIES);
    println!("{frames} frames, LIMITER_BESIDE_SEED={seed}");
    // Nobody listens there: what would be challenged cannot be answered, and is judged again.
    let namespace = Namespace::anonymous().expect("a namespace");
    let compared = namespace.run(|| {
        let mut cpus = CpuSet::new();
        cpus.set(CPU);
        sched_setaffinity(None, &cpus)?;
        let start = Instant::now();
        let mut compared = 0;
        for round in 0..policies {
            let share = LONGEST * (round as u32 + 1) / policies as u32;
            let mut random =
                Rng::with_seed(seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
            compared += beside(&mut random, frames / policies, start + share);
        }
        println!("{compared} frames compared in {:.1} s", start.elapsed().as_secs_f64());
        Ok(compared)
    });
    let compared = compared.expect("a namespace");
    assert!(compared >= policies * FIRST, "only {compared} of {frames} frames");
}

/// One policy; how many frames were compared.
fn beside(random: &mut Rng, frames: u64, end: Instant) -> u64 {
    let policy = drawn::policy(random);
    let mut judge = Judge::new(&policy);
    let sets = [64, 1024, 65_536][random.usize(..3)];
    let Raw(instance) = judge.maps.instance.get(&0, 0).expect("the instance");
    judge.maps.instance.set(0, Raw(Instance { sets, ..instance }), 0).expect("written");
    lists(random, &mut judge);
    judge.mode(if random.u8(..4) == 0 { Mode::Observe } else { Mode::Enforce });
    // Whether the kernel answers what passes with cookies: no random ACK brings one.
    let regime =
        [Regime::Attempts, Regime::Ending, Regime::Proofs, Regime::Proofs][random.usize(..4)];
    let switch = judge.maps.switch().expect("the switch");
    judge.maps.set_switch(switch.with_regime(regime)).expect("switched");
    let maps = [
        names::SOURCES,
        names::SHADOWED,
        names::VISITS,
        names::LINE,
        names::SEATS,
        names::CHALLENGE,
        names::BUDGET,
    ];
    let [sources, shadowed, visits, lines, seats, challenges, budgets] =
        maps.map(|name| MapData::from_pin(judge.bpffs.path().join(name)).expect("a map"));
    let words = |map, count| Words::map(MapData::fd(map), count, Access::Write).expect("mapped");
    let kernel = Kernel {
        sources: words(&sources, sets as usize * WAYS),
        shadowed: words(&shadowed, SETS as usize * WAYS),
        visits: words(&visits, sets as usize * WAYS),
        lines: words(&lines, SERVICES as usize * WAYS),
        seats: words(&seats, SERVICES as usize * SEATS),
        challenges: words(&challenges, SERVICES as usize * WAYS),
        budgets: words(&budgets, BUDGET_LINES as usize * WAYS),
    };
    if random.bool() {
        // Whatever was left there: other policies, before the clock wrapped, by chance.
        for index in 0..sets as usize * WAYS {
            kernel.sources.store(index, random.u64(..));
            kernel.visits.store(index, random.u64(..));
        }
        for index in 0..SETS as usize * WAYS {
            kernel.shadowed.store(index, random.u64(..));
        }
    }
    let mut host = Host::of(&judge.maps, &policy, sets);
    take_over(&mut host, &kernel, &judge);
    let (mut compared, mut unknown) = (0, 0);
    for _ in 0..frames {
        let frame = drawn::frame(random);
        if compared >= FIRST && Instant::now() > end {
            break;
        }
        let (before, from) = (coarse(), clock::now());
        let action = judge.action(&frame);
        let precise = clock::now();
        // Where no CPU was there to let it tick, it stood still for longer than a tick.
        if coarse() != before || precise - from > LONGEST_TICK {
            unknown += 1;
            take_over(&mut host, &kernel, &judge);
            continue;
        }
        host.memory.touched.borrow_mut().clear();
        let said = host.decide(&frame, before, precise);
        let context = || format!("{said:?}, of {frame:02x?}\nby {policy:?}, {sets} sets");
        let Raw(counted) =
            judge.maps.counter.get(&(said.counter as u32), 0).expect("counters")[CPU];
        if action != said.action || counted != host.counters[said.counter] {
            panic!(
                "the kernel returned {action} and counted {}; here {}",
                moved(&host, &judge),
                context()
            );
        }
        left_alike(&host, &kernel, &said)
            .unwrap_or_else(|what| panic!("{what} after {}", context()));
        compared += 1;
    }
    everything_alike(&host, &judge);
    println!("the clock ticked during {unknown} of {frames} frames");
    compared
}

fn lists(random: &mut Rng, judge: &mut Judge) {
    for list in [List::Allow, List::Ban] {
        for _ in 0..random.u64(..6).saturating_sub(1) {
            let prefixes: Vec<_> =
                (0..1 + random.u64(..4)).map(|_| drawn::prefix(random)).collect();
            // Some end while frames come.
            let time = random.bool().then(|| Duration::from_millis(1 + random.u64(..600)));
            judge.maps.add(list, &prefixes, time).expect("added");
        }
    }
}

fn coarse() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// From now on the host has the kernel's state.
fn take_over(host: &mut Host, kernel: &Kernel<'_>, judge: &Judge) {
    let copy = |lines: &[Line], words: &Words<'_>| {
        for (index, word) in lines.iter().flatten().enumerate() {
            word.set(words.get(index).expect("a word"));
        }
    };
    copy(&host.memory.sources, &kernel.sources);
    copy(&host.memory.shadowed, &kernel.shadowed);
    copy(&host.memory.visits, &kernel.visits);
    copy(&host.memory.lines, &kernel.lines);
    copy(&host.memory.challenges, &kernel.challenges);
    for id in 0..SERVICES as usize {
        for (index, word) in host.memory.seat_words(id).enumerate() {
            word.set(kernel.seats.get(id * SEATS + index).expect("a word"));
        }
    }
    for (index, word) in host.memory.budgets.iter().enumerate() {
        word.set(kernel.budgets.get(index * WAYS).expect("a word"));
    }
    for index in 0..BUDGET_LINES {
        host.memory.leases.borrow_mut()[index as usize] =
            judge.maps.lease.get(&index, 0).expect("a lease")[CPU].0;
    }
    for (index, counters) in host.counters.iter_mut().enumerate() {
        *counters = judge.maps.counter.get(&(index as u32), 0).expect("counters")[CPU].0;
    }
}

/// What one frame can have changed is the same on both sides.
fn left_alike(host: &Host, kernel: &Kernel<'_>, said: &Said) -> Result<(), String> {
    let same = |what: &str, line: &Line, words: &Words<'_>, index: usize| {
        let mine: Vec<u64> = line.iter().map(std::cell::Cell::get).collect();
        let theirs: Vec<u64> = (0..WAYS).filter_map(|way| words.get(index * WAYS + way)).collect();
        if mine == theirs {
            Ok(())
        } else {
            Err(format!("{what}: {mine:x?} here, {theirs:x?} in the kernel"))
        }
    };
    for place in host.memory.touched.borrow().iter().flat_map(|place| [*place, place.apart()]) {
        let set = host.memory.set(place);
        same("a set of sources", &host.memory.sources[set], &kernel.sources, set)?;
        same("a set of visits", &host.memory.visits[set], &kernel.visits, set)?;
        let set = place.set(SETS) as usize;
        same("a set of what is tried", &host.memory.shadowed[set], &kernel.shadowed, set)?;
    }
    let Some(id) = said.counter.checked_sub(1) else { return Ok(()) };
    same("a challenge", &host.memory.challenges[id], &kernel.challenges, id)?;
    for (index, mine) in host.memory.lines[id].iter().enumerate() {
        // How fast the head moves follows from a budget's level, which the precise clock says.
        let theirs = kernel.lines.get(id * WAYS + index).unwrap_or(0);
        let within = if index <= HEAD_AND_TIMES { 1_000_000 } else { 0 };
        if mine.get().abs_diff(theirs) > within {
            return Err(format!("word {index} of a line: {} here, {theirs} there", mine.get()));
        }
        mine.set(theirs);
    }
    for (index, mine) in host.memory.seat_words(id).enumerate() {
        let theirs = kernel.seats.get(id * SEATS + index).unwrap_or(0);
        if mine.get() != theirs {
            return Err(format!("word {index} of the seats: {} here, {theirs} there", mine.get()));
        }
    }
    let kinds = [0, UNPROVEN, PRESENT].map(|kind| kind as usize + id);
    for line in kinds.into_iter().chain([HOST_BUDGET as usize]) {
        let (mine, theirs) =
            (&host.memory.budgets[line], kernel.budgets.get(line * WAYS).unwrap_or(0));
        if mine.get().abs_diff(theirs) > 1_000_000_000 {
            return Err(format!("budget {line}: {} here, {theirs} in the kernel", mine.get()));
        }
        mine.set(theirs);
    }
    Ok(())
}

/// What the kernel counted otherwise than the host.
fn moved(host: &Host, judge: &Judge) -> String {
    let mut text = String::new();
    for (index, mine) in host.counters.iter().enumerate() {
        let Raw(theirs) = judge.maps.counter.get(&(index as u32), 0).expect("counters")[CPU];
        for reason in Reason::ALL {
            let at = *reason as usize;
            if (mine.decided[at], mine.observed[at]) != (theirs.decided[at], theirs.observed[at]) {
                text.push_str(&format!("{} at {index}, ", reason.name()));
            }
        }
        if mine.shadow != theirs.shadow {
            text.push_str(&format!("shadow at {index}: {:?} here, ", mine.shadow));
        }
        if mine.steals != theirs.steals {
            text.push_str(&format!("steals at {index}, "));
        }
    }
    for index in 0..BUDGET_LINES {
        let (mine, Raw(theirs)) = (
            host.memory.leases.borrow()[index as usize],
            judge.maps.lease.get(&index, 0).expect("a lease")[CPU],
        );
        if mine != theirs {
            text.push_str(&format!("lease {index}: {theirs:?} there, {mine:?} here, "));
        }
    }
    text
}

/// All counters are: also those that no frame should have moved.
fn everything_alike(host: &Host, judge: &Judge) {
    for (index, counters) in host.counters.iter().enumerate() {
        let theirs = judge.maps.counter.get(&(index as u32), 0).expect("counters")[CPU].0;
        assert!(
            *counters == theirs,
            "counters {index}: {counters:?} here, {theirs:?} in the kernel"
        );
    }
}
