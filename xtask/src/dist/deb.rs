//! The Debian package: what dpkg is told about the tree.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Build, VERSION, run, tree};

/// Run by dpkg. What they do and refuse is in their first lines.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Packs the tree in `root`, which gets a directory DEBIAN.
pub fn make(build: &Build, root: &Path, package: &Path) -> Result<()> {
    let all = tree::files(root)?;
    let mut bytes = 0;
    for file in &all {
        bytes += fs::metadata(file)?.len();
    }
    let binary = fs::read(&build.binary)
        .with_context(|| format!("cannot read {}", build.binary.display()))?;
    let debian = root.join("DEBIAN");
    let control = control(build.architecture, bytes.div_ceil(1024), glibc(&binary));
    tree::write(&debian.join("control"), control.as_bytes(), 0o644)?;
    let configuration = all
        .iter()
        .filter_map(|file| file.strip_prefix(root).ok())
        .filter(|file| file.starts_with("etc"));
    let lines: String = configuration.map(|file| format!("/{}\n", file.display())).collect();
    tree::write(&debian.join("conffiles"), lines.as_bytes(), 0o644)?;
    for script in SCRIPTS {
        tree::copy(&build.source.join("packaging/deb").join(script), &debian.join(script), 0o755)?;
    }
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(root).arg(package);
    run(command.env("SOURCE_DATE_EPOCH", &build.time))
        .context("dpkg-deb makes the package; Debian and its derivatives have it")
}

fn control(architecture: &str, kibibytes: u64, glibc: Option<(u32, u32)>) -> String {
    let libc = glibc
        .map_or_else(|| "libc6".to_owned(), |(major, minor)| format!("libc6 (>= {major}.{minor})"));
    format!(
        "Package: limiter\n\
         Version: {VERSION}\n\
         Architecture: {architecture}\n\
         Maintainer: the limiter authors <limiter@localhost>\n\
         Installed-Size: {kibibytes}\n\
         Depends: {libc}, libgcc-s1\n\
         Section: net\n\
         Priority: optional\n\
         Description: limits new TCP connections in the network driver\n \
         An XDP program counts new TCP connections per source and in total, and drops\n \
         what is over the limits before the kernel spends anything on it. It only\n \
         counts until it is armed, and can go back by itself.\n \
         .\n \
         It needs Linux 5.18 or newer.\n"
    )
}

/// The newest glibc of which a program wants a symbol: version names stand in its string table.
fn glibc(program: &[u8]) -> Option<(u32, u32)> {
    const PREFIX: &[u8] = b"GLIBC_";
    let after = program.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let version = |start: usize| {
        let name = program.get(start..)?.split(|byte| *byte == 0).next()?;
        let mut numbers =
            std::str::from_utf8(name).ok()?.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    after.filter_map(|(at, _)| version(at + PREFIX.len())).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_counts() {
        assert_eq!(
            glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_"),
            Some((2, 34))
        );
        assert_eq!(glibc(b"static"), None);
        let control = control("amd64", 3, Some((2, 34)));
        assert!(control.contains("Depends: libc6 (>= 2.34), libgcc-s1\n"), "{control}");
        assert!(control.lines().all(|line| !line.is_empty()), "{control}");
    }
}
