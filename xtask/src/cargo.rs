//! Calling cargo, and where it puts what it builds.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Names of what is not handed on: what `cargo run` says of the package that it runs, and the time
/// of packages. Build scripts ask for both (ring's does), and all above them would be compiled again
/// whenever a cargo that is told follows one that is not.
const KEPT_BACK: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "SOURCE_DATE_EPOCH"];

/// `cargo`, as the one that runs us, with the linker of BPF code on its path.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).env("PATH", path_with_cargo_bin());
    for (name, _) in env::vars_os() {
        if KEPT_BACK.iter().any(|kept| name.to_string_lossy().starts_with(kept)) {
            command.env_remove(name);
        }
    }
    command
}

/// PATH with cargo's own directory of programs, where bpf-linker is.
pub fn path_with_cargo_bin() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let with = env::split_paths(&path).chain(cargo_bin()).collect::<Vec<_>>();
    env::join_paths(with).unwrap_or(path)
}

fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    Some(home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?.join("bin"))
}

/// Where cargo puts what it builds.
pub fn target_directory() -> Result<PathBuf> {
    let mut metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let output = metadata.output().context("cannot run cargo metadata")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata prints no JSON")?;
    Ok(metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo tells its tests what it tells programs.
    #[test]
    fn what_build_scripts_ask_for_is_not_handed_on() {
        let command = cargo(&[]);
        assert!(command.get_envs().any(|of| of == ("CARGO_MANIFEST_DIR".as_ref(), None)));
        assert!(!command.get_envs().any(|of| of == ("CARGO_HOME".as_ref(), None)));
    }
}
