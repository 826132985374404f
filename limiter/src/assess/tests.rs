//! Staged situations: each with the cause that is named, and the lines that say so.

mod staged;

use std::time::Duration;

use limiter_common::reason::Reason;

use super::*;
use crate::observe::concentrated::Common;
use crate::observe::{Distinct, Lately, Manners};
use crate::report::Rates;
use staged::{calm, changed, come, come_once, machines, people, says, second, sources, waiting};

#[test]
fn nothing() {
    says(
        &calm(),
        Cause::Nothing,
        &[
            "likely: nothing that limiter sees next: where users complain, look behind limiter",
            "CALM: limiter lets in all of 65 attempts/s (1s) from about 319 sources (44s).",
            "usually 60 attempts/s",
        ],
    );
    let unknown = Facts { usual: None, ..calm() };
    says(&unknown, Cause::Nothing, &["what is usual is not known"]);
    let busy = second(true, &[(Reason::Admitted, 4000)], [4000, 0]);
    says(&Facts { now: busy, ..unknown }, Cause::Nothing, &["4,000 attempts/s"]);
    let few = second(true, &[(Reason::Admitted, 65), (Reason::SourceLimit, 2)], [65, 0]);
    says(&Facts { now: few, ..calm() }, Cause::Nothing, &["REFUSING 3% of 67 attempts/s"]);
}

#[test]
fn nothing_arrives() {
    let quiet = |by: &[(Reason, u64)], opened| Facts {
        now: second(true, by, [opened, 0]),
        distinct: Distinct::default(),
        ..calm()
    };
    says(&quiet(&[], 0), Cause::Quiet, &["QUIET: no attempt in 1s.", "next: look before limiter"]);
    let stuck = Facts { queue: Some([6, 5]), ..quiet(&[], 0) };
    says(&stuck, Cause::Server, &["the server accepts no connection now", "`limiter doctor`"]);
    let beside = quiet(&[], 65);
    says(&beside, Cause::OtherInterface, &["or from this host", "`limiter attach IFACE`"]);
    let detached =
        Facts { not_attached: vec!["eth1".to_owned()], queue: Some([128, 128]), ..beside };
    says(
        &detached,
        Cause::OtherInterface,
        &["limiter is not attached to eth1, which the policy names", "next: `limiter attach eth1`"],
    );
    let ports = quiet(&[(Reason::NotProtected, 70)], 65);
    says(&ports, Cause::NotNamed, &["70 SYNs/s to no service", "`limiter policy check`"]);
    let stray = quiet(&[(Reason::Admitted, 1)], 0);
    let stray = Facts { now: stray.now.map(|now| Rates { seconds: 3.0, ..now }), ..stray };
    says(&stray, Cause::Nothing, &["0.3 attempts/s (3s)"]);
    let banned = quiet(&[(Reason::Banned, 900)], 0);
    says(&banned, Cause::Banned, &["900 packets/s of banned sources", "`limiter ban list`"]);
    let allowed = quiet(&[(Reason::Allowed, 900)], 65);
    says(&allowed, Cause::Nothing, &["900 packets/s of allowed sources"]);
    says(&Facts { now: None, ..calm() }, Cause::NotMeasured, &["next: `limiter status` without"]);
}

#[test]
fn nothing_is_attached() {
    let none = Facts { attached: 0, ..calm() };
    says(
        &none,
        Cause::NotAttached,
        &["likely: nothing is limited", "next: `limiter apply --confirm 5m`"],
    );
    says(
        &Facts { gone: 1, ..none },
        Cause::Gone,
        &["the interface went, or is in another namespace"],
    );
    let unnamed = Facts { services: Vec::new(), ..calm() };
    says(&unnamed, Cause::NoService, &["the policy names no service"]);
    says(&Facts { gone: 1, ..calm() }, Cause::Nothing, &["1 interface is gone or detached"]);
}

/// Two zeroes are missing, and clients repeat what is refused.
#[test]
fn our_own_limit() {
    let by = [(Reason::Admitted, 5), (Reason::ServiceBudget, 40), (Reason::InLine, 84)];
    let typo = Facts { now: second(true, &by, [5, 0]), last: changed(600.0), ..calm() };
    says(
        &typo,
        Cause::OwnLimit,
        &[
            "likely: our own limit, changed 10m 0s ago by root next: `limiter rollback`",
            "REFUSING 96% of 129 attempts/s",
            "last change, 10m 0s ago by root: service web budget: 500/s, burst 1000 -> 5/s",
        ],
    );
    // What was changed days ago is not to be rolled back.
    let old = Facts { last: changed(9.0 * 86_400.0), ..typo.clone() };
    says(&old, Cause::OwnLimit, &["as many come as usual, and it refuses", "`limiter suggest`"]);
    let seen = Facts { usual: None, last: None, began_with_change: true, ..typo.clone() };
    says(&seen, Cause::OwnLimit, &["it began with the last change"]);
    // Without a history both are possible.
    let unsure = Facts { usual: None, ..typo.clone() };
    says(&unsure, Cause::OwnLimit, &["; or more clients than usual, which is not known"]);
    // A limit that was tightened in an attack is not its cause.
    let by = [(Reason::Admitted, 500), (Reason::InLine, 24_000)];
    let attack = Facts { now: second(true, &by, [6, 0]), ..unsure };
    says(&attack, Cause::Spoofed, &["last change, 10m 0s ago"]);
}

/// In observe mode no limit keeps a client away, whatever was changed a minute ago.
#[test]
fn what_drops_nothing_is_no_cause() {
    let by = [(Reason::Admitted, 500), (Reason::InLine, 800)];
    let botnet = Facts {
        enforces: false,
        now: second(false, &by, [600, 1600]),
        usual: None,
        last: changed(61.0),
        queue: Some([128, 128]),
        sources: machines(0.95, 50),
        ..calm()
    };
    let text = says(&botnet, Cause::Programs, &["next: `limiter arm --for 30m`"]);
    assert!(!text.contains("rollback"), "{text}");
    // But one that would refuse what comes on any day is named before it does.
    let by = [(Reason::Admitted, 5), (Reason::ServiceBudget, 60)];
    let low = Facts { now: second(false, &by, [60, 0]), usual: Some(60.0), ..calm() };
    let low = Facts { enforces: false, ..low };
    says(&low, Cause::OwnLimit, &["it would refuse what comes on any day", "`limiter suggest`"]);
}

/// A budget that is short has sources challenged, and one second may be quiet.
#[test]
fn our_own_limit_challenges() {
    let by = [(Reason::Admitted, 2), (Reason::Challenged, 40), (Reason::Waiting, 30)];
    let was = |attempts, refused| {
        changed(16.0).map(|last| Last { before: Some(Before { attempts, refused }), ..last })
    };
    let low = Facts {
        now: second(true, &by, [2, 0]),
        usual: None,
        last: was(25.0, 0.0),
        waiting: Some(waiting(29)),
        ..calm()
    };
    says(&low, Cause::OwnLimit, &["changed 16s ago by root", "next: `limiter rollback`"]);
    let quiet = Facts { now: second(true, &[], [0, 0]), ..low.clone() };
    says(&quiet, Cause::OwnLimit, &["next: `limiter rollback`"]);
    let proofs = second(true, &[(Reason::Waiting, 40)], [0, 0]);
    let alone = Facts { now: proofs, waiting: None, ..low.clone() };
    says(&alone, Cause::OwnLimit, &["next: `limiter rollback`"]);
    let unchanged = Facts { last: None, ..quiet.clone() };
    says(&unchanged, Cause::Unclear, &["some sources are over a limit"]);
    // A server that is behind has another reason to be spared.
    let text_of = |facts: &Facts| text(&assess(facts));
    let late = Facts { unanswered: (100, Duration::from_secs(2)), ..low.clone() };
    assert!(!text_of(&late).contains("rollback"));
    // What was refused before the change as well, or comes in far greater number since, has another
    // cause.
    for before in [was(25.0, 0.9), was(2.0, 0.0)] {
        let text = text_of(&Facts { last: before, ..low.clone() });
        assert!(!text.contains("rollback"), "{text}");
    }
}

#[test]
fn what_is_banned_is_held() {
    let by = [(Reason::Admitted, 65), (Reason::Banned, 3000)];
    let held = Facts { now: second(true, &by, [65, 0]), ..calm() };
    says(
        &held,
        Cause::Nothing,
        &[
            "beside what is banned next: nothing: the ban list holds it",
            "REFUSING 3,000 packets/s beside 65 attempts/s",
        ],
    );
}

#[test]
fn forged_addresses() {
    let by = [(Reason::Admitted, 400), (Reason::ServiceBudget, 24_625)];
    let facts = Facts {
        enforces: false,
        now: second(false, &by, [60, 0]),
        distinct: sources(493_290, 466_991, Some(1.0)),
        sources: come(0.1, come_once()),
        ..calm()
    };
    says(
        &facts,
        Cause::Spoofed,
        &[
            "likely: a flood from forged addresses, not a crowd",
            "next: `limiter set --set-syncookies yes`",
            "then: `limiter set --service web --challenge auto` then: `limiter arm --for 30m`",
            "NOTHING IS DROPPED; enforcing would refuse 98% of 25,025 attempts/s (1s) from about \
             493,290 sources (44s): service_budget 98%.",
            "0.2% of the 25,025/s that were let through became connections",
        ],
    );
    let by = [(Reason::Challenged, 25_000), (Reason::Proven, 40), (Reason::Admitted, 20)];
    let mut answered =
        Facts { enforces: true, cookies: true, now: second(true, &by, [60, 0]), ..facts };
    answered.services[0] =
        Service { may_challenge: true, challenges: true, ..answered.services[0].clone() };
    says(&answered, Cause::Spoofed, &["0.2% of the challenged proved", "next: nothing"]);
    // Few of very many are a crowd.
    let by = [(Reason::Challenged, 25_000), (Reason::Proven, 1300), (Reason::Admitted, 20)];
    let both = Facts { now: second(true, &by, [1300, 0]), ..answered.clone() };
    says(&both, Cause::Mixed, &["5% of the challenged proved"]);
    // In observe mode nothing is asked, so that no proof is missing.
    let by = [(Reason::Admitted, 30), (Reason::Challenged, 25_000)];
    let mut observed =
        Facts { enforces: false, now: second(false, &by, [60, 0]), ..answered.clone() };
    let mut now = observed.now.expect("measured");
    now.counts.through = 25_030;
    observed.now = Some(now);
    let text =
        says(&observed, Cause::Spoofed, &["enforcing would challenge 99.9%", "(44s). usually"]);
    assert!(!text.contains("answered it") && !text.contains("proved"), "{text}");
    now.counts.server = Some([24_000, 0]);
    let distinct = sources(60_000, 20_000, Some(20.0));
    let there = Facts { now: Some(now), sources: people(), distinct, ..observed };
    says(&there, Cause::Crowd, &["96% of the 25,030/s that were let through"]);
    let by = [(Reason::Challenged, 1000), (Reason::Proven, 400)];
    let mixed = Facts { now: second(true, &by, [400, 0]), ..answered };
    says(&mixed, Cause::Mixed, &["beside real clients", "40% of the challenged proved"]);
}

#[test]
fn few_sources() {
    let by = [(Reason::Admitted, 215), (Reason::SourceLimit, 3172)];
    let facts = Facts {
        enforces: false,
        now: second(false, &by, [3300, 0]),
        sources: come(0.99, Manners { each: 2.0, ..Manners::default() }),
        ..calm()
    };
    says(
        &facts,
        Cause::Few,
        &[
            "likely: few sources come too often: an attack, a tool, or a shared address",
            "next: `limiter arm --for 30m` then: `limiter allow add 185.20.31.7 --for 2h` if you know",
            "else `limiter ban add 185.20.31.7 --for 30m`",
            "the ten heaviest sources make 99% of it, 3,353/s",
        ],
    );
    let armed = Facts { enforces: true, now: second(true, &by, [215, 0]), ..facts };
    let text = says(&armed, Cause::Few, &["REFUSING 94%", "next: `limiter allow add 185.20.31.7"]);
    assert!(!text.contains("limiter arm"), "it is armed: {text}");
    // Whose handshakes never end is no client.
    let mut attack = Facts { now: second(false, &by, [15, 0]), enforces: false, ..armed.clone() };
    attack.sources.heavy[2].heaviest = vec!["185.20.31.7".into(), "185.20.31.5".into()];
    let text = says(
        &attack,
        Cause::Few,
        &["finish no handshake: an attack", "then: `limiter ban add 185.20.31.5 185.20.31.7 --for"],
    );
    assert!(!text.contains("allow add"), "{text}");
    // The one of docs/guide.md.
    let by = [(Reason::Admitted, 21), (Reason::SourceLimit, 8)];
    let one = Facts {
        now: second(true, &by, [21, 0]),
        distinct: Distinct { seconds: 20.0, ..sources(1, 1, None) },
        sources: Sources::default(),
        usual: None,
        ..armed
    };
    let text = says(&one, Cause::Few, &["REFUSING 28% of 29 attempts/s (1s) from about 1 source"]);
    assert!(!text.contains("heaviest"), "{text}");
}

/// Those that came before are more likely people behind one address, or a tool.
#[test]
fn few_that_came_before() {
    let by = [(Reason::Admitted, 215), (Reason::SourceLimit, 3172)];
    let mut facts = Facts { now: second(true, &by, [215, 0]), ..calm() };
    facts.sources = come(0.99, Manners { each: 2.0, ..Manners::default() });
    (facts.sources.heavy[2].familiar, facts.sources.heavy[2].rate) = (0.9, 200.0);
    let known = says(
        &facts,
        Cause::Familiar,
        &["likely: few sources that came before come far more", "next: `limiter allow add 185"],
    );
    assert!(!known.contains("attack"), "{known}");
    // They have come like this all the time since.
    facts.sources.heavy[2].rate = 3300.0;
    says(&facts, Cause::Few, &["an attack, a tool, or a shared address"]);
}

/// Two hundred and fifty people, of whom a handful is over the limit of a source: no "few sources".
#[test]
fn the_few_over_a_limit_of_a_crowd_are_not_the_cause() {
    let by = [(Reason::Admitted, 500), (Reason::SourceLimit, 60)];
    let mut facts = Facts {
        now: second(true, &by, [495, 0]),
        distinct: sources(252, 250, None),
        sources: people(),
        ..calm()
    };
    let heavy = Lately { sources: 5, of_ten: Some(1.0), ..Lately::default() };
    facts.sources.heavy[0] = heavy;
    says(&facts, Cause::Crowd, &["a crowd, or a botnet of browsers"]);
}

/// Many machines that connect and ask nothing.
#[test]
fn botnet() {
    let by = [(Reason::Admitted, 800), (Reason::SourceLimit, 2000)];
    let mut facts = Facts {
        now: second(true, &by, [790, 0]),
        distinct: sources(1348, 242, Some(3.0)),
        sources: machines(0.95, 50),
        ..calm()
    };
    // With requests they may be an app that polls: no ban is proposed.
    let text = says(&facts, Cause::Programs, &["a botnet or an app", "what tells: whether an app"]);
    assert!(!text.contains("ban add"), "{text}");
    let ends = Facts { sources: machines(0.1, 50), ..facts.clone() };
    says(&ends, Cause::Crowd, &["a crowd"]);
    let mut now = facts.now.expect("measured");
    now.counts.by[Reason::NotAttempt as usize] = 2 * 790;
    facts.now = Some(now);
    says(
        &facts,
        Cause::Botnet,
        &[
            "likely: a botnet: many machines that come by a clock and ask nothing",
            "next: `limiter top --networks`",
            "97% of the connections come one by one, 2.5s apart",
            "what tells: in the server's log people fetch whole pages",
        ],
    );
    let common = Common {
        prefix: "185.20.0.0/16".to_owned(),
        service: "web".to_owned(),
        percent: 94.0,
        sources: 1000,
    };
    let words = "94% of the attempts to web come from 185.20.0.0/16 (about 1000 sources in 2 min)";
    let facts = Facts { common: Some(common.clone()), ..facts };
    says(&facts, Cause::Botnet, &["next: `limiter ban add 185.20.0.0/16 --for 30m`", words]);
    // Where everybody is of one network nobody is told to ban it; and in our own line connections
    // come one by one, whoever they are of.
    let facts = Facts { common: Some(Common { percent: 100.0, ..common }), ..facts };
    let text = says(&facts, Cause::Botnet, &["next: `limiter top --networks`"]);
    assert!(!text.contains("ban add"), "{text}");
    let by = [(Reason::Admitted, 800), (Reason::InLine, 2000)];
    says(&Facts { now: second(true, &by, [790, 0]), ..facts }, Cause::Crowd, &["a crowd, or"]);
}

#[test]
fn crowd() {
    let by = [(Reason::Admitted, 500), (Reason::InLine, 1300)];
    let facts = Facts {
        now: second(true, &by, [490, 0]),
        distinct: sources(5613, 4120, Some(71.0)),
        sources: people(),
        waiting: Some(waiting(300)),
        ..calm()
    };
    says(
        &facts,
        Cause::Crowd,
        &[
            "likely: a crowd, or a botnet of browsers: more than there is room for",
            "next: nothing: they come in by turns, which takes a minute to show; or `limiter set \
             --service web --budget RATE`, if the servers have room for more",
            "in line: 300 sources, half of them for 22s",
            "98% of the 500/s that were let through became connections",
            "71% of the sources were here in the ten minutes before",
        ],
    );
    let mut open = Facts { enforces: false, now: second(false, &by, [1790, 0]), ..facts };
    open.services[0].is_bounded = false;
    says(&open, Cause::Crowd, &["next: `limiter set --service web --budget 500/s`", "then: `lim"]);
    // They come far more than usual, and are let in.
    let room = Facts { now: second(false, &[(Reason::Admitted, 900)], [880, 0]), ..open.clone() };
    says(&room, Cause::Crowd, &["and room for them", "LETTING IN all of 900 attempts/s"]);
    // A server that is full cannot let clients finish; how they come tells.
    let full = Facts { now: second(false, &[(Reason::Admitted, 1900)], [550, 1300]), ..open };
    let words = "the accept queue is full, so that clients cannot finish";
    says(&full, Cause::Crowd, &["more than the server takes", words]);
    let unseen = Facts { sources: Sources::default(), ..full };
    says(&unseen, Cause::Unclear, &["do not tell which", "which tells"]);
}

/// With a waiting room.
#[test]
fn a_crowd_that_waits() {
    let by = [(Reason::Admitted, 100), (Reason::Diverted, 900)];
    let facts = Facts { now: second(true, &by, [990, 0]), ..calm() };
    says(&facts, Cause::Crowd, &["most who come see the waiting room's page", "DIVERTING 90%"]);
    says(&Facts { long_wait: true, ..facts }, Cause::Crowd, &["capacity is missing"]);
}

#[test]
fn server() {
    let hung = Facts { now: second(true, &[(Reason::Admitted, 126)], [0, 122]), ..calm() };
    says(
        &hung,
        Cause::Server,
        &["the server accepts no connection now", "next: `limiter doctor`", "turn 122/s away"],
    );
    let by = [(Reason::Admitted, 66), (Reason::QueueFull, 60)];
    let mut slow = Facts { now: second(true, &by, [40, 20]), ..calm() };
    slow.services[0].is_bounded = false;
    says(
        &slow,
        Cause::Server,
        &["accepts too slowly", "then: `limiter set --service web --budget 40/s`", "opens 40/s"],
    );
}

/// Armed, with a budget above what it takes; and one that takes nothing, whose limits hold back what
/// would show it.
#[test]
fn a_server_behind_limits() {
    let by = [(Reason::Admitted, 400), (Reason::InLine, 1300)];
    let above = Facts {
        now: second(true, &by, [299, 800]),
        queue: Some([128, 128]),
        usual: None,
        ..calm()
    };
    let set = "next: `limiter set --service web --budget 269/s`: the budget is above";
    says(&above, Cause::Crowd, &[set]);
    let now = second(true, &by, [200, 800]);
    let set = "next: `limiter set --service web --budget 180/s`: the budget is above";
    says(&Facts { now, sources: Sources::default(), ..above }, Cause::Unclear, &[set]);
    let by = [(Reason::Admitted, 2), (Reason::InLine, 29)];
    let hangs = Facts {
        now: second(true, &by, [1, 0]),
        queue: Some([106, 128]),
        usual: None,
        waiting: Some(waiting(29)),
        ..calm()
    };
    says(&hangs, Cause::Server, &["the server accepts only 1.0/s", "106 of 128 places"]);
    // Not at once: that is what came before it.
    let armed = Last { seconds_ago: 1.0, ..changed(1.0).expect("a change") };
    let later = Last { seconds_ago: 20.0, ..armed.clone() };
    let none = Facts { now: second(true, &by, [0, 0]), is_shared: true, ..hangs };
    let begun = Facts { last: Some(armed), ..none.clone() };
    says(&begun, Cause::Unclear, &["next: nothing for a minute"]);
    says(&Facts { usual: Some(30.0), ..begun }, Cause::Unclear, &["next: nothing for a minute"]);
    assert_eq!(assess(&Facts { last: Some(later), ..none }).cause, Cause::Server);
}

/// What comes to another interface is not limited.
#[test]
fn an_interface_of_the_file_is_not_attached() {
    let facts = Facts { not_attached: vec!["eth1".to_owned()], ..calm() };
    says(
        &facts,
        Cause::Nothing,
        &["not attached to eth1 of the policy file: `limiter attach eth1`"],
    );
}

/// A full server gets through what waits, which no other command makes faster.
#[test]
fn a_server_that_catches_up() {
    let by = [(Reason::Admitted, 60), (Reason::InLine, 1300)];
    let armed = Facts {
        now: second(true, &by, [299, 800]),
        queue: Some([128, 128]),
        is_shared: true,
        last: changed(5.0),
        ..calm()
    };
    says(&armed, Cause::Crowd, &["next: nothing for a minute: the server gets through"]);
    // Later; and where the share is that of a fleet, before a server that is well.
    let later = Facts { last: changed(70.0), ..armed.clone() };
    let well = Facts { now: second(true, &by, [60, 0]), queue: None, ..armed };
    for facts in [later, well] {
        let text = text(&assess(&facts));
        assert!(!text.contains("nothing for a minute"), "{text}");
    }
}

/// A proxy accepts every connection, and its own queue is empty.
#[test]
fn a_server_behind_a_proxy() {
    let late =
        |clients, millis| Facts { unanswered: (clients, Duration::from_millis(millis)), ..calm() };
    says(
        &late(1075, 2188),
        Cause::Nothing,
        &["but the server answers late", "1,075 clients wait, half of them for 2.2s"],
    );
    assert!(![late(1075, 300), late(19, 9000)].iter().any(Facts::answers_late));
}

#[test]
fn what_cannot_be_told_is_said() {
    // A container opens the connections, so that its host counts none.
    let by = [(Reason::Admitted, 900), (Reason::InLine, 900)];
    let sources_unseen = Facts { sources: Sources::default(), usual: None, ..calm() };
    let elsewhere = Facts { now: second(true, &by, [0, 0]), ..sources_unseen };
    says(&elsewhere, Cause::Unclear, &["do not tell which", "who finishes is not known"]);
    let starved = second(true, &[(Reason::Admitted, 5), (Reason::GlobalBudget, 895)], [5, 0]);
    says(
        &Facts { now: starved, ..elsewhere.clone() },
        Cause::Unclear,
        &["too few were let through"],
    );
    let drawn = Facts { distinct: sources(60_000, 59_000, None), ..elsewhere.clone() };
    says(&drawn, Cause::Unclear, &["forged addresses, or a crowd from all over the world"]);
    let mut down = Facts { now: second(true, &by, [30, 0]), ..elsewhere.clone() };
    down.services[0].listens = false;
    says(&down, Cause::Unclear, &["no process listens here for web: down, or in a container"]);
    let mut dead = calm();
    dead.services[0].listens = false;
    says(&dead, Cause::Nothing, &["but no process listens here for web", "next: start the server"]);
    assert!(!dead.is_served() && calm().is_served());
    // The kernel says so to those who come, where no container serves them.
    let mut now = dead.now.expect("rates");
    now.counts.resets = now.counts.through;
    dead.now = Some(now);
    says(
        &dead,
        Cause::Down,
        &["the server is down: no process listens for web", "start the server"],
    );
    let served = Facts { now: dead.now, ..calm() };
    says(&served, Cause::Nothing, &["CALM"]);
    let little = second(true, &[(Reason::Admitted, 18), (Reason::SourceLimit, 3)], [18, 0]);
    let little = Facts { now: little, usual: None, ..calm() };
    says(&little, Cause::Unclear, &["some sources are over a limit", "next: `limiter top`"]);
    // Other ports are busy.
    let ports = Facts { now: second(true, &by, [5000, 0]), ..elsewhere };
    says(&ports, Cause::Unclear, &["the kernel counts other ports too"]);
}

/// The same rates, whatever is concluded: none is negative, and no share is above the whole.
#[test]
fn a_mode_is_never_taken_for_the_other() {
    let by = [(Reason::Admitted, 10), (Reason::SourceLimit, 90)];
    for enforces in [false, true] {
        let facts = Facts { enforces, now: second(enforces, &by, [10, 0]), ..calm() };
        let what = assess(&facts).what;
        assert_eq!(what.contains("NOTHING IS DROPPED"), !enforces, "{what}");
        assert!(what.contains("90% of 100 attempts/s"), "{what}");
    }
}
