//! `cargo xtask bench --readme`: runs the three benches and makes the section of docs/performance.md of what they printed.
//!
//! No figure between the two markers of docs/performance.md is written by hand: a test makes the section again from docs/bench. Nothing is written before the
//! last bench has ended well, so that what stands there is of one run.

mod exactness;
mod floods;
mod packets;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{lab, setup};

/// Where the section is, in the repository.
const PAGE: &str = "docs/performance.md";
/// The lines around the section.
const BEGIN: &str = "<!-- performance: written by `cargo xtask bench --readme`, not by hand -->\n";
const END: &str = "<!-- end of performance -->\n";

/// A bench, and what the section tells of it.
struct Part {
    /// The lab's program.
    program: &'static str,
    /// How one starts it alone.
    alone: &'static str,
    arguments: &'static [&'static str],
    /// For trying out: its shortest form.
    quick: &'static [&'static str],
    plots: bool,
    /// Its part of the section, of what it printed.
    words: fn(&str) -> Result<String>,
}

/// In the order of the section, in which they run.
const PARTS: [Part; 3] = [
    Part {
        program: "peers",
        alone: "cargo xtask bench --peers",
        arguments: &[],
        quick: &["--rounds", "1", "--seconds", "0.2", "--patience", "0.5"],
        plots: true,
        words: floods::words,
    },
    Part {
        program: "bench",
        alone: "cargo xtask bench",
        arguments: &[],
        quick: &["--rounds", "1", "--packets", "40000"],
        plots: false,
        words: packets::words,
    },
    Part {
        program: "accuracy",
        alone: "cargo xtask bench --accuracy",
        arguments: &[],
        quick: &["--quick", "--seconds", "0.2"],
        plots: true,
        words: exactness::words,
    },
];

/// Measures, keeps the outputs and plots in docs/bench, and writes the section.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = root()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Better now than after twenty minutes.
    replace(&read(&root.join(PAGE))?, "")?;
    match arguments[..] {
        [] => measure(&root, false)?,
        ["--quick"] => measure(&root, true)?,
        ["--as-measured"] => {}
        _ => bail!(
            "--readme goes with nothing, with --quick (the shortest figures, for trying out) or with --as-measured (those of docs/bench)"
        ),
    }
    let path = root.join(PAGE);
    write_whole(&path, &replace(&read(&path)?, &section(&root)?)?)?;
    eprintln!("wrote {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Runs all benches; only then replaces what is in docs/bench.
fn measure(root: &Path, quick: bool) -> Result<()> {
    lab::require_root("measuring")?;
    setup::ensure(&[setup::LAB, setup::PEERS])?;
    let programs = PARTS.iter().map(|part| lab::build_program(part.program)).collect::<Result<Vec<_>>>()?;
    let staging = lab::target_directory()?.join("performance");
    if staging.exists() {
        fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    fs::create_dir_all(&staging).with_context(|| format!("cannot make {}", staging.display()))?;
    for (part, program) in PARTS.iter().zip(programs) {
        eprintln!("== {}", part.alone);
        let mut command = Command::new(program);
        command.args(if quick { part.quick } else { part.arguments });
        if part.plots {
            command.arg(format!("--plots={}", staging.display()));
        }
        let output = watch(&mut command).and_then(|output| (part.words)(&output).map(|_| output));
        let output = output.with_context(|| {
            format!(
                "{} failed; docs/performance.md and docs/bench are as they were. When `{}` does well, run `cargo xtask bench --readme` again",
                part.program, part.alone
            )
        })?;
        write_whole(&staging.join(part.program).with_extension("txt"), &output)?;
    }
    for entry in fs::read_dir(&staging).with_context(|| format!("cannot list {}", staging.display()))? {
        let entry = entry?;
        write_whole(&root.join("docs/bench").join(entry.file_name()), &read(&entry.path())?)?;
    }
    Ok(())
}

/// Runs a program, hands its output on, and keeps it.
fn watch(command: &mut Command) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let mut output = String::new();
    for line in BufReader::new(child.stdout.take().context("a piped output")?).lines() {
        let line = line?;
        println!("{line}");
        output += &line;
        output.push('\n');
    }
    let status = child.wait()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(output)
}

/// What belongs between the markers by the outputs in docs/bench.
fn section(root: &Path) -> Result<String> {
    let part = |part: &Part| {
        let path = root.join("docs/bench").join(part.program).with_extension("txt");
        (part.words)(&read(&path)?).with_context(|| format!("{} is not what {} prints", path.display(), part.alone))
    };
    Ok(PARTS.iter().map(part).collect::<Result<Vec<_>>>()?.join("\n") + "\n")
}

/// The text with another section between the markers.
fn replace(page: &str, section: &str) -> Result<String> {
    let missing = || format!("{PAGE} needs these two lines, once and in this order:\n{BEGIN}{END}");
    let (before, rest) = page.split_once(BEGIN).with_context(missing)?;
    let (old, after) = rest.split_once(END).with_context(missing)?;
    ensure!(![before, old, after].iter().any(|text| text.contains(BEGIN) || text.contains(END)), missing());
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

/// An item of a list for a claim: those that do not hold are seen.
fn claim(holds: bool, words: &str) -> String {
    format!("- {}: {words}\n", if holds { "holds" } else { "**does NOT hold**" })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file has the old text or the new one, whatever happens.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let new = path.with_added_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever edits a figure, there or in docs/bench, is told so here.
    #[test]
    fn the_page_says_what_was_measured() {
        let root = root().expect("the project");
        let page = read(&root.join(PAGE)).expect("the page");
        let again = replace(&page, &section(&root).expect("a section")).expect("the page with its markers");
        let differs = page.lines().zip(again.lines()).find(|(is, should)| is != should);
        assert!(
            page == again,
            "the section of docs/performance.md is not what docs/bench says. Do not edit it: run `cargo xtask bench --readme`, \
             or with --as-measured if only its words changed. The first line that differs, as it is and as it should be: {differs:#?}"
        );
    }

    #[test]
    fn only_the_section_is_replaced() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(replace(&page, "new\n").expect("markers"), format!("a\n{BEGIN}new\n{END}b\n"));
        for wrong in ["a\n".to_owned(), format!("{END}{BEGIN}"), format!("{BEGIN}{BEGIN}{END}"), page.repeat(2)] {
            assert!(replace(&wrong, "new\n").is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_program_prints_is_kept_if_it_does_well() {
        let shell = |script| watch(Command::new("sh").args(["-c", script]));
        assert_eq!(shell("echo a; echo b").expect("it does well"), "a\nb\n");
        assert!(shell("echo a; exit 3").is_err_and(|error| error.to_string().contains("exit status: 3")));
    }
}
