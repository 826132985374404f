//! Readings of incidents that were staged and written down: each cause is named, and what comes
//! next is what helped.

use super::*;

/// A calm front end with a web server: 65 attempts/s as on any day.
fn calm() -> Facts {
    Facts {
        attached: 1,
        services: vec![Service {
            name: "web".to_owned(),
            budget: Some(500.0),
            stated: "500/s, burst 1000".to_owned(),
            ..Service::default()
        }],
        now: Some(now(65.0, 0.0)),
        sources: Some(sources(319, 40)),
        queue: Some((0, 128)),
        ..Facts::default()
    }
}

/// So many attempts per second, of which so many are over a limit; all others are served.
fn now(attempts: f64, refused: f64) -> Now {
    Now { attempts, refused, passed: attempts, opened: Some(attempts), ..Now::default() }
}

fn sources(sources: u64, networks: u64) -> Sources {
    Sources { seconds: 44.0, sources, networks, returning_percent: Some(40.0), each: 0.0 }
}

#[track_caller]
fn says(facts: &Facts, cause: Cause, words: &[&str]) -> String {
    let assessment = assess(facts);
    let text = text(&assessment);
    assert_eq!(assessment.cause, cause, "{text}");
    let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(whole.contains(word), "{word}: {text}");
    }
    assert!(text.starts_with("likely: ") && whole.contains(" next: "), "{text}");
    // A word that is longer than a line is the only reason for a longer line.
    for line in text.lines().filter(|line| line.chars().count() > 80) {
        assert!(line.contains('`'), "{line}");
    }
    text
}

#[test]
fn nothing() {
    says(&calm(), Cause::Nothing, &["nothing that limiter sees: 65 attempts/s", "not known", "look behind limiter"]);
    let known = Facts { usual: Some(60.0), ..calm() };
    says(&known, Cause::Nothing, &["65 attempts/s, usually 60, none refused"]);
    let quiet = Facts { now: Some(now(0.0, 0.0)), sources: None, ..calm() };
    says(&quiet, Cause::Quiet, &["look before limiter"]);
    let unmeasured = Facts { now: None, ..calm() };
    says(&unmeasured, Cause::NotMeasured, &["without --quick"]);
}

#[test]
fn nothing_is_attached() {
    says(&Facts { attached: 0, ..calm() }, Cause::NotAttached, &["LIMITS NOTHING", "limiter attach IFACE"]);
    let gone = Facts { attached: 0, gone: 1, enforces: true, now: Some(now(0.0, 0.0)), ..calm() };
    says(&gone, Cause::Gone, &["its interface is gone", "`limiter apply --confirm 5m`"]);
    let beside = Now { opened: Some(65.0), ..now(0.0, 0.0) };
    says(&Facts { now: Some(beside), ..calm() }, Cause::OtherInterface, &["not attached to"]);
    let unnamed = Facts { services: Vec::new(), ..calm() };
    says(&unnamed, Cause::NoService, &["no service is named"]);
    let stale = Facts { gone: 1, ..calm() };
    says(&stale, Cause::Nothing, &["1 interface is gone"]);
}

/// The typo: two zeroes are missing, and clients repeat what is refused.
#[test]
fn our_own_limit() {
    let last = usual::Last {
        seconds_ago: 600.0,
        who: "root".to_owned(),
        what: "service web budget: 500/s, burst 1000 -> 5/s, burst 10 (+1 more)".to_owned(),
        of_limits: true,
    };
    let mut facts = Facts { enforces: true, last: Some(last.clone()), ..calm() };
    facts.services[0].budget = Some(5.0);
    facts.now = Some(Now { passed: 5.0, opened: Some(5.0), ..now(129.0, 124.0) });
    says(&facts, Cause::OwnLimit, &["10m 0s ago by root", "500/s, burst 1000 -> 5/s", "`limiter rollback`"]);
    facts.usual = Some(65.0);
    says(&facts, Cause::OwnLimit, &["129 attempts/s, usually 65, 96% refused"]);
    facts.last = None;
    says(&facts, Cause::OwnLimit, &["below what comes as usual", "--budget 195/s"]);
    // Whoever tightened a limit in an attack is not its cause.
    let attacked = Facts {
        last: Some(last),
        sources: Some(Sources { returning_percent: Some(1.0), ..sources(490_000, 467_000) }),
        now: Some(Now { passed: 5.0, opened: Some(0.0), ..now(25_000.0, 24_990.0) }),
        usual: None,
        ..facts
    };
    says(&attacked, Cause::Spoofed, &["last change 10m 0s ago"]);
}

#[test]
fn forged_addresses() {
    let mut facts = Facts {
        now: Some(Now { opened: Some(60.0), ..now(25_000.0, 24_625.0) }),
        sources: Some(Sources { returning_percent: Some(1.0), ..sources(493_290, 466_991) }),
        ..calm()
    };
    let text = says(
        &facts,
        Cause::Spoofed,
        &[
            "a flood from forged addresses, not a crowd",
            "would be refused, but nothing is dropped",
            "about 493,290 sources of 466,991 networks",
            "next: `limiter set --set-syncookies yes` then: `limiter set --service web --challenge auto`",
            "then: `limiter arm --for 30m`",
        ],
    );
    assert!(!text.contains(", 98% refused"), "{text}");
    facts.enforces = true;
    facts.cookies = true;
    facts.services[0].challenge = true;
    says(&facts, Cause::Spoofed, &["--challenge always"]);
    facts.services[0].challenging = true;
    let challenged = Now { challenged: 25_000.0, proofs: 40.0, passed: 60.0, opened: Some(60.0), ..now(25_060.0, 0.0) };
    facts.now = Some(challenged);
    says(&facts, Cause::Spoofed, &["0% of the challenged proved", "next: nothing"]);
}

#[test]
fn few_sources() {
    let mut facts = Facts {
        now: Some(Now { own: 3172.0, ..now(3387.0, 3172.0) }),
        sources: Some(sources(328, 45)),
        most: Some(("185.20.31.7".to_owned(), 13_577)),
        heaviest: Some(0.97),
        ..calm()
    };
    says(
        &facts,
        Cause::Few,
        &["most refused: 185.20.31.7, 13,577 times", "next: `limiter arm --for 30m`", "allow add"],
    );
    facts.enforces = true;
    let text = says(&facts, Cause::Few, &["94% refused"]);
    assert!(!text.contains("limiter arm"), "it is armed: {text}");
}

/// A thousand real machines of one network, 2.5 attempts a second each.
#[test]
fn botnet() {
    let network = network::Network { prefix: "185.20.0.0/16".to_owned(), share: 0.94, sources: 653 };
    let facts = Facts {
        now: Some(Now { opened: Some(550.0), overflows: 1500.0, ..now(2614.0, 2100.0) }),
        sources: Some(sources(1348, 242)),
        network: Some(network),
        ..calm()
    };
    says(
        &facts,
        Cause::Botnet,
        &["94% of what is refused comes from 185.20.0.0/16", "arm --for 30m", "ban add 185.20.0.0/16 --for 30m"],
    );
}

/// The sale: fifteen hundred customers, and a server that does 550/s with a queue of 128.
#[test]
fn crowd() {
    let full = Now { opened: Some(550.0), overflows: 1000.0, ..now(1882.0, 1400.0) };
    let facts = Facts { now: Some(full), sources: Some(sources(1805, 9)), usual: Some(65.0), ..calm() };
    says(
        &facts,
        Cause::Crowd,
        &["a crowd", "usually 65", "turned 1,000/s away", "--budget 440/s --budget-burst 96`", "arm --for 30m"],
    );
    let served = Facts { now: Some(now(1200.0, 0.0)), usual: Some(65.0), sources: Some(sources(9000, 1400)), ..calm() };
    says(&served, Cause::Crowd, &["very many real clients", "none refused"]);
}

#[test]
fn server() {
    let hung = Now { opened: Some(0.0), overflows: 122.0, ..now(126.0, 0.0) };
    let facts = Facts { now: Some(hung), queue: Some((128, 128)), ..calm() };
    says(&facts, Cause::Server, &["accepts no connection", "restart the server"]);
    let slow = Now { opened: Some(40.0), overflows: 80.0, ..now(126.0, 0.0) };
    says(
        &Facts { now: Some(slow), ..facts },
        Cause::Server,
        &["slower than its clients come", "--budget 32/s --budget-burst 96`"],
    );
}

#[test]
fn what_cannot_be_known_is_said() {
    let facts = Facts {
        enforces: true,
        now: Some(Now { passed: 5.0, opened: None, ..now(900.0, 895.0) }),
        sources: Some(sources(700, 300)),
        ..calm()
    };
    says(&facts, Cause::Unclear, &["the data do not tell", "limiter top"]);
}

#[test]
fn the_usual_rate_is_that_of_most_of_the_time() {
    use crate::history::{Entry, Moment, State, Totals, Who};
    let state = Some(State { mode: "observe".to_owned(), profile: None });
    let entry = |seconds: u64, attempts: u64| Entry {
        time: Moment::of(seconds * 1_000_000_000).expect("a time"),
        who: Who::default(),
        command: Vec::new(),
        changed: vec!["service web budget: 500/s -> 5/s".to_owned()],
        before: state.clone(),
        after: state.clone(),
        goes_back_at: None,
        decides: Vec::new(),
        counters: Some(Totals { attempts, admitted: attempts, refused: 0 }),
    };
    let hour = 3600;
    let entries = [entry(0, 0), entry(hour, 65 * hour), entry(hour + 100, 65 * hour + 90_000)];
    let usual = usual::usual(&entries).expect("known");
    assert!((usual - 65.0).abs() < 0.01, "a surge of 100 s does not count: {usual}");
    assert_eq!(usual::usual(&entries[..1]), None);
    let again = [entry(0, 1000), entry(hour, 10)];
    assert_eq!(usual::usual(&again), None, "the counters began again");
    let now = Moment::of((hour + 130) * 1_000_000_000).expect("a time");
    let last = usual::last(&entries, now).expect("a change");
    assert!(last.of_limits && (last.seconds_ago - 30.0).abs() < 0.1, "{last:?}");
}
