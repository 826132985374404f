//! The Debian package on a clean root: installed, kept by its owner's changes, refused to go while limiter is loaded, removed, purged.
//!
//! dpkg works on a directory; nothing of this machine is installed or configured. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use lab::Directory;

const POLICY: &str = "etc/limiter/policy.toml";
const UNIT: &str = "usr/lib/systemd/system/limiter.service";
const ROOM: &str = "usr/lib/systemd/system/limiter-room.service";
/// Where systemd-sysusers keeps users: packages leave theirs there for good.
const ACCOUNTS: [&str; 5] =
    ["etc/.pwd.lock", "etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"];

/// The package and the archive, as `cargo xtask dist` makes them: in the directory LIMITER_DIST, where `cargo xtask test` has made them once for
/// all tests, or else here, once for those of this process.
fn dist() -> &'static (PathBuf, PathBuf) {
    static DIST: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    DIST.get_or_init(|| match std::env::var_os("LIMITER_DIST") {
        Some(directory) => made(Path::new(&directory)),
        // In the target directory: statics are never dropped, and the next run writes over it.
        None => make(&target().join("dist-test"), &[]),
    })
}

/// The package and the archive in a directory that holds nothing else.
fn made(directory: &Path) -> (PathBuf, PathBuf) {
    let entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let (packages, archives): (Vec<_>, Vec<_>) =
        entries.partition(|path| path.extension().is_some_and(|end| end == "deb"));
    let only = |mut paths: Vec<PathBuf>| {
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths.remove(0)
    };
    (only(packages), only(archives))
}

fn make(out: &Path, how: &[&str]) -> (PathBuf, PathBuf) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--release", "--quiet", "--package", "xtask", "--", "dist", "--out"])
        .arg(out)
        .args(how);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let output = succeed(command.env("SOURCE_DATE_EPOCH", "1000000000"));
    let text = String::from_utf8(output.stdout).expect("text");
    let path = |line: &str| PathBuf::from(line.split("  ").next().expect("a path"));
    let mut lines = text.lines().map(path);
    let both = (lines.next().expect("a package"), lines.next().expect("an archive"));
    assert_eq!(lines.next(), None, "{text}");
    assert!(both.0.is_file() && both.1.is_file(), "{text}");
    both
}

fn target() -> PathBuf {
    let mine = std::env::current_exe().expect("a path");
    mine.ancestors().nth(3).expect("a target directory").to_owned()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A root with nothing in it but dpkg's empty database.
struct Root(Directory);

impl Root {
    fn new() -> Self {
        let root = Self(Directory::new().expect("a directory"));
        fs::create_dir_all(root.path("var/lib/dpkg/info")).expect("a directory");
        fs::create_dir_all(root.path("var/lib/dpkg/updates")).expect("a directory");
        fs::write(root.path("var/lib/dpkg/status"), "").expect("written");
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Scripts run here and are told the root; the packages that it depends on are this machine's.
    fn dpkg(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", self.0.path().display()));
        command
            .args(["--force-script-chrootless", "--force-depends", "--force-confold"])
            .args(arguments);
        command.output().expect("dpkg runs")
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.dpkg(arguments);
        assert!(output.status.success(), "dpkg {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn install(&self) -> String {
        self.ok(&["-i", dist().0.to_str().expect("a path")])
    }

    /// Every file that is neither dpkg's own nor of accounts.
    fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        gather(self.0.path(), self.0.path(), &mut found);
        found.retain(|name| !name.starts_with("var/lib/dpkg") && !name.starts_with("var/log"));
        found.retain(|name| !ACCOUNTS.contains(&name.trim_end_matches('-')));
        found
    }
}

fn gather(directory: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, root, found);
        } else {
            found.insert(path.strip_prefix(root).expect("below").display().to_string());
        }
    }
}

#[test]
fn it_installs_and_runs() {
    let root = Root::new();
    let said = root.install();
    assert!(said.contains("systemctl enable --now limiter"), "{said}");
    let version = succeed(Command::new(root.path("usr/sbin/limiter")).arg("--version"));
    assert_eq!(text(&version.stdout).trim(), concat!("limiter ", env!("CARGO_PKG_VERSION")));
    succeed(
        Command::new(root.path("usr/sbin/limiter"))
            .args(["policy", "check"])
            .arg(root.path(POLICY)),
    );
    assert!(root.path("var/lib/limiter").is_dir(), "where the history goes");
    let files = root.files();
    for name in [
        UNIT,
        ROOM,
        "usr/lib/sysusers.d/limiter.conf",
        "usr/lib/tmpfiles.d/limiter.conf",
        "usr/share/man/man8/limiter.8.gz",
        "usr/share/man/man8/limiter-room.8.gz",
        "usr/share/man/man8/limiter-ban-add.8.gz",
        "usr/share/bash-completion/completions/limiter",
        "usr/share/zsh/vendor-completions/_limiter",
        "usr/share/fish/vendor_completions.d/limiter.fish",
        "usr/share/doc/limiter/copyright",
        "usr/share/doc/limiter/README.md",
        "usr/share/doc/limiter/docs/runbooks/on-fire.md",
        "usr/share/doc/limiter/examples/waiting-room.nginx.conf",
        "usr/share/limiter/limiter.rules.yml",
        "usr/share/limiter/grafana.json",
    ] {
        assert!(files.contains(name), "{name} is missing: {files:?}");
    }
    let page =
        succeed(Command::new("gzip").arg("-dc").arg(root.path("usr/share/man/man8/limiter.8.gz")));
    assert!(text(&page.stdout).contains("2001-09-09"), "the day of SOURCE_DATE_EPOCH");
}

#[test]
fn the_policy_belongs_to_the_operator() {
    let root = Root::new();
    root.install();
    let conffiles = root.ok(&["-s", "limiter"]);
    assert!(conffiles.contains(&format!("/{POLICY}")), "{conffiles}");
    fs::write(root.path(POLICY), "mode = \"observe\"\n").expect("written");
    root.install();
    assert_eq!(fs::read_to_string(root.path(POLICY)).expect("a policy"), "mode = \"observe\"\n");
    root.ok(&["-r", "limiter"]);
    assert_eq!(
        root.files(),
        BTreeSet::from([POLICY.to_owned()]),
        "removing leaves the policy and nothing else"
    );
    root.install();
    assert_eq!(fs::read_to_string(root.path(POLICY)).expect("a policy"), "mode = \"observe\"\n");
}

/// Neither detached without a word, nor left without its command.
#[test]
fn it_does_not_go_while_limiter_is_loaded() {
    let root = Root::new();
    root.install();
    let before = root.files();
    fs::create_dir_all(root.path("sys/fs/bpf/limiter/v1/links")).expect("pins");
    let said = root.install();
    assert!(
        said.contains("limiter upgrade"),
        "an upgrade leaves alone what runs, and says so: {said}"
    );
    for action in ["-r", "-P"] {
        let output = root.dpkg(&[action, "limiter"]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("limiter detach --all"), "{said}");
        assert_eq!(root.files(), before, "everything is still there");
        assert!(root.ok(&["-s", "limiter"]).contains(" ok installed"), "not half removed");
    }
    fs::remove_dir_all(root.path("sys/fs/bpf/limiter/v1")).expect("unloaded");
    root.ok(&["-r", "limiter"]);
}

#[test]
fn purging_leaves_nothing() {
    let root = Root::new();
    root.install();
    fs::write(root.path("var/lib/limiter/history.jsonl"), "{}\n").expect("written");
    root.ok(&["-r", "limiter"]);
    assert!(
        root.path("var/lib/limiter/history.jsonl").exists(),
        "what was done is known until purged"
    );
    root.ok(&["-P", "limiter"]);
    assert_eq!(root.files(), BTreeSet::new());
    assert!(!root.path("etc/limiter").exists() && !root.path("var/lib/limiter").exists());
}

#[test]
fn the_archive_holds_the_same_tree() {
    let (package, archive) = dist();
    let names = |command: &mut Command, skip: usize| -> BTreeSet<String> {
        let listing = text(&succeed(command).stdout);
        let tail = |line: &str| line.split('/').skip(skip).collect::<Vec<_>>().join("/");
        listing.lines().filter(|line| !line.ends_with('/')).map(tail).collect()
    };
    let packaged = succeed(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package)).stdout;
    let plain = Directory::new().expect("a directory");
    fs::write(plain.path().join("tar"), packaged).expect("written");
    let in_package = names(Command::new("tar").arg("-tf").arg(plain.path().join("tar")), 1);
    assert_eq!(names(Command::new("tar").arg("-tzf").arg(archive), 1), in_package);
    assert!(in_package.contains(UNIT), "{in_package:?}");
    let owners = text(&succeed(Command::new("tar").arg("-tvzf").arg(archive)).stdout);
    assert!(owners.lines().all(|line| line.split_whitespace().nth(1) == Some("0/0")), "{owners}");
}

/// Packed twice. (What cargo builds is cargo's to say; to build it here waits for every other
/// build.)
#[test]
fn the_same_source_makes_the_same_bytes() {
    let first = dist();
    let other = Directory::new().expect("a directory");
    let (package, archive) = make(other.path(), &["--built"]);
    let same = |one: &Path, other: &Path| {
        fs::read(one).expect("a file") == fs::read(other).expect("a file")
    };
    assert!(same(&first.0, &package) && same(&first.1, &archive));
}

/// The waiting room's own user can do nothing elsewhere; a second installation finds it there.
#[test]
fn the_waiting_room_has_a_user() {
    let root = Root::new();
    for _ in 0..2 {
        root.install();
        let users = fs::read_to_string(root.path("etc/passwd")).expect("users");
        let rows: Vec<Vec<&str>> = users.lines().map(|line| line.split(':').collect()).collect();
        let [row] = rows.as_slice() else { panic!("one user: {users}") };
        assert_eq!((row[0], row[5], row[6]), ("limiter-room", "/", "/usr/sbin/nologin"), "{users}");
        let number: u32 = row[2].parse().expect("a number");
        assert!((1..1000).contains(&number), "one of the system: {users}");
    }
    root.ok(&["-P", "limiter"]);
    assert!(root.path("etc/passwd").exists());
}

/// systemd's own check of the units.
#[test]
fn systemd_takes_the_units() {
    let root = Root::new();
    root.install();
    for place in [UNIT, ROOM] {
        let unit = fs::read_to_string(root.path(place)).expect("the unit");
        // It wants to see that the program is there, and does not look for it below the root.
        let program = root.path("usr/sbin/limiter");
        let name = Path::new(place).file_name().expect("a name");
        let copy = root.0.path().join(name);
        let unit = unit
            .replace("/usr/sbin/limiter", program.to_str().expect("a path"))
            .replace("Documentation=", "#");
        fs::write(&copy, unit).expect("written");
        let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output();
        let output = output.expect("systemd-analyze is installed by `cargo xtask setup`");
        let said = text(&output.stderr);
        let complains = said.contains(name.to_str().expect("text"));
        assert!(output.status.success() && !complains, "{said}");
    }
}
