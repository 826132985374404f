//! A router before the front ends of a fleet, which chooses one of them for each flow (ECMP), and a
//! crowd behind it.
//!
//! ```text
//!                                           +-- 10.81.1.1  10.81.1.2 front end 1   10.77.0.1
//!   crowd 10.81.9.2      10.81.9.1 router --+-- 10.81.2.1  10.81.2.2 front end 2   10.77.0.1
//!   10.80.0.x                               +-- 10.81.3.1  10.81.3.2 front end 3   10.77.0.1
//! ```

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::Namespace;
use lab::topology::FRONT_V4;
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::world::Node;

/// Addresses of the crowd.
pub const CLIENTS: u8 = 60;
/// Who has no page by then gives up.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often clients come.
const STEP: Duration = Duration::from_millis(10);

/// The device of a front end towards the router.
pub const DEVICE: &str = "ecmp0";

/// The router, and where the crowd is.
pub struct Router {
    namespace: Namespace,
    pub crowd: Namespace,
}

/// Clients that come until it is dropped.
pub struct Crowd {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// A web server of a front end, whose page is the number of that.
pub struct Server {
    keeps: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Router {
    pub fn new() -> Self {
        let [namespace, crowd] = [(); 2].map(|()| Namespace::new().expect("a namespace"));
        namespace.sysctl("ipv4/ip_forward", "1").expect("it forwards");
        // By ports, so that one source is on all front ends.
        namespace.sysctl("ipv4/fib_multipath_hash_policy", "1").expect("by ports");
        // A router notices that a wire has no other end any more.
        let linkdown = "ipv4/conf/default/ignore_routes_with_linkdown";
        namespace.sysctl(linkdown, "1").expect("it is noticed");
        let router = Self { namespace, crowd };
        router.wire(&router.crowd, 9, "up0");
        let address = |client| format!("address add 10.80.0.{client}/32 dev lo\n");
        let mut batch: String = (1..=CLIENTS).map(address).collect();
        batch.push_str("route add default via 10.81.9.1\n");
        router.crowd.ip_batch(&batch).expect("addresses");
        router
            .namespace
            .ip(&["route", "add", "10.80.0.0/24", "via", "10.81.9.2"])
            .expect("a route");
        router
    }

    /// Lays a wire to a namespace.
    pub fn wire(&self, other: &Namespace, number: usize, device: &str) {
        let name = other.name();
        let near = format!(
            "link add wire{number} type veth peer name {device} netns {name}\n\
             address add 10.81.{number}.1/24 dev wire{number}\nlink set wire{number} up\n"
        );
        self.namespace.ip_batch(&near).expect("a wire");
        let far = format!("address add 10.81.{number}.2/24 dev {device}\nlink set {device} up\n");
        other.ip_batch(&far).expect("its other end");
    }

    /// Sends each flow to one of so many front ends.
    pub fn route(&self, fronts: usize) {
        let hop = |number| format!(" nexthop via 10.81.{number}.2");
        let hops: String = (1..=fronts).map(hop).collect();
        let route = format!("route add {FRONT_V4}/32{hops}\n");
        self.namespace.ip_batch(&route).expect("a route");
    }

    /// A connection of a client of the crowd, and the number of the front end that gave it a page.
    pub fn page(&self, client: u8) -> Result<(TcpStream, usize)> {
        self.crowd.run(move || {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            // A refused attempt is asked again after a second, and after two more.
            for timeout in [Timeout::Send, Timeout::Recv] {
                set_socket_timeout(&socket, timeout, Some(Duration::from_secs(4)))?;
            }
            rustix::net::bind(&socket, &address(client))?;
            rustix::net::connect(&socket, &service())?;
            let (mut stream, mut page) = (TcpStream::from(socket), [0]);
            stream.read_exact(&mut page)?;
            Ok((stream, page[0].into()))
        })
    }
}

/// The wire of a front end is down, or there again with its route.
pub fn plug(node: &Node, number: usize, is_plugged: bool) {
    let front = &node.lab.front;
    if !is_plugged {
        front.ip(&["link", "set", DEVICE, "down"]).expect("it is set");
        return;
    }
    let batch = format!(
        "link set {DEVICE} up\nroute replace 10.80.0.0/24 via 10.81.{number}.1\n\
         route replace 10.81.9.0/24 via 10.81.{number}.1\n"
    );
    front.ip_batch(&batch).expect("it is there again");
}

fn address(client: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 80, 0, client)), 0)
}

fn service() -> SocketAddr {
    SocketAddr::new(FRONT_V4, 80)
}

impl Server {
    /// On a front end of this number, until the process ends.
    pub fn start(node: &Node, number: u8) -> Self {
        let (keeps, open) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default());
        let server = Self { keeps: Arc::clone(&keeps), open: Arc::clone(&open) };
        let bind = || Ok(TcpListener::bind(("::", 80))?);
        let listener = node.lab.front.run(bind).expect("a listener");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // A client that is gone misses its page.
                let is_there = stream.write_all(&[number]).is_ok();
                if is_there && keeps.load(Ordering::Relaxed) {
                    open.lock().expect("no panic").push(stream);
                }
            }
        });
        server
    }

    /// Whether connections stay open after their page from now on.
    pub fn keep(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::Relaxed);
    }

    /// How many connections it keeps.
    pub fn kept(&self) -> usize {
        self.open.lock().expect("no panic").len()
    }
}

impl Crowd {
    /// So many a second come from now on, of all addresses.
    pub fn come(router: &Router, rate: u64) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let thread = router.crowd.spawn("crowd", move || {
            let (start, mut come) = (Instant::now(), 0_u64);
            let mut waiting: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                let due = start.elapsed().as_millis() as u64 * rate / 1000;
                // What this machine had no time for does not come later all at once.
                come = come.max(due.saturating_sub(rate / 20));
                while come < due {
                    come += 1;
                    waiting
                        .push_back((Instant::now(), begin((come % u64::from(CLIENTS)) as u8 + 1)?));
                }
                while waiting.front().is_some_and(|(since, _)| since.elapsed() > PATIENCE) {
                    if let Some((_, socket)) = waiting.pop_front() {
                        // No TIME_WAIT: ports are few.
                        set_socket_linger(&socket, Some(Duration::ZERO))?;
                    }
                }
                std::thread::sleep(STEP);
            }
            Ok(())
        });
        Self { is_over, thread: Some(thread.expect("a thread")) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("a thread").expect("no panic").expect("clients came");
        }
    }
}

fn begin(client: u8) -> Result<OwnedFd> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::NONBLOCK, None)?;
    rustix::net::bind(&socket, &address(client))?;
    match rustix::net::connect(&socket, &service()) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
