//! One cookie, used again: after TIME_WAIT, at a socket that the driver's look does not find, from
//! a port that was used before.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lab::frame::flags::{ACK, FIN, RST, SYN};
use lab::topology::FRONT_V4;
use limiter_common::challenge::Challenge;

use super::{
    BURST, Front, Keeper, PAIRS, agree_within_limit, all_paid, fence, front, hand, kernel, strict,
    until_so, web,
};

/// Longer than what comes right behind an ACK is let in for.
const PAUSE: Duration = Duration::from_millis(140);

/// A connection that the server closed leaves TIME_WAIT, and a SYN that meets it opens another
/// without a cookie. The first one's cookie is still good.
#[test]
fn a_port_is_used_again_after_time_wait_and_each_connection_is_charged() {
    const ROUNDS: u64 = 5;
    let front = strict(Challenge::Auto);
    let listener =
        front.lab.front.run(|| Ok(TcpListener::bind((FRONT_V4, 80))?)).expect("a listener");
    let accepted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            counter.fetch_add(1, Ordering::Relaxed);
            // It has all that came before it closes: no reset.
            std::thread::spawn(move || {
                stream.read(&mut [0; 4]).and_then(|_| stream.write_all(b"bye"))
            });
        }
    });
    let mut hand = hand(&front, PAIRS[0].0, 40_000, FRONT_V4);
    let mut seen = 0;
    for round in 0..ROUNDS {
        if hand.ask().is_err() {
            break;
        }
        let old = hand.frame(ACK);
        hand.send(&old).expect("sent");
        hand.send(&hand.frame(ACK).payload(b"ping")).expect("sent");
        let Ok(end) = hand.wait(|heard| heard.flags & FIN != 0 && heard.source.port() == 80) else {
            break;
        };
        seen += 1;
        let (next, theirs) =
            (hand.first.wrapping_add(5), end.sequence.wrapping_add(end.length + 1));
        hand.send(&hand.frame(ACK | FIN).numbers(next, theirs)).expect("sent");
        until_so("TIME_WAIT", || waiting(&front) > 0);
        // Another connection, which TIME_WAIT makes without a cookie.
        let cookie = hand.cookie;
        hand.send(&hand.frame(SYN).numbers(hand.first.wrapping_add(0x10_0000), 0)).expect("sent");
        let Ok(answer) = hand.wait(|heard| heard.flags == SYN | ACK && heard.sequence != cookie)
        else {
            break;
        };
        let begins = answer.acknowledgment;
        hand.send(&hand.frame(ACK).numbers(begins, answer.sequence.wrapping_add(1))).expect("sent");
        seen += 1;
        until_so("a connection of TIME_WAIT", || accepted.load(Ordering::Relaxed) >= seen);
        hand.send(&hand.frame(RST).numbers(begins, 0)).expect("sent");
        std::thread::sleep(PAUSE);
        hand.send(&old).expect("sent");
        hand.send(&hand.frame(RST)).expect("sent");
        hand.first = hand.first.wrapping_add(0x20_0000 * round as u32);
        seen = accepted.load(Ordering::Relaxed);
    }
    let accepted = accepted.load(Ordering::Relaxed);
    println!(
        "{accepted} connections; {} cookies taken; {:?}",
        kernel(&front, "SyncookiesRecv"),
        front.service(0)
    );
    assert!((2..=BURST).contains(&accepted), "{accepted} connections: {:?}", front.service(0));
}

/// Sockets in TIME_WAIT.
fn waiting(front: &Front) -> u64 {
    let text = front
        .lab
        .front
        .run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/sockstat")?))
        .expect("sockets");
    let line = text.lines().find(|line| line.starts_with("TCP:")).expect("TCP");
    let mut words = line.split_whitespace().skip_while(|word| *word != "tw").skip(1);
    words.next().expect("a number").parse().expect("a number")
}

/// A listening socket that is bound to a bridge takes packets that come in on the bridge's port,
/// where limiter is. The look from there does not find it.
#[test]
fn a_cookie_for_a_socket_of_another_device_is_charged() {
    const REPLAYS: usize = 20;
    for challenge in [Challenge::Always, Challenge::Auto] {
        let front = strict(challenge);
        super::elsewhere::bridge(&front);
        let listener = front.lab.front.run(|| Ok(bound_to("br0"))).expect("a listener");
        let keeper = Keeper::on([listener], |stream, kept| kept.push(stream));
        let mut hand = hand(&front, PAIRS[0].0, 40_000, FRONT_V4);
        hand.ask().expect("a SYN-ACK");
        for _ in 0..REPLAYS {
            hand.send(&hand.frame(ACK)).expect("sent");
            hand.send(&hand.frame(RST)).expect("sent");
            std::thread::sleep(PAUSE);
        }
        let strangers = fence(&front, &keeper, FRONT_V4);
        agree_within_limit(&front, &keeper, strangers, &format!("{challenge:?}"));
    }
}

/// A listening socket for one device.
fn bound_to(device: &str) -> TcpListener {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    use std::os::fd::AsRawFd as _;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    // SAFETY: the name is as long as said and outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            device.as_ptr().cast(),
            device.len() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "bound to {device}");
    bind(&socket, &"0.0.0.0:80".parse::<std::net::SocketAddr>().expect("a place")).expect("bound");
    listen(&socket, 1024).expect("it listens");
    TcpListener::from(socket)
}

/// The cookie of a connection whose client is gone is used from the other CPU, and beside a new
/// connection from its port.
#[test]
fn a_port_that_is_used_again_on_another_cpu_is_charged_each_time() {
    for (client, server) in PAIRS {
        let front = front(&web(Challenge::Always));
        let keeper = Keeper::start(&front.lab);
        let mut hand = hand(&front, client, 40_000, server);
        for round in 0..8 {
            let (old, old_end) = (hand.frame(ACK), hand.frame(RST));
            super::on_cpu(round % 2, || hand.connect()).expect("a SYN-ACK");
            let end = hand.frame(RST);
            super::on_cpu((round + 1) % 2, || {
                hand.send(&end)?;
                hand.send(&hand.frame(ACK))?;
                hand.send(&end)?;
                hand.send(&old)?;
                hand.send(&old_end)
            })
            .expect("sent");
            std::thread::sleep(PAUSE);
        }
        fence(&front, &keeper, server);
        all_paid(&front, &keeper, client);
        assert!(keeper.accepted() > 20, "{client}: {} connections", keeper.accepted());
    }
}
