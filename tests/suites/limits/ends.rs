//! Many connections, ended in every way at random: at random moments the count is what the kernel
//! says, of sock_diag, and after the last it is 0.
//!
//! `LIMITER_OPEN_CONNECTIONS` says how many.

use std::io::Write as _;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use fastrand::Rng;
use lab::topology::FRONT_V4;
use lab::wait::until_so;
use limiter::kernel::{listener, open};
use limiter_common::switch::Mode;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport, set_tcp_user_timeout};
use rustix::net::{AddressFamily, SocketType, ipproto};

use super::open::{dial, reset};
use super::{Front, policy};

/// Ports of listeners: two that share it; one whose process dies; one of MPTCP; one whose clients
/// fall silent.
const SHARED: u16 = 80;
const DYING: u16 = 81;
const MULTIPATH: u16 = 82;
const SILENT: u16 = 83;
/// Connections that fit in the queue of the one that dies: the kernel takes one more than that.
const QUEUE: i32 = 10;
const CHECKPOINTS: u64 = 100;
const WORKERS: usize = 6;

fn listen(
    port: u16,
    protocol: Option<rustix::net::Protocol>,
    queue: i32,
) -> std::io::Result<TcpListener> {
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, protocol)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, port == SHARED)?;
    let address = SocketAddr::new([0_u16; 8].into(), port);
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, queue)?;
    Ok(TcpListener::from(socket))
}

/// A connection from a port of the client's own, which the last one had, too.
fn dial_again(client: IpAddr, to: u16, multipath: bool) -> std::io::Result<TcpStream> {
    let protocol = multipath.then_some(ipproto::MPTCP);
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, protocol)?;
    set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::new(client, if multipath { 0 } else { 40_000 }))?;
    rustix::net::connect(&socket, &SocketAddr::new(FRONT_V4, to))?;
    Ok(TcpStream::from(socket))
}

/// Ends a connection somehow, or leaves it half open for its other end.
fn end(random: &mut Rng, stream: TcpStream) {
    match random.u8(..3) {
        0 => drop(stream),
        1 => reset(stream),
        _ => {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Ends all but so many, those at random.
fn thin(random: &mut Rng, kept: &mut Vec<TcpStream>, most: usize) {
    while kept.len() > most {
        let one = kept.swap_remove(random.usize(..kept.len()));
        end(random, one);
    }
}

impl Front {
    /// What the kernel says is open to the service.
    fn held(&self) -> u64 {
        let connections = self.lab.front.run(listener::connections).expect("sock_diag answers");
        let ports = [SHARED, DYING, MULTIPATH, SILENT];
        connections.iter().filter(|one| ports.contains(&one.local.port())).count() as u64
    }

    /// Connections, opened one after another by a client.
    fn dial_all(&self, client: IpAddr, to: u16, count: i32) -> Vec<TcpStream> {
        let all = || (0..count).map(|_| dial_from(client, to)).collect::<std::io::Result<_>>();
        self.lab.crowd.run(|| Ok(all()?)).expect("the accept queue has room")
    }

    /// A process with a listener and a full queue, which is killed.
    fn kill_a_server(&self, client: IpAddr) -> u64 {
        let listener = self.lab.front.run(|| Ok(listen(DYING, None, QUEUE)?)).expect("a listener");
        let mut holder = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("sleep runs");
        let queued = self.dial_all(client, DYING, QUEUE + 1);
        until_so("the queue is full", || {
            let all = self.lab.front.run(listener::all).expect("sock_diag answers");
            all.iter().any(|one| one.address.port() == DYING && one.waiting as i32 > QUEUE)
        });
        holder.kill().expect("it is there");
        holder.wait().expect("it ends");
        queued.len() as u64
    }

    /// Connections whose client is not heard of any more, until their server gives up.
    fn fall_silent(&self, client: IpAddr) -> u64 {
        let listener = self.lab.front.run(|| Ok(listen(SILENT, None, 200)?)).expect("a listener");
        let near = self.dial_all(client, SILENT, 10);
        let mut far: Vec<_> =
            near.iter().map(|_| listener.accept().expect("it is accepted").0).collect();
        let route = format!("blackhole {client}");
        self.lab.front.ip_batch(&format!("route add {route}\n")).expect("a route");
        for stream in &mut far {
            set_tcp_user_timeout(&*stream, 300).expect("it can be set");
            stream.write_all(b"anybody?").expect("the kernel takes it");
        }
        // The servers hold their ends; it is the kernel that gives up.
        let gone = || {
            let connections = self.lab.front.run(listener::connections).expect("sock_diag answers");
            !connections.iter().any(|one| one.local.port() == SILENT)
        };
        until_so("the kernel gives up", gone);
        self.lab.front.ip_batch(&format!("route del {route}\n")).expect("the route goes");
        far.len() as u64
    }
}

fn dial_from(client: IpAddr, to: u16) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(client, 0))?;
    rustix::net::connect(&socket, &SocketAddr::new(FRONT_V4, to))?;
    Ok(TcpStream::from(socket))
}

#[test]
fn the_count_is_the_kernels_at_random_moments() {
    let all: u64 = std::env::var("LIMITER_OPEN_CONNECTIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000);
    let mut random = Rng::with_seed(0x0b5e_55ed);
    let mut policy = policy(&["web=*:80,*:81,*:82,*:83"]);
    policy.open_budget = 1_000_000;
    let mut front = Front::new(&policy, Mode::Enforce);
    front.count();
    let shared = [0, 1].map(|_| front.lab.front.run(|| Ok(listen(SHARED, None, 200)?)));
    let shared = shared.map(|one| one.expect("a listener"));
    let multipath = front.lab.front.run(|| Ok(listen(MULTIPATH, Some(ipproto::MPTCP), 200)?)).ok();
    let clients = front.lab.clients_v4();
    // Who makes or ends a connection holds it; at a checkpoint nobody does.
    let gate = RwLock::new(());
    let (ends, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let far = Mutex::new(Vec::new());
    let crowd = front.lab.crowd.another().expect("the namespace again");
    let start = Instant::now();
    let (mut most, mut killed, mut silent) = (0, 0, 0);
    std::thread::scope(|scope| {
        let (ends, made, gate, far, crowd) = (&ends, &made, &gate, &far, &crowd);
        for listener in shared.iter().chain(&multipath) {
            listener.set_nonblocking(true).expect("it can be set");
            let mut random = random.fork();
            scope.spawn(move || {
                while !ends.load(Ordering::SeqCst) {
                    let stream = listener.accept().ok().map(|(stream, _)| stream);
                    if stream.is_none() {
                        std::thread::yield_now();
                    }
                    let mut far = far.lock().expect("nobody panicked");
                    far.extend(stream);
                    // It accepts at a checkpoint, too, which changes no count: a client that has its
                    // turn may wait for room in this queue.
                    if let Ok(_turn) = gate.try_read() {
                        thin(&mut random, &mut far, 120);
                    }
                }
            });
        }
        for (worker, client) in clients.iter().copied().take(WORKERS).enumerate() {
            let mut random = random.fork();
            let is_multipath = worker == 0 && multipath.is_some();
            scope.spawn(move || {
                let load = || {
                    let mut kept = Vec::new();
                    while !ends.load(Ordering::SeqCst) {
                        let _turn = gate.read().expect("nobody panicked");
                        let one = match worker {
                            0 if is_multipath => dial_again(client, MULTIPATH, true),
                            1 => dial_again(client, SHARED, false),
                            _ => dial(client),
                        };
                        match one {
                            // The next one comes from this port.
                            Ok(one) if worker == 1 => end(&mut random, one),
                            Ok(one) => kept.push(one),
                            Err(_) => continue,
                        }
                        made.fetch_add(1, Ordering::SeqCst);
                        thin(&mut random, &mut kept, 30);
                    }
                    Ok(())
                };
                crowd.run(load).expect("a namespace");
            });
        }
        for checkpoint in 1..=CHECKPOINTS {
            let until = all * checkpoint / CHECKPOINTS;
            let until = until.saturating_sub(random.u64(..1 + all / CHECKPOINTS / 2));
            let mut seen = made.load(Ordering::SeqCst);
            while seen < until {
                until_so("one more connection", || made.load(Ordering::SeqCst) > seen);
                seen = made.load(Ordering::SeqCst);
            }
            let _all = gate.write().expect("nobody panicked");
            let cookies = ["1", "2", "0"][checkpoint as usize % 3];
            front.lab.front.sysctl("ipv4/tcp_syncookies", cookies).expect("it can be set");
            match checkpoint % 10 {
                0 => killed += front.kill_a_server(clients[20]),
                5 => silent += front.fall_silent(clients[21]),
                _ => {}
            }
            let seen = || (front.held(), open::state(&front.maps).expect("a count").open);
            until_so("the count that the kernel has", || {
                let (held, counted) = seen();
                most = most.max(held);
                held == counted
            });
        }
        ends.store(true, Ordering::SeqCst);
    });
    println!(
        "{} connections in {:.0} s, {killed} in the queues of killed servers and {silent} timed out, at \
         most {most} at once; {CHECKPOINTS} checkpoints; MPTCP: {}",
        made.load(Ordering::SeqCst),
        start.elapsed().as_secs_f64(),
        multipath.is_some()
    );
    drop((shared, multipath, far));
    until_so("none to be left", || {
        (front.held(), open::state(&front.maps).expect("a count").open) == (0, 0)
    });
}
