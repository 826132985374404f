//! The allow and ban lists, filled to the last entry.

use std::time::{Duration, Instant};

use limiter::policy::prefix::Prefix;
use limiter_common::address::Address;
use limiter_common::reason::Reason::*;
use limiter_common::record::{LIST_HOSTS, LIST_PREFIXES, List};

use super::{CLIENT, DROP, Judge, PASS, WEB, limit, policy, syn};

/// The IPv4 block with this number; of 256 addresses, or of one.
fn block(number: u32, length: u8) -> Prefix {
    let address =
        Address::v4(if length == 128 { 0x0b00_0000 + number } else { 0x1400_0000 + (number << 8) });
    Prefix { address, length }
}

fn text(prefix: &Prefix) -> String {
    format!("{}:40000", prefix.to_string().split('/').next().expect("an address"))
}

#[test]
fn lists_hold_what_they_hold_to_the_last_entry() {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(1, 3600, 1);
    let mut judge = Judge::new(&policy);
    for (most, length) in [(LIST_HOSTS, 128), (LIST_PREFIXES, 120)] {
        let start = Instant::now();
        // One of them is on the other list: they share their room.
        judge.maps.add(List::Allow, &[block(most - 1, length)], None).expect("allowed");
        let bans: Vec<Prefix> = (0..most - 1).map(|number| block(number, length)).collect();
        judge.maps.add(List::Ban, &bans, Some(Duration::from_secs(3600))).expect("banned");
        println!("{most} entries of length {length} in {:.1} s", start.elapsed().as_secs_f64());
        for number in [0, 1, most / 2, most - 2] {
            let client = text(&block(number, length));
            judge.says(&syn(&client, WEB).build(), 1, Banned, DROP);
            judge.says(&syn(&client, WEB).flags(0x10).build(), 1, Banned, DROP);
        }
        judge.says(&syn(&text(&block(most - 1, length)), WEB).build(), 1, Allowed, PASS);
        let more = [block(most, length), block(0, length), block(most + 1, length)];
        let error = judge.maps.add(List::Ban, &more, None).expect_err("full").to_string();
        for word in ["2 more do not fit", &most.to_string(), "nothing was added", "ban del"] {
            assert!(error.contains(word), "{error}");
        }
        let switch = judge.maps.switch().expect("the switch");
        judge.says(&syn(&text(&block(most, length)), WEB).build(), 1, Admitted, PASS);
        assert_eq!(judge.maps.switch().expect("the switch"), switch);
        // What is there can get another end, and what goes makes room.
        judge
            .maps
            .add(List::Ban, &[block(7, length)], Some(Duration::from_secs(7200)))
            .expect("changed");
        judge.maps.del(List::Ban, &bans[1..2]).expect("removed");
        judge.maps.add(List::Ban, &more[..1], None).expect("room for one");
        judge.says(&syn(&text(&block(most, length)), WEB).build(), 1, Banned, DROP);
        judge.says(&syn(&text(&block(1, length)), WEB).build(), 1, Admitted, PASS);
    }
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
    judge.says(&syn(CLIENT, WEB).build(), 1, SourceLimit, DROP);
}

/// What has expired makes room, on either list.
#[test]
fn expired_entries_make_room() {
    let mut judge = Judge::new(&policy(&["web=*:80"]));
    let hosts: Vec<Prefix> = (0..1000).map(|number| block(number, 128)).collect();
    judge.maps.add(List::Allow, &hosts, Some(Duration::from_millis(1))).expect("allowed");
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(
        judge.maps.entries(List::Allow).expect("the list").len(),
        1000,
        "they stay until a list is changed"
    );
    judge.maps.add(List::Ban, &[block(5000, 128)], None).expect("banned");
    assert!(judge.maps.entries(List::Allow).expect("the list").is_empty());
    let lists = judge.maps.switch().expect("the switch").lists();
    assert!(!lists.allow_hosts && lists.ban_hosts, "an empty list is not looked up: {lists:?}");
}
