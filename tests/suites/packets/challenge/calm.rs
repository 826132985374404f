//! Nobody is challenged, and the kernel answers with cookies of its own what passes: what becomes
//! of what brings them back.

use limiter::observe::{Ranking, heavy};
use limiter_common::challenge::Challenge;
use limiter_common::reason::Reason::*;
use limiter_common::record::List;
use limiter_common::switch::Mode;

use super::super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, limit, syn};
use super::{RST, SERVER, SERVER_V6, ack, challenged, with_listener};

/// A limiter in calm, whose kernel answers with cookies what passes, and the cookie of a SYN from
/// `client`.
fn in_calm(client: &str, server: &str, burst: u64) -> (Judge, u32) {
    let mut policy = challenged();
    policy.source = limit(1, 3600, burst);
    let mut judge = Judge::settled(&policy);
    // The kernel's own cookie would be the same.
    let cookie = judge.cookie(&syn(client, server));
    policy.services[0].admission.challenge = Challenge::Auto;
    judge.set(&policy);
    (judge, cookie)
}

#[test]
fn the_kernels_own_cookies_pay() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let (judge, cookie) = in_calm(client, server, 3);
            let frame = ack(client, server, cookie).build();
            for _ in 0..10 {
                judge.says(&syn(client, server).build(), 1, Asked, PASS);
            }
            for _ in 0..3 {
                judge.says(&frame, 1, Proven, PASS);
            }
            for _ in 0..3 {
                judge.says(&frame, 1, Waiting, DROP);
            }
            judge.says(&syn(client, server).build(), 1, SourceLimit, DROP);
            judge.says(&ack(client, server, cookie ^ 0x100).build(), 0, NotAttempt, PASS);
        }
    });
}

/// `top --by budget` counts who is refused at his proof, if a budget refuses it and not his own limit.
#[test]
fn a_proof_that_a_budget_refuses_is_counted_so() {
    // In one call each: a cookie is good for two minutes, which are short on an emulated machine.
    const PROOFS: u32 = 6400;
    with_listener(|| {
        let counted = |judge: &Judge| -> u64 {
            let counted = heavy::read(&judge.maps, Ranking::Budget, None, None, 10);
            let counted = counted.expect("counters");
            counted.iter().map(|one| one.count).sum()
        };
        let (mut judge, cookie) = in_calm(CLIENT, SERVER, 1);
        let frame = ack(CLIENT, SERVER, cookie).build();
        judge.says(&frame, 1, Proven, PASS);
        judge.repeats(&frame, PROOFS, 1, Waiting);
        assert_eq!(counted(&judge), 0, "the source is over its own limit");
        let mut policy = challenged();
        policy.source = Default::default();
        policy.services[0].admission.challenge = Challenge::Auto;
        policy.services[0].budget = limit(1, 3600, 1);
        judge.set(&policy);
        judge.says(&frame, 1, Proven, PASS);
        judge.repeats(&frame, PROOFS, 1, Waiting);
        // A sample of one in 64, at random: five standard deviations.
        let counted = counted(&judge);
        assert!(counted.abs_diff(u64::from(PROOFS) / 64) < 50, "{counted} of {PROOFS}");
    });
}

/// The same while a ban is listed, where every packet is looked at.
#[test]
fn bans_change_nothing_for_the_kernels_own_cookies() {
    with_listener(|| {
        let (mut judge, cookie) = in_calm(CLIENT, SERVER, 1);
        judge
            .maps
            .add(List::Ban, &["203.0.113.0/24".parse().expect("a prefix")], None)
            .expect("banned");
        judge.says(&ack(CLIENT, SERVER, 7).build(), 1, NotAttempt, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).flags(RST).build(), 1, NotAttempt, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, DROP);
    });
}

/// Who observes drops nothing and charges what he would charge, so that nothing is new when he is
/// armed.
#[test]
fn observing_charges_the_same() {
    with_listener(|| {
        let (judge, cookie) = in_calm(CLIENT, SERVER, 1);
        judge.mode(Mode::Observe);
        judge.says(&syn(CLIENT, SERVER).build(), 1, Asked, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Proven, PASS);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, PASS);
        judge.says(&syn(CLIENT, SERVER).build(), 1, SourceLimit, PASS);
        judge.mode(Mode::Enforce);
        judge.says(&ack(CLIENT, SERVER, cookie).build(), 1, Waiting, DROP);
    });
}

/// The secret of cookies is one for all namespaces: who finds nobody here may find a listener of
/// another one, or of a device above this one.
#[test]
fn a_cookie_that_meets_nobody_pays_too() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].listeners.push("0.0.0.0:82".parse().expect("a place"));
        policy.source = limit(1, 3600, 1);
        let judge = Judge::settled(&policy);
        let there = "127.0.0.1:82";
        let listener = std::net::TcpListener::bind(there).expect("a listener");
        let cookie = judge.cookie(&syn(CLIENT, there));
        drop(listener);
        judge.says(&ack(CLIENT, there, cookie).build(), 1, Proven, PASS);
        judge.says(&ack(CLIENT, there, cookie).build(), 1, Waiting, DROP);
    });
}
