//! Allowing and banning, and that both end by themselves.

use std::time::Duration;

use lab::wait;
use limiter::kernel::clock;
use limiter::policy::prefix::Prefix;
use limiter_common::reason::Reason::*;
use limiter_common::record::List;

use super::{CLIENT, CLIENT_V6, DROP, Judge, PASS, WEB, WEB_V6, limit, policy, syn};

/// As long as no test takes, and as long as hardly one statement does.
const LONG: Option<Duration> = Some(Duration::from_secs(3600));
const SHORT: Option<Duration> = Some(Duration::from_millis(1));

fn strict() -> Judge {
    let mut policy = policy(&["web=*:80"]);
    policy.source = limit(1, 3600, 1);
    Judge::new(&policy)
}

fn add(judge: &mut Judge, list: List, prefix: &str, time: Option<Duration>) {
    let prefix: Prefix = prefix.parse().expect("a prefix");
    judge.maps.add(list, &[prefix], time).expect("added");
}

fn del(judge: &mut Judge, list: List, prefix: &str) {
    let missing = judge.maps.del(list, &[prefix.parse().expect("a prefix")]).expect("removed");
    assert!(missing.is_empty());
}

#[test]
fn whoever_is_allowed_has_no_limit() {
    let mut judge = strict();
    for (prefix, client, server) in [
        ("192.0.2.1", CLIENT, WEB),
        ("192.0.2.0/24", CLIENT, WEB),
        ("2001:db8:1:2::3", CLIENT_V6, WEB_V6),
        ("2001:db8:1::/48", CLIENT_V6, WEB_V6),
    ] {
        add(&mut judge, List::Allow, prefix, None);
        for _ in 0..3 {
            judge.says(&syn(client, server).build(), 1, Allowed, PASS);
        }
        del(&mut judge, List::Allow, prefix);
    }
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
    judge.says(&syn(CLIENT, WEB).build(), 1, SourceLimit, DROP);
}

#[test]
fn whoever_is_banned_has_no_connection_to_a_service() {
    let mut judge = strict();
    for (prefix, client, server) in [
        ("192.0.2.1", CLIENT, WEB),
        ("192.0.0.0/16", CLIENT, WEB),
        ("2001:db8:1:2::3", CLIENT_V6, WEB_V6),
        ("2001:db8::/32", CLIENT_V6, WEB_V6),
    ] {
        add(&mut judge, List::Ban, prefix, None);
        judge.says(&syn(client, server).build(), 1, Banned, DROP);
        judge.says(&syn(client, server).flags(0x10).build(), 1, Banned, DROP);
        let elsewhere = server.replace(":80", ":22");
        judge.says(&syn(client, &elsewhere).build(), 0, NotProtected, PASS);
        judge.says(&syn(client, &elsewhere).flags(0x10).build(), 0, NotAttempt, PASS);
        del(&mut judge, List::Ban, prefix);
        judge.says(&syn(client, server).flags(0x10).build(), 0, NotAttempt, PASS);
    }
}

#[test]
fn allowing_beats_banning() {
    let mut judge = strict();
    add(&mut judge, List::Ban, "192.0.2.1", None);
    add(&mut judge, List::Allow, "192.0.0.0/16", None);
    judge.says(&syn(CLIENT, WEB).build(), 1, Allowed, PASS);
    judge.says(&syn(CLIENT, WEB).flags(0x10).build(), 1, NotAttempt, PASS);
}

/// `::/0` is every IPv6 address and no IPv4 one, though IPv4 is kept in its mapped form.
#[test]
fn families_do_not_mix() {
    let mut judge = strict();
    add(&mut judge, List::Ban, "::/0", None);
    judge.says(&syn(CLIENT_V6, WEB_V6).build(), 1, Banned, DROP);
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
}

#[test]
fn bans_end_by_themselves() {
    let mut judge = strict();
    add(&mut judge, List::Ban, "192.0.2.1", LONG);
    judge.says(&syn(CLIENT, WEB).build(), 1, Banned, DROP);
    // Another end for the same ban.
    add(&mut judge, List::Ban, "192.0.2.1", SHORT);
    wait::tick_past(clock::after(Duration::from_millis(1)));
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
    assert!(judge.maps.list(List::Ban).expect("the list").is_empty());
}

/// The trie returns the longest match only: an inner prefix that expired must not end the outer ban, nor an outer the inner.
#[test]
fn nested_bans_hold_as_long_as_any_of_them() {
    let mut judge = strict();
    add(&mut judge, List::Ban, "192.0.2.0/24", SHORT);
    add(&mut judge, List::Ban, "192.0.0.0/16", None);
    add(&mut judge, List::Ban, "198.18.0.0/15", SHORT);
    add(&mut judge, List::Ban, "198.18.1.0/24", None);
    wait::tick_past(clock::after(Duration::from_millis(1)));
    judge.says(&syn(CLIENT, WEB).build(), 1, Banned, DROP);
    judge.says(&syn("198.18.1.1:1", WEB).build(), 1, Banned, DROP);
    judge.says(&syn("198.18.2.1:1", WEB).build(), 1, Admitted, PASS);
    del(&mut judge, List::Ban, "192.0.0.0/16");
    judge.says(&syn(CLIENT, WEB).build(), 1, Admitted, PASS);
}
