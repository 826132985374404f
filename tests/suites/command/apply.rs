//! Policy files in force, on trial, and back; profiles; upgrades.

use std::path::PathBuf;

use lab::wait::until_so;
use limiter::kernel::maps::Raw;
use limiter::kernel::{Maps, Pins};
use limiter_common::names;
use limiter_common::record::{Instance, ListenerKey};

use super::Desk;

const POLICY: &str = r#"
interfaces = ["web0"]
mode = "enforce"

[defaults]
source_rate = "20/s"

[service.web]
listen = ["*:80", "*:443"]
budget = "1000/s"

[class.schools]
prefixes = ["192.0.2.0/24", "2001:db8::/48"]
source_rate = "400/s"

[profile.siege]
mode = "enforce"
[profile.siege.defaults]
source_rate = "5/s"

[profile.calm]
mode = "observe"
"#;

impl Desk {
    fn save(&self, name: &str, text: &str) -> PathBuf {
        let path = self.state().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

/// What decides: mode, default source limit, and whether something goes back.
fn state(desk: &Desk) -> (String, String, bool) {
    let status = desk.json("status --quick");
    let word = |name: &str| status[name].as_str().expect("a word").to_owned();
    (word("mode"), word("source_limit"), !status["reverts"].is_null())
}

fn is(mode: &str, limit: &str, reverts: bool) -> (String, String, bool) {
    (mode.to_owned(), limit.to_owned(), reverts)
}

#[track_caller]
fn becomes(desk: &Desk, wanted: &(String, String, bool)) {
    until_so(&format!("{wanted:?}"), || state(desk) == *wanted);
}

#[test]
fn a_file_loads_attaches_and_changes() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", POLICY);
    let said = desk.ok(&format!("apply {}", file.display()));
    assert!(said.contains("attached to web0") && said.contains("mode enforce"), "{said}");
    assert!(desk.has_program("web0") && desk.becomes_free("web1"));
    let status = desk.json("status --quick");
    assert_eq!((&status["mode"], &status["generation"]), (&"enforce".into(), &1.into()));
    assert_eq!(status["classes"][0]["source_limit"], "400/s, burst 800");
    assert!(desk.ok(&format!("apply {}", file.display())).contains("how it was already"));

    let more = POLICY.replace("[\"web0\"]", "[\"web0\", \"web1\"]").replace("20/s", "30/s");
    let file = desk.save("more.toml", &more);
    let said = desk.ok(&format!("apply {}", file.display()));
    assert!(
        said.contains("20/s, burst 40 -> 30/s, burst 60") && said.contains("attached to web1"),
        "{said}"
    );
    assert!(desk.has_program("web1"));
    // What is enforced is such a file.
    let shown = desk.save("shown.toml", &desk.ok("policy show"));
    assert!(desk.ok(&format!("policy diff {}", shown.display())).contains("nothing would change"));
    std::fs::write(desk.policy(), &more).expect("written");
    let said = desk.ok("rollback");
    assert!(said.contains("says otherwise") && said.contains("20/s, burst 40 -> 30/s, burst 60"));
    assert!(said.contains("the next `limiter apply` brings that back"), "{said}");
    assert_eq!(state(&desk), is("enforce", "20/s, burst 40", false));
    desk.fails("rollback", 1, &["gone"]);
}

#[test]
fn a_failing_apply_changes_nothing() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", POLICY);
    desk.fails("apply nowhere.toml", 1, &["nowhere.toml"]);
    let missing = desk.save("missing.toml", &POLICY.replace("web0", "nosuch0"));
    desk.fails(&format!("apply {}", missing.display()), 1, &["nosuch0", "web0"]);
    assert!(desk.left().is_empty(), "nothing is loaded: {:?}", desk.left());
    desk.ok(&format!("apply {}", file.display()));
    let before = desk.ok("policy show");
    let other = POLICY.replace("20/s", "7/s").replace("[\"web0\"]", "[\"web0\", \"nosuch0\"]");
    let missing = desk.save("missing.toml", &other);
    desk.fails(&format!("apply {}", missing.display()), 1, &["nosuch0"]);
    let wrong = desk.save("wrong.toml", &POLICY.replace("budget = ", "bugdet = "));
    desk.fails(&format!("apply {}", wrong.display()), 1, &["wrong.toml:", "bugdet", "budget"]);
    assert_eq!(desk.ok("policy show"), before);
    assert_eq!(desk.json("status --quick")["generation"], 1);
}

/// No process of limiter lives after `apply`: the kernel side goes back alone.
#[test]
fn a_policy_that_nobody_confirms_goes_back_by_itself() {
    let desk = Desk::new();
    let file = desk.save(
        "policy.toml",
        &POLICY.replace("\"enforce\"\n\n[defaults]", "\"observe\"\n\n[defaults]"),
    );
    desk.ok(&format!("apply {}", file.display()));
    assert_eq!(state(&desk), is("observe", "20/s, burst 40", false));
    let said = desk.ok(&format!("apply {} --profile siege --confirm 1h", file.display()));
    assert!(said.contains("goes back by itself") && said.contains("limiter confirm"), "{said}");
    assert_eq!(state(&desk), is("enforce", "5/s, burst 10", true));
    let status = desk.ok("status --quick");
    assert!(
        status.contains("goes back to the policy before, in mode observe")
            && status.contains("siege"),
        "{status}"
    );
    // There is one way back at a time.
    desk.fails(
        &format!("apply {}", file.display()),
        1,
        &["on trial", "limiter confirm", "limiter rollback"],
    );
    desk.fails("set --set-syncookies yes --confirm 1m", 1, &["one way back"]);
    assert!(
        !desk.ok("policy show").contains("set_syncookies = true"),
        "what fails changes nothing"
    );
    desk.fails("arm --for 10m", 1, &["on trial"]);
    desk.ok("rollback");
    assert_eq!(state(&desk), is("observe", "20/s, burst 40", false));
    desk.ok(&format!("apply {} --profile siege --confirm 1s", file.display()));
    becomes(&desk, &is("observe", "20/s, burst 40", false));
    desk.fails("confirm", 1, &["nothing to confirm"]);
    desk.fails("rollback", 1, &["gone"]);
    // It is as if it had never been: changes go on.
    desk.ok("set --source-rate 9/s");
    assert_eq!(state(&desk), is("observe", "9/s, burst 18", false));
}

#[test]
fn a_trial_is_confirmed_or_rolled_back() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", POLICY);
    desk.ok(&format!("apply {}", file.display()));
    desk.ok(&format!("profile use siege {} --confirm 1h", file.display()));
    assert_eq!(state(&desk), is("enforce", "5/s, burst 10", true));
    desk.ok("confirm");
    assert_eq!(state(&desk), is("enforce", "5/s, burst 10", false));
    desk.ok(&format!("profile use calm {} --confirm 1h", file.display()));
    assert_eq!(state(&desk), is("observe", "20/s, burst 40", true));
    // Mode changes do not touch the way back, but who disarms means it.
    desk.ok("arm");
    assert_eq!(state(&desk), is("enforce", "20/s, burst 40", true));
    assert!(desk.ok("disarm").contains("on trial"));
    desk.ok("rollback");
    assert_eq!(
        state(&desk),
        is("observe", "5/s, burst 10", false),
        "disarmed, and so the policy before is"
    );
    assert!(desk.ok(&format!("profile list {}", file.display())).contains("siege  (in force)"));
}

#[test]
fn a_profile_for_a_time_ends_by_itself() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", POLICY);
    desk.ok(&format!("apply {}", file.display()));
    desk.fails(
        &format!("profile use siege {} --confirm 2s --for 2s", file.display()),
        2,
        &["shorter"],
    );
    desk.ok(&format!("profile use siege {} --confirm 1h --for 2h", file.display()));
    // Confirmed, it still ends at its time.
    assert!(desk.ok("confirm").contains("goes back by itself"));
    assert_eq!(state(&desk), is("enforce", "5/s, burst 10", true));
    desk.ok("rollback");
    desk.ok(&format!("profile use siege {} --for 1s", file.display()));
    becomes(&desk, &is("enforce", "20/s, burst 40", false));
    let history = desk.ok("history");
    assert!(history.contains("went back by itself"), "{history}");
}

/// An armed time ends when it would have, if a profile goes back after it; if one goes back before, that is said.
#[test]
fn an_armed_time_is_not_forgotten() {
    let desk = Desk::new();
    let file = desk.save(
        "policy.toml",
        &POLICY.replace("\"enforce\"\n\n[defaults]", "\"observe\"\n\n[defaults]"),
    );
    desk.ok(&format!("apply {}", file.display()));
    // Whatever the machine does in between, the second is given later and for longer.
    desk.ok("arm --for 1s");
    let said = desk.ok(&format!("profile use siege {} --for 2s", file.display()));
    assert!(!said.contains("armed for a time"), "{said}");
    becomes(&desk, &is("observe", "20/s, burst 40", false));
    desk.ok("arm --for 2h");
    let said = desk.ok(&format!("profile use siege {} --confirm 1h", file.display()));
    assert!(said.contains("armed for a time") && said.contains("limiter disarm"), "{said}");
    desk.ok("rollback");
    assert_eq!(state(&desk), is("enforce", "20/s, burst 40", false));
}

/// A command that does not come to the end of writing leaves the policy that decides, and the one
/// before it.
#[test]
fn an_unfinished_policy_takes_no_way_back() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", POLICY);
    desk.ok(&format!("apply {}", file.display()));
    desk.ok("set --source-rate 9/s");
    let more = desk.save("more.toml", &POLICY.replace("\"*:443\"", "\"*:443\", \"*:444\""));
    // In the middle of writing the kernel has no room: what is nobody's fills the map.
    let mut maps = Maps::open(&Pins::at(desk.pins()).root()).expect("the maps");
    let of_nobody = |port| Raw(ListenerKey { address: [0; 2], port, slot: 9, padding: 0 });
    let filled: Vec<u16> = (0..=u16::MAX)
        .take_while(|port| maps.listener.insert(of_nobody(*port), Raw(0), 0).is_ok())
        .collect();
    // In the free slot: the policy before this one stays whole.
    desk.fails(&format!("apply {}", more.display()), 1, &["cannot write a listener"]);
    assert_eq!(state(&desk), is("enforce", "9/s, burst 18", false));
    desk.ok("rollback");
    assert_eq!(state(&desk), is("enforce", "20/s, burst 40", false));
    for port in filled {
        maps.listener.remove(&of_nobody(port)).expect("it is there");
    }
    desk.ok("set --source-rate 8/s");
    desk.ok("rollback");
    assert_eq!(state(&desk), is("enforce", "20/s, burst 40", false));
}

#[test]
fn a_policy_without_an_interface_says_so() {
    let desk = Desk::new();
    let interfaces = POLICY.lines().find(|line| line.starts_with("interfaces")).expect("a line");
    let file = desk.save("policy.toml", &POLICY.replace(interfaces, ""));
    for _ in 0..2 {
        let said = desk.ok(&format!("apply {}", file.display()));
        assert!(
            said.contains("attached to no interface") && said.contains("limiter attach IFACE"),
            "{said}"
        );
    }
    desk.ok("attach web0");
    let said = desk.ok(&format!("apply {}", file.display()));
    assert!(!said.contains("no interface"), "{said}");
}

#[test]
fn the_operator_is_warned_before_his_own_connection_could_be_refused() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", &POLICY.replace("\"*:443\"", "\"*:22\""));
    let apply = |from: &str| {
        let mut command = desk.command(&format!("apply {}", file.display()));
        let output = command
            .env("SSH_CONNECTION", format!("{from} 50000 198.51.100.1 22"))
            .output()
            .expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let warned = apply("203.0.113.9");
    assert!(
        warned.contains("203.0.113.9")
            && warned.contains("service web")
            && warned.contains("allow add"),
        "{warned}"
    );
    desk.ok("allow add 203.0.113.0/24");
    assert_eq!(apply("203.0.113.9"), "");
}

/// The version before this one may lack a map: what it loaded is taken over, and the map made.
#[test]
fn an_upgrade_adds_the_maps_of_a_newer_version() {
    let desk = Desk::new();
    let file = desk.save("policy.toml", POLICY);
    desk.ok(&format!("apply {}", file.display()));
    let before = desk.ok("policy show");
    let root = Pins::at(desk.pins()).root();
    let mut maps = Maps::open(&root).expect("the maps");
    let remove = || std::fs::remove_file(root.join(names::OBSERVER)).expect("removed");

    remove();
    desk.fails("upgrade", 1, &["pins were removed", names::OBSERVER, "detach --all"]);
    let Raw(instance) = maps.instance.get(&0, 0).expect("the instance");
    maps.instance
        .set(0, Raw(Instance { maps: instance.maps - 1, ..instance }), 0)
        .expect("written");
    desk.fails("status --quick", 1, &[names::OBSERVER, "older version", "limiter upgrade"]);
    assert!(desk.ok("upgrade").contains("on 1 interface"));
    assert_eq!(desk.ok("policy show"), before);

    remove();
    desk.fails("upgrade", 1, &["pins were removed"]);
}

#[test]
fn an_upgrade_keeps_everything() {
    let desk = Desk::new();
    desk.fails("upgrade", 1, &["not loaded"]);
    let file = desk.save("policy.toml", POLICY);
    desk.ok(&format!("apply {}", file.display()));
    desk.ok("ban add 198.51.100.7 --for 1h");
    let before = desk.ok("policy show");
    assert!(desk.ok("upgrade").contains("on 1 interface"));
    assert_eq!(desk.ok("policy show"), before);
    assert!(desk.ok("ban list").contains("198.51.100.7") && desk.has_program("web0"));
    assert_eq!(desk.json("upgrade")["interfaces"], 1);
    desk.ok("attach web1");
    assert!(desk.has_program("web1"));
}
