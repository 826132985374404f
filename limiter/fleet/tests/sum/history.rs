//! Histories: what happens to a fleet, from a seed.

use fastrand::Rng;

use super::world::{Fault, History, MS, Network, SECOND, Without, World};

/// How large and how bad.
pub struct Faults {
    nodes: usize,
    /// How long it goes on, before all heals.
    time: u64,
    /// Longest time of a message on its way.
    slowest: u64,
    lost: u64,
    doubled: u64,
    report_every: u64,
}

impl Faults {
    pub fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed ^ 0xf1ee7);
        let pick = |random: &mut Rng, of: &[u64]| of[random.usize(0..of.len())];
        Self {
            nodes: pick(&mut random, &[3, 5, 12, 30]) as usize,
            time: 90 * SECOND,
            slowest: pick(&mut random, &[30, 300, 1000]) * MS,
            lost: pick(&mut random, &[0, 10, 100]),
            doubled: pick(&mut random, &[0, 10, 100]),
            report_every: SECOND,
        }
    }

    pub fn large(nodes: usize) -> Self {
        Self {
            nodes,
            time: 30 * SECOND,
            slowest: 100 * MS,
            lost: 10,
            doubled: 10,
            report_every: 2 * SECOND,
        }
    }
}

/// Runs a history.
pub fn run(seed: u64, faults: &Faults, without: Without) -> History {
    let mut random = Rng::with_seed(seed);
    let nodes = faults.nodes;
    let budget = 1_000_000 * nodes as u64;
    // Together a quarter to nine tenths of the budget, of which each has another part.
    let part = random.u64(250..900);
    let fallbacks: Vec<u64> =
        (0..nodes).map(|_| part * 1000 * random.u64(500..=1000) / 1000).collect();
    let mut world = World::new(&fallbacks, budget, without, faults.report_every, seed);
    let network =
        Network { delay: (MS, faults.slowest), lost: faults.lost, doubled: faults.doubled };
    world.fault(0, Fault::Network(network));
    let demand = |random: &mut Rng| {
        let one = |_| (random.f64().powi(4) * 3.0 * 1_000_000.0) as u64;
        Fault::Demand((0..nodes).map(one).collect())
    };
    let first = demand(&mut random);
    world.fault(0, first);
    let mut time = 5 * SECOND;
    while time < faults.time {
        let which: Vec<usize> = (0..nodes).filter(|_| random.u64(0..10) < 3).collect();
        let back = time + random.u64(SECOND..30 * SECOND);
        match random.u64(0..100) {
            0..40 => {
                let demand = demand(&mut random);
                world.fault(time, demand);
            }
            40..52 => {
                world.fault(time, Fault::MachineDies(which.clone()));
                if random.bool() {
                    world.fault(time + random.u64(0..back - time), Fault::Forget(which.clone()));
                }
                world.fault(back, Fault::MachineBoots(which));
            }
            52..64 => {
                world.fault(time, Fault::DaemonDies(which.clone()));
                world.fault(back, Fault::DaemonStarts(which));
            }
            64..85 => {
                world.fault(time, Fault::Cut(which.clone(), true));
                world.fault(back, Fault::Cut(which, false));
            }
            _ => {
                world.fault(time, Fault::Engine(false));
                world.fault(back, Fault::Engine(true));
            }
        }
        time += random.u64(500 * MS..8 * SECOND);
    }
    // And all heals.
    let all: Vec<usize> = (0..nodes).collect();
    let healed = faults.time + 30 * SECOND;
    for fault in [
        Fault::Engine(true),
        Fault::Cut(all.clone(), false),
        Fault::MachineBoots(all.clone()),
        Fault::DaemonStarts(all),
        Fault::Network(Network { delay: (MS, 30 * MS), lost: 0, doubled: 0 }),
    ] {
        world.fault(healed, fault);
    }
    world.run(healed + 30 * SECOND);
    world.history
}
