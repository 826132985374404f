//! A server whose accept queue is full when limits come into force.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use lab::wait::until_so;
use limiter::kernel::{Maps, Pins};
use limiter_common::record::HOST_BUDGET;
use limiter_common::share::Share;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use super::Desk;

/// A part of the budget is in force from `arm` on, for as long as the server does not accept, and
/// the whole of it once it has.
#[test]
fn a_part_of_the_budget_is_let_in_until_the_queue_is_empty() {
    const ROOM: i32 = 8;
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
    let desk = Desk::new();
    desk.ok("attach web0 --service web=*:80 --budget 100/s");
    let listener = || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &at)?;
        listen(&socket, ROOM)?;
        Ok(TcpListener::from(socket))
    };
    let server = desk.front.run(listener).expect("a listener");
    let connect = || (0..=ROOM).map(|_| Ok(TcpStream::connect(at)?)).collect();
    let waiting: Vec<_> = desk.front.run(connect).expect("connections that nobody accepts");
    let armed = desk.output("arm");
    let said = String::from_utf8_lossy(&armed.stderr);
    assert!(said.contains("the accept queue of web is filling up (9 of 8)"), "{said}");
    let pins = Pins::at(desk.pins());
    let maps = Maps::open(&pins.root()).expect("the maps");
    let share = || maps.share(HOST_BUDGET).expect("the share of the host's budget");
    let first = share();
    assert_eq!(first.interval(0, 0), 16 * 10_000_000 - 1, "a sixteenth of 100/s");
    until_so("it is renewed twice", || share().ends() > first.ends() + 2_000_000_000);
    for _ in &waiting {
        server.accept().expect("a connection");
    }
    until_so("it is over", || share() == Share::NONE);
    desk.ok("detach --all");
    until_so("its process too", || !pins.has_settler());
}
