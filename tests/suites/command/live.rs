//! What works, as typed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use lab::wait::until_so;

use super::Desk;

const ATTACH: &str = "attach web0 --service web=*:80,*:443 --service mail=192.0.2.1:25 --source-rate 20/s --budget 1000/s";

#[test]
fn several_interfaces_share_one_state() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    assert!(desk.ok("attach web1 --generic").contains("generic"));
    let status = desk.json("status --quick");
    let shown: Vec<_> = [0, 1]
        .map(|n| {
            (status["interfaces"][n]["name"].clone(), status["interfaces"][n]["attachment"].clone())
        })
        .into();
    assert!(
        shown.contains(&("web0".into(), "native".into()))
            && shown.contains(&("web1".into(), "generic".into())),
        "{shown:?}"
    );
    assert!(desk.ok("status --quick").contains("GENERIC"));
    desk.ok("detach web0");
    assert!(desk.becomes_free("web0") && desk.has_program("web1"));
    assert_eq!(desk.json("status --quick")["interfaces"].as_array().map(Vec::len), Some(1));
    assert!(desk.ok("detach web1").contains("unloaded"));
}

#[test]
fn the_table_has_the_size_that_was_asked_for() {
    let desk = Desk::new();
    desk.ok(&format!("{ATTACH} --sources 1000"));
    assert_eq!(desk.json("status --quick")["table"]["ways"], 1000);
    desk.ok("detach --all");
    desk.ok(ATTACH);
    assert_eq!(desk.json("status --quick")["table"]["ways"], 524_288);
}

#[test]
fn limits_change_live_and_read_back_as_typed() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    assert!(
        desk.ok("set --source-rate 600/min --source-burst 30")
            .contains("20/s, burst 40 -> 600/min, burst 30")
    );
    desk.ok("set --service mail --source-rate 3/10s --budget 50/s --prefix-v4 24");
    let status = desk.json("status --quick");
    assert_eq!(status["source_limit"], "600/min, burst 30");
    let mail = &status["services"][1];
    assert_eq!(
        (&mail["source_limit"], &mail["budget"]),
        (&"3/10s, burst 10".into(), &"50/s, burst 100".into())
    );
    assert_eq!(status["services"][0]["source_limit"], "600/min, burst 30 (default)");
    desk.ok("set --service mail --follow-default --budget none");
    let status = desk.json("status --quick");
    assert_eq!(status["services"][1]["source_limit"], "600/min, burst 30 (default)");
    assert_eq!(status["services"][1]["budget"], "none");
    assert!(desk.ok("set --source-rate 600/min --source-burst 30").contains("already"));
}

#[test]
fn the_mode_goes_and_comes_back() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    assert_eq!(desk.json("status --quick")["mode"], "observe");
    desk.ok("arm --for 1h");
    let status = desk.json("status --quick");
    assert_eq!(
        (&status["mode"], &status["reverts"]["mode"]),
        (&"enforce".into(), &"observe".into())
    );
    // A change of limits meanwhile does not make it stay.
    desk.ok("arm --for 1s");
    desk.ok("set --budget 500/s");
    until_so("it goes back", || desk.json("status --quick")["mode"] == "observe");
    assert_eq!(desk.json("status --quick")["budget"], "500/s, burst 1000");
    desk.ok("arm");
    assert_eq!(desk.json("status --quick")["mode"], "enforce");
    desk.ok("disarm");
    assert_eq!(desk.json("status --quick")["mode"], "observe");
    desk.ok("detach --all");
    desk.ok(&format!("{ATTACH} --enforce"));
    assert_eq!(desk.json("status --quick")["mode"], "enforce");
}

#[test]
fn lists_are_shown_until_they_end() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let banned = || desk.json("ban list").as_array().map(Vec::len);
    desk.ok("ban add 192.0.2.0/24 2001:db8::/32 198.51.100.7 --for 1h");
    desk.ok("ban add 203.0.113.9");
    assert_eq!(banned(), Some(4));
    // Another end for the same bans.
    desk.ok("ban add 192.0.2.0/24 2001:db8::/32 198.51.100.7 --for 1s");
    until_so("three bans end", || banned() == Some(1));
    assert_eq!(desk.json("ban list")[0]["prefix"], "203.0.113.9");
    desk.ok("ban del 203.0.113.9");
    assert!(desk.ok("ban list").contains("empty"));
    desk.ok("allow add 192.0.2.0/24");
    assert_eq!(desk.json("status --quick")["allowed"], 1);
}

#[test]
fn every_command_speaks_json() {
    let desk = Desk::new();
    for line in [
        ATTACH,
        "status",
        "status --measure 100ms",
        "arm",
        "disarm",
        "set --budget 5/s",
        "allow add 192.0.2.1",
        "allow list",
        "allow del 192.0.2.1",
        "ban add 192.0.2.1",
        "ban list",
        "ban del 192.0.2.1",
        "trace --stop",
        "history",
        "detach web0",
        "detach --all",
    ] {
        desk.json(line);
    }
}

/// `limiter status | head -1` is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let mut child = desk
        .command("status --measure 300ms")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Twenty commands at once: each does its work or waits for it, and the end is one of them whole.
#[test]
fn commands_in_parallel() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let lines: Vec<String> = (1..=20)
        .map(|n| match n % 4 {
            0 => format!("set --source-rate {n}/s --source-burst {n}0 --budget {n}00/s"),
            1 => format!("ban add 192.0.2.{n}"),
            2 => "status --quick --json".to_owned(),
            _ => "arm".to_owned(),
        })
        .collect();
    let spawn = |line: &String| {
        desk.command(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("runs")
    };
    let children: Vec<_> = lines.iter().map(spawn).collect();
    for (line, child) in lines.iter().zip(children) {
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let status = desk.json("status --quick");
    let whole = |n: u32| {
        status["source_limit"] == format!("{n}/s, burst {n}0")
            && status["budget"] == format!("{n}00/s, burst {}", n * 200)
    };
    assert!([4, 8, 12, 16, 20].into_iter().any(whole), "{status}");
    assert_eq!((&status["banned"], &status["mode"]), (&5.into(), &"enforce".into()));
}

/// A trace whose program stands behind every link already.
pub fn trace(desk: &Desk) -> Child {
    let mut child =
        desk.command("trace").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut said).expect("text");
    assert!(said.starts_with("tracing"), "{said}");
    child
}

/// The id of the program on web0.
fn program(desk: &Desk) -> u64 {
    let mut ip = desk.front.command("ip").expect("ip");
    let output = ip.args(["-d", "-j", "link", "show", "dev", "web0"]).output().expect("ip runs");
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    links[0]["xdp"]["prog"]["id"].as_u64().expect("a program")
}

/// Tracing stands in for the usual program and makes place for it again, also after a kill.
#[test]
fn tracing() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let usual = program(&desk);
    desk.ok("trace --for 300ms");
    assert_eq!(program(&desk), usual);
    let mut tracing = trace(&desk);
    assert_ne!(program(&desk), usual);
    tracing.kill().expect("killed");
    tracing.wait().expect("ended");
    assert!(desk.has_program("web0"));
    desk.ok("trace --stop");
    assert_eq!(program(&desk), usual);
    let mut tracing = trace(&desk);
    assert_ne!(program(&desk), usual);
    let pid = rustix::process::Pid::from_child(&tracing);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
    assert!(tracing.wait().expect("ended").success());
    assert_eq!(program(&desk), usual);
}

/// A trace locks nobody out, and whoever puts another program in place ends it.
#[test]
fn other_commands_work_while_one_traces() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let usual = program(&desk);
    let tracing = trace(&desk);
    let traced = program(&desk);
    for line in ["set --source-rate 30/s", "arm", "ban add 192.0.2.9", "attach web1", "detach web1"]
    {
        desk.ok(line);
    }
    assert_eq!(program(&desk), traced, "it traces on");
    assert_eq!(desk.json("status --quick")["mode"], "enforce", "over the same maps");
    let ends = |tracing: Child| {
        let output = tracing.wait_with_output().expect("ended");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("the trace ends"), "{said}");
    };
    desk.ok("trace --stop");
    ends(tracing);
    assert_eq!(program(&desk), usual);
    let tracing = trace(&desk);
    let second = trace(&desk);
    ends(tracing);
    assert_ne!(program(&desk), usual, "the end of the first is not that of the second");
    desk.ok("upgrade");
    ends(second);
    let tracing = trace(&desk);
    desk.ok("detach --all");
    ends(tracing);
    assert!(desk.becomes_free("web0"));
}

/// Where there is a budget there is a line, unless the operator says no.
#[test]
fn a_line_is_told() {
    let desk = Desk::new();
    desk.ok("attach web0 --service web=*:80");
    let status = desk.ok("status --quick");
    assert!(!status.contains("  line:"), "without a budget there is none: {status}");
    desk.ok("set --service web --budget 500/s");
    let status = desk.ok("status --quick");
    assert!(
        status.contains("line: who comes next has not waited;  0 visits and 0 pages let in"),
        "{status}"
    );
    let line = &desk.json("status --quick")["services"][0]["admission"]["line"];
    assert_eq!((&line["visits"], &line["connections_per_page"]), (&0.into(), &6.0.into()));
    let said = desk.ok("set --service web --line no");
    assert!(said.contains("line: yes -> no"), "{said}");
    let status = desk.ok("status --quick");
    assert!(status.contains("line: none, the budget is for those who come first"), "{status}");
}
