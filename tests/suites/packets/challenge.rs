//! The challenge one frame at a time: what is answered, which ACKs are taken, and what is charged. In a namespace with a listening socket,
//! because the cookies are the kernel's own.

mod calm;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use aya::maps::{Array, MapData};
use aya::programs::{TestRun as _, TestRunOptions};
use lab::frame::Extension;
use lab::frame::flags::{ACK, SYN};
use lab::wait::{until, until_so};
use lab::{Frame, Namespace, raw};
use limiter::policy::{Admission, Policy};
use limiter_common::challenge::{self, Challenge};
use limiter_common::names;
use limiter_common::reason::Reason::{self, *};
use limiter_common::record::{HOST_BUDGET, Kernel};
use limiter_common::switch::Mode;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, limit, policy, syn};

const TX: u32 = 3;
/// Words of a challenge's line: until when it is on, and until when ACKs are looked at.
const ON_UNTIL: usize = 0;
const CHECK_UNTIL: usize = 1;
const SERVER: &str = "127.0.0.1:80";
const SERVER_V6: &str = "[::1]:80";

fn challenged() -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission = Admission { challenge: Challenge::Always, ..Admission::usual() };
    policy
}

/// Less than an ACK is remembered, by whichever ticks of the clock.
const MOMENT: Duration = Duration::from_millis(50);

/// Runs `work` again and again until it took no longer than a moment: on a busy machine another process may have the CPU for longer.
/// What it did in that moment is returned, to be looked at.
fn in_a_moment<T>(mut work: impl FnMut() -> (Duration, T)) -> T {
    until("a moment without others", || {
        let (took, done) = work();
        (took < MOMENT).then_some(done)
    })
}

/// Runs `work` in a namespace of its own, whose kernel makes cookies, with sockets that listen on port 80; on one CPU, as the packets of
/// one flow are.
fn with_listener(work: impl FnOnce() + Send) {
    let namespace = Namespace::new().expect("a namespace");
    namespace.ip(&["link", "set", "lo", "up"]).expect("up");
    namespace.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    namespace
        .run(|| {
            let _v4 = TcpListener::bind("0.0.0.0:80")?;
            let _v6 = TcpListener::bind("[::1]:80")?;
            let mut cpu = CpuSet::new();
            cpu.set(sched_getcpu());
            sched_setaffinity(None, &cpu)?;
            work();
            Ok(())
        })
        .expect("a test");
}

/// Tells the programs what user space would: the kernel answers what passes with a cookie. Else nothing is kept for tickets.
fn makes_cookies(judge: &mut Judge) {
    let kernels = judge.ebpf_mut().map_mut(names::KERNEL).expect("the kernel's settings");
    let mut kernels: Array<_, [u32; 6]> = kernels.try_into().expect("an array");
    let mut kernel = kernels.get(&0, 0).expect("a record");
    kernel[std::mem::offset_of!(Kernel, cookies) / 4] = Kernel::MAKES_COOKIES;
    kernels.set(0, kernel, 0).expect("written");
}

/// A socket that listens, and whose accept queue is full with one connection.
fn room_for_one(place: &str) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &place.parse::<SocketAddr>().expect("a place")).expect("bound");
    listen(&socket, 0).expect("it listens");
    socket
}

/// Connections in the accept queue of an IPv4 socket that listens on a port.
fn queued(port: u16) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("sockets");
    let mut sockets = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (place, listens) = (format!(":{port:04X}"), "0A");
    let socket = sockets.find(|fields| fields[1].ends_with(&place) && fields[3] == listens).expect("it listens");
    let (_, waiting) = socket[4].split_once(':').expect("two queues");
    u64::from_str_radix(waiting, 16).expect("a number")
}

/// A socket that listens on a port which others have too.
fn shared(place: &str) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseport(&socket, true).expect("shared");
    bind(&socket, &place.parse::<SocketAddr>().expect("a place")).expect("bound");
    listen(&socket, 64).expect("it listens");
    socket
}

impl Judge {
    /// The action, and the frame as the program left it.
    fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.program().test_run(options).expect("a test run");
        let length = result.data_size_out as usize;
        out.truncate(length);
        (result.return_value, out)
    }

    /// Challenges a SYN and returns the cookie.
    #[track_caller]
    fn cookie(&self, frame: &Frame) -> u32 {
        let (action, answer) = self.run(&frame.build());
        assert_eq!(action, TX);
        let at = frame.transport_offset();
        assert_eq!(answer[at + 13], SYN | ACK);
        u32::from_be_bytes(answer[at + 4..at + 8].try_into().expect("four bytes"))
    }

    fn count(&self, reason: Reason) -> u64 {
        self.counters()[1].decided[reason as usize]
    }

    /// The actions, and how long they took.
    fn actions<const N: usize>(&self, frames: &[Vec<u8>; N]) -> (Duration, [u32; N]) {
        let start = Instant::now();
        let actions = frames.each_ref().map(|frame| self.action(frame));
        (start.elapsed(), actions)
    }

    /// As if the moment were over in which what comes right behind an ACK is let in.
    fn forget(&self) {
        let map = MapData::from_pin(self.bpffs.path().join(names::RECENT)).expect("a map");
        let bytes = raw::value_size(&map).expect("a size") * map.info().expect("a description").max_entries() as usize;
        raw::write_all(&map, &vec![0; bytes]).expect("written");
    }
}

/// The ACK of a SYN with sequence number 1.
fn ack(client: &str, server: &str, cookie: u32) -> Frame {
    syn(client, server).flags(ACK).tcp_options(&[]).numbers(2, cookie.wrapping_add(1))
}

#[test]
fn a_syn_is_answered_in_place() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            for tags in 0..3 {
                let judge = Judge::new(&challenged());
                let tagged = (0..tags).fold(syn(client, server), |frame, id| frame.vlan(0x8100, id + 7));
                let asked = tagged.build();
                let (action, answer) = judge.run(&asked);
                assert_eq!(action, TX);
                assert!(answer.len() <= asked.len());
                assert_eq!((&answer[..6], &answer[6..12]), (&asked[6..12], &asked[..6]), "addresses are swapped");
                assert_eq!(answer[12..tagged.network_offset()], asked[12..tagged.network_offset()], "tags stay");
                assert_eq!(judge.count(Challenged), 1);
            }
        }
    });
}

#[test]
fn an_ack_with_its_cookie_is_let_in_once() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let (judge, cookie) = in_a_moment(|| {
                let judge = Judge::new(&challenged());
                let cookie = judge.cookie(&syn(client, server));
                let ack = ack(client, server, cookie);
                // The data right behind it brings the same cookie; the kernel has not made the socket yet.
                let (took, actions) = judge.actions(&[ack.build(), ack.clone().payload(b"GET /").build()]);
                assert_eq!(actions, [PASS; 2]);
                (took, (judge, cookie))
            });
            assert_eq!([Proven, NotAttempt].map(|reason| judge.count(reason)), [1, 1]);
            assert_eq!(judge.counters()[1].tickets, 1);
            // Who holds a ticket is not challenged, and charged when it comes: the ACK of the kernel's own cookie is counted apart.
            judge.says(&syn(client, server).build(), 1, Admitted, PASS);
            judge.forget();
            judge.says(&ack(client, server, cookie).build(), 1, Redeemed, PASS);
        }
    });
}

#[test]
fn wrong_cookies_are_dropped() {
    with_listener(|| {
        let judge = Judge::new(&challenged());
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        // The lowest two bits say which of four segment sizes it was, and any of them will do.
        for wrong in [0, 1, cookie ^ 0x10, cookie ^ 0x10_0000, cookie ^ 0x0100_0000, u32::MAX] {
            judge.says(&ack(CLIENT, SERVER, wrong).build(), 1, BadCookie, DROP);
        }
        // A cookie is good for its source, its port and its sequence number only.
        judge.says(&ack("192.0.2.2:40000", SERVER, cookie).build(), 1, BadCookie, DROP);
        judge.says(&ack("192.0.2.1:40001", SERVER, cookie).build(), 1, BadCookie, DROP);
        judge.says(&ack(CLIENT, SERVER, cookie).numbers(1000, cookie.wrapping_add(1)).build(), 1, BadCookie, DROP);
        // Nothing of that is a reset's business, and other ports are nobody's.
        judge.says(&ack(CLIENT, SERVER, 7).flags(0x04).build(), 1, NotAttempt, PASS);
        judge.says(&ack(CLIENT, "127.0.0.1:81", 7).build(), 0, NotAttempt, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
    });
}

/// The kernel puts fragments together and would make a connection of the cookie in them: none passes, however short the first is.
#[test]
fn a_cookie_in_fragments_is_dropped() {
    with_listener(|| {
        let judge = Judge::new(&challenged());
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        let whole = ack(CLIENT, SERVER, cookie).payload(b"GET / HTTP/1.0\r\n\r\n");
        judge.says(&whole.clone().fragment(0, true).build(), 1, BadCookie, DROP);
        for length in 14..20_u16 {
            let short = whole.clone().fragment(0, true).wrong_ip_length(20 + length);
            judge.says(&short.build(), 1, BadCookie, DROP);
        }
        let cookie = judge.cookie(&syn(CLIENT_V6, SERVER_V6));
        let whole = ack(CLIENT_V6, SERVER_V6, cookie).payload(b"GET / HTTP/1.0\r\n\r\n");
        judge.says(&whole.extension(Extension::Fragment(0, true)).build(), 1, BadCookie, DROP);
        // Where nobody listens there is no cookie to be taken.
        judge.says(&ack(CLIENT, "127.0.0.1:81", 7).fragment(0, true).build(), 0, NotAttempt, PASS);
    });
}

/// A client that resets its connection and sends the ACK again gets another one: once is free, because data comes right behind an ACK.
#[test]
fn a_cookie_passes_uncharged_once() {
    with_listener(|| {
        let mut policy = challenged();
        policy.source = limit(1, 3600, 2);
        let (judge, actions) = in_a_moment(|| {
            let judge = Judge::new(&policy);
            let cookie = judge.cookie(&syn(CLIENT, SERVER));
            let (took, actions) = judge.actions(&[(); 6].map(|()| ack(CLIENT, SERVER, cookie).build()));
            (took, (judge, actions))
        });
        assert_eq!(actions, [PASS, PASS, PASS, DROP, DROP, DROP]);
        assert_eq!([Proven, NotAttempt, Waiting].map(|reason| judge.count(reason)), [2, 1, 3]);
    });
}

/// What a client sends right behind its ACK meets the listener too, and only the first segment has the number that belongs to the cookie.
#[test]
fn data_right_behind_the_ack_passes() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].admission.reset = true;
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let data = |cookie: u32, segment: u32| {
                let frame = ack(client, server, cookie).numbers(2 + segment * 1448, cookie.wrapping_add(1));
                frame.payload(&[0; 1448]).build()
            };
            let (judge, cookie, actions) = in_a_moment(|| {
                let judge = Judge::new(&policy);
                let cookie = judge.cookie(&syn(client, server));
                assert_eq!(judge.action(&data(cookie, 1)), TX, "nobody was let in: a reset");
                let mut frames = [(); 11].map(|()| ack(client, server, cookie).build());
                for (segment, frame) in (0..).zip(&mut frames[1..]) {
                    *frame = data(cookie, segment);
                }
                let (took, actions) = judge.actions(&frames);
                (took, (judge, cookie, actions))
            });
            assert_eq!(actions, [PASS; 11]);
            assert_eq!([Proven, NotAttempt, BadCookie].map(|reason| judge.count(reason)), [1, 10, 1]);
            // Of another flow, or later, it is nobody's.
            let other = ack(client, server, cookie ^ 0x100).numbers(1450, cookie.wrapping_add(1) ^ 0x100);
            assert_eq!(judge.action(&other.build()), TX);
            judge.forget();
            assert_eq!(judge.action(&data(cookie, 1)), TX);
        }
    });
}

/// The service that is not challenged any more charges attempts when they come, and does not charge their ACKs too while another service still
/// challenges.
#[test]
fn a_challenge_that_was_switched_off_charges_no_acks() {
    with_listener(|| {
        let mut policy = policy(&["web=*:80", "other=*:81"]);
        policy.source = limit(1, 3600, 2);
        for service in &mut policy.services {
            service.admission = Admission { challenge: Challenge::Always, ..Admission::usual() };
        }
        let mut judge = Judge::new(&policy);
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        policy.services[0].admission.challenge = Challenge::Off;
        judge.set(&policy);
        judge.says(&syn(CLIENT, SERVER).build(), 1, Admitted, PASS);
        for _ in 0..5 {
            judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, NotAttempt, PASS);
        }
        judge.says(&syn(CLIENT, SERVER).build(), 1, Admitted, PASS);
        judge.says(&syn(CLIENT, SERVER).build(), 1, SourceLimit, DROP);
    });
}

/// An ACK that is sent again and again costs its source what a connection costs: the source limit ends it.
#[test]
fn a_replayed_cookie_is_charged_each_time() {
    with_listener(|| {
        let mut policy = challenged();
        policy.source = limit(1, 3600, 3);
        let judge = Judge::new(&policy);
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        for _ in 0..3 {
            judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
            judge.forget();
        }
        for _ in 0..5 {
            judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, DROP);
        }
    });
}

/// Sockets that serve both families, and several sockets on one port: the cookie is that of whichever is found, and any takes it.
#[test]
fn other_kinds_of_listeners_make_cookies_too() {
    let namespace = Namespace::new().expect("a namespace");
    namespace.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    let work = || {
        let _both = TcpListener::bind("[::]:80")?;
        let _shared = [(); 4].map(|()| shared("0.0.0.0:82"));
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        for (index, server) in [SERVER, "127.0.0.1:82"].into_iter().enumerate() {
            for client in 0..20 {
                let judge = Judge::new(&policy);
                let client = format!("192.0.2.{}:{}", client + 1, 40_000 + index);
                let cookie = judge.cookie(&syn(&client, server));
                judge.says(&ack(&client, server, cookie).build(), 1, Proven, PASS);
            }
        }
        let judge = Judge::new(&policy);
        let cookie = judge.cookie(&syn(CLIENT_V6, SERVER_V6));
        judge.says(&ack(CLIENT_V6, SERVER_V6, cookie).build(), 1, Proven, PASS);
        Ok(())
    };
    namespace.run(work).expect("a test");
}

/// A listener of another namespace, as a container's is, is not found: its attempts cannot be challenged, and a few pass.
#[test]
fn a_listener_in_another_namespace_is_not_found() {
    let container = Namespace::new().expect("a namespace");
    let _listener = container.run(|| Ok(TcpListener::bind("0.0.0.0:83")?)).expect("a listener");
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:83".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 32);
        let judge = Judge::new(&policy);
        let silent = "127.0.0.1:83";
        for _ in 0..2 {
            judge.says(&syn(CLIENT, silent).build(), 1, Unanswered, PASS);
        }
        judge.says(&syn(CLIENT, silent).build(), 1, Unanswerable, DROP);
        judge.cookie(&syn(CLIENT, SERVER));
        judge.says(&ack(CLIENT, silent, 7).build(), 1, NotAttempt, PASS);
    });
}

/// The challenge of `auto` turns on when newcomers find the budget down to the reserve, and off when that was not so for a while.
#[test]
fn auto_turns_on_and_off() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].admission.challenge = Challenge::Auto;
        policy.services[0].admission.fair_share = false;
        policy.services[0].budget = limit(1, 3600, 20);
        let mut judge = Judge::new(&policy);
        makes_cookies(&mut judge);
        for client in 1..=10 {
            judge.says(&syn(&format!("192.0.2.{client}:1"), SERVER).build(), 1, Admitted, PASS);
        }
        for client in 11..=13 {
            judge.cookie(&syn(&format!("192.0.2.{client}:1"), SERVER));
        }
        // As if the time were over: still short of budget, so that it turns on again at once.
        let line = |judge: &mut Judge, change: Option<u64>| {
            let lines = judge.ebpf_mut().map_mut(names::CHALLENGE).expect("challenges");
            let mut lines: Array<_, [u64; 8]> = lines.try_into().expect("an array");
            let mut line = lines.get(&0, 0).expect("a line");
            if let Some(until) = change {
                line[ON_UNTIL] = until;
                lines.set(0, line, 0).expect("set back in time");
            }
            challenge::State::read(&line)
        };
        line(&mut judge, Some(1));
        judge.cookie(&syn("192.0.2.14:1", SERVER));
        assert_eq!(line(&mut judge, None).turns, 2);
        // And once there is budget again, it stays off.
        line(&mut judge, Some(1));
        let budgets = judge.ebpf_mut().map_mut(names::BUDGET).expect("budgets");
        let mut budgets: Array<_, [u64; 8]> = budgets.try_into().expect("an array");
        budgets.set(0, [0; 8], 0).expect("as if it were hours later");
        std::thread::sleep(Duration::from_millis(20));
        for client in 20..=29 {
            judge.says(&syn(&format!("192.0.2.{client}:1"), SERVER).build(), 1, Admitted, PASS);
        }
        assert_eq!(line(&mut judge, None).turns, 2);
    });
}

/// What a spoofer can make that cannot be answered: to a port where nobody listens, fragments, with a FIN or RST, signed.
fn unanswerable(client: &str) -> [(Frame, bool); 6] {
    let signed = |kind: u8| syn(client, SERVER).tcp_options(&[&[kind, 18][..], &[0; 16]].concat());
    [
        (syn(client, "127.0.0.1:81"), true),
        (syn(client, SERVER).fragment(0, true), true),
        // RFC 2385, RFC 5925.
        (signed(19), true),
        (signed(29), true),
        // The kernel discards these (tcp_rcv_state_process).
        (syn(client, SERVER).flags(0x03), false),
        (syn(client, SERVER).flags(0x06), false),
    ]
}

/// A few pass, of a purse of their own: they spend neither the budget, nor what newcomers have, nor the limit of whose address they bear.
#[test]
fn what_cannot_be_answered_spends_nothing() {
    with_listener(|| {
        let mut policy = challenged();
        policy.source = limit(1, 3600, 3);
        policy.services[0].listeners.push("0.0.0.0:81".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 64);
        let judge = Judge::new(&policy);
        // 64/16 of each kind together.
        for (frame, passes) in unanswerable(CLIENT) {
            let (reason, action) = if passes { (Unanswered, PASS) } else { (BadFlags, DROP) };
            judge.says(&frame.build(), 1, reason, action);
        }
        for round in 0..2500 {
            let client = format!("192.0.{}.{}:40000", round / 250, round % 250 + 1);
            for (frame, _) in unanswerable(&client) {
                assert_eq!(judge.action(&frame.build()), DROP);
            }
        }
        assert_eq!([Unanswered, Unanswerable, BadFlags].map(|reason| judge.count(reason)), [4, 10_000, 5002]);
        let budget: Array<_, [u64; 8]> =
            judge.ebpf().map(names::BUDGET).expect("budgets").try_into().expect("an array");
        assert_eq!(budget.get(&0, 0).expect("a word")[0], 0, "the budget was not drawn from");
        // The source that they bore has its three, and a newcomer its own.
        for client in [CLIENT, "192.0.2.2:40000"] {
            let cookie = judge.cookie(&syn(client, SERVER));
            judge.says(&ack(client, SERVER, cookie).build(), 1, Proven, PASS);
            judge.says(&syn(client, SERVER).build(), 1, Admitted, PASS);
            judge.says(&syn(client, SERVER).build(), 1, Admitted, PASS);
            judge.says(&syn(client, SERVER).build(), 1, SourceLimit, DROP);
        }
    });
}

/// A listener whose accept queue is full makes no cookie. The kernel would drop the attempt; so do we, uncharged. Where no cookie was made
/// lately, it may be that the kernel makes none at all, and attempts are judged as if there were no challenge.
#[test]
fn a_full_accept_queue_charges_nobody() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 64);
        let judge = Judge::new(&policy);
        let full = "127.0.0.1:82";
        let _listener = room_for_one(full);
        let _waiting = TcpStream::connect(full).expect("the one connection that it holds");
        // The client is connected a moment before its last ACK has put it into the queue.
        until_so("the queue is full", || queued(82) == 1);
        judge.says(&syn(CLIENT, full).build(), 1, Unanswered, PASS);
        for _ in 0..50 {
            // That the kernel makes cookies counts for ten seconds: less than fifty looks may take.
            judge.cookie(&syn(CLIENT, SERVER));
            judge.says(&syn("192.0.2.2:40000", full).build(), 1, QueueFull, DROP);
        }
    });
}

/// Once no cookie can come back, ACKs are not looked at any more, whatever the mode is then.
#[test]
fn the_looking_ends() {
    with_listener(|| {
        for mode in [Mode::Enforce, Mode::Observe] {
            let mut judge = Judge::new(&challenged());
            judge.cookie(&syn(CLIENT, SERVER));
            let lines = judge.ebpf_mut().map_mut(names::CHALLENGE).expect("challenges");
            let mut lines: Array<_, [u64; 8]> = lines.try_into().expect("an array");
            let [mine, hosts] = [0, HOST_BUDGET].map(|line| lines.get(&line, 0).expect("a line"));
            assert!(mine[CHECK_UNTIL] != 0 && hosts[CHECK_UNTIL] != 0, "the cookie is out");
            // As if it were two minutes later.
            for (index, mut line) in [(0, mine), (HOST_BUDGET, hosts)] {
                line[CHECK_UNTIL] = 1;
                lines.set(index, line, 0).expect("set back in time");
            }
            judge.mode(mode);
            judge.says(&ack(CLIENT, SERVER, 7).build(), 1, NotAttempt, PASS);
            // From now on it passes at the first look, and so is of no service.
            judge.says(&ack(CLIENT, SERVER, 7).build(), 0, NotAttempt, PASS);
        }
    });
}

#[test]
fn refusals_are_answered_with_resets_where_wanted() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let mut policy = policy(&["web=*:80"]);
            policy.source = limit(1, 3600, 1);
            policy.services[0].admission.reset = true;
            let (judge, began) = (Judge::new(&policy), Instant::now());
            judge.says(&syn(client, server).build(), 1, Admitted, PASS);
            let frame = syn(client, server);
            let (action, answer) = judge.run(&frame.build());
            assert_eq!((action, judge.count(SourceLimit)), (TX, 1));
            let at = frame.transport_offset();
            assert_eq!(answer[at + 13], 0x14, "RST and ACK");
            assert_eq!(answer[at + 8..at + 12], 2_u32.to_be_bytes());
            assert!(answer.len() <= frame.build().len());
            // The ACK of a challenged connection: a reset at the place that the client expects.
            policy.source = limit(1, 3600, 2);
            policy.services[0].admission =
                Admission { challenge: Challenge::Always, reset: true, ..Admission::usual() };
            policy.services[0].admission.fair_share = false;
            let (proofs, cookie) = in_a_moment(|| {
                let proofs = Judge::new(&policy);
                let cookie = proofs.cookie(&syn(client, server));
                let (took, actions) = proofs.actions(&[(); 3].map(|()| ack(client, server, cookie).build()));
                assert_eq!(actions, [PASS; 3]);
                (took, (proofs, cookie))
            });
            let frame = ack(client, server, cookie);
            let (action, answer) = proofs.run(&frame.build());
            assert_eq!((action, proofs.count(Waiting)), (TX, 1));
            assert_eq!(answer[at + 13], 0x04, "RST");
            assert_eq!(answer[at + 4..at + 8], cookie.wrapping_add(1).to_be_bytes());
            let frame = syn(client, server);
            // At most 1,000 per second and as many at once; one was sent above.
            for _ in 0..3000 {
                judge.run(&frame.build());
            }
            let (resets, most) = (judge.counters()[1].resets, began.elapsed().as_secs_f64() * 1000.0 + 1001.0);
            assert!(resets >= 1000 && resets as f64 <= most, "{resets} resets, {most} at most");
        }
    });
}
