//! What a policy combines that cannot work here: `apply`, `set`, `arm`, `doctor` and `policy check`
//! say it in the same words.

use super::doctor::{doctor, listen};
use super::{Desk, cookies};

const POLICY: &str = r#"
interfaces = ["web0"]
mode = "observe"
[defaults]
source_rate = "20/s"
[service.web]
listen = ["*:80"]
challenge = "auto"
refuse = "room"
[service.web-too]
listen = ["*:81"]
[profile.guard]
mode = "enforce"
[profile.siege]
mode = "enforce"
[profile.siege.host]
budget = "100/s"
"#;

const BURST: &str = "the accept queue has 16 places, but the budget lets 200 in at once";
const ROOM: &str = "no waiting room listens for port 80";
const CHALLENGE: &str = "nobody is challenged: net.ipv4.tcp_syncookies is 1, not 2";
const CROWD: &str = "nothing bounds a crowd at web, web-too";

#[track_caller]
fn says(said: &str, wanted: &[&str], unwanted: &[&str]) {
    for words in wanted {
        assert!(said.contains(words), "`{words}` in {said}");
    }
    for words in unwanted {
        assert!(!said.contains(words), "no `{words}` in {said}");
    }
}

#[test]
fn each_command_names_them() {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    std::fs::write(desk.state().join("policy.toml"), POLICY).expect("a file");
    let _server = listen(&desk, 16);
    let said = desk.ok("policy check policy.toml");
    says(&said, &[&format!("with profile guard, {CROWD}"), "`set_syncookies = true`"], &["siege,"]);

    let said = desk.ok("apply policy.toml");
    says(&said, &[ROOM, CHALLENGE], &[BURST, CROWD]);
    let said = desk.ok("profile use guard policy.toml");
    says(&said, &[ROOM, CHALLENGE, CROWD], &[BURST]);
    let said = desk.ok("profile use siege policy.toml");
    says(&said, &[ROOM, CHALLENGE, BURST], &[CROWD]);
    desk.ok("disarm");
    let said = desk.ok("arm");
    let but = |words: &str| format!("but {words}");
    says(&said, &[&but(ROOM), &but(CHALLENGE), BURST, "come in by turns, at web, web-too"], &[]);
    assert_eq!(desk.json("arm")["but"].as_array().map(Vec::len), Some(3));
    let said = desk.ok("set --budget 500/s");
    let least = "60 is the least that limiter chooses";
    let short =
        "the accept queue has 16 places, but the budget lets 60 in at once: give the server";
    says(&said, &[least, short], &["it holds", "smaller burst"]);
    let said = desk.ok("set --budget 90/s --budget-burst 16");
    says(&said, &[&but(CHALLENGE)], &[]);
    let found = doctor(&desk, "");
    assert!(found.has(ROOM) && found.has("NOBODY IS CHALLENGED") && !found.has("at once"));

    // Each ends when what is missing is there.
    let said = desk.ok("set --set-syncookies yes");
    says(&said, &[], &["but "]);
    assert_eq!(cookies::syncookies(&desk), "2");
    desk.ok("set --service web --refuse drop");
    let said = desk.ok("arm");
    let set = "challenged when a budget is short, at web (limiter set net.ipv4.tcp_syncookies from 1 to 2)";
    says(&said, &[set], &["but "]);
    let done = said.lines().take_while(|line| !line.starts_with("likely:")).count();
    assert_eq!(done, 4, "three lines, and that it was armed already: {said}");
    // Without any bound.
    desk.ok("set --budget none");
    says(&desk.ok("arm"), &[&but(CROWD), "limiter set --service web --budget"], &["by turns"]);
    assert!(doctor(&desk, "").has(CROWD));
}
