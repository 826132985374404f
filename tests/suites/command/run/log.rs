//! The daemon goes on when nothing takes its log.

use std::process::Command;

use super::super::output::SINKS;
use super::daemon::Daemon;
use super::front::{LIMITED, generation, wired, write};

#[test]
fn a_log_that_nobody_takes_ends_nothing() {
    let (desk, _client) = wired();
    for (turn, sink) in SINKS.into_iter().enumerate() {
        write(&desk, LIMITED);
        let daemon = Daemon::with(&desk, "run --detach-on-exit", |command: &mut Command| {
            sink.of(2, command)
        });
        daemon.told("READY=1");
        let before = generation(&desk).as_u64().expect("a number");
        // Both a line of an error and one of a change.
        write(&desk, "interfaces = [\"web0\"]\nmode = \"enforced\"\n");
        daemon.reload();
        write(&desk, &LIMITED.replace("1/h", &format!("{}/min", turn + 7)));
        daemon.reload();
        assert_eq!(generation(&desk), before + 1, "{sink:?}: it goes on");
        daemon.end();
        assert!(
            desk.left().is_empty() && desk.becomes_free("web0"),
            "{sink:?}: and detaches in the end"
        );
    }
}

/// A log whose disk was full says how much of it is missing.
#[test]
fn lost_lines_are_counted() {
    let (desk, _client) = wired();
    write(&desk, LIMITED);
    let daemon = Daemon::with(&desk, "run", |command: &mut Command| {
        // The shell opens a file of which no byte more fits, until the limit of its size is lifted.
        use std::os::unix::process::CommandExt as _;
        let log = std::fs::File::create(desk.file("log")).expect("a file");
        command.stderr(log);
        // SAFETY: two system calls, safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let none = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
                libc::setrlimit(libc::RLIMIT_FSIZE, &none);
                Ok(())
            });
        }
    });
    daemon.told("READY=1");
    assert_eq!(std::fs::read_to_string(desk.file("log")).expect("a log"), "");
    // SAFETY: the limits of a child of ours, by its id.
    unsafe {
        let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        assert_eq!(
            libc::prlimit(daemon.child.id() as i32, libc::RLIMIT_FSIZE, &all, std::ptr::null_mut()),
            0
        );
    }
    daemon.reload();
    daemon.end();
    let log = std::fs::read_to_string(desk.file("log")).expect("a log");
    assert!(
        log.contains("standard error did not take these lines") && log.contains("lines="),
        "{log}"
    );
}
