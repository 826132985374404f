//! `cargo xtask dist`: a Debian package, and a tar archive of the same tree.
//!
//! The same source makes the same bytes: every time in the packages is that of the last commit, every owner is root.

mod deb;
pub(crate) mod tree;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cargo::{cargo, target_directory};

/// Of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Arguments of `dist`.
#[derive(Args)]
pub struct Dist {
    /// What to build for, such as aarch64-unknown-linux-gnu [default: this machine].
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Where the packages go [default: `dist` in cargo's target directory].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Pack the commands that are there, and build nothing.
    #[arg(long)]
    built: bool,
}

/// What is built, and how it is called.
struct Build {
    /// The repository.
    source: PathBuf,
    /// The command for the target.
    binary: PathBuf,
    /// A command that runs here: it writes its own man pages.
    native: PathBuf,
    /// Debian's name of the target.
    architecture: &'static str,
    target: Option<String>,
    /// Seconds since 1970 of everything in the packages.
    time: String,
}

impl Dist {
    /// Builds and packs; prints paths and sizes.
    pub fn run(&self) -> Result<()> {
        let build = self.build()?;
        let out = match &self.out {
            Some(out) => out.clone(),
            None => target_directory()?.join("dist"),
        };
        let name = format!("limiter-{VERSION}-{}", build.architecture);
        let root = out.join(&name);
        tree::make(&build, &root)?;
        let archive = out.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", build.time));
        tar.args(["--use-compress-program=gzip -9n", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&out)
            .arg(&name);
        run(&mut tar)?;
        let package = out.join(format!("limiter_{VERSION}_{}.deb", build.architecture));
        deb::make(&build, &root, &package)?;
        std::fs::remove_dir_all(&root)
            .with_context(|| format!("cannot remove {}", root.display()))?;
        for path in [package, archive] {
            let size = std::fs::metadata(&path)?.len();
            println!("{}  {} bytes", path.display(), size);
        }
        Ok(())
    }

    fn build(&self) -> Result<Build> {
        let native = target_directory()?.join("release/limiter");
        let build = |target| if self.built { Ok(()) } else { build(target) };
        build(None)?;
        let binary = match &self.target {
            Some(target) => {
                build(Some(target))?;
                target_directory()?.join(target).join("release/limiter")
            }
            None => native.clone(),
        };
        let machine = self.target.as_deref().and_then(|target| target.split('-').next());
        let architecture = match machine.unwrap_or(std::env::consts::ARCH) {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => anyhow::bail!("{other} has no package yet; x86_64 and aarch64 have"),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent")?
            .to_owned();
        let time = time(&source)?;
        Ok(Build { source, binary, native, architecture, target: self.target.clone(), time })
    }
}

fn build(target: Option<&String>) -> Result<()> {
    let mut command = cargo(&["build", "--release", "--quiet", "--package", "limiter"]);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    run(&mut command)
}

/// SOURCE_DATE_EPOCH, or the time of the last commit; outside of a repository that of this build.
fn time(source: &Path) -> Result<String> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    let log =
        Command::new("git").arg("-C").arg(source).args(["log", "-1", "--format=%ct"]).output();
    if let Ok(output) = log
        && output.status.success()
    {
        return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
    }
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().to_string())
}

/// Runs a command that must succeed. What it prints goes to standard error.
fn run(command: &mut Command) -> Result<()> {
    let shown = command.get_program().display().to_string();
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
