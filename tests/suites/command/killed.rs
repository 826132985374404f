//! Kill -9 at any point leaves a working limiter or none, never half of one.
//!
//! A kill leaves something new only where a call of lasting effect lies between it and the last
//! one: commands are killed before such calls, each in turn, as `lab::calls` finds them.

use std::path::PathBuf;
use std::process::Stdio;

use lab::calls::{self, Call};
use lab::wait::until_so;
use limiter::kernel::Pins;

use super::Desk;

const OLD: &str = "20/s, burst 40";
const NEW: &str = "5/s, burst 50";
const ATTACH: &str = "attach web0 web1 --service web=*:80 --source-rate 20/s --enforce";
const INTERFACES: [&str; 2] = ["web0", "web1"];

/// A kind of calls begins.
fn begins(call: Call) -> bool {
    call.nth == 1
}

/// The first, second, fourth and so on of calls of one kind: a policy is hundreds of writes.
pub fn doubles(call: Call) -> bool {
    call.nth.is_power_of_two()
}

/// Runs a command, and kills it before the first call that `is_point` says yes to: that call, or
/// none if it came to its end.
pub fn kill_before(desk: &Desk, line: &str, is_point: impl FnMut(Call) -> bool) -> Option<Call> {
    let mut command = desk.command(line);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    calls::kill_before(command, is_point)
        .unwrap_or_else(|error| panic!("limiter {line}: {error:#}"))
}

/// Runs a command, and kills it before its point of this number, of which 0 is the first.
fn kill_at(
    desk: &Desk,
    line: &str,
    is_point: impl Fn(Call) -> bool,
    number: usize,
) -> Option<Call> {
    let mut passed = 0;
    kill_before(desk, line, |call| {
        let is_this = is_point(call) && passed == number;
        passed += usize::from(is_point(call));
        is_this
    })
}

/// Runs a command again and again: killed before each of its points in turn, and to its end. After
/// each `look` is told where it was killed, and puts back what was before.
pub fn kill_everywhere(
    desk: &Desk,
    line: &str,
    is_point: impl Fn(Call) -> bool,
    mut look: impl FnMut(Option<Call>),
) {
    for number in 0.. {
        let killed = kill_at(desk, line, &is_point, number);
        println!("limiter {line}: {killed:?}");
        look(killed);
        if killed.is_none() {
            break;
        }
    }
}

/// The state is whole, and what is attached is pinned. `None` if limiter is not loaded.
fn whole(desk: &Desk) -> Option<serde_json::Value> {
    let output = desk.output("status --quick --json");
    if output.status.success() {
        let mut status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let attached = |status: &serde_json::Value, name: &str| {
            let interfaces = status["interfaces"].as_array().expect("a list");
            interfaces
                .iter()
                .any(|interface| interface["name"] == name && interface["attachment"] == "native")
        };
        // The kernel takes a link apart when it finds the time.
        until_so("what runs is what is pinned", || {
            status = desk.json("status --quick");
            INTERFACES.map(|name| attached(&status, name))
                == INTERFACES.map(|name| desk.has_program(name))
        });
        assert_eq!(status["services"].as_array().map(Vec::len), Some(1));
        return Some(status);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not loaded"), "{said}");
    assert!(
        INTERFACES.iter().all(|name| desk.becomes_free(name)),
        "nothing runs that is not pinned"
    );
    None
}

/// The first policy, whole.
#[track_caller]
fn is_first(status: &serde_json::Value) {
    assert_eq!((&status["source_limit"], &status["mode"]), (&OLD.into(), &"enforce".into()));
}

/// Second pins of the maps and of the program: limiter can be had back without loading it, which is
/// what takes long.
pub struct Kept {
    root: PathBuf,
    aside: PathBuf,
}

impl Kept {
    pub fn of(desk: &Desk) -> Self {
        let aside = desk.pins().with_file_name("kept");
        let kept = Self { root: Pins::at(desk.pins()).root(), aside };
        copy(&kept.root, &kept.aside);
        kept
    }

    /// Puts them back, attached to nothing.
    pub fn load(&self) {
        copy(&self.aside, &self.root);
        std::fs::create_dir(self.root.join("links")).expect("a directory");
    }
}

/// Pins the same objects in another directory; links are none of them, for what has two pins stays
/// attached when one goes.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for pin in std::fs::read_dir(from).expect("pins").flatten().filter(|pin| pin.path().is_file()) {
        std::fs::hard_link(pin.path(), to.join(pin.file_name())).expect("a second pin");
    }
}

/// Loading takes long, so this ends where limiter is loaded: `killed_while_attaching` goes on
/// there.
#[test]
fn killed_while_loading() {
    let desk = Desk::new();
    let is_loaded_after = |killed: Option<Call>| {
        println!("{killed:?}");
        let status = whole(&desk);
        status.iter().for_each(is_first);
        // Whatever was left, the way on is open.
        desk.ok("detach --all");
        assert!(desk.left().is_empty(), "{killed:?}: {:?}", desk.left());
        status.is_some()
    };
    let loaded_at = (0..).find(|number| is_loaded_after(kill_at(&desk, ATTACH, begins, *number)));
    assert!(loaded_at > Some(0), "absent before: {loaded_at:?}");
    // In the middle of the call that takes long, or wherever this comes.
    let mut child =
        desk.command(ATTACH).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
    let in_kernel = |id: u32| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(12)?.parse().ok()
    };
    // A tenth of a second of system time, in ticks: nothing but the verifier takes so much.
    until_so("the verifier is at work", || {
        child.try_wait().expect("a child").is_some() || in_kernel(child.id()) >= Some(10)
    });
    child.kill().expect("killed");
    child.wait().expect("ended");
    is_loaded_after(None);
    desk.ok(ATTACH);
    is_first(&whole(&desk).expect("loaded"));
}

/// Loaded already, so that nothing takes long, and it can be killed before every call.
#[test]
fn killed_while_attaching() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let links = Pins::at(desk.pins()).root().join("links");
    let mut counts = [0; 3];
    let detach = || {
        for link in std::fs::read_dir(&links).expect("links").flatten() {
            std::fs::remove_file(link.path()).expect("removed");
        }
        assert!(INTERFACES.iter().all(|name| desk.becomes_free(name)));
    };
    detach();
    kill_everywhere(
        &desk,
        "attach web0 web1",
        |_| true,
        |_| {
            is_first(&whole(&desk).expect("it stays loaded"));
            counts[INTERFACES.iter().filter(|name| desk.has_program(name)).count()] += 1;
            detach();
        },
    );
    println!("{counts:?} times attached to none, to one and to both");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn killed_while_setting() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let (mut old, mut new) = (0, 0);
    kill_everywhere(
        &desk,
        "set --source-rate 5/s --source-burst 50 --budget 7000/s",
        doubles,
        |_| {
            let status = whole(&desk).expect("it stays loaded");
            let shown = (status["source_limit"].as_str(), status["budget"].as_str());
            match shown {
                (Some(OLD), Some("none")) => old += 1,
                (Some(NEW), Some("7000/s, burst 14000")) => new += 1,
                mixed => panic!("half a policy: {mixed:?}"),
            }
            desk.ok("set --source-rate 20/s --source-burst 40 --budget none");
        },
    );
    println!("{old} times the old policy, {new} times the new one");
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

#[test]
fn killed_while_detaching() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let kept = Kept::of(&desk);
    let (mut absent, mut loaded) = (0, 0);
    kill_everywhere(&desk, "detach --all", doubles, |_| {
        match whole(&desk) {
            None => {
                absent += 1;
                // This sweeps up what it left.
                desk.ok("detach --all");
                assert!(desk.left().is_empty(), "{:?}", desk.left());
                kept.load();
            }
            Some(status) => {
                loaded += 1;
                is_first(&status);
            }
        }
        for name in INTERFACES.iter().filter(|name| !desk.has_program(name)) {
            desk.ok(&format!("attach {name}"));
        }
    });
    println!("{absent} times absent, {loaded} times loaded");
    assert!(absent > 0 && loaded > 0, "{absent} absent, {loaded} loaded");
}

#[test]
fn killed_while_banning() {
    let desk = Desk::new();
    desk.ok(ATTACH);
    let mut index = 0;
    kill_everywhere(
        &desk,
        "ban add 192.0.2.1 198.51.100.0/24",
        |_| true,
        |_| {
            whole(&desk).expect("it stays loaded");
            index += 1;
            desk.ok(&format!("ban add 203.0.113.{index}"));
            let list = desk.json("ban list");
            let holds = |prefix: &str| {
                list.as_array().expect("a list").iter().any(|entry| entry["prefix"] == prefix)
            };
            assert!(holds(&format!("203.0.113.{index}")));
            desk.sound("ban del 192.0.2.1");
            desk.sound("ban del 198.51.100.0/24");
        },
    );
}
