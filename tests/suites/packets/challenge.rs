//! The challenge one frame at a time: what is answered, which ACKs are taken, and what is charged. In a namespace with a listening socket,
//! because the cookies are the kernel's own.

mod calm;
mod known;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use lab::frame::Extension;
use lab::frame::flags::{ACK, RST, SYN};
use lab::wait::until_so;
use lab::{Frame, Namespace};
use limiter::policy::{Admission, Policy};
use limiter_common::challenge::{self, Challenge};
use limiter_common::names;
use limiter_common::reason::Reason::{self, *};
use limiter_common::record::UNPROVEN;
use limiter_common::switch::Regime;

use super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, limit, policy, syn};

const TX: u32 = 3;
/// Word of a challenge's line: until when it is on.
const ON_UNTIL: usize = 0;
const SERVER: &str = "127.0.0.1:80";
const SERVER_V6: &str = "[::1]:80";

fn challenged() -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission = Admission { challenge: Challenge::Always, ..Admission::usual() };
    policy
}

/// Runs `work` in a namespace of its own, whose kernel makes cookies, with sockets that listen on
/// port 80.
fn with_listener(work: impl FnOnce() + Send) {
    let namespace = Namespace::new().expect("a namespace");
    namespace.ip(&["link", "set", "lo", "up"]).expect("up");
    namespace.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    namespace
        .run(|| {
            let _v4 = TcpListener::bind("0.0.0.0:80")?;
            let _v6 = TcpListener::bind("[::1]:80")?;
            work();
            Ok(())
        })
        .expect("a test");
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
    let socket = sockets
        .find(|fields| fields[1].ends_with(&place) && fields[3] == listens)
        .expect("it listens");
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
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
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

    /// One that has looked at what the kernel does with attempts, as every command does.
    fn settled(policy: &Policy) -> Self {
        let mut judge = Self::new(policy);
        judge.maps.settle_cookies().expect("the settings can be read");
        judge
    }

    fn count(&self, reason: Reason) -> u64 {
        self.counters()[1].decided[reason as usize]
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
                let judge = Judge::settled(&challenged());
                let tagged =
                    (0..tags).fold(syn(client, server), |frame, id| frame.vlan(0x8100, id + 7));
                let asked = tagged.build();
                let (action, answer) = judge.run(&asked);
                assert_eq!(action, TX);
                assert!(answer.len() <= asked.len());
                assert_eq!(
                    (&answer[..6], &answer[6..12]),
                    (&asked[6..12], &asked[..6]),
                    "addresses are swapped"
                );
                assert_eq!(
                    answer[12..tagged.network_offset()],
                    asked[12..tagged.network_offset()],
                    "tags stay"
                );
                assert_eq!(judge.count(Challenged), 1);
            }
        }
    });
}

/// Longer than what comes right behind an ACK is let in for.
const PAUSE: Duration = Duration::from_millis(40);

#[test]
fn an_ack_with_its_cookie_is_let_in_once() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let judge = Judge::settled(&challenged());
            let cookie = judge.cookie(&syn(client, server));
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
            assert_eq!(judge.counters()[1].tickets, 1);
            // Who holds a ticket is not challenged: the kernel asks him, and what comes back pays.
            judge.says(&syn(client, server).build(), 1, Asked, PASS);
            std::thread::sleep(PAUSE);
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
            assert_eq!(judge.counters()[1].tickets, 1);
        }
    });
}

/// What brings no cookie makes no connection here. It may belong to one that ends elsewhere, and to
/// who lost his the kernel says so.
#[test]
fn what_brings_no_cookie_is_nobodys_business() {
    with_listener(|| {
        let judge = Judge::settled(&challenged());
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        // The lowest two bits say which of four segment sizes it was, and any of them will do.
        for wrong in [0, 1, cookie ^ 0x10, cookie ^ 0x10_0000, cookie ^ 0x0100_0000, u32::MAX] {
            judge.says(&ack(CLIENT, SERVER, wrong).build(), 0, NotAttempt, PASS);
        }
        // A cookie is good for its source, its port and its sequence number only.
        judge.says(&ack("192.0.2.2:40000", SERVER, cookie).build(), 0, NotAttempt, PASS);
        judge.says(&ack("192.0.2.1:40001", SERVER, cookie).build(), 0, NotAttempt, PASS);
        judge.says(
            &ack(CLIENT, SERVER, cookie).numbers(1000, cookie.wrapping_add(1)).build(),
            0,
            NotAttempt,
            PASS,
        );
        judge.says(&ack(CLIENT, "127.0.0.1:81", cookie).build(), 0, NotAttempt, PASS);
        // A reset is noted, and passes.
        judge.says(&ack(CLIENT, SERVER, 7).flags(RST).build(), 0, NotAttempt, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
    });
}

/// The kernel puts fragments together and would make a connection of the cookie in them, or end
/// one, whenever the last of them comes: none passes, however short the first is.
#[test]
fn a_cookie_in_fragments_is_dropped() {
    with_listener(|| {
        let judge = Judge::settled(&challenged());
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        let whole = |cookie| ack(CLIENT, SERVER, cookie).payload(b"GET / HTTP/1.0\r\n\r\n");
        judge.says(&whole(cookie).fragment(0, true).build(), 1, BadCookie, DROP);
        for length in 14..20_u16 {
            let short =
                |cookie| whole(cookie).fragment(0, true).wrong_ip_length(20 + length).build();
            judge.says(&short(cookie), 1, BadCookie, DROP);
            judge.says(&short(cookie ^ 0x100), 0, NotAttempt, PASS);
        }
        judge.says(&whole(7).flags(RST).fragment(0, true).build(), 1, BadCookie, DROP);
        let cookie = judge.cookie(&syn(CLIENT_V6, SERVER_V6));
        let whole = |cookie| {
            ack(CLIENT_V6, SERVER_V6, cookie)
                .payload(b"GET / HTTP/1.0\r\n\r\n")
                .extension(Extension::Fragment(0, true))
                .build()
        };
        judge.says(&whole(cookie), 1, BadCookie, DROP);
        judge.says(&whole(cookie ^ 0x100), 0, NotAttempt, PASS);
        // Whatever they meet: they are taken when the last one comes.
        judge.says(&ack(CLIENT, "127.0.0.1:81", 7).fragment(0, true).build(), 0, NotAttempt, PASS);
    });
}

/// The first data brings the same cookie, and may be here before the kernel has made the
/// connection: of who paid without data it passes, once.
#[test]
fn data_right_behind_the_ack_passes_once() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let judged = (0..20).any(|_| data_passes(client, server));
            assert!(
                judged,
                "another process always had the CPU for longer than an ACK is remembered"
            );
        }
    });
}

/// Whether it was fast enough to be judged.
fn data_passes(client: &str, server: &str) -> bool {
    let mut policy = challenged();
    policy.source = limit(1, 3600, 2);
    let judge = Judge::settled(&policy);
    let cookie = judge.cookie(&syn(client, server));
    let ack = ack(client, server, cookie);
    let data = ack.clone().payload(b"GET /").build();
    let later = ack.clone().numbers(2 + 1448, cookie.wrapping_add(1)).payload(&[0; 1448]).build();
    let start = Instant::now();
    let actions =
        [&ack.build(), &later, &data, &later, &data, &later].map(|frame| judge.action(frame));
    if start.elapsed() > Duration::from_millis(15) {
        return false;
    }
    assert_eq!(actions, [PASS; 6]);
    assert_eq!(
        [Proven, Waiting].map(|reason| judge.count(reason)),
        [2, 0],
        "the second time it pays"
    );
    std::thread::sleep(PAUSE);
    judge.says(&data, 1, Waiting, DROP);
    judge.says(&later, 0, NotAttempt, PASS);
    true
}

/// An ACK that is sent again and again costs its source what a connection costs: the source limit
/// ends it.
#[test]
fn a_replayed_cookie_is_charged_each_time() {
    with_listener(|| {
        for reset in [false, true] {
            let mut policy = challenged();
            policy.source = limit(1, 3600, 3);
            let judge = Judge::settled(&policy);
            let cookie = judge.cookie(&syn(CLIENT, SERVER));
            for _ in 0..3 {
                judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
                if reset {
                    judge.says(
                        &ack(CLIENT, SERVER, cookie).flags(RST).build(),
                        0,
                        NotAttempt,
                        PASS,
                    );
                }
            }
            for _ in 0..5 {
                judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, DROP);
            }
            // What would be for nothing is not asked for.
            judge.says(&syn(CLIENT, SERVER).build(), 1, SourceLimit, DROP);
        }
    });
}

/// A cookie fits up to four sequence numbers. Who had to wait comes in with his first byte; what
/// comes after it is reset, and never makes a stream with a hole.
#[test]
fn who_waited_comes_in_with_his_first_byte() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let mut policy = challenged();
            policy.source = limit(1, 3600, 1);
            let mut judge = Judge::settled(&policy);
            let cookie = |judge: &Judge, client: &str| {
                judge.cookie(&syn(client, server).tcp_options(&[2, 4, 0x05, 0xb4]))
            };
            let other = client.replace("40000", "40001");
            let (paid, waits) = (cookie(&judge, client), cookie(&judge, &other));
            judge.says(&ack(client, server, paid).build(), 1, Proven, PASS);
            judge.says(&ack(&other, server, waits).build(), 1, Waiting, DROP);
            policy.source = Default::default();
            judge.set(&policy);
            let data = |off: u32| {
                ack(&other, server, waits)
                    .numbers(2 + off, waits.wrapping_add(1))
                    .payload(b"dog")
                    .build()
            };
            // 1460 is the third or fourth size of IPv4's, and the third of IPv6's.
            let most = if server == SERVER { 3 } else { 2 };
            for off in 1..=most {
                judge.says(&data(off), 1, BadCookie, TX);
            }
            assert_eq!(judge.counters()[1].resets, u64::from(most), "they are told");
            // It brings no cookie, and the kernel would reset whoever waits.
            judge.says(&data(4), 1, Held, DROP);
            judge.says(&data(0), 1, Proven, PASS);
            judge.says(&data(4), 0, NotAttempt, PASS);
        }
    });
}

/// Where nobody waits any more in a set of the table, who would have to is told so at once.
#[test]
fn who_cannot_be_remembered_does_not_wait() {
    with_listener(|| {
        let mut policy = challenged();
        let mut judge = Judge::settled(&policy);
        let cookies: Vec<_> = (0..3000)
            .map(|port| {
                let client = format!("192.0.2.1:{}", 20_000 + port);
                let cookie = judge.cookie(&syn(&client, SERVER));
                (client, cookie)
            })
            .collect();
        policy.source = limit(1, 3600, 1);
        judge.set(&policy);
        let flows = judge.ebpf_mut().map_mut(names::FLOWS).expect("flows");
        let mut flows: Array<_, [u64; 8]> = flows.try_into().expect("an array");
        // Nobody whom we know waits in all places of each set.
        let now = limiter::kernel::clock::now() >> 24 & 0x1f_ffff;
        let full: [u64; 8] = std::array::from_fn(|way| now << 43 | 1 << 24 | (way as u64 + 1));
        (0..flows.len()).for_each(|set| flows.set(set, full, 0).expect("written"));
        let (client, cookie) = &cookies[0];
        judge.says(&ack(client, SERVER, *cookie).build(), 1, Proven, PASS);
        for (client, cookie) in &cookies[1..10] {
            judge.says(&ack(client, SERVER, *cookie).build(), 1, Waiting, TX);
        }
        assert_eq!(judge.counters()[1].resets, 9);
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
                let judge = Judge::settled(&policy);
                let client = format!("192.0.2.{}:{}", client + 1, 40_000 + index);
                let cookie = judge.cookie(&syn(&client, server));
                judge.says(&ack(&client, server, cookie).build(), 1, Proven, PASS);
            }
        }
        let judge = Judge::settled(&policy);
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
        let judge = Judge::settled(&policy);
        let silent = "127.0.0.1:83";
        for _ in 0..2 {
            judge.says(&syn(CLIENT, silent).build(), 1, Unanswered, PASS);
        }
        judge.says(&syn(CLIENT, silent).build(), 1, Unanswerable, DROP);
        judge.cookie(&syn(CLIENT, SERVER));
        judge.says(&ack(CLIENT, silent, 7).build(), 0, NotAttempt, PASS);
    });
}

/// The challenge of `auto` turns on when more come than may pass to the kernel unproven, and off
/// when that was not so for a while.
#[test]
fn auto_turns_on_and_off() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].admission.challenge = Challenge::Auto;
        policy.services[0].admission.fair_share = false;
        policy.services[0].budget = limit(4, 1, 20);
        let mut judge = Judge::settled(&policy);
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
        let attempts = |judge: &Judge| {
            let actions: Vec<_> = (1..=60)
                .map(|client| judge.action(&syn(&format!("192.0.2.{client}:1"), SERVER).build()))
                .collect();
            assert!(actions.is_sorted(), "once it is on it stays on: {actions:?}");
            actions.iter().filter(|action| **action == PASS).count()
        };
        let passed = attempts(&judge);
        assert!((20..58).contains(&passed), "five seconds of the budget: {passed}");
        assert_eq!(line(&mut judge, None).turns, 1);
        // As if the time were over: still more than may pass, so that it turns on again at once.
        line(&mut judge, Some(1));
        assert!(attempts(&judge) < 40);
        assert_eq!(line(&mut judge, None).turns, 2);
        // And once there is room again, it stays off.
        line(&mut judge, Some(1));
        let budgets = judge.ebpf_mut().map_mut(names::BUDGET).expect("budgets");
        let mut budgets: Array<_, [u64; 8]> = budgets.try_into().expect("an array");
        budgets.set(UNPROVEN, [0; 8], 0).expect("as if it were hours later");
        std::thread::sleep(Duration::from_millis(20));
        for client in 20..=29 {
            judge.says(&syn(&format!("192.0.2.{client}:1"), SERVER).build(), 1, Asked, PASS);
        }
        assert_eq!(line(&mut judge, None).turns, 2);
        let budget: Array<_, [u64; 8]> =
            judge.ebpf().map(names::BUDGET).expect("budgets").try_into().expect("an array");
        assert_eq!(budget.get(&0, 0).expect("a word")[0], 0, "no budget was drawn from");
    });
}

/// Where the kernel makes no cookies nobody is challenged, an attempt pays, and no ACK is looked
/// at.
#[test]
fn without_the_kernels_cookies_attempts_pay() {
    with_listener(|| {
        for challenge in [Challenge::Auto, Challenge::Always] {
            let mut policy = challenged();
            policy.source = limit(1, 3600, 2);
            policy.services[0].admission.challenge = challenge;
            let mut judge = Judge::settled(&policy);
            let cookie =
                (challenge == Challenge::Always).then(|| judge.cookie(&syn(CLIENT, SERVER)));
            std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "1")
                .expect("the namespace's own setting");
            judge.maps.settle_cookies().expect("the settings can be read");
            judge.says(&syn(CLIENT, SERVER).build(), 1, Admitted, PASS);
            if let Some(cookie) = cookie {
                // One that the kernel made until a moment ago pays too.
                judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
                let switch = judge.maps.switch().expect("the switch");
                judge
                    .maps
                    .set_switch(switch.with_regime(Regime::Attempts))
                    .expect("as if it were two minutes later");
                judge.says(&ack(CLIENT, SERVER, cookie).build(), 0, NotAttempt, PASS);
            } else {
                judge.says(&syn(CLIENT, SERVER).build(), 1, Admitted, PASS);
            }
            judge.says(&syn(CLIENT, SERVER).build(), 1, SourceLimit, DROP);
            std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2")
                .expect("the namespace's own setting");
        }
    });
}

/// A service that is not challenged: the kernel asks for it too, while what may pass unproven
/// lasts.
#[test]
fn a_service_without_a_challenge_charges_proofs_too() {
    with_listener(|| {
        let mut policy = challenged();
        policy.source = limit(1, 3600, 2);
        policy.services[0].budget = limit(4, 1, 20);
        let mut judge = Judge::settled(&policy);
        let cookie = judge.cookie(&syn(CLIENT, SERVER));
        policy.services[0].admission = Admission::default();
        judge.set(&policy);
        let passed =
            (0..100).filter(|_| judge.action(&syn(CLIENT, SERVER).build()) == PASS).count() as u64;
        // Five seconds of the budget at once.
        assert!((19..99).contains(&passed), "{passed}");
        assert_eq!([Asked, Unanswerable].map(|reason| judge.count(reason)), [passed, 100 - passed]);
        for _ in 0..2 {
            judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
        }
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, DROP);
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

/// A few pass, of a purse of their own: they spend neither the budget, nor what newcomers have, nor
/// what is left to whose address they bear.
#[test]
fn what_cannot_be_answered_spends_nothing() {
    with_listener(|| {
        let mut policy = challenged();
        policy.source = limit(1, 3600, 4);
        policy.services[0].listeners.push("0.0.0.0:81".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 64);
        policy.services[0].admission.fair_share = false;
        let judge = Judge::settled(&policy);
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
        assert_eq!(
            [Unanswered, Unanswerable, BadFlags].map(|reason| judge.count(reason)),
            [4, 9996, 5002]
        );
        let budget: Array<_, [u64; 8]> =
            judge.ebpf().map(names::BUDGET).expect("budgets").try_into().expect("an array");
        assert_eq!(budget.get(&0, 0).expect("a word")[0], 0, "the budget was not drawn from");
        // The source that they bore has its four, and a newcomer its own.
        for client in [CLIENT, "192.0.2.2:40000"] {
            let cookie = judge.cookie(&syn(client, SERVER));
            for _ in 0..4 {
                judge.says(&ack(client, SERVER, cookie).build(), 1, Proven, PASS);
            }
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
        let judge = Judge::settled(&policy);
        let full = "127.0.0.1:82";
        let _listener = room_for_one(full);
        let _waiting = TcpStream::connect(full).expect("the one connection that it holds");
        // The client is connected a moment before its last ACK has put it into the queue.
        until_so("the queue is full", || queued(82) == 1);
        // No cookie was made lately: the kernel may make none at all, and the attempt pays.
        judge.says(&syn("192.0.2.3:40000", full).build(), 1, Admitted, PASS);
        for _ in 0..50 {
            // That the kernel makes cookies counts for ten seconds: less than fifty looks may take.
            judge.cookie(&syn(CLIENT, SERVER));
            judge.says(&syn("192.0.2.2:40000", full).build(), 1, QueueFull, DROP);
        }
    });
}

/// Who brings his cookie to a full queue is dropped, as the kernel would, and pays nothing until
/// there is room.
#[test]
fn a_proof_at_a_full_accept_queue_is_free() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        policy.source = limit(1, 3600, 1);
        let judge = Judge::settled(&policy);
        let full = "127.0.0.1:82";
        let listener = TcpListener::from(room_for_one(full));
        let cookie = judge.cookie(&syn(CLIENT, full));
        let _waiting = TcpStream::connect(full).expect("the one connection that it holds");
        let proof = ack(CLIENT, full, cookie);
        let end = Instant::now() + Duration::from_secs(20);
        while judge.action(&syn("192.0.2.2:40000", full).build()) != DROP {
            assert!(Instant::now() < end, "the queue is never full: {:?}", judge.counters()[1]);
        }
        for _ in 0..10 {
            judge.says(&proof.build(), 1, QueueFull, DROP);
        }
        // What comes past the first byte would make a connection with a hole.
        judge.says(
            &proof.clone().numbers(3, cookie.wrapping_add(1)).payload(b"o").build(),
            1,
            BadCookie,
            TX,
        );
        let _accepted = listener.accept().expect("the one that waits");
        judge.says(&proof.build(), 1, Proven, PASS);
        judge.says(&proof.build(), 1, Waiting, DROP);
    });
}

#[test]
fn refusals_are_answered_with_resets_where_wanted() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let mut policy = policy(&["web=*:80"]);
            policy.source = limit(1, 3600, 1);
            policy.services[0].admission.reset = true;
            let judge = Judge::new(&policy);
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
            let proofs = Judge::settled(&policy);
            let cookie = proofs.cookie(&syn(client, server));
            let frame = ack(client, server, cookie);
            for _ in 0..2 {
                assert_eq!(proofs.action(&frame.build()), PASS);
            }
            let (action, answer) = proofs.run(&frame.build());
            assert_eq!((action, proofs.count(Waiting)), (TX, 1));
            assert_eq!(answer[at + 13], 0x04, "RST");
            assert_eq!(answer[at + 4..at + 8], cookie.wrapping_add(1).to_be_bytes());
            let frame = syn(client, server);
            // At most 1,000 per second and as many at once.
            for _ in 0..3000 {
                judge.run(&frame.build());
            }
            let resets = judge.counters()[1].resets;
            assert!((1000..2500).contains(&resets), "{resets} resets");
        }
    });
}
