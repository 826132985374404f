//! Challenged connections of clients that do more than connect: nginx, curl and wrk, and data in the SYN.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener};

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::wait::PATIENCE;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;

use super::challenge::{front, netstat, web};
use super::decided;
use super::servers::{nginx, output};

/// wrk and curl through the challenge.
#[test]
fn nginx_serves_curl_and_wrk_through_the_challenge() {
    let front = front(&web(Challenge::Always));
    let _nginx = nginx(&front.lab);
    let challenged = || decided(&front.service(0), Reason::Challenged);
    let mut wrk = front.lab.crowd.command("wrk").expect("a namespace");
    wrk.args(["-t1", "-c50", "-d2s", "--timeout", "60s", &format!("http://{FRONT_V4}/")]);
    let report = output(wrk);
    assert!(report.contains("requests in") && !report.contains("Socket errors"), "{report}");
    let first = front.sent_again();
    assert!((50..=58 + first).contains(&challenged()), "{} of 50", challenged());
    let before = challenged();
    for host in [FRONT_V4.to_string(), format!("[{FRONT_V6}]")] {
        let mut curl = front.lab.crowd.command("curl").expect("a namespace");
        curl.args(["-s", "-g", "-m", "120", "-w", " %{http_code}", &format!("http://{host}/")]);
        let page = output(curl);
        assert!(page.ends_with(" 200") && page.len() == 1004, "{page}");
    }
    let again = front.sent_again() - first;
    assert!((2..=2 + again).contains(&(challenged() - before)), "{} of 2", challenged() - before);
    let counters = front.service(0);
    assert_eq!(decided(&counters, Reason::BadCookie), 0, "{counters:?}");
    assert_eq!(decided(&counters, Reason::Waiting), 0, "{counters:?}");
}

/// A client that sends data with its SYN (TCP Fast Open, RFC 7413, without a cookie from the server) is answered for the SYN alone, and
/// sends its data again: it arrives once, and whole.
#[test]
fn data_in_the_syn_arrives_once() {
    const SENT: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    const SERVER_AND_CLIENT_WITHOUT_COOKIE: &str = "1543";
    for (server, v6) in [(FRONT_V4, false), (FRONT_V6, true)] {
        let front = front(&web(Challenge::Always));
        for side in [&front.lab.front, &front.lab.crowd] {
            side.sysctl("ipv4/tcp_fastopen", SERVER_AND_CLIENT_WITHOUT_COOKIE).expect("a setting");
        }
        let address = SocketAddr::new(server, 80);
        let listener = front.lab.front.run(|| Ok(TcpListener::bind(address)?)).expect("a listener");
        let client = if v6 { front.lab.clients_v6()[0] } else { front.lab.clients_v4()[0] };
        let _client = front.lab.crowd.run(|| Ok(fast_open(client, address, SENT))).expect("sent");
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut received = vec![0; SENT.len()];
        stream.read_exact(&mut received).expect("all of it");
        assert_eq!(received, SENT);
        stream.set_nonblocking(true).expect("not blocking");
        let more = stream.read(&mut received).expect_err("nothing more").kind();
        assert_eq!(more, std::io::ErrorKind::WouldBlock);
        // The client counts the data that its SYN carried and nobody took.
        assert_eq!(netstat(&front.lab.crowd, "TCPFastOpenActiveFail"), 1);
        let counters = front.service(0);
        assert_eq!(
            (decided(&counters, Reason::Challenged), decided(&counters, Reason::Proven)),
            (1, 1),
            "{counters:?}"
        );
    }
}

/// Connects and sends in one call.
fn fast_open(client: IpAddr, server: SocketAddr, data: &[u8]) -> rustix::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, socket};
    let family = if client.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::new(client, 0)).expect("bound");
    let flags = rustix::net::SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
    let sent = rustix::net::sendto(&socket, data, flags, &server).expect("sent");
    assert_eq!(sent, data.len());
    socket
}
