//! The one setting of the kernel that limiter may change: only with consent, only while it enforces a challenge, and always put back.

use std::time::{Duration, Instant};

use lab::calls::Call;
use lab::wait::until_so;
use limiter::kernel::{Maps, Pins};
use limiter_common::switch::Regime;

use super::{Desk, killed};

const ATTACH: &str = "attach web0 --service web=*:80 --budget 100/s";

pub fn syncookies(desk: &Desk) -> String {
    let read =
        || Ok(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies")?.trim().to_owned());
    desk.front.run(read).expect("the setting")
}

fn attached() -> Desk {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    desk.ok(ATTACH);
    desk
}

#[test]
fn it_is_not_set_without_consent() {
    let desk = attached();
    let said = desk.ok("set --service web --challenge auto");
    assert!(said.contains("challenge: off -> auto"), "{said}");
    assert!(said.contains("nobody is challenged") && said.contains("--set-syncookies"), "{said}");
    assert!(desk.ok("arm").contains("nobody is challenged"));
    assert_eq!(syncookies(&desk), "1");
    assert!(desk.ok("status --quick").contains("NOBODY IS CHALLENGED"));
}

/// The default where it can work, and a word about it where it cannot.
#[test]
fn attach_challenges_where_it_can_work() {
    let services = |desk: &Desk| desk.json("status --quick")["services"][0]["settings"].clone();
    for (setting, consent, works) in
        [("1", "", false), ("2", "", true), ("1", " --set-syncookies", true)]
    {
        let desk = Desk::new();
        desk.front.sysctl("ipv4/tcp_syncookies", setting).expect("the namespace's own setting");
        let said = desk.ok(&format!("{ATTACH}{consent}"));
        assert_eq!(said.contains("nobody is challenged"), !works, "{setting}{consent}: {said}");
        let admission = services(&desk);
        assert_eq!(
            admission["challenge"],
            if works { "auto" } else { "off" },
            "{setting}{consent}: {admission}"
        );
        desk.ok("arm");
        assert_eq!(syncookies(&desk), if works { "2" } else { "1" }, "{setting}{consent}");
        desk.ok("detach --all");
        assert_eq!(syncookies(&desk), setting);
        let said = desk.ok(&format!("attach web0 --service web=*:80{consent}"));
        assert!(!said.contains("challenged"), "without a budget there is nothing to guard: {said}");
        assert_eq!(services(&desk)["challenge"], "off");
        desk.ok("detach --all");
    }
}

#[test]
fn it_is_set_while_a_challenge_is_enforced_and_put_back() {
    let desk = attached();
    desk.ok("set --set-syncookies yes");
    desk.ok("arm");
    assert_eq!(syncookies(&desk), "1", "nothing may challenge yet");
    let said = desk.ok("set --service web --challenge auto");
    assert!(!said.contains("nobody is challenged"), "{said}");
    assert_eq!(syncookies(&desk), "2");
    let status = desk.json("status --quick");
    assert_eq!(
        (&status["cookies"]["syncookies"], &status["cookies"]["syncookies_before"]),
        (&2.into(), &1.into())
    );
    assert_eq!(status["services"][0]["settings"]["challenge"], "auto");
    assert!(desk.ok("status --quick").contains("set net.ipv4.tcp_syncookies from 1 to 2"));
    for (end, again) in [
        ("disarm", "arm"),
        ("set --service web --challenge off", "set --service web --challenge always"),
        ("set --set-syncookies no", "set --set-syncookies yes"),
    ] {
        desk.ok(end);
        assert_eq!(syncookies(&desk), "1", "after {end}");
        desk.ok(again);
        assert_eq!(syncookies(&desk), "2", "after {again}");
    }
    desk.ok("detach --all");
    assert_eq!(syncookies(&desk), "1", "after detach");
}

/// BPF cannot write a setting: what goes back by itself in the kernel is followed by a process, or by the next command.
#[test]
fn it_is_put_back_after_an_armed_time() {
    let desk = attached();
    desk.ok("set --set-syncookies yes");
    desk.ok("set --service web --challenge always");
    let start = Instant::now();
    desk.ok("arm --for 1s");
    until_so("somebody puts it back", || syncookies(&desk) == "1");
    assert!(start.elapsed() >= Duration::from_secs(1), "not before the time");
}

/// One process follows, however often limits are armed meanwhile: a command that finds it starts no
/// other, and it waits for whatever goes back last.
#[test]
fn one_process_puts_it_back() {
    let desk = attached();
    let pins = desk.pins().to_string_lossy().into_owned();
    let settlers = || {
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let lines = processes.filter_map(|one| std::fs::read(one.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        lines.filter(|line| line.contains(&pins) && line.ends_with("settle\0")).count()
    };
    desk.ok("set --set-syncookies yes");
    desk.ok("set --service web --challenge always");
    desk.ok("arm --for 1h");
    until_so("it waits", || Pins::at(desk.pins()).has_settler());
    for time in ["2h", "3h"] {
        desk.ok(&format!("arm --for {time}"));
        assert_eq!(settlers(), 1, "after arm --for {time}");
    }
    desk.ok("arm --for 1s");
    until_so("somebody puts it back", || syncookies(&desk) == "1");
    // For cookies that are out it goes on, while there is anything to settle.
    assert!(desk.json("status --quick")["cookies"]["charged"] == "both");
    desk.ok("detach --all");
    until_so("nobody waits any more", || settlers() == 0);
}

/// What pays for a connection follows from what the kernel does with attempts, whatever the mode;
/// where somebody else changed the setting, doctor says so until a command has looked again.
#[test]
fn what_pays_follows_the_setting() {
    let desk = attached();
    let told = || {
        Maps::open(&Pins::at(desk.pins()).root())
            .and_then(|maps| maps.switch())
            .expect("the switch")
            .regime()
    };
    assert_eq!(told(), Regime::Attempts);
    let charged = || desk.json("status --quick")["cookies"]["charged"].clone();
    assert_eq!(charged(), "attempts");
    desk.ok("set --set-syncookies yes");
    desk.ok("set --service web --challenge auto");
    desk.ok("arm");
    assert_eq!((told(), charged()), (Regime::Proofs, "proofs".into()));
    assert!(desk.ok("status --quick").contains("charged     proofs; an attempt costs nothing"));
    desk.ok("disarm");
    assert_eq!((told(), charged()), (Regime::Ending, "both".into()), "cookies are out still");
    // The operator's own setting, without limiter's doing.
    desk.ok("set --set-syncookies no");
    desk.ok("arm");
    let stale = || desk.output("doctor").stdout;
    let says =
        |output: Vec<u8>| String::from_utf8_lossy(&output).contains("TCP settings have changed");
    assert!(!says(stale()));
    desk.front.sysctl("ipv4/tcp_syncookies", "2").expect("the namespace's own setting");
    assert!(says(stale()));
    desk.ok("set --set-syncookies no");
    assert_eq!(told(), Regime::Proofs);
    assert!(!says(stale()));
    desk.ok("disarm");
    assert_eq!(told(), Regime::Proofs);
    desk.ok("arm --for 1s");
    until_so("it goes back", || desk.json("status --quick")["mode"] == "observe");
    assert_eq!(told(), Regime::Proofs);
    assert!(!says(stale()));
}

/// What the operator sets meanwhile is the operator's.
#[test]
fn a_later_change_by_somebody_else_stays() {
    let desk = attached();
    desk.ok("set --set-syncookies yes");
    desk.ok("set --service web --challenge always");
    desk.ok("arm");
    desk.front.sysctl("ipv4/tcp_syncookies", "0").expect("the namespace's own setting");
    desk.ok("disarm");
    assert_eq!(syncookies(&desk), "0");
}

#[test]
fn impossible_admissions_are_refused() {
    let desk = attached();
    let wrong = |line: &str, words: &[&str]| {
        let output = desk.output(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
    };
    wrong("set --challenge auto", &["--service"]);
    wrong("set --service web --challenge sometimes", &["off", "auto", "always"]);
}

/// Killed at any point, a command leaves a setting that the next one puts right.
#[test]
fn a_killed_command_leaves_it_to_the_next_one() {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    let (mut set, mut budget) = (0, 100);
    let mut look = |line: &str, killed: Option<Call>| {
        set += u32::from(syncookies(&desk) == "2");
        if desk.output("status --quick").status.success() {
            // A change of lists leaves settings alone: it may come a thousand times a second.
            budget += 1;
            desk.ok(&format!("set --service web --budget {budget}/s"));
            let status = desk.json("status --quick");
            let (enforces, may) =
                (status["mode"] == "enforce", status["cookies"]["may_set"] == true);
            // Detaching takes the consent back with the setting, before it takes limiter away.
            assert!(may || line.starts_with("detach"), "`{line}` was killed before {killed:?}");
            let right = if enforces && may { "2" } else { "1" };
            assert_eq!(syncookies(&desk), right, "`{line}` was killed before {killed:?}");
        }
        desk.ok("detach --all");
        assert_eq!(syncookies(&desk), "1", "`{line}` was killed before {killed:?}");
    };
    // Loading takes long: it is killed where consent is not noted yet, and where it is.
    let enforce = format!("{ATTACH} --set-syncookies --enforce");
    for name in ["write", "attach"] {
        let mut is_loaded = false;
        let killed = killed::kill_before(&desk, &enforce, |call| {
            is_loaded |= call.name == "rename";
            is_loaded && call.name == name
        });
        assert!(killed.is_some(), "{name}");
        look(&enforce, killed);
    }
    desk.ok(&enforce);
    let kept = killed::Kept::of(&desk);
    desk.ok("detach --all");
    for (line, before) in [
        ("attach web0", &["arm"][..]),
        ("arm", &["attach web0", "disarm"]),
        ("detach --all", &["attach web0", "arm"]),
    ] {
        let prepare = || {
            kept.load();
            // Detaching took the consent back.
            desk.ok("set --set-syncookies yes");
            before.iter().for_each(|line| drop(desk.ok(line)));
        };
        prepare();
        killed::kill_everywhere(&desk, line, killed::doubles, |killed| {
            look(line, killed);
            prepare();
        });
        desk.ok("detach --all");
    }
    assert!(set > 0, "some came so far");
}

/// What was set for a limiter that could not be attached goes with it.
#[test]
fn a_failed_attach_leaves_it_as_it_was() {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    let line = format!("{ATTACH} --set-syncookies --enforce")
        .replace("attach web0", "attach web0 nosuch0");
    desk.fails(&line, 1, &["nosuch0"]);
    assert_eq!(syncookies(&desk), "1");
    assert!(desk.left().is_empty() && desk.becomes_free("web0"));
}
