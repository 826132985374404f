//! `limiter room --adopt`: a real nginx shows the page itself, with four workers that each have a
//! socket of their own (reuseport), through its restart.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::until_so;
use lab::{Desk, Lab, Nginx, Server};
use limiter::kernel::{Maps, room};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::page::{curl, full};
use super::{Front, challenge, decided};

const WORKERS: usize = 4;
/// Both families.
const TAKEN: [(u16, bool); 2] = [(80, false), (80, true)];

/// Four workers that answer everything with 503 and their number.
fn nginx(lab: &Lab, listens: &[&str]) -> Nginx {
    let listens: String = listens.iter().map(|at| format!("listen {at} reuseport;")).collect();
    let http = format!(
        "keepalive_timeout 0; server {{ {listens} \
         location / {{ return 503 'the page of worker $pid.'; }} }}"
    );
    let sockets = WORKERS * listens.matches("listen").count();
    Nginx::start(&lab.front, WORKERS, sockets, |_| http).expect("a server")
}

/// `limiter room --adopt`, ended with this.
struct Adopter(Child);

impl Adopter {
    fn start(desk: &Desk, sockets: &str) -> Self {
        let mut command = desk.command(&format!("room --adopt {sockets}"));
        Self(command.stderr(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Adopter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn taken(maps: &Maps) -> Vec<(u16, bool)> {
    room::taken(maps).expect("the room's map").into_iter().collect()
}

/// Who is refused reads nginx's page, of any of its workers; a restart of nginx closes the room, and
/// it opens by itself. Nothing of it reaches the server. With the kernel's cookies and without, with
/// a socket for each family and with one for both.
#[test]
fn the_page_of_another_server_survives_its_restart() {
    for (cookies, sockets, at) in [
        (false, "127.0.0.1:8080=80 [::1]:8080=80", &["127.0.0.1:8080", "[::1]:8080"][..]),
        (true, "[::]:8080=80", &["[::]:8080 ipv6only=off"][..]),
    ] {
        let policy = full(if cookies { Challenge::Auto } else { Challenge::Off });
        let front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let mut server_of_page = nginx(&front.lab, at);
        let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
        let _adopter = Adopter::start(&desk, sockets);
        until_so("the room is open", || taken(&front.maps) == TAKEN);
        let (v4, v6) = (front.lab.clients_v4(), front.lab.clients_v6());
        for client in &v4[..1] {
            let page = curl(&front, *client, "http", FRONT_V4, "en");
            assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        }
        for round in 0..2 {
            let mut pages = BTreeSet::new();
            for _ in 0..20 {
                for (target, client) in [(FRONT_V4, v4[2 + round]), (FRONT_V6, v6[0])] {
                    let page = curl(&front, client, "http", target, "en");
                    let (head, body) = page.split_once("\r\n\r\n").unwrap_or((&page, ""));
                    let is_nginx = head.starts_with("HTTP/1.1 503") && head.contains("nginx");
                    assert!(is_nginx, "{cookies} {target}: {page}");
                    pages.insert(body.to_owned());
                }
            }
            assert!(pages.iter().all(|page| page.starts_with("the page of worker ")), "{pages:?}");
            assert!(pages.len() > 1, "every worker has its part: {pages:?}");
            drop(server_of_page);
            // The adopter holds nothing open but for the moment of adopting: its server's end closes
            // the room.
            until_so("the room is closed", || taken(&front.maps).is_empty());
            server_of_page = nginx(&front.lab, at);
            until_so("the room is open again", || taken(&front.maps) == TAKEN);
        }
        drop(server_of_page);
        let counters = front.service(0);
        assert_eq!(server.accepted(), 1, "{counters:?}");
        let diverted = if cookies { Reason::DivertedProof } else { Reason::Diverted };
        // More than 80 where the kernel was slow, and a client sent its SYN again.
        assert!(decided(&counters, diverted) >= 80, "{counters:?}");
    }
}

/// A limiter that was unloaded and loaded anew has an empty map and no program: the adopter puts both
/// back.
#[test]
fn it_outlives_a_limiter_that_is_loaded_anew() {
    let front = Front::new(&full(Challenge::Off), Mode::Enforce);
    let bind = || Ok(TcpListener::bind("127.0.0.1:8080")?);
    let _page = front.lab.front.run(bind).expect("a listener");
    let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
    let _adopter = Adopter::start(&desk, "127.0.0.1:8080=80");
    until_so("the room is open", || taken(&front.maps) == TAKEN[..1]);
    desk.ok("detach --all");
    desk.ok("attach crowd0 --service web=*:80 --budget 1/s");
    let maps = Maps::open(&front.pins.root()).expect("maps");
    until_so("the room is open again", || taken(&maps) == TAKEN[..1]);
    let standing = front.lab.front.run(|| Ok(room::standing(&front.pins))).expect("a namespace");
    assert_eq!(standing, room::Standing::Here);
}

/// What cannot be adopted is said at the start, with what to do; and two rooms in one are wrong usage.
#[test]
fn what_cannot_be_adopted_is_said() {
    let front = Front::new(&full(Challenge::Off), Mode::Enforce);
    let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
    let said = |line: &str| {
        let output = desk.output(line);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = said("room --adopt 127.0.0.1:8080=80");
    assert!(code == Some(1) && words.contains("no server listens at 127.0.0.1:8080"), "{words}");
    let at: SocketAddr = "[::]:8080".parse().expect("an address");
    let _page = front.lab.front.run(|| Ok(TcpListener::bind(at)?)).expect("a listener");
    let (code, words) = said("room --adopt 127.0.0.1:8080=80");
    assert!(code == Some(1) && words.contains("one does at [::]:8080"), "{words}");
    let (code, words) = said("room --adopt [::]:8080=80 127.0.0.1:8080=80 0.0.0.0:8080=80");
    assert!(code == Some(2) && words.contains("port 80 has two sockets"), "{words}");
    assert_eq!(taken(&front.maps), []);
}
