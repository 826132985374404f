//! One line about a command that takes long and would say either nothing or too much: since when it runs, and how far it is.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// With this option apt-get says how far it is.
pub const APT: &str = "APT::Status-Fd=1";
/// Lines of a command that failed that are shown.
const LAST: usize = 30;
/// Longest line.
const WIDTH: usize = 100;

/// Runs a command without its output; on a terminal one line is written again and again, elsewhere one every ten seconds.
///
/// # Errors
/// When it cannot be run, or fails: the last that it said.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let pause = Duration::from_secs(if terminal { 1 } else { 10 });
    let (output, input) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(input.try_clone().context("cannot duplicate a pipe")?)
        .stderr(input);
    let mut child = command.spawn().with_context(|| format!("cannot run {what}"))?;
    // It holds our writing ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let (start, mut said, mut shown) = (Instant::now(), Vec::new(), Instant::now());
    loop {
        match lines.recv_timeout(pause.saturating_sub(shown.elapsed())) {
            Ok(line) => said.push(line),
            Err(RecvTimeoutError::Timeout) => {
                show(&line(what, start.elapsed(), said.last()), terminal);
                shown = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let _ = reader.join();
    let status = child.wait().with_context(|| format!("cannot wait for {what}"))?;
    if terminal {
        eprint!("\r\x1b[K");
    }
    if !status.success() {
        let last = said.split_off(said.len().saturating_sub(LAST));
        bail!("{what} failed; the last that it said:\n{}", last.join("\n"));
    }
    Ok(())
}

fn show(line: &str, terminal: bool) {
    if terminal {
        eprint!("\r\x1b[K{line}");
        let _ = std::io::stderr().flush();
    } else {
        eprintln!("{line}");
    }
}

/// What is shown. Of apt-get's `pmstatus:PACKAGE:PERCENT:WORDS` the percentage and the words.
fn line(what: &str, since: Duration, last: Option<&String>) -> String {
    let last = last.map_or("", String::as_str);
    let mut fields = last.splitn(4, ':');
    let words = match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(kind @ ("dlstatus" | "pmstatus")), Some(_), Some(percent), Some(words)) => {
            let part = if kind == "dlstatus" { "of downloading" } else { "of installing" };
            format!("{:.0}% {part}: {words}", percent.parse::<f64>().unwrap_or_default())
        }
        _ => last.to_owned(),
    };
    format!("  {what}, {} s: {words}", since.as_secs()).chars().take(WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_apt_is() {
        let said = |last: &str| line("apt-get", Duration::from_secs(7), Some(&last.to_owned()));
        assert_eq!(
            said("pmstatus:zsh:40.5:Unpacking zsh"),
            "  apt-get, 7 s: 40% of installing: Unpacking zsh"
        );
        assert_eq!(
            said("dlstatus:3:12.9:Retrieving"),
            "  apt-get, 7 s: 13% of downloading: Retrieving"
        );
        assert_eq!(said("Reading package lists..."), "  apt-get, 7 s: Reading package lists...");
        assert_eq!(line("apt-get", Duration::ZERO, None), "  apt-get, 0 s: ");
    }

    #[test]
    fn a_failure_shows_what_was_said() {
        let error =
            run("sh", Command::new("sh").args(["-c", "echo words; exit 3"])).expect_err("it fails");
        assert!(error.to_string().contains("words"), "{error}");
        run("true", &mut Command::new("true")).expect("it runs");
    }
}
