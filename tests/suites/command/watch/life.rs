//! How it begins, waits and ends, and what the keys do; without traffic.

use std::process::{Command, Stdio};

use lab::wait::until_so;

use super::Stage;

const ATTACH: &str = "attach crowd0 --service web=*:80 --service mail=192.0.2.1:25 --source-rate 20/s --budget 1000/s --enforce";

#[test]
fn it_waits_for_limiter_and_goes_on_by_itself() {
    let stage = Stage::new();
    let terminal = stage.watch("");
    terminal.wait_for("NOT LOADED; waiting");
    stage.ok(ATTACH);
    terminal.wait_for_all(&[
        "QUIET: no attempt in ",
        "ENFORCE",
        "policy 1",
        "on crowd0 native",
        "root: attached to crowd0",
    ]);
    stage.ok("upgrade");
    terminal.wait_for_readings(2);
    terminal.wait_for_all(&["QUIET", "ENFORCE", "on crowd0 native"]);
    stage.ok("detach --all");
    terminal.wait_for_all(&["NOT LOADED; waiting", "What is below is of before"]);
    stage.ok("attach attack0 --service web=*:80 --source-rate 20/s");
    terminal.wait_for_all(&["OBSERVE: nothing is dropped", "on attack0 native", "QUIET"]);
}

#[test]
fn what_somebody_changes_is_seen_at_once() {
    let stage = Stage::new();
    stage.ok(ATTACH);
    let terminal = stage.watch("");
    terminal.wait_for("QUIET");
    stage.ok("disarm");
    terminal.wait_for_all(&["OBSERVE", "nothing is dropped", "root: mode enforce -> observe"]);
    stage.ok("arm --for 1h");
    terminal.wait_for("goes back to observe by itself in ");
    until_so("a look before the end and one after it", || {
        stage.ok("arm --for 3s");
        terminal.wait_for("OBSERVE");
        let seen = terminal.wait_for_readings(2);
        seen.contains("went back by itself: mode enforce -> observe")
    });
    stage.ok("detach crowd0");
    terminal.wait_for("NOT LOADED");
}

/// Whatever is pressed, nothing of limiter changes.
#[test]
fn keys_choose_what_is_shown_and_nothing_else() {
    let stage = Stage::new();
    stage.ok(ATTACH);
    let before = stage.ok("policy show") + &stage.ok("history");
    let terminal = stage.watch("");
    terminal.wait_for("last 5m, all services");
    for (key, words) in [
        ("1", "last 1m, all services"),
        ("+", "last 5m"),
        ("4", "last 2h"),
        ("-", "last 30m"),
        ("Tab", "service web"),
        ("Right", "service mail"),
        ("Left", "service web"),
        ("BTab", "all services"),
        ("?", "No key changes a limit"),
        ("Escape", "whole host"),
        ("p", "PAUSED"),
        ("p", "p pause"),
    ] {
        terminal.press(key);
        terminal.wait_for(words);
    }
    for key in "abdefgijklmnorstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0567890!$%&/()=".chars() {
        terminal.press(&key.to_string());
    }
    for key in ["Enter", "Space", "F1", "F10", "DC", "BSpace", "C-s", "C-z", "M-a"] {
        terminal.press(key);
    }
    terminal.wait("the display", |screen| screen.contains("PAUSED") || screen.contains("ENFORCE"));
    assert_eq!(terminal.exit_code(), None);
    assert_eq!(stage.ok("policy show") + &stage.ok("history"), before);
}

/// A shell in a terminal that watches; the screen and the settings of the terminal are as before, however watching ends.
#[test]
fn the_terminal_is_given_back() {
    let stage = Stage::new();
    stage.ok(ATTACH);
    let terminal = stage.terminal(&["sh"]);
    let (binary, home) = (super::binary(), stage.state().display());
    for (end, code) in [("q", 0), ("Escape", 0), ("C-c", 0), ("TERM", 0), ("HUP", 0), ("INT", 0)] {
        terminal
            .press(&format!("cd {home}; clear; PS1=; stty -a > before; echo the screen of before"));
        terminal.press("Enter");
        terminal.wait("the text of before", |screen| {
            screen.lines().any(|line| line.starts_with("the screen of"))
        });
        terminal.press(&format!(
            "{} watch; echo code $?; stty -a | cmp - before && echo same",
            binary.display()
        ));
        terminal.press("Enter");
        terminal.wait_for("QUIET");
        match end.len() {
            1 => terminal.press(end),
            _ if end == "Escape" || end == "C-c" => terminal.press(end),
            _ => signal(end, child_of(terminal.process())),
        }
        let code = format!("code {code}");
        terminal.wait(&format!("{code}, and all as before"), |screen| {
            screen.lines().any(|line| line.trim() == "same")
                && screen.contains("the screen of before")
                && screen.contains(&code)
                && !screen.contains("QUIET")
        });
    }
}

fn child_of(process: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
        .expect("a list");
    children.split_whitespace().next().expect("a child").parse().expect("a number")
}

fn signal(name: &str, process: u32) {
    let done =
        Command::new("kill").args(["-s", name, &process.to_string()]).status().expect("kill runs");
    assert!(done.success());
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    let stage = Stage::new();
    stage.ok(ATTACH);
    let terminal = stage.watch("");
    terminal.wait_for("QUIET");
    terminal.resize(60, 20);
    terminal.wait_for("needs 80x24, is 60x20");
    terminal.resize(80, 24);
    terminal.wait_for("QUIET");
    terminal.press("q");
    assert_eq!(terminal.wait_for_exit(), 0);
}

#[test]
fn colour_is_left_away_on_request() {
    let stage = Stage::new();
    stage.ok(ATTACH);
    // What a terminal is told between ESC [ and m: 30 to 38 and 90 to 97 are colours.
    let codes = |text: &str| -> Vec<u32> {
        let told = text.split("\x1b[").skip(1).filter_map(|part| part.split_once('m'));
        told.flat_map(|(codes, _)| codes.split(';')).filter_map(|code| code.parse().ok()).collect()
    };
    let coloured = |text: &str| {
        codes(text).iter().any(|code| (30..39).contains(code) || (90..98).contains(code))
    };
    let is_coloured = |program: &[&str]| {
        let terminal = stage.terminal(program);
        let screen = terminal.wait_for("QUIET");
        (coloured(&terminal.attributes()), screen.is_ascii())
    };
    let binary = super::binary();
    let binary = binary.to_str().expect("a path");
    assert_eq!(is_coloured(&[binary, "watch"]), (true, false));
    assert_eq!(is_coloured(&[binary, "watch", "--no-color"]), (false, false));
    assert_eq!(is_coloured(&["env", "NO_COLOR=1", binary, "watch"]), (false, false));
    assert_eq!(is_coloured(&["env", "LC_ALL=C", binary, "watch", "--no-color"]), (false, true));
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let stage = Stage::new();
    stage.ok(ATTACH);
    for (line, words) in [
        ("watch", "limiter status"),
        ("watch --json", "status --json"),
        ("watch --interval 1ms", "200ms to 1m"),
    ] {
        let output = stage.command(line).stdin(Stdio::null()).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && said.contains(words) && output.stdout.is_empty(),
            "{line}: {said}"
        );
    }
}
