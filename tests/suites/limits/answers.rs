//! An answer to a challenge says what the kernel would have said: MSS, window and scale as route,
//! socket and firewall lower them, for every kind of SYN.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use etherparse::TcpOptionElement::{MaximumSegmentSize, WindowScale};
use lab::frame::flags::{ACK, SYN};
use lab::hand::{Hand, Heard};
use lab::topology::{ATTACK_DEVICE, FRONT_V4, FRONT_V6};
use lab::wait::PATIENCE;
use limiter::kernel::own;
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason;
use limiter_common::switch::Mode;

use super::challenge::{front, web};
use super::{Front, decided};

/// What lowers what the kernel says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lowers {
    Nothing,
    Route(&'static str),
    /// `tcp option maxseg` of nftables.
    Firewall,
    /// An option of the listening socket, and its level.
    Socket(i32, i32, i32),
}

const WAYS: [Lowers; 9] = [
    Lowers::Nothing,
    Lowers::Route("advmss 1220"),
    Lowers::Route("mtu 1280"),
    Lowers::Route("window 32768"),
    Lowers::Firewall,
    Lowers::Socket(libc::IPPROTO_TCP, libc::TCP_MAXSEG, 1200),
    Lowers::Socket(libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, 32_768),
    Lowers::Socket(libc::SOL_SOCKET, libc::SO_RCVBUF, 32_768),
    Lowers::Socket(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096),
];

/// Options of SYNs: of systems that are in use, and odd ones.
const KINDS: [&[u8]; 25] = [
    // Linux: MSS, SACK permitted, timestamp, no operation, window scale.
    &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7],
    // Windows: MSS, no operation, window scale, no operations, SACK permitted.
    &[2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2],
    // macOS: MSS, no operation, window scale, no operations, timestamp, SACK permitted, end.
    &[2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 4, 2, 0, 0],
    &[],
    &[2, 4, 5, 180],
    &[2, 4, 2, 24],
    &[2, 4, 5, 20],
    &[2, 4, 5, 19],
    &[2, 4, 4, 196],
    &[2, 4, 255, 255],
    &[2, 4, 0, 1],
    &[2, 4, 0, 0],
    // The MSS twice, cut off, and with wrong lengths.
    &[2, 4, 5, 180, 2, 4, 2, 24],
    &[1, 1, 2, 4],
    &[2, 0, 5, 180],
    &[2, 3, 5, 180],
    // An end first.
    &[0, 0, 0, 0, 2, 4, 5, 180],
    // Each option alone.
    &[8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 1],
    &[3, 3, 7, 1],
    &[4, 2, 1, 1],
    // With the MSS: a scale beyond the largest; of 0; no SACK; a scale and no timestamp.
    &[2, 4, 5, 180, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 15],
    &[2, 4, 5, 180, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 0],
    &[2, 4, 5, 180, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 1],
    // Nothing but no operations; an option that nobody knows.
    &[1; 40],
    &[2, 4, 5, 180, 254, 6, 1, 2, 3, 4, 1, 1],
];

/// What a SYN-ACK says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Says {
    mss: Option<u16>,
    window: u16,
    scale: Option<u8>,
}

impl Says {
    fn of(heard: &Heard) -> Self {
        let mut header = etherparse::TcpHeader::default();
        header.set_options_raw(&heard.options).expect("whole words");
        let (mut mss, mut scale) = (None, None);
        for option in header.options_iterator() {
            match option.expect("an option") {
                MaximumSegmentSize(bytes) => mss = Some(bytes),
                WindowScale(shift) => scale = Some(shift),
                _ => {}
            }
        }
        Self { mss, window: heard.window, scale }
    }
}

impl Front {
    fn lower(&self, way: Lowers) {
        let nft = |rule: &str| {
            let done = self.lab.front.command("nft").expect("a namespace").arg(rule).status();
            assert!(done.expect("nft runs").success(), "{rule}");
        };
        match way {
            Lowers::Route(metric) => {
                let [v4, v6] = ["10.77.2.2", "fd77:2::2"]
                    .map(|via| format!("route change default via {via} {metric}\n"));
                self.lab.front.ip_batch(&(v4 + &v6)).expect("routes");
            }
            Lowers::Firewall => {
                nft("add table inet clamp");
                nft("add chain inet clamp out { type filter hook output priority mangle; }");
                nft("add rule inet clamp out tcp flags syn tcp option maxseg size set 1220");
            }
            Lowers::Nothing | Lowers::Socket(..) => {}
        }
    }

    fn listen_with(&self, way: Lowers, server: IpAddr) -> TcpListener {
        let listener = self.lab.front.run(|| Ok(TcpListener::bind((server, 80))?));
        let listener = listener.expect("a listener");
        if let Lowers::Socket(level, option, value) = way {
            // SAFETY: the number outlives the call, which reads as many bytes as it has.
            let done = unsafe {
                libc::setsockopt(
                    listener.as_raw_fd(),
                    level,
                    option,
                    (&raw const value).cast(),
                    size_of_val(&value) as libc::socklen_t,
                )
            };
            assert_eq!(done, 0, "{way:?}");
        }
        listener
    }

    fn enforce(&self, mode: Mode) {
        let switch = self.maps.switch().expect("the switch").with_mode(mode);
        self.maps.set_switch(switch).expect("switched");
    }

    /// What is said to every kind of SYN.
    fn said(&self, server: IpAddr, port: u16) -> Vec<Says> {
        let client = if server.is_ipv4() { "11.0.1.1" } else { "2001:db8:5::1" };
        let client = SocketAddr::new(client.parse().expect("one"), port);
        let mut hand = Hand::new(&self.lab, client, (server, 80).into()).expect("a socket");
        let mut ask = |options: &&[u8]| {
            hand.client.set_port(hand.client.port() + 1);
            hand.first += 1 << 20;
            hand.send(&hand.frame(SYN).tcp_options(options)).expect("sent");
            let answer = hand.wait(|heard| heard.flags & (SYN | ACK) == SYN | ACK);
            Says::of(&answer.unwrap_or_else(|error| panic!("{server} {options:?}: {error:#}")))
        };
        KINDS.iter().map(&mut ask).collect()
    }
}

/// With what was seen of the kernel's own SYN-ACKs each answer is as the kernel's; without it, it is
/// not where something lowers them.
#[test]
fn it_says_what_the_kernel_says() {
    for timestamps in ["1", "2"] {
        for way in WAYS {
            let mut front = front(&web(Challenge::Always));
            front.lab.front.sysctl("ipv4/tcp_timestamps", timestamps).expect("it can be set");
            let Front { lab, maps, .. } = &mut front;
            lab.front.run(|| maps.settle_cookies()).expect("the settings can be read");
            front.lower(way);
            for server in [FRONT_V4, FRONT_V6] {
                let _listener = front.listen_with(way, server);
                let before = front.said(server, 10_000);
                front.enforce(Mode::Observe);
                let lab = &front.lab;
                let index = lab.front.run(|| lab::flood::device_index(ATTACK_DEVICE));
                let index = index.expect("the device");
                let (kernels, seen) = std::thread::scope(|scope| {
                    let (opened, open) = std::sync::mpsc::channel();
                    let tap = scope.spawn(move || {
                        lab.front.run(|| {
                            let tap = own::Tap::open(index)?;
                            opened.send(()).expect("the test waits");
                            let until = Instant::now() + PATIENCE;
                            let mut seen = Vec::new();
                            while seen.len() < KINDS.len() {
                                seen.extend(tap.next(until)?);
                            }
                            Ok(seen)
                        })
                    });
                    open.recv().expect("a tap");
                    let kernels = front.said(server, 20_000);
                    (kernels, tap.join().expect("no panic").expect("SYN-ACKs"))
                });
                front.maps.learn_own_answers(&seen, &[FRONT_V4, FRONT_V6].into()).expect("learnt");
                front.enforce(Mode::Enforce);
                let answers = front.said(server, 30_000);
                let mut lowered = false;
                for (kind, (kernel, answer)) in kernels.iter().zip(&answers).enumerate() {
                    let what = format!(
                        "{way:?}, timestamps {timestamps}, {server}, {:?}: the kernel {kernel:?}, \
                         without having seen it {:?}, limiter {answer:?}",
                        KINDS[kind], before[kind]
                    );
                    // A client that offers no room for it is told none.
                    assert!(answer.mss.is_none_or(|mss| Some(mss) == kernel.mss), "{what}");
                    assert!(answer.scale.is_none_or(|scale| Some(scale) == kernel.scale), "{what}");
                    // The kernel's is a multiple of the client's segments: the least is said.
                    assert!(answer.window <= kernel.window, "{what}");
                    assert!(u32::from(answer.window) + 1460 > kernel.window.into(), "{what}");
                    lowered |= before[kind].mss > kernel.mss && kernel.mss.is_some()
                        || before[kind].window > kernel.window
                        || before[kind].scale > kernel.scale && kernel.scale.is_some();
                }
                assert_eq!(lowered, way != Lowers::Nothing, "{way:?} {timestamps} {server}");
            }
            let counters = front.service(0);
            let expected = KINDS.len() as u64 * 4;
            assert_eq!(decided(&counters, Reason::Challenged), expected, "{counters:?}");
        }
    }
}

/// The policy has the last word, where it says less.
#[test]
fn it_says_no_more_than_the_policy() {
    for (stated, offered) in [(1000, 1000), (0, 1460), (8960, 1460)] {
        let mut policy = web(Challenge::Always);
        policy.services[0].admission.mss = stated;
        let front = front(&policy);
        let _listener = front.listen_with(Lowers::Nothing, FRONT_V4);
        let said = front.said(FRONT_V4, 10_000);
        let offers = said.iter().filter_map(|says| says.mss).collect::<Vec<_>>();
        assert!(offers.len() > 20 && offers.iter().all(|mss| *mss == offered), "{said:?}");
    }
}
