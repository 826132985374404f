//! As many slow clients as the limit of open files allows, and one that comes after them.

use std::io::Write as _;
use std::time::Instant;

use rustix::process::{Resource, getrlimit};

use super::*;

/// Files of the test besides connections.
const OTHERS: u64 = 500;
/// Memory that the room may need for each, in bytes. 50,000 are 400 MB then.
const MOST_BYTES: u64 = 8192;

/// Memory of this process, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kilobytes * 1024
}

/// Each has sent half a head and holds on. Both ends are files of this process.
#[tokio::test]
async fn slow_clients_keep_the_page_from_nobody() {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    let count = (files.saturating_sub(OTHERS) / 2).min(u64::from(CONNECTIONS));
    let open = open(Options { connections: count as usize + 100, ..LONG }, None, None);
    let before = memory();
    let mut slow = Vec::with_capacity(count as usize);
    while (slow.len() as u64) < count {
        // Fewer at once than the kernel keeps for the room.
        for _ in 0..256.min(count - slow.len() as u64) {
            let mut stream = std::net::TcpStream::connect(open.address).expect("connected");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").expect("sent");
            slow.push(stream);
        }
        let taken = slow.len() as u64;
        until("all are taken", || open.room.stats().open == taken).await;
    }
    let each = memory().saturating_sub(before) / count;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = fetch(connect(&open).await, GET).await;
        slowest = slowest.max(begun.elapsed());
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("</html>\n"), "{answer}");
    }
    println!("{count} slow clients: {each} bytes each; the slowest page took {slowest:?}");
    let stats = open.room.stats();
    assert_eq!((stats.slow, stats.displaced, stats.pages), (0, 0, 20), "{stats}");
    assert!(each < MOST_BYTES, "{each} bytes for each of {count}");
}
