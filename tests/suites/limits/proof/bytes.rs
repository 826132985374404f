//! The first bytes of a connection: they arrive, or the connection does not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lab::topology::{FRONT_V4, FRONT_V6};
use lab::{Lab, LabOptions};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};

use super::super::challenge::front_in;
use super::{Front, decided, limit, web};

/// What a client writes: a few bytes of the first, and a little later the second.
const FIRST: &[u8] = b"dog";
const SECOND: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz.END";
/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the server read.
#[derive(Debug, Default)]
struct Read {
    whole: AtomicU64,
    /// Something, but not from the first byte on.
    broken: AtomicU64,
}

/// Reads whole streams and answers each with a byte.
async fn serve(address: SocketAddr, read: Arc<Read>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let read = Arc::clone(&read);
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"END")
                && stream.read_buf(&mut bytes).await.is_ok_and(|length| length > 0)
            {}
            if bytes.ends_with(b"END") {
                let is_whole = bytes.starts_with(b"d") && bytes.len() > SECOND.len();
                let count = if is_whole { &read.whole } else { &read.broken };
                count.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b".").await;
                // Its client closes first.
                let _ = stream.read(&mut [0]).await;
            }
        });
    }
}

/// An ordinary client that does not wait for more before it sends (TCP_NODELAY), as those of Go,
/// Node and Netty.
async fn client(from: IpAddr, server: SocketAddr, number: usize) -> std::io::Result<()> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&FIRST[..1 + number % 3]).await?;
    sleep(Duration::from_millis(6 + number as u64 % 24)).await;
    stream.write_all(SECOND).await?;
    stream.read_exact(&mut [0]).await.map(drop)
}

/// Clients within some seconds, each with an address of its own; how many were answered.
fn clients(lab: &Lab, server: SocketAddr, count: usize, seconds: f64) -> u64 {
    let addresses = if server.is_ipv4() { lab.clients_v4() } else { lab.clients_v6() };
    lab.crowd
        .run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let answered = Arc::new(AtomicU64::new(0));
                let pause = Duration::from_secs_f64(seconds / count as f64);
                let mut tasks = Vec::new();
                let mut clock = tokio::time::interval(pause);
                for (number, from) in addresses.into_iter().cycle().take(count).enumerate() {
                    clock.tick().await;
                    let answered = Arc::clone(&answered);
                    tasks.push(tokio::spawn(async move {
                        if let Ok(Ok(())) = timeout(PATIENCE, client(from, server, number)).await {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }));
                }
                for task in tasks {
                    task.await?;
                }
                Ok(answered.load(Ordering::Relaxed))
            })
        })
        .expect("clients")
}

/// A front end whose budget has a tenth of so many clients at once, and a thirtieth of them more in
/// so many seconds: even if they come ten times as slowly, most have to wait.
fn short(count: usize, seconds: f64, challenge: Challenge, timestamps: &str) -> Front {
    let mut policy = web(challenge);
    let rate = (count as f64 / seconds / 30.0) as u64;
    policy.services[0].budget = limit(rate, count as u64 / 10);
    let lab = Lab::with(LabOptions { clients: count.min(10_000) as u32, ..LabOptions::default() })
        .expect("a lab");
    lab.front.sysctl("ipv4/tcp_timestamps", timestamps).expect("a setting");
    front_in(lab, &policy)
}

fn no_byte_is_lost(
    server: IpAddr,
    count: usize,
    seconds: f64,
    challenge: Challenge,
    timestamps: &str,
) {
    let case = format!("{server}, {challenge:?}, tcp_timestamps {timestamps}");
    let front = short(count, seconds, challenge, timestamps);
    let (address, read) = (SocketAddr::new(server, 80), Arc::new(Read::default()));
    let counts = Arc::clone(&read);
    let (ready, is_ready) = std::sync::mpsc::channel();
    // It ends with the test's process: nobody else has its namespace.
    let serving = front.lab.front.spawn("lab-bytes", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _ = ready.send(());
        runtime.block_on(serve(address, counts))
    });
    let _serving = serving.expect("a server");
    is_ready.recv().expect("a server");
    let answered = clients(&front.lab, address, count, seconds);
    let (whole, broken) = (read.whole.load(Ordering::Relaxed), read.broken.load(Ordering::Relaxed));
    let waited = decided(&front.service(0), Reason::Waiting);
    println!(
        "{case}: {whole} whole, {broken} broken; {answered} of {count} answered, {waited} packets waited"
    );
    assert_eq!(broken, 0, "{case}: of {whole} whole ones");
    assert!(
        whole > count as u64 / 20 && waited > count as u64 / 10,
        "{case}: {whole} whole, {waited} waited"
    );
}

/// Five hundred clients in a second, who write one to three bytes and soon more. Of the streams
/// that come in each begins with its first byte.
#[test]
fn no_stream_lacks_its_first_bytes() {
    for server in [FRONT_V4, FRONT_V6] {
        for (challenge, timestamps) in
            [(Challenge::Always, "1"), (Challenge::Always, "2"), (Challenge::Auto, "1")]
        {
            no_byte_is_lost(server, 500, 1.0, challenge, timestamps);
        }
    }
}

/// The same with ten thousand.
#[test]
fn no_stream_of_ten_thousand_lacks_its_first_bytes() {
    for server in [FRONT_V4, FRONT_V6] {
        no_byte_is_lost(server, 10_000, 10.0, Challenge::Always, "1");
    }
}
