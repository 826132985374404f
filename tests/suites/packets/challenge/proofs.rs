//! What brings a cookie back, one frame at a time: what pays, what waits, and what is nobody's
//! business.

use std::time::{Duration, Instant};

use aya::maps::Array;
use lab::frame::Extension;
use lab::frame::flags::RST;
use lab::wait::until_so;
use limiter::kernel::clock;
use limiter_common::names;
use limiter_common::reason::Reason::*;

use super::{
    CLIENT, CLIENT_V6, DROP, Judge, PASS, SERVER, SERVER_V6, TX, ack, challenged, limit, syn,
    with_listener,
};

/// Longer than what comes right behind an ACK is let in for.
const PAUSE: Duration = Duration::from_millis(40);

#[test]
fn an_ack_with_its_cookie_is_let_in_once() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let judge = Judge::settled(&challenged());
            let cookie = judge.cookie(&syn(client, server));
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
            // The next connection is challenged too.
            judge.cookie(&syn(client, server));
            std::thread::sleep(PAUSE);
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
        }
    });
}

/// Who is present in the line is not challenged, while the purse for those lasts: the kernel asks
/// him, and what comes back pays.
#[test]
fn who_is_present_is_not_challenged() {
    with_listener(|| {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
            let mut policy = challenged();
            policy.services[0].budget = limit(1, 1, 60);
            policy.services[0].admission.line = true;
            let judge = Judge::settled(&policy);
            let cookie = judge.cookie(&syn(client, server));
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
            judge.says(&syn(client, server).build(), 1, Asked, PASS);
            std::thread::sleep(PAUSE);
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
            // In his name five seconds of the budget pass, and nothing of the budget itself.
            let budget = || judge.maps.budget.get(&0, 0).expect("the service's word").0.arrival;
            let before = budget();
            for _ in 0..100 {
                judge.run(&syn(client, server).build());
            }
            assert_eq!((before > 0, budget()), (true, before));
            assert!((4..50).contains(&judge.count(Asked)), "{:?}", judge.counters()[1]);
            judge.says(&ack(client, server, cookie).build(), 1, Proven, PASS);
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
            until_so("no other process has the CPU for longer than an ACK is remembered", || {
                data_passes(client, server)
            });
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
        let now = clock::now() >> 24 & 0x1f_ffff;
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

/// Of those who wait in line one that waits for longer than people do is told so, and takes no place
/// of another. Where nobody waits in line it is judged as before.
#[test]
fn who_waits_for_long_gives_way_in_line() {
    with_listener(|| {
        let mut policy = challenged();
        policy.services[0].budget = limit(1, 3600, 1);
        policy.services[0].admission.line = true;
        let mut judge = Judge::settled(&policy);
        let other = CLIENT.replace("40000", "40001");
        let [paid, waits] = [CLIENT, &other].map(|client| judge.cookie(&syn(client, SERVER)));
        judge.says(&ack(CLIENT, SERVER, paid).build(), 1, Proven, PASS);
        let proof = ack(&other, SERVER, waits).build();
        judge.says(&proof, 1, Waiting, DROP);
        for (aged, lag, action) in [(5, 5, DROP), (10, 5, TX), (10, 0, DROP)] {
            let case = format!("after {aged} s, a line of {lag} s");
            loop {
                let before = judge.counters()[1];
                let noted = wait(&mut judge, aged, lag);
                let done = judge.action(&proof);
                // On a machine that was away meanwhile it waits for longer than was written.
                if aged < 8 && clock::now() - noted >= (8 - aged) * SECOND {
                    continue;
                }
                assert_eq!(done, action, "{case}");
                let after = judge.counters()[1];
                let waiting = Waiting as usize;
                assert_eq!(after.decided[waiting] - before.decided[waiting], 1, "{case}");
                assert_eq!(after.resets - before.resets, u64::from(action == TX), "{case}");
                break;
            }
        }
    });
}

const SECOND: u64 = 1_000_000_000;

/// As if every flow that waits had waited for so many seconds at the time that is returned, and the
/// line's head lagged by so many; 0: for as long as the test takes.
fn wait(judge: &mut Judge, aged: u64, lag: u64) -> u64 {
    const STATES: u64 = 7 << 24;
    let flows = judge.ebpf_mut().map_mut(names::FLOWS).expect("flows");
    let mut flows: Array<_, [u64; 8]> = flows.try_into().expect("an array");
    let is_waiting = |way: &u64| way & STATES == 1 << 24;
    let sets = (0..flows.len()).map(|set| (set, flows.get(&set, 0).expect("read")));
    let waiting: Vec<_> = sets.filter(|(_, ways)| ways.iter().any(is_waiting)).collect();
    // Only now: an emulated machine looks for seconds.
    let now = clock::now();
    let since = ((now - aged * SECOND) >> 24) << 43;
    for (set, ways) in waiting {
        let old = |way: u64| if is_waiting(&way) { since | way & ((1 << 43) - 1) } else { way };
        flows.set(set, ways.map(old), 0).expect("written");
    }
    let line = judge.ebpf_mut().map_mut(names::LINE).expect("the line");
    let mut line: Array<_, [u64; 8]> = line.try_into().expect("an array");
    let mut words = line.get(&0, 0).expect("read");
    // A line that was moved in the future was moved just now, and one without a lag stays so.
    let later = now + 3_600 * SECOND;
    (words[1], words[2]) = (if lag == 0 { later } else { now - lag * SECOND }, later);
    line.set(0, words, 0).expect("written");
    now
}
