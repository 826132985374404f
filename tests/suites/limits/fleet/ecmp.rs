//! A crowd before a router that spreads its flows over all front ends, one of which dies.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lab::wait::{until, until_so};

use super::router::{self, CLIENTS, Crowd, Server};
use super::world::{Plan, World};
use super::{Window, nearly};

/// What the fleet may admit, and what each node may alone: little, so that any machine has a crowd
/// that wants more.
const FEW: u64 = 150;
const FEW_ALONE: u64 = 10;
/// What the crowd wants.
const WANTED: u64 = 450;

/// Flows of one source are on all front ends, by their ports. When one dies, its clients come back
/// by the others, which have its share; the sum is kept, and all is as before when it is back.
#[test]
fn a_crowd_behind_a_router_comes_back_by_the_other_front_ends() {
    let mut world = World::of(&Plan { is_routed: true, alone: FEW_ALONE, ..Plan::of(3) });
    world.nodes[0].desk.ok(&format!("fleet budget web={FEW}/s"));
    let sum = |world: &World| world.nodes.iter().map(|node| node.rate()).sum::<u64>();
    until_so("what is in force is the new budget", || sum(&world) <= FEW);
    let window = Window::of(&world, FEW);
    let start = |(node, number)| Server::start(node, number);
    let servers: Vec<_> = world.nodes.iter().zip(1..).map(start).collect();
    // Connections of one source, until some are on each.
    servers.iter().for_each(|server| server.keep(true));
    let mut open: Vec<(TcpStream, usize)> = Vec::new();
    until_so("one source is on all front ends", || {
        open.extend(world.router().page(1));
        servers.iter().all(|server| server.kept() >= 2)
    });
    servers.iter().for_each(|server| server.keep(false));
    let crowd = Crowd::come(world.router(), WANTED);
    let third = FEW / 3;
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
    let before: Vec<u64> = world.nodes.iter().map(|node| node.admitted()).collect();
    until_so("each admits of the crowd", || {
        world.nodes.iter().zip(&before).all(|(node, before)| node.admitted() > before + third)
    });
    window.check(&world);
    // The third dies, and the router sees that its wire is dead.
    world.nodes[2].kill();
    world.nodes[2].cut(true);
    router::plug(&world.nodes[2], 3, false);
    let half = (FEW - FEW_ALONE) / 2;
    until_so("both others have its share", || {
        world.nodes[..2].iter().all(|node| node.rate() >= nearly(half))
    });
    window.check(&world);
    // Who had a connection with it is told that there is none any more, and does not wait for ever.
    for (stream, _) in open.iter_mut().filter(|(_, front)| *front == 3) {
        until_so("another front end resets it", || is_reset(stream));
    }
    let last = world.nodes[2].admitted();
    let router = world.router();
    std::thread::scope(|scope| {
        for client in 1..=CLIENTS {
            scope.spawn(move || {
                let (_, front) = until("every client has a page", || router.page(client).ok());
                assert_ne!(front, 3, "a page of a dead front end");
            });
        }
    });
    assert_eq!(world.nodes[2].admitted(), last, "a dead front end was asked");
    window.check(&world);
    // It is back.
    router::plug(&world.nodes[2], 3, true);
    world.nodes[2].cut(false);
    world.nodes[2].start();
    until_so("each has a third", || world.nodes.iter().all(|node| node.rate() >= nearly(third)));
    until_so("it admits of the crowd", || world.nodes[2].admitted() > last + third);
    window.check(&world);
    drop(crowd);
}

/// Whether a connection is reset when something is said on it.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("it is set");
    let gone = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    };
    let said = stream.write(b"?");
    said.as_ref().is_err_and(gone) || stream.read(&mut [0]).as_ref().is_err_and(gone)
}
