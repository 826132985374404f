//! A server that is behind when limits come into force: its accept queue is full, or it answers
//! late.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lab::wait::until_so;
use limiter::kernel::listener::asked;
use limiter::kernel::{Maps, Pins, clock};
use limiter_common::record::HOST_BUDGET;
use limiter_common::share::Share;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use super::Desk;

const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 80);

/// One that listens with so much room in its accept queue.
fn server(desk: &Desk, room: i32) -> TcpListener {
    let listener = || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &AT)?;
        listen(&socket, room)?;
        Ok(TcpListener::from(socket))
    };
    desk.front.run(listener).expect("a listener")
}

/// Arms, and gives the share that is in force then, and a look at it.
fn armed(desk: &Desk, says: &str) -> (Share, impl Fn() -> Share) {
    let armed = desk.output("arm");
    let said = String::from_utf8_lossy(&armed.stderr);
    assert!(said.contains(says), "{said}");
    let maps = Maps::open(&Pins::at(desk.pins()).root()).expect("the maps");
    let share = move || maps.share(HOST_BUDGET).expect("the share of the host's budget");
    (share(), share)
}

/// A part of the budget is in force from `arm` on, for as long as the server does not accept, and
/// the whole of it once it has.
#[test]
fn a_part_of_the_budget_is_let_in_until_the_queue_is_empty() {
    const ROOM: i32 = 8;
    let desk = Desk::new();
    desk.ok("attach web0 --service web=*:80 --budget 100/s");
    let server = server(&desk, ROOM);
    let connect = || (0..=ROOM).map(|_| Ok(TcpStream::connect(AT)?)).collect();
    let waiting: Vec<_> = desk.front.run(connect).expect("connections that nobody accepts");
    let (first, share) = armed(&desk, "the accept queue of web is full (9 of 8)");
    assert_eq!(first.interval(0, 0), 16 * 10_000_000 - 1, "a sixteenth of 100/s");
    until_so("it is renewed twice", || share().ends() > first.ends() + 2_000_000_000);
    for _ in &waiting {
        server.accept().expect("a connection");
    }
    until_so("it is over", || share() == Share::NONE);
    desk.ok("detach --all");
    let pins = Pins::at(desk.pins());
    until_so("its process too", || !pins.has_settler());
}

/// The same before a server that accepts at once, and whose clients have no answer.
#[test]
fn a_part_of_the_budget_is_let_in_until_answers_come() {
    const CLIENTS: usize = 40;
    let desk = Desk::new();
    desk.ok("attach web0 --service web=*:80 --budget 10/s");
    let server = server(&desk, 128);
    let ask = || {
        let mut client = TcpStream::connect(AT)?;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        Ok((client, server.accept()?.0))
    };
    let all = || (0..CLIENTS).map(|_| ask()).collect();
    let mut asked_all: Vec<_> = desk.front.run(all).expect("clients that were accepted");
    let half_waits = || {
        let waits = desk.front.run(|| asked(80, 100)).expect("sock_diag answers");
        let late = waits.iter().filter(|one| one.waits >= Duration::from_millis(500));
        waits.len() == CLIENTS && late.count() > CLIENTS / 2
    };
    until_so("they wait", half_waits);
    let began = Instant::now();
    let (first, share) = armed(&desk, "web answers late: 40 clients wait, half of them for");
    assert_eq!(first.interval(0, 0), 4 * 100_000_000 - 1, "a quarter of 10/s");
    until_so("it is renewed twice", || share().ends() > first.ends() + 2_000_000_000);
    for (_, socket) in &mut asked_all {
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\n").expect("an answer");
    }
    // By time it would end 20 s after it began, and leave another word.
    let in_time = began.elapsed() < Duration::from_secs(15);
    until_so("it is over", || share() == Share::NONE || !in_time && share().ends() < clock::now());
}
