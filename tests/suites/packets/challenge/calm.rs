//! No challenge is on, and the kernel answers with cookies of its own what is admitted: what becomes of the ACKs that bring them back.

use aya::maps::Array;
use limiter_common::challenge::Challenge;
use limiter_common::names;
use limiter_common::reason::Reason::*;
use limiter_common::record::{HOST_BUDGET, List};
use limiter_common::switch::Mode;

use super::super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, limit, syn};
use super::{CHECK_UNTIL, ON_UNTIL, SERVER, SERVER_V6, ack, challenged, with_listener};

impl Judge {
    /// As if the last cookie of a challenge had gone out more than two minutes ago.
    fn calm(&mut self) {
        let lines = self.ebpf_mut().map_mut(names::CHALLENGE).expect("challenges");
        let mut lines: Array<_, [u64; 8]> = lines.try_into().expect("an array");
        for index in [0, HOST_BUDGET] {
            let mut line = lines.get(&index, 0).expect("a line");
            (line[ON_UNTIL], line[CHECK_UNTIL]) = (0, 0);
            lines.set(index, line, 0).expect("set back in time");
        }
    }

    /// What the kernel's own cookies are to the program by its settings and the mode, as commands settle it.
    fn settle(&mut self, mode: Mode) {
        self.mode(mode);
        self.maps.settle_cookies().expect("the settings can be read");
    }
}

/// A limiter in calm, whose kernel answers with cookies what is admitted, and the cookie of a SYN from `client`.
fn in_calm(client: &str, server: &str, burst: u64) -> (Judge, u32) {
    let mut policy = challenged();
    policy.source = limit(1, 3600, burst);
    let mut judge = Judge::new(&policy);
    // The kernel's own cookie would be the same.
    let cookie = judge.cookie(&syn(client, server));
    policy.services[0].admission.challenge = Challenge::Auto;
    judge.set(&policy);
    judge.calm();
    judge.settle(Mode::Enforce);
    (judge, cookie)
}

/// No challenge is on, and the kernel makes a connection of each ACK that brings its cookie: the first was charged as an attempt, and each
/// that is sent again is charged.
#[test]
fn the_kernels_own_cookies_are_charged_too() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let (judge, cookie) = in_calm(client, server, 3);
            let frame = ack(client, server, cookie).build();
            judge.says(&syn(client, server).build(), 1, Admitted, PASS);
            judge.says(&frame, 1, Redeemed, PASS);
            for _ in 0..2 {
                judge.forget();
                judge.says(&frame, 1, Proven, PASS);
            }
            judge.forget();
            for _ in 0..3 {
                judge.says(&frame, 1, Waiting, DROP);
            }
            // What brings no cookie is not looked at further: the kernel answers with a reset, which is what a client of a server that
            // was started again needs.
            judge.says(&ack(client, server, cookie ^ 0x100).build(), 0, NotAttempt, PASS);
            judge.says(&ack(client, server, cookie).numbers(9, cookie.wrapping_add(1)).build(), 0, NotAttempt, PASS);
            judge.says(&ack(client, server, cookie).flags(0x04).build(), 0, NotAttempt, PASS);
        }
        // Put together again it would bring the cookie.
        let (judge, cookie) = in_calm(CLIENT, SERVER, 3);
        judge.says(&ack(CLIENT, SERVER, cookie).fragment(0, true).build(), 1, BadCookie, DROP);
    });
}

/// The same while a ban is listed, where every packet is looked at.
#[test]
fn bans_change_nothing_for_the_kernels_own_cookies() {
    with_listener(|| {
        let (mut judge, cookie) = in_calm(CLIENT, SERVER, 1);
        judge.maps.add(List::Ban, &["203.0.113.0/24".parse().expect("a prefix")], None).expect("banned");
        judge.says(&ack(CLIENT, SERVER, 7).build(), 1, NotAttempt, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
        judge.forget();
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, DROP);
    });
}

/// Who observes drops nothing and looks at no ACK, but notes what was charged: an ACK that is on its way when limiter is armed is not charged
/// again.
#[test]
fn handshakes_under_way_survive_arming() {
    with_listener(|| {
        let (mut judge, cookie) = in_calm(CLIENT, SERVER, 1);
        judge.settle(Mode::Observe);
        judge.says(&syn(CLIENT, SERVER).build(), 1, Admitted, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie ^ 0x100).build(), 0, NotAttempt, PASS);
        judge.settle(Mode::Enforce);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Redeemed, PASS);
    });
}

/// Without `tcp_syncookies` at 2 the kernel makes no connection of an ACK alone, and none is looked at.
#[test]
fn without_the_kernels_cookies_no_ack_is_looked_at() {
    with_listener(|| {
        let (mut judge, cookie) = in_calm(CLIENT, SERVER, 1);
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
        judge.settle(Mode::Enforce);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 0, NotAttempt, PASS);
    });
}
