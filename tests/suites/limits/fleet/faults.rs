//! What happens to an engine of three, to certificates, to its store and to the nodes: the sum is
//! kept all the while, and everything is there again afterwards.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use lab::wait::{PATIENCE, until, until_so};
use limiter::kernel::clock;

use super::world::{ALONE, Node, Plan, World};
use super::{BUDGET, FLOOD, Window, nearly};
use crate::open::dial_for;

fn each_has_a_third(world: &World) {
    let third = BUDGET / 3;
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
}

/// Waits until the share of every node lasts for longer than it does now.
fn renewed(world: &World) {
    let ends = |node: &Node| node.ends().unwrap_or_default();
    let before: Vec<f64> = world.nodes.iter().map(ends).collect();
    until_so("every share is renewed", || {
        world.nodes.iter().zip(&before).all(|(node, before)| ends(node) > before + 2.0)
    });
}

/// Under floods on all nodes: one member of three gone, and two, and all back; a node cut off, a
/// daemon killed, and an engine that starts anew. `LIMITER_FLEET_SECONDS=60` goes on for so long.
#[test]
fn the_sum_holds_over_many_faults() {
    let mut world = World::of(&Plan { members: 3, ..Plan::of(3) });
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    each_has_a_third(&world);
    let (window, start) = (Window::open(&world), Instant::now());
    // One member of three is not missed: shares are renewed past their ends.
    world.etcd.kill_member(0);
    renewed(&world);
    each_has_a_third(&world);
    window.check(&world);
    // Two of three are: one alone decides nothing.
    world.etcd.kill_member(1);
    until_so("all shares end", || world.nodes.iter().all(|node| node.rate() == 0));
    window.check(&world);
    world.etcd.start_member(0);
    each_has_a_third(&world);
    world.etcd.start_member(1);
    world.nodes[0].cut(true);
    world.nodes[1].kill();
    until_so("the third has what they had", || world.nodes[2].rate() >= nearly(BUDGET - 2 * ALONE));
    window.check(&world);
    world.nodes[0].cut(false);
    world.nodes[1].start();
    each_has_a_third(&world);
    world.etcd.kill();
    world.etcd.start();
    each_has_a_third(&world);
    let seconds = std::env::var("LIMITER_FLEET_SECONDS").ok().and_then(|text| text.parse().ok());
    while start.elapsed() < Duration::from_secs(seconds.unwrap_or(0)) {
        std::thread::sleep(Duration::from_secs(1));
        window.check(&world);
    }
    window.check(&world);
}

/// A node whose certificate has expired is as one that is cut off, says so, and has its share again
/// with a new one.
#[test]
fn an_expired_certificate_ends_a_share_until_there_is_a_new_one() {
    let world = World::new(2);
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    until_so("each has half", || world.nodes.iter().all(|node| node.rate() >= nearly(BUDGET / 2)));
    let window = Window::open(&world);
    let one = &world.nodes[0];
    let own = one.desk.file("node.pem");
    world.etcd.certify("old.pem", -1);
    fs::copy(world.etcd.directory.path().join("old.pem"), &own).expect("copied");
    one.reload();
    until_so("its share ends", || one.rate() == 0);
    until_so("the other has it", || world.nodes[1].rate() >= nearly(BUDGET - ALONE));
    window.check(&world);
    let doctor = String::from_utf8(one.desk.output("doctor").stdout).expect("text");
    assert!(doctor.contains("has expired"), "{doctor}");
    // One that is about to.
    world.etcd.certify("soon.pem", 5);
    fs::copy(world.etcd.directory.path().join("soon.pem"), &own).expect("copied");
    one.reload();
    until_so("each has half", || world.nodes.iter().all(|node| node.rate() >= nearly(BUDGET / 2)));
    window.check(&world);
    let doctor = String::from_utf8(one.desk.output("doctor").stdout).expect("text");
    assert!(doctor.contains("expires in 4 days"), "{doctor}");
}

/// A store that is full is emptied as the runbook says, and shares are there again; compaction of
/// what is watched does no harm.
#[test]
fn shares_come_back_when_a_full_store_is_emptied() {
    let world = World::of(&Plan { quota: Some(16 << 20), ..Plan::of(2) });
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let half = || world.nodes.iter().all(|node| node.rate() >= nearly(BUDGET / 2));
    until_so("each has half", half);
    let window = Window::open(&world);
    let revision = || -> u64 {
        let status = world.etcd.ask("maintenance/status", "{}");
        let revision = status["header"]["revision"].as_str().expect("a revision");
        revision.parse().expect("a number")
    };
    let compact = |at: u64| {
        let question = format!("{{\"revision\":\"{at}\",\"physical\":true}}");
        world.etcd.ask("kv/compaction", &question);
    };
    // What nodes and leader watch is compacted away under them, a few times.
    for _ in 0..3 {
        let at = revision();
        compact(at);
        // To compact the same again is refused.
        until_so("something is written", || revision() > at);
        renewed(&world);
    }
    world.etcd.fill();
    until_so("all shares end", || world.nodes.iter().all(|node| node.rate() == 0));
    window.check(&world);
    // b3RoZXIv: other/, with a slash before it, and what follows that.
    world.etcd.ask("kv/deleterange", "{\"key\":\"L290aGVyLw==\",\"range_end\":\"L290aGVyMA==\"}");
    compact(revision());
    world.etcd.ask("maintenance/defragment", "{}");
    let raised = world.etcd.ask("maintenance/alarm", "{\"action\":\"GET\"}");
    let member = raised["alarms"][0]["memberID"].as_str().expect("its member");
    let disarm =
        format!("{{\"action\":\"DEACTIVATE\",\"memberID\":\"{member}\",\"alarm\":\"NOSPACE\"}}");
    world.etcd.ask("maintenance/alarm", &disarm);
    until_so("each has half", half);
    window.check(&world);
}

/// A disk that two logs of etcd fit on, which it reserves, and a few MiB of what they are about.
const DISK: u64 = 144 << 20;

/// The disk under the only etcd is full: etcd ends, also when it is started again, and shares with
/// it. It is said what is wrong and what to do; with room on the disk all is there again.
#[test]
fn a_full_disk_ends_shares_until_there_is_room() {
    let mut world = World::of(&Plan { disk: Some(DISK), ..Plan::of(2) });
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let half = |world: &World| world.nodes.iter().all(|node| node.rate() >= nearly(BUDGET / 2));
    until_so("each has half", || half(&world));
    let window = Window::open(&world);
    let fill =
        |world: &World| world.etcd.disk.as_ref().expect("a disk").fill().expect("it is full");
    fill(&world);
    until_so("etcd ends", || world.etcd.has_ended(0));
    assert!(world.etcd.log(0).contains("no space left on device"), "{}", world.etcd.log(0));
    until_so("all shares end", || world.nodes.iter().all(|node| node.rate() == 0));
    window.check(&world);
    let desk = &world.nodes[0].desk;
    for line in ["fleet status", "fleet ban list", "fleet status --json"] {
        let output = desk.output(line);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{line}");
        assert!(error.contains("no etcd can be reached: https://"), "{error}");
        assert!(error.contains("has its disk room?") && error.contains("start etcd"), "{error}");
    }
    let status = String::from_utf8(desk.output("fleet status").stdout).expect("text");
    assert!(status.contains("in force    no share"), "{status}");
    let doctor = String::from_utf8(desk.output("doctor").stdout).expect("text");
    assert!(doctor.contains("has its disk room?"), "{doctor}");
    until_so("its daemon says so", || {
        let log = world.nodes[0].log();
        log.contains("no etcd can be reached") && log.contains("limiter doctor")
    });
    // Started again before there is room it is there for moments.
    for _ in 0..2 {
        world.etcd.start_member(0);
        until_so("etcd ends", || world.etcd.has_ended(0));
        window.check(&world);
    }
    world.etcd.disk.as_ref().expect("a disk").free().expect("there is room");
    world.etcd.start();
    until_so("each has half", || half(&world));
    window.check(&world);
    let status = world.nodes[0].desk.json("fleet status");
    assert_eq!(status["budgets"]["web"]["budget"], BUDGET as f64, "{status}");
}

/// The same under one member of three: it ends, the others go on, and it follows them again when
/// there is room.
#[test]
fn a_full_disk_of_one_member_of_three_is_not_missed() {
    let mut world = World::of(&Plan { members: 3, disk: Some(DISK), ..Plan::of(2) });
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    let half = |world: &World| world.nodes.iter().all(|node| node.rate() >= nearly(BUDGET / 2));
    until_so("each has half", || half(&world));
    let window = Window::open(&world);
    world.etcd.disk.as_ref().expect("a disk").fill().expect("it is full");
    until_so("its member ends", || world.etcd.has_ended(0));
    renewed(&world);
    until_so("each has half", || half(&world));
    window.check(&world);
    world.etcd.disk.as_ref().expect("a disk").free().expect("there is room");
    world.etcd.start_member(0);
    until_so("it answers", || world.etcd.answers(0));
    world.etcd.kill_member(1);
    renewed(&world);
    until_so("each has half", || half(&world));
    window.check(&world);
}

/// While the engine is away each node serves real clients as with the budget that its policy states.
#[test]
fn pages_come_while_the_engine_is_away() {
    let mut world = World::new(2);
    let _flood = world.nodes[1].flood(FLOOD);
    world.etcd.kill();
    until_so("all shares end", || world.nodes.iter().all(|node| node.rate() == 0));
    let lab = &world.nodes[0].lab;
    let listener = lab.front.run(|| Ok(TcpListener::bind(("::", 80))?)).expect("a listener");
    let server = std::thread::spawn(move || {
        for _ in 0..ALONE {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(b"page").expect("written");
        }
    });
    // So many at once are what its own budget holds.
    for number in 0..ALONE as usize {
        let clients = lab.clients_v4();
        let client = clients[number % clients.len()];
        let page = lab.crowd.run(|| {
            let mut page = String::new();
            dial_for(client, PATIENCE)?.read_to_string(&mut page)?;
            Ok(page)
        });
        assert_eq!(page.expect("a page"), "page");
    }
    server.join().expect("all were served");
}

/// One node after the other gets another program in its kernel and another daemon, under floods:
/// each has its share all the while, and all of them together no more than the budget.
#[test]
fn nodes_are_upgraded_one_after_the_other_under_floods() {
    let mut world = World::new(3);
    let _floods: Vec<_> = world.nodes.iter().map(|node| node.flood(FLOOD)).collect();
    each_has_a_third(&world);
    let window = Window::open(&world);
    // A share that nobody renewed in time has ended as it should.
    let is_there = |node: &Node, ends: f64| node.rate() > 0 || clock::now() as f64 / 1e9 >= ends;
    for number in 0..3 {
        let before = world.nodes[number].admitted();
        let ends = until("it has a share", || world.nodes[number].ends());
        world.nodes[number].desk.ok("upgrade");
        assert!(is_there(&world.nodes[number], ends), "there was a gap");
        let ends = until("it has a share", || world.nodes[number].ends());
        world.nodes[number].kill();
        assert!(is_there(&world.nodes[number], ends), "there was a gap");
        world.nodes[number].start();
        until_so("its share is renewed", || {
            let node = &world.nodes[number];
            assert!(is_there(node, ends), "there was a gap");
            node.ends().is_some_and(|now| now > ends + 2.0)
        });
        let node = &world.nodes[number];
        until_so("it admits some", || node.admitted() > before);
        window.check(&world);
    }
    each_has_a_third(&world);
    window.check(&world);
}
