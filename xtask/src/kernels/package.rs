//! Debian's kernels: finding the newest of a series, fetching it, and unpacking it below the target directory, where it stays.
//!
//! Names, hosts and signatures are apt's business. A machine that is off line uses what it fetched before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A kernel on disk.
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// Where its modules are.
    pub modules: PathBuf,
}

/// The newest cloud kernel of `series`, or nothing where apt knows none and none was fetched before.
///
/// # Errors
/// When it can be neither fetched nor found below `directory`.
pub fn newest(series: &str, directory: &Path) -> Result<Option<Kernel>> {
    let known = known(series).or_else(|| {
        update();
        known(series)
    });
    let fetched = fetched(series, directory)?;
    let Some(release) = known else {
        return fetched.map(|release| open(directory, release)).transpose();
    };
    if fetched.as_ref() == Some(&release) {
        return open(directory, release).map(Some);
    }
    match (fetch(&release, directory), fetched) {
        (Ok(()), older) => {
            if let Some(older) = older {
                remove(&directory.join(package(&older)))?;
            }
            open(directory, release).map(Some)
        }
        (Err(error), Some(older)) => {
            eprintln!("Linux {release} cannot be fetched ({error:#}): using {older}");
            open(directory, older).map(Some)
        }
        (Err(error), None) => Err(error).with_context(|| format!("cannot fetch Linux {release}")),
    }
}

/// The newest release that apt knows.
fn known(series: &str) -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return None;
    }
    let pattern = format!("^linux-image-{}\\..*-cloud-amd64$", series.replace('.', "\\."));
    // Where there is no apt, there is none of its kernels.
    let Ok(output) = Command::new("apt-cache").args(["search", "--names-only", &pattern]).output()
    else {
        return None;
    };
    newest_of(series, &String::from_utf8_lossy(&output.stdout))
}

/// The newest release among lines that begin with a package's name.
fn newest_of(series: &str, lines: &str) -> Option<String> {
    let names = lines.lines().filter_map(|line| line.split_whitespace().next());
    let releases = names.filter_map(|name| name.strip_prefix("linux-image-"));
    let ours = releases.filter(|release| {
        release.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
            && release.ends_with("-cloud-amd64")
    });
    ours.max_by_key(|release| numbers(release)).map(str::to_owned)
}

/// The numbers of a version, in order: 6.1.0-9 comes before 6.1.0-10.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// The newest release below `directory`.
fn fetched(series: &str, directory: &Path) -> Result<Option<String>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    Ok(newest_of(series, &names.join("\n")))
}

fn package(release: &str) -> String {
    format!("linux-image-{release}")
}

/// Fetches and unpacks a release. It gets its name when it is whole.
fn fetch(release: &str, directory: &Path) -> Result<()> {
    let package = package(release);
    eprintln!("fetching {package} ...");
    let part = directory.join("part");
    if part.exists() {
        remove(&part)?;
    }
    fs::create_dir(&part).with_context(|| format!("cannot make {}", part.display()))?;
    let download =
        || succeed(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(&part));
    // An index that is some days old names files that are gone.
    download().or_else(|_| {
        update();
        download()
    })?;
    let archive = fs::read_dir(&part)?.filter_map(Result::ok).map(|entry| entry.path());
    let archive = archive
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.with_context(|| format!("apt-get brought no {package}"))?;
    succeed(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&part))?;
    fs::remove_file(&archive)?;
    fs::rename(&part, directory.join(package)).context("cannot put the kernel in its place")
}

fn open(directory: &Path, release: String) -> Result<Kernel> {
    let root = directory.join(package(&release));
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    // Debian 13 has moved them.
    let modules =
        ["usr/lib/modules", "lib/modules"].map(|modules| root.join(modules).join(&release));
    let modules = modules.into_iter().find(|modules| modules.is_dir());
    let modules = modules.with_context(|| format!("{} holds no modules", root.display()))?;
    ensure!(
        image.is_file(),
        "{} holds no image to boot: remove it, and it is fetched again",
        root.display()
    );
    Ok(Kernel { release, image, modules })
}

fn remove(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
}

/// Off line this fails, and so will what comes next, with a better message.
fn update() {
    let _ = succeed(Command::new("apt-get").args(["update", "-qq"]));
}

fn succeed(command: &mut Command) -> Result<()> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", words.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found() {
        let lines = "linux-image-6.1.0-9-cloud-amd64 - Linux 6.1\nlinux-image-6.1.0-47-cloud-amd64 - Linux 6.1\n\
                     linux-image-6.1.0-56-cloud-amd64-unsigned - Linux 6.1\nlinux-image-6.12.9+bpo-cloud-amd64 - Linux 6.12\n\
                     linux-image-6.12.107+deb12-cloud-amd64 - Linux 6.12\nlinux-image-6.12-cloud-amd64 - meta-package\n";
        assert_eq!(newest_of("6.1", lines).as_deref(), Some("6.1.0-47-cloud-amd64"));
        assert_eq!(newest_of("6.12", lines).as_deref(), Some("6.12.107+deb12-cloud-amd64"));
        assert_eq!(newest_of("6.18", lines), None);
    }
}
