//! Running a peer's own tool inside the front end.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// What the tool printed.
pub fn run(command: &mut Command) -> Result<String> {
    feed(command, "")
}

/// As [`run`], with a text on its standard input.
pub fn feed(command: &mut Command, input: &str) -> Result<String> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {shown}: `cargo xtask bench --peers` installs it"))?;
    let mut pipe = child.stdin.take().context("a tool without standard input")?;
    // One that does not read is no failure; its own words say what is.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {shown}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed: {} {input}", words.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
