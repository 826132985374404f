//! Pins that are gone, or hold something else: every command says so in one line or works, what enforces goes on, and `detach --all`
//! opens the way again.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use aya::maps::MapType;
use lab::raw;
use limiter::kernel::Pins;
use limiter_common::names::{self, MapKind, Owner, Row};

use super::Desk;
use super::cookies::syncookies;

const ATTACH: &str = "attach web0 --service web=*:80 --source-rate 20/s --budget 1000/s";

/// Commands that read and commands that change, of every kind.
const COMMANDS: [&str; 16] = [
    "status --quick",
    "set --budget 5/s",
    "policy show",
    "ban add 192.0.2.1",
    "status --quick --json",
    "arm",
    "ban del 192.0.2.1",
    "disarm",
    "ban list",
    "upgrade",
    "rollback",
    "confirm",
    "attach web1",
    "trace --stop",
    "detach web1",
    "history",
];

/// What may stand where a pin was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instead {
    Nothing,
    Program,
    Link,
    OtherKind,
    OtherValues,
    FewerEntries,
    Directory,
    DeadLink,
}

const ALL: [Instead; 8] = [
    Instead::Nothing,
    Instead::Program,
    Instead::Link,
    Instead::OtherKind,
    Instead::OtherValues,
    Instead::FewerEntries,
    Instead::Directory,
    Instead::DeadLink,
];

impl Instead {
    /// Puts it in the place of the pin at `path`, which is moved aside.
    fn put(self, root: &Path, path: &Path) -> PathBuf {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let (key, value) = Row::find(name).map_or((4, 8), |row| (row.key, row.value));
        let aside = root.join("aside");
        std::fs::rename(path, &aside).expect("moved aside");
        let make = |kind, key, value| {
            let map = raw::create(kind, key, value, 1, 0).expect("a map");
            raw::pin(map.as_fd(), path).expect("pinned");
        };
        let program = root.join(names::PROGRAM);
        match self {
            Self::Nothing => {}
            Self::Program => {
                let from = if program.exists() { &program } else { &aside };
                raw::pin(raw::get(from).expect("the program").as_fd(), path).expect("pinned");
            }
            Self::Link => {
                let mut links = std::fs::read_dir(root.join("links")).expect("links").flatten();
                let link = links.next().map_or(aside.clone(), |link| link.path());
                raw::pin(raw::get(&link).expect("a link").as_fd(), path).expect("pinned");
            }
            Self::OtherKind => make(MapType::Hash, key, value),
            Self::OtherValues => make(MapType::Array, 4, value + 8),
            Self::FewerEntries => make(MapType::Array, 4, value),
            Self::Directory => std::fs::create_dir(path).expect("a directory"),
            Self::DeadLink => std::os::unix::fs::symlink("nowhere", path).expect("a symlink"),
        }
        aside
    }
}

/// Takes away what stands at `path` and puts the right pin back.
fn put_back(aside: &Path, path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir(path).expect("removed");
    } else if path.symlink_metadata().is_ok() {
        std::fs::remove_file(path).expect("removed");
    }
    std::fs::rename(aside, path).expect("put back");
}

impl Desk {
    /// Runs a command that may fail, but only with one line that says why; whether it worked.
    #[track_caller]
    pub fn sound(&self, line: &str) -> bool {
        sound(line, &self.output(line))
    }
}

#[track_caller]
pub fn sound(line: &str, output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "limiter {line}: {said}");
    match output.status.code() {
        Some(0) => true,
        Some(1) => {
            assert!(
                output.stdout.is_empty(),
                "limiter {line}: {}",
                String::from_utf8_lossy(&output.stdout)
            );
            assert_eq!(said.trim().lines().count(), 1, "limiter {line}: {said}");
            false
        }
        code => panic!("limiter {line} ended with {code:?}: {said}"),
    }
}

/// Every map's pin, with everything in its place, in turn.
#[test]
fn a_map_that_is_another_thing() {
    let desk = Desk::new();
    desk.ok(&format!("{ATTACH} --sources 64 --enforce"));
    let root = Pins::at(desk.pins()).root();
    let mut lines = COMMANDS.iter().cycle();
    for Row { name, owner, kind, entries, .. } in names::MAPS {
        let path = root.join(name);
        for instead in ALL {
            let aside = instead.put(&root, &path);
            // The kernel side's own maps are not opened.
            let is_same =
                instead == Instead::FewerEntries && *kind == MapKind::Array && *entries == 1;
            if *owner != Owner::Scratch && !is_same {
                desk.fails("status --quick", 1, &[name, "detach --all"]);
            }
            for line in lines.by_ref().take(2) {
                desk.sound(line);
            }
            put_back(&aside, &path);
        }
        assert!(desk.has_program("web0"), "{name}: what enforces goes on");
    }
    desk.ok("set --source-rate 20/s --budget 1000/s");
    assert_eq!(desk.json("status --quick")["services"][0]["name"], "web");
}

#[test]
fn a_program_or_a_link_that_is_another_thing() {
    let desk = Desk::new();
    desk.ok(&format!("{ATTACH} --sources 64 --enforce"));
    let root = Pins::at(desk.pins()).root();
    let link =
        std::fs::read_dir(root.join("links")).expect("links").flatten().next().expect("one").path();
    let mut lines = COMMANDS.into_iter().cycle();
    for path in [root.join(names::PROGRAM), link.clone()] {
        for instead in ALL {
            // A link in the place of a link is that link.
            if instead == Instead::Link && path == link {
                continue;
            }
            let aside = instead.put(&root, &path);
            // Without the pin of the other link, detaching web1 is detaching from the last one.
            let keeps = |line: &&str| {
                instead != Instead::Nothing || path != link || !line.starts_with("detach")
            };
            for line in ["status --quick", "upgrade"]
                .into_iter()
                .chain(lines.by_ref().take(5))
                .filter(keeps)
            {
                desk.sound(line);
            }
            put_back(&aside, &path);
            assert!(desk.has_program("web0"), "{instead:?} at {}", path.display());
            if desk.has_program("web1") {
                desk.ok("detach web1");
            }
        }
    }
    // doctor says what is wrong and ends as it should.
    let aside = Instead::Program.put(&root, &link);
    let output = desk.output("doctor");
    assert!(matches!(output.status.code(), Some(0 | 1)) && output.stderr.is_empty(), "{output:?}");
    put_back(&aside, &link);
    desk.ok("status --quick");
}

/// However much is broken at once, `detach --all` takes it away, and limiter can be attached anew.
#[test]
fn the_way_out_of_everything() {
    let desk = Desk::new();
    for instead in [Instead::OtherKind, Instead::Nothing, Instead::Program, Instead::Directory] {
        desk.ok(&format!("{ATTACH} --sources 64 --enforce"));
        let root = Pins::at(desk.pins()).root();
        for row in names::MAPS {
            let aside = instead.put(&root, &root.join(row.name));
            std::fs::remove_file(aside).expect("removed");
        }
        assert!(desk.has_program("web0"), "the program holds its maps");
        for line in COMMANDS {
            desk.sound(line);
        }
        if instead == Instead::OtherKind {
            let output = desk.output("doctor");
            assert!(
                matches!(output.status.code(), Some(0 | 1)) && output.stderr.is_empty(),
                "{output:?}"
            );
        }
        desk.ok("detach --all");
        assert!(
            desk.becomes_free("web0") && desk.left().is_empty(),
            "{instead:?}: {:?}",
            desk.left()
        );
    }
    desk.ok(&format!("{ATTACH} --sources 64"));
}

/// What another version loaded is neither read nor changed, and what to do about it is said. It goes on enforcing, until `detach --all`
/// takes it away and puts back the setting of the kernel that it changed.
#[test]
fn pins_of_another_layout_are_refused_and_let_go() {
    let desk = Desk::new();
    desk.front.sysctl("ipv4/tcp_syncookies", "1").expect("the namespace's own setting");
    desk.ok(&format!("{ATTACH} --sources 64 --set-syncookies"));
    desk.ok("set --service web --challenge always");
    desk.ok("arm");
    assert_eq!(syncookies(&desk), "2");
    let pins = Pins::at(desk.pins());
    let older = format!("v{}", names::LAYOUT - 1);
    std::fs::rename(pins.root(), desk.pins().join(&older)).expect("renamed");

    let mine = format!("v{}", names::LAYOUT);
    let words = [
        &older,
        &mine,
        "use the version that loaded them",
        "`limiter detach --all` and attach again",
    ];
    for line in COMMANDS.iter().filter(|line| **line != "history") {
        desk.fails(line, 1, &words);
    }
    assert!(desk.has_program("web0"), "it goes on enforcing");
    assert_eq!(syncookies(&desk), "2");

    desk.ok("detach --all");
    assert!(desk.becomes_free("web0") && desk.left().is_empty());
    assert_eq!(syncookies(&desk), "1");
    desk.ok(&format!("{ATTACH} --sources 64"));
}
