//! Staged surges: what comes, in which shape, with its truth. Every number is drawn anew.

use limiter_common::address::Address;

use super::door::Door;
use super::world::{Flood, Habit, SECOND, World};

/// What a surge is, as the one who staged it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    Crowd,
    /// Few known addresses with many people behind them, or a tool of our own.
    KnownFew,
    Few,
    Botnet,
    Spoofed,
    /// Forged addresses beside a crowd.
    Mixed,
    OwnLimit,
    Server,
    Nothing,
    /// A botnet of browsers, which no counter tells from people.
    Imitators,
}

/// Shapes of surges.
pub const SHAPES: [(&str, Truth); 24] = [
    ("school morning", Truth::Crowd),
    ("ticket sale", Truth::Crowd),
    ("link on television", Truth::Crowd),
    ("retry storm of an app", Truth::Crowd),
    ("crowd of phones, one connection a page", Truth::Crowd),
    ("crowd and a server that is too slow", Truth::Crowd),
    ("carriers behind few addresses", Truth::KnownFew),
    ("monitoring tool gone wild", Truth::KnownFew),
    ("few heavy, real clients", Truth::Few),
    ("few heavy, half-open", Truth::Few),
    ("few heavy beside a crowd", Truth::Few),
    ("few heavy, pulsed", Truth::Few),
    ("botnet at human pace", Truth::Botnet),
    ("botnet that asks nothing", Truth::Botnet),
    ("botnet, faster", Truth::Botnet),
    ("botnet beside a crowd", Truth::Botnet),
    ("botnet, pulsed", Truth::Botnet),
    ("spoofed", Truth::Spoofed),
    ("spoofed, pulsed", Truth::Spoofed),
    ("spoofed beside a crowd", Truth::Mixed),
    ("own limit, a typing error", Truth::OwnLimit),
    ("server that hangs", Truth::Server),
    ("slow readers", Truth::Server),
    ("a day like any other", Truth::Nothing),
];
/// What cannot be told, beside the others.
pub const IMITATORS: (&str, Truth) = ("botnet of browsers", Truth::Imitators);

/// How long it is calm before, and how long a surge is, seconds.
pub const CALM: u64 = 900;
pub const SURGE: u64 = 75;

/// A staged surge.
pub struct Case {
    pub shape: &'static str,
    pub truth: Truth,
    pub world: World,
    /// Attempts per second as usual, if the history knows.
    pub usual: Option<f64>,
    /// Whether a limit was changed just before.
    pub changed: bool,
    /// Seconds from the beginning of the surge at which it is looked at.
    pub look: f64,
}

/// Addresses as clients have them: of providers, in networks that they share.
struct Places {
    networks: Vec<u32>,
    v6: f64,
    next: u64,
}

impl Places {
    /// `each`: how many sources of one /24 there are, about.
    fn new(world: &mut World, sources: u32, each: f64, v6: f64) -> Self {
        let networks = (f64::from(sources) / each).ceil().max(1.0) as u32;
        let networks = (0..networks).map(|_| 0x0200_0000 + world.rng.u32(..0xd000_0000)).collect();
        Self { networks, v6, next: world.rng.u64(..) & 0xffff_ffff }
    }

    fn draw(&mut self, world: &mut World) -> Address {
        if world.rng.f64() < self.v6 {
            self.next += 1 + world.rng.u64(..300);
            return Address::v6(0x2a00_0000_0000_0000 | self.next << 8, 1);
        }
        let network = self.networks[world.rng.usize(..self.networks.len())];
        Address::v4(network & 0xffff_ff00 | world.rng.u32(1..255))
    }
}

fn log(world: &mut World, range: [f64; 2]) -> f64 {
    let at = world.between([range[0].ln(), range[1].ln()]);
    at.exp()
}

/// Stages shape `shape`, drawn by `seed`.
pub fn stage((shape, truth): (&'static str, Truth), seed: u64) -> anyhow::Result<Case> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut range = |range: [f64; 2]| {
        let [low, high] = range.map(f64::ln);
        (low + (high - low) * rng.f64()).exp()
    };
    // The front end: what its server takes, and what limiter is set to.
    let capacity = range([80.0, 1500.0]);
    let calm = capacity * range([0.02, 0.2]);
    let budget = capacity * range([0.7, 1.3]);
    let own = range([4.0, 40.0]);
    let cookies = rng.bool();
    let enforces = rng.f64() < 0.6 || truth == Truth::OwnLimit;
    let has_own = rng.f64() < 0.75;
    let has_budget = rng.f64() < 0.8 || !has_own;
    let line = rng.f64() < 0.8;
    let mut text = String::from("[service.web]\nlisten = [\"*:443\"]\n");
    if has_own {
        text += &format!("source_rate = \"{}/s\"\n", own.round());
    }
    if truth == Truth::OwnLimit {
        text += &format!("budget = \"{}/s\"\nbudget_burst = 10\n", (calm * 0.08).ceil());
    } else if has_budget {
        text += &format!("budget = \"{}/s\"\n", budget.round());
    }
    if !line {
        text += "line = false\n";
    }
    if cookies {
        text += "challenge = \"auto\"\n";
    }
    let door = Door::new(&text, enforces, cookies, seed)?;
    let workers = rng.usize(8..200);
    let backlog = [128, 511, 4096][rng.usize(..3)];
    let mut world = World::new(door, capacity, workers, backlog, rng);
    let usual = (world.rng.f64() < 0.7).then_some(());
    ordinary(&mut world, calm, CALM + SURGE);
    let at = world.now + CALM * SECOND;
    let (mut look, changed) = (world.between([22.0, 60.0]), truth == Truth::OwnLimit);
    let pulse = surge(&mut world, shape, capacity, calm, at);
    if let Some([on, off]) = pulse {
        // While a pulse lasts: an operator looks when it hurts.
        let number = (look / (on + off)).floor().max(1.0);
        look = number * (on + off) + on * 0.8;
    }
    let usual = usual.map(|()| calm * 1.1);
    Ok(Case { shape, truth, world, usual, changed, look })
}

/// People as on any day.
fn ordinary(world: &mut World, rate: f64, seconds: u64) {
    let [least, most] = [world.rng.u32(1..3), world.rng.u32(3..7)];
    let habit = world.habit(Habit::people([least, most], [8.0, 40.0], [2.0, 10.0], 4));
    let each = f64::from(least + most) / 2.0 * 2.5;
    let visits = (rate / each * seconds as f64).ceil() as u32;
    let sources = (visits / 3).max(20);
    let mut places = Places::new(world, sources, 1.5, 0.3);
    let regulars: Vec<Address> = (0..sources).map(|_| places.draw(world)).collect();
    let (from, until) = (world.now, world.now + seconds * SECOND);
    for _ in 0..visits {
        let at = from + world.rng.u64(..seconds * SECOND);
        let address = regulars[world.rng.usize(..regulars.len())];
        world.client(address, habit, at, until, None);
    }
}

/// People who come from `at` on: so many, within so many seconds.
fn people(world: &mut World, count: u32, within: f64, at: u64, habit: Habit) {
    let until = at + SURGE * SECOND;
    let habit = world.habit(habit);
    let each = log(world, [0.4, 30.0]);
    let v6 = world.rng.f64() * 0.6;
    let mut places = Places::new(world, count, each, v6);
    for _ in 0..count {
        // Most come early: the bell, the hour, the link.
        let after = within * world.rng.f64().powf(1.5);
        let address = places.draw(world);
        world.client(address, habit, at + (after * 1e9) as u64, until, None);
    }
}

/// A crowd of any shape that wants `times` what the server takes.
fn crowd(world: &mut World, shape: &str, capacity: f64, times: f64, at: u64) {
    let (habit, rate, within) = match shape {
        "ticket sale" => {
            let reload = world.between([3.0, 12.0]);
            let page = [1, world.rng.u32(2..7)];
            let habit = Habit::people(page, [reload, reload * 2.5], [1.0, 6.0], 40);
            (habit, f64::from(page[1] + 1) / 2.0 / (reload * 1.75), world.between([4.0, 25.0]))
        }
        "link on television" => {
            let page = [2, world.rng.u32(4..9)];
            let within = world.between([20.0, 60.0]);
            let pages = world.rng.u32(1..4);
            (Habit::people(page, [10.0, 40.0], [2.0, 12.0], pages), 5.0 / within, within)
        }
        "retry storm of an app" => {
            let failed = world.between([1.0, 6.0]);
            let mut habit = Habit::people([1, 1], [30.0, 90.0], [failed * 0.5, failed * 1.5], 1000);
            habit.patience = world.between([2.0, 8.0]);
            (habit, 1.0 / 12.0, world.between([3.0, 20.0]))
        }
        "crowd of phones, one connection a page" => {
            let served = world.between([6.0, 15.0]);
            let habit = Habit::people([1, 2], [served, served * 4.0], [2.0, 10.0], 20);
            (habit, 1.5 / (served * 2.5), world.between([10.0, 50.0]))
        }
        _ => {
            let page = [3, world.rng.u32(4..9)];
            let served = world.between([5.0, 20.0]);
            let habit = Habit::people(page, [served, served * 3.0], [1.0, 8.0], 20);
            (habit, 5.0 / (served * 2.0), world.between([10.0, 60.0]))
        }
    };
    let count = (capacity * times / rate).clamp(150.0, 12_000.0) as u32;
    people(world, count, within, at, habit);
}

/// Machines that come by a clock.
fn tools(
    world: &mut World,
    count: u32,
    habit: &Habit,
    at: u64,
    each: f64,
    pulse: Option<[f64; 2]>,
) {
    let habit = world.habit(habit.clone());
    let mut places = Places::new(world, count, each, 0.02);
    let gap = world_gap(world, habit);
    for _ in 0..count {
        let address = places.draw(world);
        let after = if pulse.is_some() { 0.0 } else { world.rng.f64() * gap.clamp(1.0, 15.0) };
        let at = at + (after * 1e9) as u64;
        world.client(address, habit, at, at + SURGE * SECOND, pulse);
    }
}

fn world_gap(world: &World, habit: usize) -> f64 {
    world.clock_of(habit).map_or(1.0, |[gap, _]| gap)
}

/// Begins the surge at `at`; says its pulses.
fn surge(
    world: &mut World,
    shape: &'static str,
    capacity: f64,
    calm: f64,
    at: u64,
) -> Option<[f64; 2]> {
    let times = log(world, [1.3, 6.0]);
    let pulse =
        shape.ends_with("pulsed").then(|| [world.between([5.0, 10.0]), world.between([8.0, 15.0])]);
    match shape {
        "carriers behind few addresses" => {
            let page = [2, world.rng.u32(3..7)];
            let habit = Habit::people(page, [8.0, 25.0], [1.0, 8.0], 20);
            let habit = world.habit(habit);
            let addresses: Vec<u32> = (0..world.rng.u32(3..10))
                .map(|_| 0x5000_0000 + world.rng.u32(..0x1000_0000))
                .collect();
            let count = (capacity * times / 0.25).clamp(300.0, 8000.0) as u32;
            let begins = world.now;
            for number in 0..count {
                let address = Address::v4(addresses[number as usize % addresses.len()]);
                // A few of them are there on any day.
                let is_usual = number % 20 == 0;
                let from = if is_usual { begins } else { at };
                let within = if is_usual { CALM as f64 } else { 40.0 };
                let after = within * world.rng.f64();
                world.client(
                    address,
                    habit,
                    from + (after * 1e9) as u64,
                    at + SURGE * SECOND,
                    None,
                );
            }
        }
        "monitoring tool gone wild" => {
            let rate = (capacity * times).max(60.0);
            let count = world.rng.u32(1..4);
            let [slow, fast] = [
                Habit::tool(world.between([2.0, 20.0]), 0.05, true),
                Habit::tool(f64::from(count) / rate, 0.3, true),
            ];
            let [slow, fast] = [slow, fast].map(|habit| world.habit(habit));
            for _ in 0..count {
                let address = Address::v4(0x5100_0000 + world.rng.u32(..0x0100_0000));
                world.client(address, slow, world.now + SECOND, at, None);
                world.client(address, fast, at, at + SURGE * SECOND, None);
            }
        }
        "few heavy, real clients" | "few heavy beside a crowd" | "few heavy, pulsed" => {
            let count = world.rng.u32(1..11);
            let rate = (capacity * times).max(80.0);
            let asks = world.rng.bool();
            let habit = Habit::tool(f64::from(count) / rate, 0.4, asks);
            tools(world, count, &habit, at, 1.5, pulse);
            if shape == "few heavy beside a crowd" {
                let times = world.between([0.7, 1.5]);
                crowd(world, "school morning", capacity, times, at);
            }
        }
        "few heavy, half-open" => {
            let rate = log(world, [500.0, 8000.0]);
            let from = (0..world.rng.u32(1..9)).map(|_| 0x3000_0000 + world.rng.u32(..0x1000_0000));
            let from = from.collect();
            world.flood(
                Flood { rate, from, began: at, until: at + SURGE * SECOND, pulse: None },
                at,
            );
        }
        "botnet at human pace"
        | "botnet that asks nothing"
        | "botnet, faster"
        | "botnet beside a crowd"
        | "botnet, pulsed" => {
            let gap = match shape {
                "botnet, faster" => log(world, [0.2, 1.5]),
                "botnet, pulsed" => log(world, [0.4, 2.0]),
                _ => log(world, [1.5, 9.0]),
            };
            let count = (capacity * times * gap).clamp(200.0, 8000.0) as u32;
            let scatter = world.between([0.0, 0.6]);
            let asks = shape != "botnet that asks nothing" && world.rng.f64() < 0.7;
            let each = log(world, [1.0, 8.0]);
            tools(world, count, &Habit::tool(gap, scatter, asks), at, each, pulse);
            if shape == "botnet beside a crowd" {
                let times = world.between([0.4, 1.0]);
                crowd(world, "school morning", capacity, times, at);
            }
        }
        "botnet of browsers" => crowd(world, "school morning", capacity, times, at),
        "spoofed" | "spoofed, pulsed" | "spoofed beside a crowd" => {
            let rate = log(world, [1500.0, 12_000.0]).max(4.0 * calm);
            let until = at + SURGE * SECOND;
            let flood = Flood { rate, from: Vec::new(), began: at, until, pulse };
            world.flood(flood, at);
            if shape == "spoofed beside a crowd" {
                let times = world.between([1.0, 3.0]);
                crowd(world, "school morning", capacity, times, at);
            }
        }
        "server that hangs" => world.capacity_from(at, 0.0),
        "slow readers" => {
            let mut habit = Habit::tool(world.between([5.0, 20.0]), 0.5, false);
            habit.holds = world.between([40.0, 120.0]);
            let count = world.rng.u32(100..600);
            tools(world, count, &habit, at, 1.5, None);
        }
        "crowd and a server that is too slow" => {
            let part = world.between([0.2, 0.6]);
            world.capacity_from(at, capacity * part);
            crowd(world, "school morning", capacity, times, at);
        }
        "own limit, a typing error" | "a day like any other" => {}
        shape => crowd(world, shape, capacity, times, at),
    }
    pulse
}
