//! The exporter over real sockets, of a limiter that is not loaded: what it answers does not matter here.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::*;

fn open() -> (Exporter, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let exporter =
        Exporter::open(any, &Pins::at(directory.path().join("limiter")), &Shared::default())
            .expect("it listens");
    (exporter, directory)
}

fn ask(exporter: &Exporter, request: &str) -> String {
    let mut stream = TcpStream::connect(exporter.address).expect("it accepts");
    stream.set_read_timeout(Some(20 * PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end");
    answer
}

fn get(exporter: &Exporter, accept: &str) -> String {
    ask(exporter, &format!("GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\n\r\n"))
}

#[test]
fn both_texts_and_what_else_is_asked() {
    let (exporter, _directory) = open();
    exporter.want(BTreeSet::from(["web0".to_owned()]));
    let classic = get(&exporter, "*/*");
    assert!(
        classic.starts_with("HTTP/1.1 200 OK\r\n")
            && classic.contains("content-type: text/plain; version=0.0.4;")
    );
    assert!(
        classic.contains("\nlimiter_loaded 0\n")
            && classic.contains("\nlimiter_snapshot_success 1\n"),
        "{classic}"
    );
    assert!(classic.contains("\nlimiter_interface_attached{interface=\"web0\"} 0\n"), "{classic}");
    let open = get(&exporter, "application/openmetrics-text;version=1.0.0");
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0;"), "{open}");
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    for (request, status) in [
        ("HEAD /metrics HTTP/1.1\r\nHost: here\r\n\r\n", "200 OK"),
        ("GET /metrics?name=x HTTP/1.1\r\nHost: here\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\nHost: here\r\n\r\n", "404 Not Found"),
        (
            "POST /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nxx",
            "405 Method Not Allowed",
        ),
        ("nonsense\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = ask(&exporter, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
    }
    let long =
        format!("GET /metrics HTTP/1.1\r\nHost: here\r\nX: {}\r\n\r\n", "x".repeat(REQUEST_BYTES));
    let answer = ask(&exporter, &long);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// Sixteen who never ask hold up the others for their few seconds and no longer.
#[test]
fn slow_clients_are_shown_out() {
    let (exporter, _directory) = open();
    let start = Instant::now();
    let connect = |_| {
        let mut stream = TcpStream::connect(exporter.address).expect("it accepts");
        stream.write_all(b"GET /metr").expect("written");
        stream
    };
    let mut slow: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    assert!(get(&exporter, "*/*").contains("limiter_loaded 0"));
    let waited = start.elapsed();
    assert!(waited > PATIENCE / 2, "{waited:?}");
    slow[0].set_read_timeout(Some(20 * PATIENCE)).expect("a timeout");
    assert!(
        !matches!(slow[0].read(&mut [0; 512]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    );
}

#[test]
fn everybody_within_a_second_shares_a_look() {
    let (exporter, directory) = open();
    // Something that looks like a limiter, and is none.
    let other = Pins::at(directory.path().join("limiter")).root();
    loop {
        let start = Instant::now();
        assert!(get(&exporter, "*/*").contains("limiter_loaded 0"));
        std::fs::create_dir_all(&other).expect("a directory");
        let again = get(&exporter, "*/*");
        // Where another process had the CPU for longer, what was seen is old, and this says nothing.
        if start.elapsed() < FRESH {
            assert!(again.contains("limiter_loaded 0"), "what was seen a moment ago");
            break;
        }
        std::fs::remove_dir_all(&other).expect("removed");
        std::thread::sleep(FRESH);
    }
    std::thread::sleep(FRESH + Duration::from_millis(50));
    let anew = get(&exporter, "*/*");
    assert!(
        anew.contains("limiter_loaded 1") && anew.contains("limiter_snapshot_success 0"),
        "{anew}"
    );
}

#[test]
fn a_port_in_use_is_said_at_once() {
    let (exporter, directory) = open();
    let error = Exporter::open(exporter.address, &Pins::at(directory.path()), &Shared::default())
        .expect_err("it is taken");
    let said = format!("{error:#}");
    for words in ["cannot serve metrics on 127.0.0.1:", "another process", "ss -ltnp", "--listen"] {
        assert!(said.contains(words), "{said}: {words}");
    }
}

/// As at boot, when the daemon comes before the network.
#[test]
fn an_address_may_come_later() {
    for address in ["192.0.2.1:0", "[2001:db8::1]:0"] {
        let directory = tempfile::tempdir().expect("a directory");
        Exporter::open(
            address.parse().expect("an address"),
            &Pins::at(directory.path()),
            &Shared::default(),
        )
        .expect("it listens");
    }
}
