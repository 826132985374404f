//! The challenge one frame at a time: what is answered, which ACKs are taken, and what is charged. In a namespace with a listening socket,
//! because the cookies are the kernel's own.

mod calm;
mod known;
mod listeners;
mod proofs;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunOptions};
use lab::frame::flags::{ACK, RST, SYN};
use lab::wait::until_so;
use lab::{Frame, Namespace};
use limiter::policy::Policy;
use limiter_common::challenge::{self, Challenge};
use limiter_common::names;
use limiter_common::reason::Reason::{self, *};
use limiter_common::record::{Refuse, UNPROVEN};
use limiter_common::switch::Regime;

use super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, limit, policy, syn};
const TX: u32 = 3;
/// Word of a challenge's line: until when it is on.
const ON_UNTIL: usize = 0;
const SERVER: &str = "127.0.0.1:80";
const SERVER_V6: &str = "[::1]:80";

/// Each attempt is challenged: there is no line in which somebody could be present.
fn challenged() -> Policy {
    let mut policy = policy(&["web=*:80"]);
    policy.services[0].admission.challenge = Challenge::Always;
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

/// The challenge of `auto` turns on when more come than may pass to the kernel unproven, and off
/// when that was not so for a while.
#[test]
fn auto_turns_on_and_off() {
    with_listener(|| until_so("all comes before more may pass", turns_on_and_off));
}

/// Whether that was fast enough to be judged: four a second more may pass.
fn turns_on_and_off() -> bool {
    let mut policy = challenged();
    policy.services[0].admission.challenge = Challenge::Auto;
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
    let start = Instant::now();
    let passed = attempts(&judge);
    let turns = line(&mut judge, None).turns;
    // As if the time were over: still more than may pass, so that it turns on again at once.
    line(&mut judge, Some(1));
    let again = attempts(&judge);
    if start.elapsed() > Duration::from_secs(8) {
        return false;
    }
    assert!((20..58).contains(&passed), "five seconds of the budget: {passed}");
    assert!(again < 40, "{again}");
    assert_eq!((turns, line(&mut judge, None).turns), (1, 2));
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
    true
}

/// Where the kernel makes no cookies nobody is challenged, an attempt pays, and no ACK is looked
/// at.
#[test]
fn without_the_kernels_cookies_attempts_pay() {
    const BEFORE: &str = "192.0.2.1:40001";
    with_listener(|| {
        for challenge in [Challenge::Auto, Challenge::Always] {
            let mut policy = challenged();
            policy.source = limit(1, 3600, 2);
            policy.services[0].admission.challenge = challenge;
            let mut judge = Judge::settled(&policy);
            let cookie = |client| {
                (challenge == Challenge::Always).then(|| judge.cookie(&syn(client, SERVER)))
            };
            let (cookie, own) = (cookie(BEFORE), cookie(CLIENT));
            std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "1")
                .expect("the namespace's own setting");
            judge.maps.settle_cookies().expect("the settings can be read");
            judge.says(&syn(CLIENT, SERVER).build(), 1, Admitted, PASS);
            if let (Some(cookie), Some(own)) = (cookie, own) {
                // One that the kernel made until a moment ago pays too, but for that of an attempt
                // which has.
                judge.says(&ack(CLIENT, SERVER, own).build(), 0, NotAttempt, PASS);
                judge.says(&ack(BEFORE, SERVER, cookie).build(), 1, Proven, PASS);
                let switch = judge.maps.switch().expect("the switch");
                judge
                    .maps
                    .set_switch(switch.with_regime(Regime::Attempts))
                    .expect("as if it were two minutes later");
                judge.says(&ack(BEFORE, SERVER, cookie).build(), 0, NotAttempt, PASS);
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
        policy.services[0].admission.challenge = Challenge::Off;
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
fn unanswerable(client: &str) -> [(Frame, bool); 7] {
    let signed = |kind: u8| syn(client, SERVER).tcp_options(&[&[kind, 18][..], &[0; 16]].concat());
    [
        (syn(client, "127.0.0.1:81"), true),
        (syn(client, SERVER).fragment(0, true), true),
        // RFC 2385, RFC 5925.
        (signed(19), true),
        (signed(29), true),
        // RFC 8684 3.2: it joins a connection of Multipath TCP.
        (syn(client, SERVER).tcp_options(&[&[30, 12, 0x11][..], &[0; 9]].concat()), true),
        // The kernel discards these (tcp_rcv_state_process).
        (syn(client, SERVER).flags(0x03), false),
        (syn(client, SERVER).flags(0x06), false),
    ]
}

/// A few pass, of a purse of their own: they spend neither the budget, nor what is left to whose
/// address they bear.
#[test]
fn what_cannot_be_answered_spends_nothing() {
    with_listener(|| {
        let mut policy = challenged();
        policy.source = limit(1, 3600, 5);
        policy.services[0].listeners.push("0.0.0.0:81".parse().expect("a place"));
        policy.services[0].budget = limit(1, 3600, 80);
        let judge = Judge::settled(&policy);
        // 80/16 of all kinds together.
        for (frame, passes) in unanswerable(CLIENT) {
            let (reason, action) = if passes { (Unanswered, PASS) } else { (BadFlags, DROP) };
            judge.says(&frame.build(), 1, reason, action);
        }
        for round in 1..=250 {
            let client = format!("192.0.2.{round}:40000");
            for (frame, _) in unanswerable(&client) {
                assert_eq!(judge.action(&frame.build()), DROP);
            }
        }
        assert_eq!(
            [Unanswered, Unanswerable, BadFlags].map(|reason| judge.count(reason)),
            [5, 1245, 502]
        );
        let budget: Array<_, [u64; 8]> =
            judge.ebpf().map(names::BUDGET).expect("budgets").try_into().expect("an array");
        assert_eq!(budget.get(&0, 0).expect("a word")[0], 0, "the budget was not drawn from");
        // The source that they bore has its five, and another one its own.
        for client in [CLIENT, "192.0.2.2:40000"] {
            let cookie = judge.cookie(&syn(client, SERVER));
            for _ in 0..5 {
                judge.says(&ack(client, SERVER, cookie).build(), 1, Proven, PASS);
            }
            judge.says(&syn(client, SERVER).build(), 1, SourceLimit, DROP);
        }
    });
}

#[test]
fn refusals_are_answered_with_resets_where_wanted() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let mut policy = policy(&["web=*:80"]);
            policy.source = limit(1, 3600, 1);
            policy.services[0].admission.refuse = Refuse::Reset;
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
            policy.services[0].admission.challenge = Challenge::Always;
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
            let begun = Instant::now();
            for _ in 0..3000 {
                judge.run(&frame.build());
            }
            // The coarse clock may tick once more than the time that passed.
            let most = 1_010 + begun.elapsed().as_millis() as u64;
            let resets = judge.counters()[1].resets;
            assert!((1000..=most).contains(&resets), "{resets} resets, at most {most}");
        }
    });
}
