//! What a CPU knows of the cookies of a flow (`limiter_common::bases`) hides none of them.

use std::time::{Duration, Instant};

use lab::wait::until_so;
use limiter_common::reason::Reason::{NotAttempt, Proven};

use super::{
    ACK, CLIENT, CLIENT_V6, Frame, Judge, PASS, SERVER, SERVER_V6, ack, challenged, syn,
    with_listener,
};

/// Runs on one CPU: what is known is each CPU's own.
fn pinned() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(0);
    rustix::thread::sched_setaffinity(None, &set).expect("a CPU");
}

/// Data of a connection, far from any cookie.
fn data(client: &str, server: &str, acknowledgment: u32) -> Vec<u8> {
    let frame = syn(client, server).flags(ACK).tcp_options(&[]);
    frame.numbers(0x1000, acknowledgment).payload(b"data").build()
}

/// A SYN with a segment size of the highest class.
fn asks(client: &str, server: &str) -> Frame {
    syn(client, server).tcp_options(&[2, 4, 0x05, 0xb4])
}

/// The cookies of this minute and of the one before, of a flow that was known then, of one that
/// became known since, and of one that is not.
#[test]
fn cookies_of_a_known_flow_are_seen_also_in_the_next_minute() {
    with_listener(|| {
        pinned();
        until_so("cookies that are good to the end", cookies_are_seen);
    });
}

/// Whether that took less than the minute for which the first of them are good.
fn cookies_are_seen() -> bool {
    let pairs = [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)];
    let judge = Judge::settled(&challenged());
    let learns = |client: &str, server: &str, cookie: u32| {
        for off in [1 << 27, 1 << 28, 1 << 29] {
            judge.says(&data(client, server, cookie.wrapping_add(off)), 0, NotAttempt, PASS);
        }
    };
    let mut old = Vec::new();
    for (client, server) in pairs {
        for port in ["40000", "40001", "40002"] {
            let client = client.replace("40000", port);
            let cookie = judge.cookie(&asks(&client, server));
            if port == "40000" {
                learns(&client, server, cookie);
            }
            old.push((client, server, cookie));
        }
    }
    // The next minute is there when another cookie is made.
    let (client, server, first) = old[0].clone();
    until_so("the next minute", || judge.cookie(&asks(&client, server)) != first);
    let start = Instant::now();
    let mut all = Vec::new();
    for (client, server, cookie) in old {
        if !client.contains("40002") {
            learns(&client, server, cookie);
        }
        let new = client.replace("4000", "4100");
        let cookie_of_new = judge.cookie(&asks(&new, server));
        learns(&new, server, cookie_of_new);
        all.extend([(client, server, cookie), (new, server, cookie_of_new)]);
    }
    let bring = |(client, server, cookie): &(String, &str, u32)| {
        judge.action(&ack(client, server, *cookie).build())
    };
    let actions: Vec<u32> = all.iter().map(bring).collect();
    let in_time = start.elapsed() < Duration::from_secs(40);
    if in_time {
        assert!(actions.iter().all(|action| *action == PASS), "{actions:?}");
        assert_eq!(judge.count(Proven), all.len() as u64);
    }
    in_time
}
