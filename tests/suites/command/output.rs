//! Output that nobody takes fails no change that is done, and panics nowhere: every command with
//! standard output and standard error closed, full, or with a reader that left.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory as _;
use serde_json::json;

use super::Desk;

pub(super) const POLICY: &str = "interfaces = [\"web0\"]\nsources = 4096\n[defaults]\nsource_rate = \"20/s\"\n[host]\n\
                      budget = \"1000/s\"\n[service.web]\nlisten = [\"*:80\"]\n";

/// What becomes of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    Closed,
    Full,
    ReaderLeft,
}

pub(super) const SINKS: [Sink; 3] = [Sink::Closed, Sink::Full, Sink::ReaderLeft];

impl Sink {
    /// Makes descriptor 1 or 2 of a command such a place.
    pub(super) fn of(self, descriptor: i32, command: &mut Command) {
        let place: Stdio = match self {
            Self::Closed => Stdio::inherit(),
            Self::Full => File::options().write(true).open("/dev/full").expect("/dev/full").into(),
            Self::ReaderLeft => std::io::pipe().expect("a pipe").1.into(),
        };
        match descriptor {
            1 => command.stdout(place),
            _ => command.stderr(place),
        };
        if self == Self::Closed {
            // SAFETY: close is a single system call, safe between fork and exec, and nothing there
            // uses the descriptor.
            unsafe {
                command.pre_exec(move || {
                    libc::close(descriptor);
                    Ok(())
                });
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes limiter, and is noted.
    Change,
    /// Writes a file or puts something in order; the history does not tell.
    Effect,
    /// Prints what was asked for.
    Read,
    /// Prints nothing.
    Silent,
    /// Of `run`, which `run::log` tries; of `room`, which serves; and of what needs a terminal or
    /// an engine.
    Elsewhere,
}

/// Each command by its name: what it is, the lines that make its change one, and the line.
pub(super) const COMMANDS: &[(&str, Kind, &[&str], &str)] = &[
    ("attach", Kind::Change, &["detach web1"], "attach web1"),
    ("detach", Kind::Change, &["attach web1"], "detach web1"),
    ("status", Kind::Read, &[], "status --quick"),
    ("top", Kind::Read, &[], "top"),
    ("suggest", Kind::Read, &[], "suggest"),
    ("events", Kind::Read, &[], "events"),
    ("metrics", Kind::Read, &[], "metrics"),
    ("watch", Kind::Elsewhere, &[], ""),
    ("room", Kind::Elsewhere, &[], ""),
    ("arm", Kind::Change, &["disarm"], "arm"),
    ("disarm", Kind::Change, &["arm"], "disarm"),
    ("set", Kind::Change, &["set --budget 900/s"], "set --budget 800/s"),
    ("doctor", Kind::Read, &[], "doctor web0"),
    ("allow add", Kind::Change, &[], "allow add 192.0.2.1"),
    ("allow del", Kind::Change, &["allow add 192.0.2.1"], "allow del 192.0.2.1"),
    ("allow list", Kind::Read, &["allow add 192.0.2.1"], "allow list"),
    ("ban add", Kind::Change, &[], "ban add 192.0.2.2"),
    ("ban del", Kind::Change, &["ban add 192.0.2.2"], "ban del 192.0.2.2"),
    ("ban list", Kind::Read, &["ban add 192.0.2.2"], "ban list"),
    ("allow save", Kind::Read, &["allow add 192.0.2.1"], "allow save -"),
    ("allow load", Kind::Change, &["allow add 192.0.2.1", "allow save list"], "allow load list"),
    ("ban save", Kind::Read, &["ban add 192.0.2.2"], "ban save -"),
    ("ban load", Kind::Change, &["ban add 192.0.2.2", "ban save list"], "ban load list"),
    ("apply", Kind::Change, &["set --budget 900/s"], "apply policy.toml"),
    ("confirm", Kind::Change, &["arm --for 1h"], "confirm"),
    ("rollback", Kind::Change, &["apply policy.toml --confirm 1h"], "rollback"),
    ("profile list", Kind::Read, &[], "profile list"),
    ("profile use", Kind::Change, &["set --budget 900/s"], "profile use normal"),
    ("run", Kind::Elsewhere, &[], ""),
    ("upgrade", Kind::Change, &[], "upgrade"),
    ("history", Kind::Read, &[], "history"),
    ("record", Kind::Effect, &[], "record --for 1s"),
    ("report", Kind::Read, &["record --for 1s"], "report incident.tar.gz"),
    ("policy check", Kind::Read, &[], "policy check policy.toml"),
    ("policy show", Kind::Read, &[], "policy show"),
    ("policy diff", Kind::Read, &["set --budget 900/s"], "policy diff policy.toml"),
    ("docs man", Kind::Effect, &[], "docs man pages"),
    ("docs completions", Kind::Read, &[], "docs completions bash"),
    ("settle", Kind::Silent, &[], "settle"),
    ("trace", Kind::Effect, &[], "trace --stop"),
    // They need an engine, and print by what all others print by.
    ("fleet init", Kind::Elsewhere, &[], ""),
    ("fleet status", Kind::Elsewhere, &[], ""),
    ("fleet budget", Kind::Elsewhere, &[], ""),
    ("fleet top", Kind::Elsewhere, &[], ""),
    ("fleet profile", Kind::Elsewhere, &[], ""),
    ("fleet join", Kind::Elsewhere, &[], ""),
    ("fleet leave", Kind::Elsewhere, &[], ""),
    ("fleet forget", Kind::Elsewhere, &[], ""),
    ("fleet ban add", Kind::Elsewhere, &[], ""),
    ("fleet ban del", Kind::Elsewhere, &[], ""),
    ("fleet ban list", Kind::Elsewhere, &[], ""),
    ("fleet allow add", Kind::Elsewhere, &[], ""),
    ("fleet allow del", Kind::Elsewhere, &[], ""),
    ("fleet allow list", Kind::Elsewhere, &[], ""),
];

fn leaves(command: &clap::Command, before: &str, names: &mut BTreeSet<String>) {
    for below in command.get_subcommands() {
        let name = format!("{before}{}", below.get_name());
        match below.has_subcommands() {
            true => leaves(below, &format!("{name} "), names),
            false => {
                names.insert(name);
            }
        }
    }
}

fn desk() -> Desk {
    let desk = Desk::new();
    fs::write(desk.policy(), POLICY).expect("written");
    desk.ok("apply policy.toml");
    desk
}

fn run(desk: &Desk, line: &str, furnish: impl FnOnce(&mut Command)) -> Output {
    let mut command = desk.command(line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    furnish(&mut command);
    command.spawn().expect("it starts").wait_with_output().expect("it ends")
}

/// Runs a command as the table says, after what makes its change one; its exit code and what it
/// said.
fn tried(
    desk: &Desk,
    (name, kind, before, line): (&str, Kind, &[&str], &str),
    furnish: &dyn Fn(&mut Command),
) -> (i32, String) {
    let archive = desk.file("incident.tar.gz");
    if name != "report" || !archive.exists() {
        let _ = fs::remove_file(&archive);
        before.iter().for_each(|line| drop(desk.output(line)));
    }
    let output = run(desk, line, |command| furnish(command));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code =
        output.status.code().unwrap_or_else(|| panic!("limiter {line}: {}: {said}", output.status));
    assert!(!said.contains("panicked"), "limiter {line}: {said}");
    if kind == Kind::Change {
        let last = desk.json("history --last 1");
        assert_eq!(
            last[0]["command"],
            json!(line.split(' ').collect::<Vec<_>>()),
            "it is done: limiter {line}, {code}: {said}"
        );
    }
    if name == "record" {
        assert!(archive.is_file(), "it is there");
    }
    (code, said)
}

#[test]
fn every_command_is_in_the_table() {
    let mut names = BTreeSet::new();
    leaves(&limiter::cli::Command::command(), "", &mut names);
    let known: BTreeSet<String> = COMMANDS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names, known, "each command says here what becomes of its output");
}

/// What was asked for fails when it cannot be printed, unless its reader left; what was done is
/// done.
#[test]
fn standard_output_that_nobody_takes() {
    let desk = desk();
    for command @ (_, kind, _, line) in
        COMMANDS.iter().copied().filter(|(_, kind, ..)| *kind != Kind::Elsewhere)
    {
        let (usual, _) = tried(&desk, command, &|_| {});
        for sink in SINKS {
            let (code, said) = tried(&desk, command, &|command| sink.of(1, command));
            let words = match (sink, kind) {
                (Sink::Full, Kind::Read) => "cannot write to standard output",
                (Sink::Full, Kind::Change | Kind::Effect) => {
                    "warning: this is done, but standard output"
                }
                _ => "",
            };
            let expected = if (sink, kind) == (Sink::Full, Kind::Read) { 1 } else { usual };
            assert_eq!(code, expected, "limiter {line}, {sink:?}: {said}");
            assert!(said.contains(words), "limiter {line}, {sink:?}: {said}");
            assert!(
                !words.is_empty() || !said.contains("standard output"),
                "limiter {line}, {sink:?}: {said}"
            );
        }
    }
}

/// The exit code tells all that there is to tell where nothing can be said.
#[test]
fn no_output_at_all() {
    let desk = desk();
    for command @ (_, kind, _, line) in
        COMMANDS.iter().copied().filter(|(_, kind, ..)| *kind != Kind::Elsewhere)
    {
        let (usual, _) = tried(&desk, command, &|_| {});
        for sink in SINKS {
            let both = |command: &mut Command| {
                [1, 2].iter().for_each(|descriptor| sink.of(*descriptor, command))
            };
            let (code, _) = tried(&desk, command, &both);
            let expected = if (sink, kind) == (Sink::Full, Kind::Read) { 1 } else { usual };
            assert_eq!(code, expected, "limiter {line}, {sink:?}");
        }
    }
    // Errors, warnings and help keep their codes.
    for (line, code) in
        [("frobnicate", 2), ("set", 2), ("detach nosuch0", 1), ("watch", 2), ("--help", 0)]
    {
        for sink in SINKS {
            let both = |command: &mut Command| {
                [1, 2].iter().for_each(|descriptor| sink.of(*descriptor, command))
            };
            let expected = if (line, sink) == ("--help", Sink::Full) { 1 } else { code };
            assert_eq!(
                run(&desk, line, both).status.code(),
                Some(expected),
                "limiter {line}, {sink:?}"
            );
        }
    }
}

/// As `limiter ... | head -1`, as text and as JSON, with more than a pipe holds; and what goes on
/// for ever ends with its reader.
#[test]
fn a_reader_that_leaves_in_the_middle() {
    let desk = desk();
    let addresses: Vec<String> =
        (0..4000).map(|n| format!("198.18.{}.{}", n / 250, n % 250)).collect();
    desk.ok(&format!("ban add {}", addresses.join(" ")));
    for line in [
        "ban list",
        "ban list --json",
        "history --json",
        "events --follow",
        "events --follow --json",
    ] {
        let mut command = desk.program("sh");
        command
            .args(["-c", "\"$0\" \"$@\" 2>said | head -1; test ${PIPESTATUS:-0} = 0"])
            .arg(super::binary());
        let output = command.args(line.split(' ')).output().expect("a shell");
        let said = fs::read_to_string(desk.file("said")).expect("what it said");
        assert!(output.status.success() && !output.stdout.is_empty(), "limiter {line}: {output:?}");
        assert_eq!(said, "", "limiter {line}");
    }
}
