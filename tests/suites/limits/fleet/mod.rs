//! A fleet of real front ends with a real etcd: shares follow demand, and the sum of what is
//! admitted keeps to the budget, whatever is killed or cut off.

mod ecmp;
mod etcd;
mod faults;
mod measured;
mod places;
mod router;
mod world;

use std::time::Instant;

use lab::Desk;
use lab::wait::{until, until_so};
use limiter::kernel::clock;
use limiter_common::record::List;
use serde_json::Value;

use world::{ALONE, Plan, World};

/// The budget of the fleet on the page, a second.
const BUDGET: u64 = 3000;
/// What each node is flooded with: more than the budget.
const FLOOD: u64 = 5000;

/// What was admitted of a flood on every node since a moment.
struct Window {
    began: u64,
    before: u64,
    /// What the fleet may admit a second.
    budget: u64,
}

impl Window {
    fn open(world: &World) -> Self {
        Self::of(world, BUDGET)
    }

    /// Of a fleet that may admit so many a second.
    fn of(world: &World, budget: u64) -> Self {
        Self { began: clock::now(), before: world.admitted(), budget }
    }

    /// At most the budget, two seconds of it at once, and a lease of each CPU of each node.
    fn check(&self, world: &World) {
        let admitted = world.admitted() - self.before;
        let time = (clock::now() - self.began) as f64 / 1e9;
        let leases = (64 * clock::cpus() * world.nodes.len() as u64) as f64;
        let most = self.budget as f64 * (time + 2.0) + leases;
        println!("{admitted} admitted in {time:.1} s, of {most:.0} at most");
        assert!(admitted as f64 <= most, "{admitted} admitted in {time} s: {most} at most");
    }
}

/// The least of a share that counts as all of it: one that would change by less than a fiftieth
/// stays, and a twentieth is headroom.
fn nearly(share: u64) -> u64 {
    share * 95 / 100
}

#[test]
fn shares_follow_demand() {
    let world = World::new(3);
    let [one, two, three] = &world.nodes[..] else { panic!("three nodes") };
    let window = Window::open(&world);
    let _first = one.flood(FLOOD);
    let start = Instant::now();
    let all = BUDGET - 2 * ALONE;
    until_so("one has nearly all", || one.rate() >= nearly(all));
    println!(
        "{:.2} s after the flood on one node it has {}/s",
        start.elapsed().as_secs_f64(),
        one.rate()
    );
    let _second = two.flood(FLOOD);
    let half = (BUDGET - ALONE) / 2;
    until_so("both have half", || {
        [one, two].iter().all(|node| (nearly(half)..=half * 105 / 100).contains(&node.rate()))
    });
    until_so("the third has its own", || three.rate() >= ALONE);
    window.check(&world);
}

/// One daemon is killed, another node is cut off from the engine, and comes back: their shares end
/// in their kernels, go to the third, and come again.
#[test]
fn the_sum_holds_when_nodes_go() {
    let mut world = World::new(3);
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let third = BUDGET / 3;
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
    let window = Window::open(&world);
    world.nodes[1].kill();
    world.nodes[2].cut(true);
    until_so("their shares end", || world.nodes[1..].iter().all(|node| node.rate() == 0));
    until_so("the third has them", || world.nodes[0].rate() >= nearly(BUDGET - 2 * ALONE));
    window.check(&world);
    world.nodes[2].cut(false);
    world.nodes[1].start();
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
    window.check(&world);
}

#[test]
fn the_sum_holds_when_etcd_goes() {
    let mut world = World::new(3);
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let third = BUDGET / 3;
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
    let window = Window::open(&world);
    world.etcd.kill();
    until_so("all shares end", || world.nodes.iter().all(|node| node.rate() == 0));
    window.check(&world);
    // Alone each node admits what its own policy states.
    let (began, before) = (clock::now(), world.admitted());
    until_so("a while alone", || world.admitted() - before >= 3 * ALONE);
    let admitted = world.admitted() - before;
    let time = (clock::now() - began) as f64 / 1e9;
    let most = 3.0 * ALONE as f64 * (time + 0.1) + (3 * 64 * clock::cpus()) as f64;
    assert!(admitted as f64 <= most, "more than is stated");
    world.etcd.start();
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
    window.check(&world);
}

/// An engine that takes no writes any more: as if it were gone, and it is said why.
#[test]
fn a_full_engine_ends_shares_and_is_told() {
    let world = World::of(&Plan { quota: Some(16 << 20), ..Plan::of(2) });
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let half = BUDGET / 2;
    until_so("each has half", || world.nodes.iter().all(|node| node.rate() >= nearly(half)));
    let window = Window::open(&world);
    world.etcd.fill();
    until_so("all shares end", || world.nodes.iter().all(|node| node.rate() == 0));
    window.check(&world);
    let desk = &world.nodes[0].desk;
    let status = desk.ok("fleet status");
    assert!(status.contains("ALARM NOSPACE"), "{status}");
    let doctor = String::from_utf8(desk.output("doctor").stdout).expect("text");
    assert!(doctor.contains("etcd raises NOSPACE"), "{doctor}");
}

/// What an operator does with a fleet, and what is refused.
#[test]
fn the_command_shows_and_changes_a_fleet() {
    let world = World::new(2);
    let desk = &world.nodes[0].desk;
    let fails = |line: &str, said: &str| {
        let output = desk.output(line);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(said), "limiter {line}: {error}");
    };
    fails("fleet init web=1/s", "has budgets already");
    fails("fleet budget web=150/s", "state 200/s of web together");
    fails("fleet forget n7", "there is no node n7; there are: n1, n2");
    fails("fleet leave n7", "there is no node n7");
    fails("fleet forget n2", "n2 is not gone");
    let status =
        |path: &str| desk.json("fleet status").pointer(path).cloned().unwrap_or(Value::Null);
    assert_eq!(status("/budgets/web/budget"), 3000.0);
    assert_eq!(status("/budgets/web/reserved"), 200.0);
    assert_eq!(status("/this_node"), "n1");
    assert_eq!(status("/nodes/n2/shares/web/fallback"), 100.0);
    until_so("its share is in force", || status("/in_force/0/budget") == "web");
    assert!(desk.ok("fleet status").contains("node        n1 (this one): limiter "));
    until_so("doctor finds the engine and the share", || {
        let said = desk.output("doctor --json").stdout;
        let doctor: Vec<Value> = serde_json::from_slice(&said).expect("a list");
        ["etcd 3.", "1 share is in force"].iter().all(|words| {
            let says = |one: &&Value| one["what"].as_str().is_some_and(|what| what.contains(words));
            doctor.iter().find(says).is_some_and(|one| one["level"] == "ok")
        })
    });
    until_so("status shows it", || desk.ok("status --quick").contains("share       web "));
    let shown = "limiter_share_per_second{budget=\"web\"} ";
    until_so("metrics show it", || desk.ok("metrics").contains(shown));
    until_so("it is in force still", || world.nodes[0].rate() > 0);
    let said = desk.ok("set --service web --budget 125/s");
    assert!(said.contains("a share is in force instead: web "), "{said}");
    until_so("the fleet keeps what is stated now", || {
        status("/nodes/n1/shares/web/fallback") == 125.0
    });
    desk.ok("fleet budget web=2000/s");
    until_so("the budget is less", || status("/budgets/web/granted").as_f64() <= Some(2000.0));
    // A mistyped one is said to be nobody's, and taken back; what nodes have is not.
    let said = desk.ok("fleet budget wbe=50/s");
    assert!(said.contains("wbe none -> 50/s; no node has a budget of that name"), "{said}");
    assert!(desk.ok("fleet status").contains("in any case 0/s; no node has a budget"));
    desk.ok("fleet budget wbe=none");
    assert_eq!(status("/budgets/wbe"), Value::Null);
    fails("fleet budget wbe=none", "the fleet has no budget wbe");
    fails("fleet budget web=none", "nodes have a budget web");
    // And a node for which there is no room is told.
    world.nodes[1].desk.ok("fleet leave");
    desk.ok("fleet budget web=220/s");
    let join = world.nodes[1].desk.output("fleet join");
    assert!(!join.status.success(), "there is no room");
    assert_eq!(status("/nodes/n2/without/web"), 100.0);
    assert!(
        desk.ok("fleet status").contains("web NO SHARE: does the fleet have room for the 100/s")
    );
    let history = desk.ok("history");
    assert!(history.contains("fleet school: budget of web 3,000/s -> 2,000/s"), "{history}");
}

/// The commands of docs/fleet.md, as they are typed there, in its order: a fleet is begun, a node
/// leaves and joins, and one that is gone is forgotten.
#[test]
fn what_the_page_says_works() {
    let mut world = World::new(3);
    let limiter = lab::desk::limiter().expect("the command").display().to_string();
    // By a shell, as it is typed.
    let desk = |world: &World, line: &str| {
        let mut shell = world.nodes[1].desk.program("sh");
        let output = shell.args(["-c", &format!("{limiter} {line}")]).output().expect("a shell");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "limiter {line}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for line in world::typed().iter().filter_map(|line| line.strip_prefix("limiter ")) {
        let line = line.replace("lu-0", "n");
        match &*line {
            // The fleet was made with it.
            "fleet init web=3000/s" => {}
            "policy check" => {
                let file = world.nodes[1].desk.policy();
                desk(&world, &format!("policy check {}", file.display()));
            }
            "fleet leave n1" => {
                desk(&world, &line);
                assert_eq!(world.nodes[0].rate(), 0, "its share is in force still");
            }
            "fleet join n1" => {
                let said = desk(&world, &line);
                assert!(said.contains("n1 has "), "{said}");
                until_so("it has a share", || world.nodes[0].rate() > 0);
            }
            "fleet forget n3" => {
                world.nodes[2].kill();
                desk(&world, &line);
                let status = world.nodes[1].desk.json("fleet status");
                assert!(status.pointer("/nodes/n3").is_none(), "{status}");
                assert_eq!(status.pointer("/budgets/web/reserved"), Some(&200.0.into()));
            }
            _ => drop(desk(&world, &line)),
        }
    }
}

/// A ban is put into force on all nodes, and taken back; an operator's own, which lasts longer,
/// stays. What a node must not take it refuses, says so, and goes on.
#[test]
fn a_ban_of_the_fleet_is_in_force_on_every_node_that_takes_it() {
    let world = World::new(2);
    let [one, two] = &world.nodes[..] else { panic!("two nodes") };
    let banned = |node: &world::Node| {
        let list = node.desk.json("ban list");
        let entries = list.as_array().expect("a list").iter();
        let prefixes = entries.map(|entry| entry["prefix"].as_str().expect("a prefix").to_owned());
        prefixes.collect::<Vec<_>>()
    };
    two.desk.ok("ban add 198.51.100.7");
    let start = Instant::now();
    one.desk.ok("fleet ban add 192.0.2.0/24 198.51.100.7 --for 30m --because scans");
    let all = ["192.0.2.0/24", "198.51.100.7"];
    until_so("both are banned on both", || world.nodes.iter().all(|node| banned(node) == all));
    println!(
        "{:.2} s after it was typed a ban is in force everywhere",
        start.elapsed().as_secs_f64()
    );
    let list = one.desk.ok("fleet ban list");
    assert!(list.contains("scans") && !list.contains("NOT IN FORCE"), "{list}");
    // The front's own address, everything, and something that lasts for ever.
    one.desk.ok("fleet ban add 10.77.0.0/24 --for 30m --because poison");
    one.desk.ok("fleet ban add 0.0.0.0/0 --for 30m --because poison");
    one.desk.ok("fleet ban add 203.0.113.1 --for 9999days --because poison");
    until_so("both refuse three", || {
        let status = one.desk.json("fleet status");
        ["n1", "n2"].iter().all(|node| status["nodes"][node]["refused"] == 3)
    });
    assert_eq!(banned(one), all);
    assert!(one.log().contains("it is wider than /16"), "{}", one.log());
    one.desk.ok("fleet ban del 192.0.2.0/24 198.51.100.7");
    // Off the map, where what has only expired would stand still.
    until_so("none is banned but by an operator", || {
        let stands = |node: &world::Node| {
            let entries = node.maps().expect("the maps").entries(List::Ban).expect("the list");
            entries.iter().map(|entry| entry.prefix.to_string()).collect::<Vec<_>>()
        };
        stands(one).is_empty() && stands(two) == all[1..]
    });
    let again = one.desk.output("fleet ban del 192.0.2.0/24");
    assert!(!again.status.success());
}

/// A profile is in force on the nodes whose policies name it, once, until the kernel goes back or
/// the fleet says so; what an operator does stays.
#[test]
fn a_profile_of_the_fleet_is_in_force_where_it_is_taken() {
    let mut world = World::new(2);
    let policy = world.nodes[1].desk.policy();
    let text = std::fs::read_to_string(&policy).expect("a policy");
    world.nodes[1].kill();
    std::fs::write(&policy, text.replace("profiles = [\"siege\"]", "")).expect("written");
    world.nodes[1].start();
    let profile = |node: &world::Node| node.desk.json("status --quick")["profile"].clone();
    let left = |node: &world::Node| {
        let status = node.desk.json("status --quick");
        status["reverts"]["in_seconds"].as_f64().unwrap_or(0.0)
    };
    let one = &world.nodes[0];
    let start = Instant::now();
    one.desk.ok("fleet profile siege --for 30m --because flood");
    let said = answers(&one.desk);
    println!("{:.2} s after it was typed both have answered", start.elapsed().as_secs_f64());
    assert!(said.contains("n1 has taken it"), "{said}");
    assert!(said.contains("n2 refuses it: `profiles` of its policy does not name siege"), "{said}");
    assert_eq!((profile(one), profile(&world.nodes[1])), ("siege".into(), Value::Null));
    assert!((1..=1800).contains(&(left(one) as u64)), "{}", left(one));
    assert!(one.desk.ok("history").contains("the fleet's profile siege, by "));
    until_so("it is counted", || one.desk.json("fleet status")["nodes"]["n2"]["refused"] == 1);
    // Another end, and another profile, which neither has.
    one.desk.ok("fleet profile siege --for 60m");
    answers(&one.desk);
    assert!(left(one) > 1800.0, "{}", left(one));
    one.desk.ok("fleet profile guard");
    let said = answers(&one.desk);
    assert_eq!(said.matches("refuses it").count(), 2, "{said}");
    assert_eq!(profile(one), "siege");
    one.desk.ok("fleet profile normal");
    until_so("it goes back", || profile(&world.nodes[0]) == Value::Null);
    assert!(one.desk.ok("fleet profile").contains("no profile"));
    // An operator goes back, and neither the engine nor a new daemon undoes that.
    one.desk.ok("fleet profile siege");
    answers(&one.desk);
    one.desk.ok("rollback");
    world.nodes[0].kill();
    world.nodes[0].start();
    until_so("it has its share", || world.nodes[0].rate() > 0);
    let one = &world.nodes[0];
    one.desk.ok("fleet ban add 192.0.2.1 --for 5m --because later");
    until_so("it follows the fleet", || one.desk.ok("ban list").contains("192.0.2.1"));
    assert_eq!(profile(one), Value::Null);
    one.desk.ok("fleet profile siege");
    assert!(answers(&one.desk).contains("n1 has taken it"));
    assert_eq!(profile(one), "siege");
}

/// What the nodes say to the profile of the fleet, when all have answered.
fn answers(desk: &Desk) -> String {
    let mut said = String::new();
    until_so("every node has answered", || {
        said = desk.ok("fleet profile");
        !said.contains("HAS NOT ANSWERED")
    });
    said
}

/// What the dashboard shows of a fleet is there while one is flooded, and `top` adds up what the
/// nodes refuse.
#[test]
fn metrics_and_top_tell_of_the_fleet() {
    let world = World::new(2);
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let dashboard = include_str!("../../../../packaging/grafana.json");
    let of_fleet = ["limiter_fleet_", "limiter_share_"];
    let found = of_fleet.iter().flat_map(|prefix| dashboard.match_indices(prefix));
    let names = found.map(|(start, _)| {
        let end = dashboard[start..].find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &dashboard[start..start + end.expect("an end")]
    });
    let names: std::collections::BTreeSet<&str> = names.collect();
    assert!(names.len() >= 7, "{names:?}");
    until_so("every name has a sample", || {
        let told: Vec<String> = world.nodes.iter().map(world::Node::metrics).collect();
        let is_there = |name: &str| {
            told.iter().flat_map(|text| text.lines()).any(|line| line.starts_with(name))
        };
        is_there("limiter_fleet_nodes{state=\"reporting\"} 2")
            && names.iter().all(|name| is_there(name))
    });
    let held = until("the leader tells", || {
        let told = world.nodes.iter().map(world::Node::metrics).collect::<String>();
        let held = "limiter_fleet_held{budget=\"web\"} ";
        told.lines().find_map(|line| line.strip_prefix(held)?.parse::<f64>().ok())
    });
    assert!(held <= BUDGET as f64, "{held}");
    let one = &world.nodes[0].desk;
    until_so("both tell of what the budget had nothing for", || {
        let top = one.json("fleet top --by budget -n 100");
        let nodes = top.as_array().expect("a list").iter().flat_map(|one| one["nodes"].as_array());
        let nodes: std::collections::BTreeSet<&str> =
            nodes.flatten().filter_map(Value::as_str).collect();
        nodes.len() == 2
    });
    let top = one.ok("fleet top --by budget -n 2");
    assert!(top.starts_with("SOURCE") && top.lines().count() == 3, "{top}");
}
