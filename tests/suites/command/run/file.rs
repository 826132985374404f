//! What the daemon makes of its file, of what operators do beside it, and of what goes back by itself.

use std::fs;
use std::time::Duration;

use lab::Trivial;
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::front::{LIMITED, generation, policy, wired, write};

#[test]
fn a_reload_applies_what_changed_and_nothing_else() {
    let (desk, _client) = wired();
    let daemon = Daemon::ready(&desk, "run");
    daemon.reload();
    daemon.says(&["says what is in force already"]);
    assert_eq!(generation(&desk), 1, "no new slot");
    write(&desk, &LIMITED.replace("1/h", "7/min"));
    daemon.reload();
    daemon.says(&["is in force", "host source limit: 1/h, burst 10 -> 7/min, burst 10"]);
    assert_eq!(
        (generation(&desk), desk.json("status --quick")["source_limit"].clone()),
        (2.into(), "7/min, burst 10".into())
    );
    // A bad file.
    write(&desk, "interfaces = [\"web0\"]\nmode = \"enforced\"\n");
    daemon.reload();
    daemon.says(&["ERROR", "what is in force stays", "policy.toml:2:", "enforced"]);
    assert_eq!(
        (generation(&desk), desk.json("status --quick")["mode"].clone()),
        (2.into(), "enforce".into())
    );
    assert_eq!(
        desk.json("history")[2]["changed"],
        json!(["host source limit: 1/h, burst 10 -> 7/min, burst 10"])
    );
    daemon.end();
}

/// What an operator did counts more than a file that says what it said before.
#[test]
fn a_reload_leaves_alone_what_an_operator_did() {
    let (desk, _client) = wired();
    let profile = "[profile.siege.service.web]\nbudget = \"70/s\"\n";
    write(&desk, &format!("{LIMITED}{profile}"));
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("disarm");
    write(&desk, &format!("{}{profile}", LIMITED.replace("1/h", "7/min")));
    daemon.reload();
    let status = desk.json("status --quick");
    assert_eq!(
        (&status["mode"], &status["source_limit"]),
        (&"observe".into(), &"7/min, burst 10".into())
    );
    // What the file says anew counts.
    write(&desk, &format!("{}{profile}", LIMITED.replace("enforce", "observe")));
    daemon.reload();
    desk.ok("arm");
    write(&desk, &format!("{LIMITED}{profile}"));
    daemon.reload();
    assert_eq!(desk.json("status --quick")["mode"], "enforce");
    // The profile stays.
    let file = policy(&desk);
    desk.ok(&format!("profile use siege {}", file.display()));
    write(&desk, &format!("{}{profile}", LIMITED.replace("1/h", "9/min")));
    daemon.reload();
    let status = desk.json("status --quick");
    assert_eq!(
        (&status["profile"], &status["source_limit"]),
        (&"siege".into(), &"9/min, burst 10".into())
    );
    assert_eq!(status["services"][0]["budget"], "70/s, burst 140");
    // A trial is not overtaken.
    desk.ok(&format!("profile use normal {} --confirm 1h", file.display()));
    let before = generation(&desk);
    write(&desk, &format!("{LIMITED}{profile}"));
    daemon.reload();
    daemon.says(&["ERROR", "on trial", "limiter confirm"]);
    let status = desk.json("status --quick");
    assert_eq!(
        (&status["generation"], &status["source_limit"]),
        (&before, &"9/min, burst 10".into())
    );
    assert_eq!(status["reverts"]["policy"], true);
    daemon.end();
}

#[test]
fn unloaded_by_hand_it_waits_to_be_told() {
    let (desk, _client) = wired();
    let daemon = Daemon::ready(&desk, "run --detach-on-exit");
    desk.ok("detach --all");
    daemon.says(&["WARN", "another command unloaded limiter", "SIGHUP"]);
    daemon.told("STATUS=limiter is not loaded");
    desk.front.ip(&["link", "set", "web0", "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(1200));
    assert!(desk.becomes_free("web0"));
    daemon.reload();
    assert!(desk.has_program("web0"));
    assert_eq!(desk.json("status --quick")["mode"], "enforce");
    daemon.end();
    assert!(desk.left().is_empty() && desk.becomes_free("web0"), "--detach-on-exit");
    let last = desk.json("history --last 1");
    assert_eq!(
        (&last[0]["changed"][0], &last[0]["after"]),
        (&"limiter is unloaded; nothing of it is left".into(), &Value::Null)
    );
}

#[test]
fn what_goes_back_by_itself_is_followed() {
    let (desk, client) = wired();
    // Without it no answer would arrive there, and the daemon would end the challenge.
    let _peer = Trivial::Pass.attach(&client, "far0").expect("a program at the other end");
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    let challenge = format!(
        "set_syncookies = true\n{}challenge = \"always\"\n",
        LIMITED.replace("enforce", "observe")
    );
    write(&desk, &challenge);
    let daemon = Daemon::ready(&desk, "run");
    desk.ok("arm --for 1s");
    daemon.says(&["INFO", "went back by itself", "mode enforce -> observe"]);
    let history = desk.json("history");
    let entries = history.as_array().expect("a list");
    let last = entries.last().expect("an entry");
    assert_eq!(last["changed"], json!(["went back by itself: mode enforce -> observe"]));
    assert_eq!(
        (&last["before"]["mode"], &last["after"]["mode"]),
        (&"enforce".into(), &"observe".into())
    );
    assert_eq!(entries[entries.len() - 2]["back"], "done");
    // A policy on trial, with nobody but the daemon to put the setting back.
    write(&desk, &challenge.replace("1/h", "7/min").replace("observe", "enforce"));
    desk.ok(&format!("apply {} --confirm 1h", policy(&desk).display()));
    let read = || {
        desk.front
            .run(|| Ok(fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?))
            .expect("the setting")
    };
    assert_eq!(read(), "2\n");
    desk.ok("rollback");
    assert_eq!(read(), "1\n");
    desk.ok(&format!("apply {} --confirm 1s", policy(&desk).display()));
    daemon.says(&[
        "INFO",
        "went back by itself",
        "the policy before decides again",
        "7/min, burst 10 -> 1/h",
    ]);
    let entries = desk.json("history").as_array().expect("a list").len();
    assert_eq!(read(), "1\n");
    // The next daemon does not tell it again, and finds what nobody told.
    daemon.end();
    let daemon = Daemon::ready(&desk, "run");
    daemon.end();
    assert_eq!(desk.json("history").as_array().expect("a list").len(), entries);
    desk.ok("arm --for 100ms");
    std::thread::sleep(Duration::from_millis(200));
    let daemon = Daemon::ready(&desk, "run");
    daemon.says(&["went back by itself"]);
    assert_eq!(desk.json("history").as_array().expect("a list").len(), entries + 2);
    daemon.end();
}
