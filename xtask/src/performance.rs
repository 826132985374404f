//! `cargo xtask bench --readme`: runs the three benches and makes the section of docs/performance.md of the JSON that they keep in docs/bench.
//!
//! No figure between the two markers of docs/performance.md is written by hand: a test makes the section again from docs/bench. Nothing is written before the
//! last bench has ended well, so that what stands there is of one run.

mod exactness;
mod floods;
mod packets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cargo::target_directory;
use crate::{lab, setup};

/// Where the section is, in the repository.
const PAGE: &str = "docs/performance.md";
/// The lines around the section.
const BEGIN: &str = "<!-- performance: written by `cargo xtask bench --readme`, not by hand -->\n";
const END: &str = "<!-- end of performance -->\n";

/// A bench, and what the section tells of it.
struct Part {
    /// The subcommand, and the name of its files in docs/bench.
    name: &'static str,
    /// How one starts it alone.
    alone: &'static str,
    /// For trying out: its shortest form.
    quick: &'static [&'static str],
    /// Its part of the section, of its JSON.
    words: fn(&str) -> Result<String>,
}

/// In the order of the section, in which they run.
const PARTS: [Part; 3] = [
    Part {
        name: "peers",
        alone: "cargo xtask bench --peers",
        quick: &["--rounds", "1", "--seconds", "0.2", "--patience", "0.5"],
        words: floods::words,
    },
    Part {
        name: "packets",
        alone: "cargo xtask bench",
        quick: &["--rounds", "1", "--packets", "40000"],
        words: packets::words,
    },
    Part {
        name: "accuracy",
        alone: "cargo xtask bench --accuracy",
        quick: &["--quick", "--seconds", "0.2"],
        words: exactness::words,
    },
];

/// Measures, keeps tables, JSON and plots in docs/bench, and writes the section.
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
    let bench = lab::build_bench()?;
    let staging = target_directory()?.join("performance");
    if staging.exists() {
        fs::remove_dir_all(&staging)
            .with_context(|| format!("cannot remove {}", staging.display()))?;
    }
    fs::create_dir_all(&staging).with_context(|| format!("cannot make {}", staging.display()))?;
    for part in &PARTS {
        eprintln!("== {}", part.alone);
        let mut command = Command::new(&bench);
        command
            .arg(part.name)
            .args(if quick { part.quick } else { &[] })
            .arg(format!("--keep={}", staging.display()));
        let status = command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {command:?}"))?;
        let kept = || (part.words)(&read(&part.json(&staging))?);
        let told = if status.success() { kept() } else { Err(anyhow!("it ended with {status}")) };
        told.with_context(|| {
            format!(
                "{} failed; docs/performance.md and docs/bench are as they were. When `{}` does well, run `cargo xtask bench --readme` again",
                part.name, part.alone
            )
        })?;
    }
    for entry in
        fs::read_dir(&staging).with_context(|| format!("cannot list {}", staging.display()))?
    {
        let entry = entry?;
        write_whole(&root.join("docs/bench").join(entry.file_name()), &read(&entry.path())?)?;
    }
    Ok(())
}

impl Part {
    /// Where its JSON is.
    fn json(&self, directory: &Path) -> PathBuf {
        directory.join(self.name).with_extension("json")
    }
}

/// What belongs between the markers by what is kept in docs/bench.
fn section(root: &Path) -> Result<String> {
    let part = |part: &Part| {
        let path = part.json(&root.join("docs/bench"));
        (part.words)(&read(&path)?)
            .with_context(|| format!("{} is not what {} keeps", path.display(), part.alone))
    };
    Ok(PARTS.iter().map(part).collect::<Result<Vec<_>>>()?.join("\n") + "\n")
}

/// The text with another section between the markers.
fn replace(page: &str, section: &str) -> Result<String> {
    let missing = || format!("{PAGE} needs these two lines, once and in this order:\n{BEGIN}{END}");
    let (before, rest) = page.split_once(BEGIN).with_context(missing)?;
    let (old, after) = rest.split_once(END).with_context(missing)?;
    ensure!(
        ![before, old, after].iter().any(|text| text.contains(BEGIN) || text.contains(END)),
        missing()
    );
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

/// An item of a list for a claim: those that do not hold are seen.
fn claim(holds: bool, words: &str) -> String {
    format!("- {}: {words}\n", if holds { "holds" } else { "**does NOT hold**" })
}

/// A figure with no more digits than its noise leaves: to the place of the noise's first digit.
fn rounded(value: f64, noise: f64) -> String {
    let place = if noise > 0.0 { noise.log10().floor().clamp(-2.0, 9.0) as i32 } else { 0 };
    let unit = 10_f64.powi(place);
    // Minus nothing is nothing.
    format!("{:.*}", usize::try_from(-place).unwrap_or(0), (value / unit).round() * unit + 0.0)
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
        let again =
            replace(&page, &section(&root).expect("a section")).expect("the page with its markers");
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
        for wrong in [
            "a\n".to_owned(),
            format!("{END}{BEGIN}"),
            format!("{BEGIN}{BEGIN}{END}"),
            page.repeat(2),
        ] {
            assert!(replace(&wrong, "new\n").is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_digit_is_within_the_noise() {
        let figures = [
            (2633.0, 170.0),
            (1354.0, 31.0),
            (61.0, 5.0),
            (-0.2, 5.0),
            (4.219, 0.0178),
            (7.03, 0.6),
            (248.0, 0.0),
        ];
        assert_eq!(
            figures.map(|(value, noise)| rounded(value, noise)),
            ["2600", "1350", "61", "0", "4.22", "7.0", "248"]
        );
    }
}
