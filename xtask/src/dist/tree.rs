//! The files of the packages, where they go on a machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Build, run};

/// What is copied: from the repository, to the machine.
const FILES: [(&str, &str); 19] = [
    ("packaging/limiter.service", "usr/lib/systemd/system/limiter.service"),
    ("packaging/limiter-room.service", "usr/lib/systemd/system/limiter-room.service"),
    ("packaging/sysusers.conf", "usr/lib/sysusers.d/limiter.conf"),
    ("packaging/tmpfiles.conf", "usr/lib/tmpfiles.d/limiter.conf"),
    ("packaging/policy.toml", "etc/limiter/policy.toml"),
    ("packaging/limiter.rules.yml", "usr/share/limiter/limiter.rules.yml"),
    ("packaging/grafana.json", "usr/share/limiter/grafana.json"),
    ("packaging/fail2ban-limiter.conf", "usr/share/limiter/fail2ban-limiter.conf"),
    ("packaging/crowdsec-limiter", "usr/share/limiter/crowdsec-limiter"),
    ("packaging/waiting-room.nginx.conf", "usr/share/doc/limiter/examples/waiting-room.nginx.conf"),
    (
        "packaging/waiting-room.haproxy.cfg",
        "usr/share/doc/limiter/examples/waiting-room.haproxy.cfg",
    ),
    ("packaging/limiter-room.adopt.conf", "usr/share/doc/limiter/examples/limiter-room.adopt.conf"),
    ("packaging/deb/copyright", "usr/share/doc/limiter/copyright"),
    ("README.md", "usr/share/doc/limiter/README.md"),
    ("ARCHITECTURE.md", "usr/share/doc/limiter/ARCHITECTURE.md"),
    ("CONTRIBUTING.md", "usr/share/doc/limiter/CONTRIBUTING.md"),
    ("CHANGELOG.md", "usr/share/doc/limiter/CHANGELOG.md"),
    ("LICENSE-APACHE", "usr/share/doc/limiter/LICENSE-APACHE"),
    ("LICENSE-MIT", "usr/share/doc/limiter/LICENSE-MIT"),
];
/// Whole directories of the repository. Pages lie as they do there, so that their links lead to each other.
const DIRECTORIES: [(&str, &str); 1] = [("docs", "usr/share/doc/limiter/docs")];
const COMMAND: &str = "usr/sbin/limiter";
const MAN: &str = "usr/share/man/man8";
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/limiter"),
    ("zsh", "usr/share/zsh/vendor-completions/_limiter"),
    ("fish", "usr/share/fish/vendor_completions.d/limiter.fish"),
];

/// Makes the tree in `root`, anew.
pub(super) fn make(build: &Build, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    let command = root.join(COMMAND);
    copy(&build.binary, &command, 0o755)?;
    strip(build, &command)?;
    for (from, to) in copied(&build.source)? {
        let runs = fs::metadata(&from).is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
        copy(&from, &root.join(to), if runs { 0o755 } else { 0o644 })?;
    }
    pages(build, &root.join(MAN))?;
    for (shell, to) in COMPLETIONS {
        let output = Command::new(&build.native).args(["docs", "completions", shell]).output()?;
        ensure!(
            output.status.success(),
            "limiter docs completions {shell}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        write(&root.join(to), &output.stdout, 0o644)?;
    }
    set_directory_modes(root)
}

/// Every file that is copied: its path in the repository `source`, and where it goes below the root.
pub fn copied(source: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found: Vec<_> =
        FILES.iter().map(|(from, to)| (source.join(from), PathBuf::from(to))).collect();
    for (from, to) in DIRECTORIES {
        let from = source.join(from);
        for file in files(&from)? {
            let place = Path::new(to).join(file.strip_prefix(&from).context("a file elsewhere")?);
            found.push((file, place));
        }
    }
    Ok(found)
}

/// Every file below a directory, in order; none if it is not there.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort_unstable();
    Ok(found)
}

/// Writes a file with this mode, and the directories that it needs.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().context("a path without a directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set {}", path.display()))
}

/// Copies a file, to have this mode.
pub fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes, mode)
}

/// The man pages, packed as Debian wants them.
fn pages(build: &Build, directory: &Path) -> Result<()> {
    let mut docs = Command::new(&build.native);
    docs.args(["docs", "man"]).arg(directory).env("SOURCE_DATE_EPOCH", &build.time);
    let output = docs.output().with_context(|| format!("cannot run {}", build.native.display()))?;
    ensure!(
        output.status.success(),
        "limiter docs man: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    for page in files(directory)? {
        fs::set_permissions(&page, Permissions::from_mode(0o644))?;
        run(Command::new("gzip").args(["-9n", "--force"]).arg(&page))?;
    }
    Ok(())
}

/// Line tables are four fifths of the command. Without a strip for the target it stays whole.
fn strip(build: &Build, command: &Path) -> Result<()> {
    let tool = match &build.target {
        Some(target) => format!("{}-strip", target.replace("-unknown", "")),
        None => "strip".to_owned(),
    };
    match Command::new(&tool).arg("--strip-debug").arg(command).status() {
        Err(_) => eprintln!(
            "{tool} is not installed: the command keeps its line tables, and the packages are larger"
        ),
        Ok(status) => ensure!(status.success(), "{tool} failed on {}", command.display()),
    }
    Ok(())
}

/// Whatever the umask was.
fn set_directory_modes(directory: &Path) -> Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            set_directory_modes(&path)?;
        }
    }
    Ok(())
}
