//! The packaged alerts and the dashboard name reasons in their queries: the same as the table says.

use std::collections::BTreeSet;
use std::fs;

use limiter_common::reason::{Alarm, Group, Packet, Reason};

fn packaged(name: &str) -> String {
    let path = format!("{}/../packaging/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names that each `reason="a"` or `reason=~"a|b"` of a text picks.
fn picked(text: &str) -> Vec<BTreeSet<&str>> {
    let values =
        text.split("reason=").skip(1).map(|rest| rest.split('"').nth(1).expect("a quoted value"));
    values.map(|value| value.split('|').collect()).collect()
}

fn names(holds: impl Fn(Reason) -> bool) -> BTreeSet<&'static str> {
    Reason::ALL.iter().filter(|reason| holds(**reason)).map(|reason| reason.name()).collect()
}

#[test]
fn each_alert_counts_the_reasons_that_are_to_raise_it() {
    let rules = packaged("limiter.rules.yml");
    let mut raised = BTreeSet::new();
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or_default();
        for picked in picked(alert) {
            let alarm = Alarm::ALL.into_iter().find(|alarm| alarm.name() == name);
            let alarm = alarm.unwrap_or_else(|| {
                panic!("{name} names reasons, and no row of the table names it")
            });
            assert_eq!(picked, names(|reason| reason.alarm() == Some(alarm)), "{name}");
            raised.insert(name);
        }
    }
    assert_eq!(
        raised,
        Alarm::ALL.map(Alarm::name).into(),
        "each is in the rules, and picks reasons"
    );
}

#[test]
fn the_dashboard_shows_all_that_is_about_cookies_the_room_and_who_is_present() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&packaged("grafana.json")).expect("JSON");
    let text = dashboard.to_string().replace("\\\"", "\"");
    let cookies = names(|reason| {
        reason.group() == Some(Group::Challenged)
            || matches!(reason.packet(), Packet::Proof | Packet::Cookie)
    });
    let diverted = names(|reason| {
        reason.group() == Some(Group::Diverted) || reason.packet() == Packet::Diversion
    });
    let open = [Reason::NetworkLimit, Reason::OpenSource, Reason::OpenBudget, Reason::OpenNetwork];
    let present = names(|reason| open.contains(&reason));
    assert_eq!(picked(&text), [cookies, diverted, present]);
}
