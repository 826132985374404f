//! `limiter room` with real browsers' ways: curl over HTTP and HTTPS, both families, in two languages,
//! through a room that ends and begins again.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::{PATIENCE, until, until_so};
use lab::{Desk, Server};
use limiter::kernel::room::ports;
use limiter::policy::Policy;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::servers::output;
use super::{Front, challenge, decided, limit, policy};

/// One connection, and then one an hour, in line.
pub(super) fn full(challenge: Challenge) -> Policy {
    let mut policy = policy(&["web=*:80,*:443"]);
    policy.services[0].budget = limit(1, 1);
    policy.services[0].budget.rate.period *= 3600;
    policy.services[0].admission.line = true;
    policy.services[0].admission.challenge = challenge;
    policy.services[0].admission.refuse = Refuse::Room;
    policy
}

/// `limiter room`, ended with this.
pub(super) struct Room(Child);

impl Room {
    pub(super) fn start(front: &Front, desk: &Desk) -> Self {
        let made = generate_simple_self_signed(["web".to_owned()]).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        std::fs::write(desk.file("cert.pem"), cert.pem()).expect("written");
        std::fs::write(desk.file("key.pem"), signing_key.serialize_pem()).expect("written");
        let line = "room --http 80 --https 443 --cert cert.pem --key key.pem --user nobody";
        let child = desk.command(line).stderr(Stdio::null()).spawn().expect("it starts");
        let room = Self(child);
        until_so("the room is open", || ports(&front.maps).is_ok_and(|all| all == [80, 443]));
        room
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What curl shows of a page, headers first; nothing if there is no answer.
pub(super) fn curl(
    front: &Front,
    client: IpAddr,
    scheme: &str,
    target: IpAddr,
    language: &str,
) -> String {
    let host = SocketAddr::new(target, if scheme == "https" { 443 } else { 80 });
    let mut curl: Command = front.lab.crowd.command("curl").expect("a namespace");
    curl.args(["-s", "-g", "-k", "-i", "-m", "120", "--interface", &client.to_string()]);
    curl.args(["-H", &format!("Accept-Language: {language}"), &format!("{scheme}://{host}/")]);
    output(curl)
}

/// The client's own end of the last connection is not quite gone.
fn is_taken(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// What a client reads from a port of its own until its server ends the connection: what is left of
/// that is the server's.
async fn read_from(client: SocketAddr, server: SocketAddr) -> std::io::Result<String> {
    let socket = if client.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(client)?;
    let mut stream = socket.connect(server).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

/// The room ends each connection, so what is left of it is there for a minute: who uses its port
/// again, as clients that choose their port by chance do now and then, reads the page too. The
/// kernel makes that connection without a cookie.
#[test]
fn a_port_that_is_used_again_reads_the_page() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for (cookies, challenge) in
        [(false, Challenge::Off), (true, Challenge::Auto), (true, Challenge::Always)]
    {
        let policy = full(challenge);
        let front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
        let _room = Room::start(&front, &desk);
        let (v4, v6) = (front.lab.clients_v4(), front.lab.clients_v6());
        let page = curl(&front, v4[0], "http", FRONT_V4, "en");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        for (target, client) in [(FRONT_V4, v4[1]), (FRONT_V6, v6[0])] {
            for time in 0..3 {
                let (client, target) =
                    (SocketAddr::new(client, 20000), SocketAddr::new(target, 80));
                let which = format!("{cookies} {challenge:?} {target}, time {time}");
                let page = until("the client's port is free", || {
                    let read = async { timeout(PATIENCE, read_from(client, target)).await };
                    let read = || {
                        Ok(runtime.block_on(read).unwrap_or_else(|_| panic!("{which}: no answer")))
                    };
                    match front.lab.crowd.run(read).expect("a namespace") {
                        Err(error) if is_taken(&error) => None,
                        page => Some(page.expect("a page")),
                    }
                });
                assert!(page.starts_with("HTTP/1.1 503"), "{which}: {page}");
            }
        }
        let counters = front.service(0);
        assert_eq!(server.accepted(), 1, "{counters:?}");
        let proven = challenge::kernel(&front, "SyncookiesRecv");
        assert!(proven < if cookies { 7 } else { 1 }, "{proven} by a cookie: {counters:?}");
    }
}

/// The page is there over HTTP and HTTPS, IPv4 and IPv6, with the kernel's cookies and without; it
/// says in the browser's language that its reader waits, and for how long; a room that was killed and
/// started again shows it again, and nothing of it all reaches the server.
#[test]
fn who_waits_reads_the_page() {
    for cookies in [false, true] {
        let policy = full(if cookies { Challenge::Auto } else { Challenge::Off });
        let front = match cookies {
            true => challenge::front(&policy),
            false => Front::new(&policy, Mode::Enforce),
        };
        let server = Server::start(&front.lab).expect("a server");
        // The kernel makes cookies only for a port at which a server listens.
        let bind = || Ok(TcpListener::bind("[::]:443")?);
        let _https = front.lab.front.run(bind).expect("a listener");
        let desk = Desk::over(&front.lab.front, front.pins.base().to_owned()).expect("a desk");
        let (v4, v6) = (front.lab.clients_v4(), front.lab.clients_v6());
        let mut room = Room::start(&front, &desk);
        for client in &v4[..1] {
            let page = curl(&front, *client, "http", FRONT_V4, "en");
            assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        }
        for round in 0..2 {
            for (target, client) in [(FRONT_V4, v4[2 + round]), (FRONT_V6, v6[0])] {
                for (scheme, language, words) in [
                    ("http", "en-GB,en;q=0.5", "You are in line"),
                    ("https", "fr-FR,fr;q=0.9,en;q=0.1", "Vous êtes dans la file d’attente"),
                ] {
                    let page = curl(&front, client, scheme, target, language);
                    let what = format!("{cookies} {target} {scheme}: {page}");
                    assert!(page.starts_with("HTTP/1.1 503"), "{what}");
                    for part in ["retry-after: ", "no-store", words, "http-equiv"] {
                        assert!(page.to_lowercase().contains(&part.to_lowercase()), "{what}");
                    }
                }
            }
            drop(room);
            let status = desk.ok("status");
            assert!(status.contains("CLOSED for ports 80, 443"), "{status}");
            let begun = Instant::now();
            room = Room::start(&front, &desk);
            let page = curl(&front, v4[5], "http", FRONT_V4, "en");
            assert!(page.starts_with("HTTP/1.1 503"), "{page}");
            println!("the page again {} ms after its start", begun.elapsed().as_millis());
            assert!(desk.ok("status").contains("open for ports 80, 443"));
        }
        let counters = front.service(0);
        assert_eq!(server.accepted(), 1, "{counters:?}");
        let diverted = if cookies { Reason::DivertedProof } else { Reason::Diverted };
        // More than 10 where the kernel was slow, and a client sent its SYN again.
        assert!(decided(&counters, diverted) >= 10, "{counters:?}");
    }
}
