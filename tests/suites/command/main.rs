//! The command as an operator uses it: what it says, what it leaves behind, and what a killed one leaves.
//! Needs root.

mod apply;
mod bans;
mod capabilities;
mod combinations;
mod cookies;
mod devices;
mod doctor;
mod drained;
mod errors;
mod full;
mod garbage;
mod history;
mod killed;
mod live;
mod memory;
mod output;
mod parallel;
mod pins;
mod policy;
mod run;
mod runbooks;
mod slots;
mod unmount;
mod watch;

use std::path::PathBuf;
use std::process::Output;

use lab::Namespace;
use lab::wait::PATIENCE;

/// A front end with two interfaces, and a desk there.
struct Desk {
    desk: lab::Desk,
    front: Namespace,
}

impl std::ops::Deref for Desk {
    type Target = lab::Desk;

    fn deref(&self) -> &lab::Desk {
        &self.desk
    }
}

impl Desk {
    fn new() -> Self {
        let front = Namespace::new().expect("a namespace");
        for (near, far) in [("web0", "far0"), ("web1", "far1")] {
            front.ip(&["link", "add", near, "type", "veth", "peer", "name", far]).expect("a veth");
            front.ip(&["link", "set", near, "up"]).expect("up");
            front.ip(&["link", "set", far, "up"]).expect("up");
        }
        Self { desk: lab::Desk::new(&front).expect("a desk"), front }
    }

    /// Runs a command that must fail with `code`, on one line that holds all of `words`, and print nothing else.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, words: &[&str]) {
        self.refused(&self.output(line), code, words);
    }

    #[track_caller]
    fn refused(&self, output: &Output, code: i32, words: &[&str]) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(words.iter().all(|word| said.contains(word)), "{said}: expected {words:?}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }

    /// Whether no XDP program is on the interface, or soon none: the kernel takes a link apart when it finds the time.
    fn becomes_free(&self, name: &str) -> bool {
        let start = std::time::Instant::now();
        while self.has_program(name) {
            if start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        true
    }

    /// Whether an XDP program is on the interface.
    fn has_program(&self, name: &str) -> bool {
        let output = self
            .front
            .command("ip")
            .expect("ip")
            .args(["link", "show", "dev", name])
            .output()
            .expect("ip runs");
        String::from_utf8_lossy(&output.stdout).contains("xdp")
    }
}

fn binary() -> PathBuf {
    lab::desk::limiter().expect("the command")
}
