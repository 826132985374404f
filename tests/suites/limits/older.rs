//! Many connections that are older than the count, taken over as it begins.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use lab::wait::{PATIENCE, until_so};
use limiter::kernel::open;
use limiter_common::switch::Mode;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::Front;
use super::open::{PORT, counts, dial_for, reset};

/// Ten thousand, of which each is in the count once it has begun.
#[test]
fn ten_thousand_older_connections_are_taken_over() {
    const ALL: usize = 10_000;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many files as this process may have");
    let mut front = Front::new(&counts(), Mode::Enforce);
    front.lab.front.sysctl("core/somaxconn", "20000").expect("it can be set");
    let queue = || {
        let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &SocketAddr::new([0_u16; 8].into(), PORT))?;
        rustix::net::listen(&socket, ALL as i32)?;
        Ok(TcpListener::from(socket))
    };
    let listener = front.lab.front.run(queue).expect("a listener");
    let clients = front.lab.clients_v4();
    let dial = |number: usize| dial_for(clients[number % 100], PATIENCE);
    let dials = || Ok((0..ALL).map(dial).collect::<Vec<_>>());
    let near = front.lab.crowd.run(dials).expect("a namespace");
    let near: Vec<_> = near.into_iter().map(|one| one.expect("a connection")).collect();
    until_so("all to be there", || front.there() == ALL as u64);
    for again in [false, true] {
        let begun = Instant::now();
        let Front { lab, pins, maps, .. } = &mut front;
        let count = || if again { open::renew(pins, maps) } else { open::settle(pins, maps) };
        lab.front.run(count).expect("it begins");
        println!("{ALL} connections taken over in {} ms", begun.elapsed().as_millis());
        assert_eq!(front.counted(), ALL as u64);
    }
    near.into_iter().for_each(reset);
    drop(listener);
    front.until_open(0);
}
