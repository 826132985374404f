//! Changes of what goes back by itself: they go back with it, and the way back stays.

use lab::wait::until_so;
use limiter::kernel::{Maps, Pins};

use super::{Desk, killed};

const POLICY: &str = r#"
interfaces = ["web0"]
mode = "observe"
[defaults]
source_rate = "20/s"
[service.web]
listen = ["*:80"]
budget = "1000/s"
[profile.siege]
mode = "enforce"
[profile.siege.defaults]
source_rate = "5/s"
"#;

const SIEGE: &str = "profile use siege policy.toml";

fn desk() -> Desk {
    let desk = Desk::new();
    std::fs::write(desk.state().join("policy.toml"), POLICY).expect("a file");
    desk.ok("apply policy.toml");
    desk
}

/// What decides: mode, default source limit, budget of the service, and whether something goes back.
#[derive(Debug, PartialEq)]
struct State(String, String, String, bool);

fn state(desk: &Desk) -> State {
    let status = desk.json("status --quick");
    let word = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
    State(
        word(&status["mode"]),
        word(&status["source_limit"]),
        word(&status["services"][0]["budget"]),
        !status["reverts"].is_null(),
    )
}

fn is(mode: &str, rate: u32, budget: u32, reverts: bool) -> State {
    let limit = |rate: u32| format!("{rate}/s, burst {}", rate * 2);
    State(mode.to_owned(), limit(rate), limit(budget), reverts)
}

/// When the switch goes back, and to which slot.
fn way_back(desk: &Desk) -> (Option<u64>, u32) {
    let switch =
        Maps::open(&Pins::at(desk.pins()).root()).expect("maps").switch().expect("a switch");
    (switch.revert(), switch.fallback().slot)
}

#[test]
fn a_change_of_a_profile_goes_back_with_it() {
    let desk = desk();
    desk.ok(&format!("{SIEGE} --confirm 1h --for 2h"));
    let trial = way_back(&desk);
    // On trial, it joins the trial.
    let said = desk.ok("set --service web --budget 500/s");
    assert!(said.contains("goes back with profile siege in") && said.contains("confirm"), "{said}");
    assert_eq!((state(&desk), way_back(&desk)), (is("enforce", 5, 500, true), trial));
    desk.ok("confirm");
    let confirmed = way_back(&desk);
    assert!(
        confirmed.0 > trial.0 && confirmed.1 == trial.1,
        "the profile's own end: {confirmed:?}"
    );
    // Confirmed, it ends with the profile; again and again, whichever slot is free.
    for budget in [400, 300, 200] {
        let said = desk.ok(&format!("set --service web --budget {budget}/s"));
        assert!(said.contains("goes back with profile siege in"), "{said}");
        let now = (state(&desk), way_back(&desk));
        assert_eq!(now, (is("enforce", 5, budget, true), confirmed));
    }
    let done = desk.json("set --service web --budget 250/s");
    assert_eq!(done["with"]["profile"], "siege", "{done}");
    assert!(done["goes_back_in_seconds"].as_f64().is_some_and(|left| left > 3600.0), "{done}");
    assert!(desk.ok("status --quick").contains("goes back to the policy before, in mode observe"));
    // Other ways back are refused, and so is what would need a second one.
    for line in ["set --budget 5/s --confirm 1m", "apply policy.toml", SIEGE, "arm --for 1h"] {
        desk.fails(line, 1, &["one way back at a time", "limiter rollback"]);
    }
    desk.fails("arm --confirm 1m", 1, &["one way back at a time"]);
    assert_eq!(state(&desk), is("enforce", 5, 250, true));
    desk.ok("upgrade");
    assert_eq!((state(&desk), way_back(&desk)), (is("enforce", 5, 250, true), confirmed));
    desk.ok("rollback");
    assert_eq!(state(&desk), is("observe", 20, 1000, false));
    desk.fails("rollback", 1, &["gone"]);

    // The kernel does it alone, too.
    let mut seconds = 1;
    until_so("something is set before the end", || {
        seconds *= 3;
        desk.ok(&format!("{SIEGE} --for {seconds}s"));
        let said = desk.ok("set --service web --budget 500/s");
        let in_time = said.contains("goes back with profile siege");
        if !in_time {
            desk.ok("rollback");
        }
        in_time
    });
    let wanted = is("observe", 20, 1000, false);
    until_so("it goes back with what was set", || state(&desk) == wanted);
    let history = desk.ok("history");
    assert!(history.contains("went back by itself"), "{history}");
    desk.ok("set --source-rate 9/s");
    assert_eq!(state(&desk), is("observe", 9, 1000, false));
    desk.ok("rollback");
    assert_eq!(state(&desk), wanted);
}

#[test]
fn what_is_confirmed_for_good_has_the_way_back_of_any_policy() {
    let desk = desk();
    desk.ok(&format!("{SIEGE} --confirm 1h"));
    desk.ok("set --service web --budget 500/s");
    // Who disarms means it for the policy before too, and it stays so under a change.
    desk.ok("disarm");
    desk.ok("set --service web --budget 400/s");
    desk.ok("arm");
    desk.ok("confirm");
    assert_eq!(state(&desk), is("enforce", 5, 400, false));
    desk.ok("rollback");
    assert_eq!(state(&desk), is("enforce", 5, 500, false), "the policy before this one");
    desk.fails("rollback", 1, &["gone"]);
    // The next one takes the place of the one that was gone back from; the same again does not.
    desk.ok("set --service web --budget 300/s");
    let said = desk.ok("set --service web --budget 300/s");
    assert!(said.contains("that is how it was already"), "{said}");
    desk.ok("rollback");
    assert_eq!(state(&desk), is("enforce", 5, 500, false));
}

#[test]
fn a_setting_on_trial() {
    let desk = desk();
    let said = desk.ok("set --source-rate 9/s --confirm 1h");
    assert!(said.contains("goes back by itself in 1h") && said.contains("confirm"), "{said}");
    desk.ok("set --source-rate 8/s");
    assert_eq!(state(&desk), is("observe", 8, 1000, true));
    desk.ok("confirm");
    assert_eq!(state(&desk), is("observe", 8, 1000, false));
    desk.ok("set --source-rate 7/s --confirm 1s");
    let wanted = is("observe", 8, 1000, false);
    until_so("it goes back", || state(&desk) == wanted);
    // An armed time is a way back too.
    desk.ok("arm --for 1h");
    desk.fails("set --source-rate 7/s --confirm 1m", 1, &["one way back at a time"]);
    desk.ok("set --source-rate 7/s");
    assert_eq!(state(&desk), is("enforce", 7, 1000, true));
    desk.ok("disarm");
    assert_eq!(state(&desk), is("observe", 7, 1000, false));
}

#[test]
fn armed_on_trial() {
    let desk = desk();
    let said = desk.ok("arm --confirm 1h");
    assert!(said.contains("goes back to observe") && said.contains("limiter confirm"), "{said}");
    assert_eq!(desk.json("status --quick")["reverts"]["mode"], "observe");
    desk.ok("confirm");
    assert_eq!(state(&desk), is("enforce", 20, 1000, false));
    desk.ok("disarm");
    desk.ok("arm --confirm 1s");
    let wanted = is("observe", 20, 1000, false);
    until_so("it goes back", || state(&desk) == wanted);
    desk.fails("confirm", 1, &["nothing to confirm"]);
    desk.fails("arm --for 1h --confirm 1m", 2, &["--confirm", "--for"]);
    // The end of a profile that was kept for good ends no armed time.
    desk.ok(&format!("{SIEGE} --confirm 1h --for 2h"));
    desk.ok("confirm");
    desk.ok("confirm");
    desk.ok("disarm");
    desk.ok("arm --for 1h");
    desk.ok("confirm");
    assert_eq!(state(&desk), is("enforce", 5, 1000, false));
}

/// Killed at any point, a change during a trial leaves the profile as it was or as it is to be, and
/// the way back whole.
#[test]
fn killed_while_it_changes_a_profile() {
    let desk = desk();
    desk.ok(&format!("{SIEGE} --for 1h"));
    let back = way_back(&desk);
    let (mut old, mut new) = (0, 0);
    killed::kill_everywhere(&desk, "set --service web --budget 500/s", killed::doubles, |_| {
        match state(&desk) {
            now if now == is("enforce", 5, 1000, true) => old += 1,
            now if now == is("enforce", 5, 500, true) => new += 1,
            mixed => panic!("half a policy: {mixed:?}"),
        }
        assert_eq!(way_back(&desk), back);
        desk.ok("set --service web --budget 1000/s");
    });
    assert!(old > 0 && new > 0, "{old} old, {new} new");
    // The free slot is that of the policy before, once there was a change: nobody goes back to half
    // of it.
    let in_the_midst = |call: lab::calls::Call| call.nth == 64;
    let killed = killed::kill_before(&desk, "set --service web --budget 500/s", in_the_midst);
    assert!(killed.is_some(), "it writes more than that");
    desk.ok("confirm");
    desk.fails("rollback", 1, &["did not come to its end", "apply the file"]);
    desk.ok("set --service web --budget 500/s");
    desk.ok("rollback");
    assert_eq!(state(&desk), is("enforce", 5, 1000, false));
}
