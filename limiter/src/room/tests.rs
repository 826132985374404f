//! The room with real connections, of this host: no test depends on how fast anything is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

mod https;
mod root;
mod slow;

/// A time that no test reaches.
const NEVER: Duration = Duration::from_secs(600);
const LONG: Options = Options { connections: 100, head: NEVER, whole: NEVER, linger: NEVER };
const GET: &str = "GET / HTTP/1.1\r\nHost: example.org\r\nAccept: text/html\r\n\r\n";

/// Every client has the same place. Who asked is remembered.
#[derive(Default)]
struct Fixed {
    turn: Option<Turn>,
    asked: Mutex<Vec<(SocketAddr, SocketAddr)>>,
}

impl Places for Fixed {
    fn turn(&self, client: SocketAddr, service: SocketAddr) -> Option<Turn> {
        self.asked.lock().expect("a list").push((client, service));
        self.turn
    }
}

/// A room that serves, and where.
struct Open {
    room: Room,
    places: Arc<Fixed>,
    address: SocketAddr,
}

fn open(options: Options, turn: Option<Turn>, tls: Option<Arc<Tls>>) -> Open {
    let places = Arc::new(Fixed { turn, ..Fixed::default() });
    let pages = Pages::new(Languages::default(), None).expect("pages");
    let room = Room::new(pages, Arc::<Fixed>::clone(&places), options);
    let listener = listener().expect("a listener");
    let address = listener.local_addr().expect("an address");
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let serving = room.clone();
    tokio::spawn(async move { serving.serve(vec![Door { listener, tls }]).await });
    Open { room, places, address }
}

type Tls = tokio_rustls::rustls::ServerConfig;

/// Sends a request and reads until the room closes.
async fn fetch(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer to its end");
    answer
}

/// Waits until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within a minute: {what}"));
}

async fn connect(open: &Open) -> TcpStream {
    TcpStream::connect(open.address).await.expect("connected")
}

#[tokio::test]
async fn a_client_is_told_to_wait() {
    let [waited, wait] = [120, 180].map(Duration::from_secs);
    let turn = Turn { waited, wait: Some(wait), least: Some(wait) };
    let open = open(LONG, Some(turn), None);
    let stream = connect(&open).await;
    let client = stream.local_addr().expect("an address");
    let answer = fetch(stream, GET).await;
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    for line in ["Connection: close", "Cache-Control: no-store", "Content-Language: en"] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    assert_eq!(value("Content-Length: "), Some(page.len().to_string().as_str()));
    assert_eq!(value("Content-Type: "), Some("text/html; charset=utf-8"));
    let again = value("Retry-After: ").expect("a time");
    assert!(page.contains(&format!("<meta http-equiv=refresh content={again}>")), "{page}");
    assert!(page.contains("You have waited for 2 minutes. About 3 minutes to go."), "{page}");
    assert_eq!(*open.places.asked.lock().expect("a list"), [(client, open.address)]);
    until("the connection is closed", || open.room.stats().open == 0).await;
    assert_eq!(open.room.stats(), Stats { pages: 1, ..Stats::default() });
}

#[tokio::test]
async fn languages_and_forms() {
    let open = open(LONG, None, None);
    let ask = async |method: &str, fields: &str| {
        let request = format!("{method} /a HTTP/1.1\r\n{fields}\r\n");
        let answer = fetch(connect(&open).await, &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\nRetry-After: "), "{head}");
        (head.to_owned(), body.to_owned())
    };
    let (head, body) = ask("GET", "Accept-Language: de, fr-CH;q=0.9, en;q=0.5\r\n").await;
    assert!(head.contains("Content-Language: fr"), "{head}");
    assert!(body.contains("<html lang=fr>") && body.contains("Le site est complet"), "{body}");
    let (_, body) = ask("GET", "Accept-Language: de, en;q=0.5\r\n").await;
    assert!(body.contains("<html lang=en>") && body.contains("The site is full"), "{body}");
    let (head, body) = ask("HEAD", "").await;
    assert!(head.contains("Content-Length: ") && body.is_empty(), "{head}{body}");
    let (head, body) = ask("DELETE", "Accept: application/json\r\n").await;
    assert!(head.contains("Content-Type: application/json"), "{head}");
    assert!(body.starts_with("{\"error\":\"full\",\"retry_after\":"), "{body}");
    let (head, body) = ask("POST", "Content-Length: 9000\r\n").await;
    assert!(head.contains("Content-Type: text/plain") && body.lines().count() == 1, "{body}");
}

#[tokio::test]
async fn a_form_that_was_sent_whole_gets_its_answer_without_a_reset() {
    let open = open(LONG, None, None);
    let request = format!("POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n{}", "a".repeat(9000));
    let answer = fetch(connect(&open).await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let open = open(LONG, None, None);
    let mut stream = connect(&open).await;
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n").await.expect("sent");
    // The room closes amid it, and the kernel says so.
    let sent = async { while stream.write_all(&[b'a'; 65_536]).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), sent).await.expect("an end");
    until("the connection is closed", || open.room.stats().open == 0).await;
    assert_eq!(open.room.stats().slow, 0);
}

#[tokio::test]
async fn what_is_no_request_gets_no_answer() {
    let open = open(LONG, None, None);
    for request in ["\x16\x03\x01\x02", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\n"] {
        assert_eq!(fetch(connect(&open).await, request).await, "", "{request:?}");
    }
    assert_eq!(open.room.stats().pages, 0);
}

#[tokio::test]
async fn the_socket_takes_both_families_and_only_this_host_reaches_it() {
    let socket = listener().expect("a listener");
    let address = socket.local_addr().expect("an address");
    assert!(address.is_ipv6() && address.ip().to_canonical().is_loopback(), "{address}");
    // Else the kernel hands it no IPv4 connection (`bpf_sk_lookup_assign`).
    assert!(!sockopt::ipv6_v6only(&socket).expect("an option of IPv6"));
    assert!(listener_of(AddressFamily::INET).expect("one of IPv4").local_addr().is_ok());
}

#[tokio::test]
async fn ipv6_addresses_stay_as_they_are() {
    let listener = TcpListener::bind("[::1]:0").expect("a listener");
    let service = listener.local_addr().expect("an address");
    let open = open(LONG, None, None);
    let room = open.room.clone();
    tokio::spawn(async move { room.serve(vec![Door { listener, tls: None }]).await });
    let stream = TcpStream::connect(service).await.expect("connected");
    let client = stream.local_addr().expect("an address");
    fetch(stream, GET).await;
    assert_eq!(*open.places.asked.lock().expect("a list"), [(client, service)]);
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_closed() {
    let open = open(Options { head: Duration::from_millis(50), ..LONG }, None, None);
    assert_eq!(fetch(connect(&open).await, "GET / HTTP/1.1\r\nHost:").await, "");
    assert_eq!(fetch(connect(&open).await, "").await, "");
    until("both are counted", || open.room.stats().slow == 2).await;
}

#[tokio::test]
async fn a_client_that_never_closes_is_closed() {
    let options = Options { linger: Duration::from_millis(50), ..LONG };
    let open = open(options, None, None);
    let mut stream = connect(&open).await;
    stream.write_all(GET.as_bytes()).await.expect("sent");
    until("the connection is closed", || {
        open.room.stats() == Stats { pages: 1, ..Stats::default() }
    })
    .await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer to its end");
    assert!(answer.ends_with("</html>\n"), "{answer}");
}

#[tokio::test]
async fn the_oldest_makes_place() {
    let open = open(Options { connections: 2, ..LONG }, None, None);
    let mut clients = Vec::new();
    for number in 1..=4 {
        let mut stream = connect(&open).await;
        stream.write_all(b"GET / ").await.expect("sent");
        clients.push(stream);
        until("it is taken", || {
            let stats = open.room.stats();
            stats.open + stats.displaced == number
        })
        .await;
        assert!(open.room.stats().open <= 2);
    }
    assert_eq!(open.room.stats(), Stats { open: 2, displaced: 2, ..Stats::default() });
    let mut rest = clients.split_off(2);
    for mut closed in clients {
        // An end, or a reset where something was unread.
        assert!(matches!(closed.read(&mut [0; 9]).await, Ok(0) | Err(_)));
    }
    let answer = fetch(rest.remove(0), "HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_crowd_is_answered_to_the_last() {
    let open = open(LONG, None, None);
    let address = open.address;
    let clients: Vec<_> = (0..90)
        .map(|_| {
            tokio::spawn(async move {
                fetch(TcpStream::connect(address).await.expect("connected"), GET).await
            })
        })
        .collect();
    for client in clients {
        let answer = client.await.expect("a client");
        assert!(answer.ends_with("</html>\n"), "{answer}");
    }
    assert_eq!(open.room.stats().pages, 90);
}
