//! The budget of the verifier's work: instructions that it walked, by program and series of kernels, and by how much they may grow.
//!
//! Instructions are the same in every run; time is not, and is only shown.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// In the kernel side's own directory: whoever changes that sees it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../limiter-ebpf/verifier.budget");
/// More than so many parts of a hundred of the budget are too many.
const MOST: u64 = 120;
/// What the verifier itself refuses (BPF_COMPLEXITY_LIMIT_INSNS).
const REFUSED: u64 = 1_000_000;
const HEAD: &str = "\
# Instructions that the verifier walks: series of kernels, object, program, instructions. It refuses a million.
# `cargo xtask kernels` fails when one grows by more than a fifth; `cargo xtask kernels --write-budget` writes this file.
# A series that is not listed is held to the largest figure of the program.
";

/// One program that a verifier took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    kernel: String,
    emulated: bool,
    object: String,
    program: String,
    instructions: u64,
    microseconds: u64,
}

impl Verified {
    /// From `verified OBJECT PROGRAM INSTRUCTIONS MICROSECONDS`, as the tests print it.
    pub fn parse(line: &str, kernel: &str, emulated: bool) -> Option<Self> {
        let mut words = line.strip_prefix("verified ")?.split(' ');
        let (object, program) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (instructions, microseconds) =
            (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self {
            kernel: kernel.to_owned(),
            emulated,
            object,
            program,
            instructions,
            microseconds,
        })
    }

    /// `6.1` of `6.1.0-56-cloud-amd64`.
    fn series(&self) -> String {
        let mut numbers = self.kernel.split('.');
        format!("{}.{}", numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
    }

    fn is_same(&self, line: &Line) -> bool {
        (&self.object, &self.program) == (&line.object, &line.program)
    }
}

/// One line of the file.
#[derive(Debug)]
struct Line {
    series: String,
    object: String,
    program: String,
    instructions: u64,
}

/// The file.
#[derive(Debug)]
pub struct Budget {
    lines: Vec<Line>,
}

impl Budget {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read, or a line of it is not understood.
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let lines = lines
            .map(|line| line_of(line).with_context(|| format!("{FILE}: not understood: {line}")));
        Ok(Self { lines: lines.collect::<Result<_>>()? })
    }

    /// What a program may have, without the allowance for growth.
    fn of(&self, verified: &Verified) -> Option<u64> {
        let series = verified.series();
        let same = || self.lines.iter().filter(|line| verified.is_same(line));
        let own = same()
            .find(|line| line.series == series)
            .or_else(|| same().max_by_key(|line| line.instructions));
        own.map(|line| line.instructions)
    }

    /// A table of what was verified, and how many are over the budget.
    pub fn table(&self, verified: &[Verified]) -> (String, u64) {
        let mut table = String::from(
            "\nkernel                            program            instructions    budget  growth  of the most  verifier's time\n",
        );
        let mut over = 0;
        for one in verified {
            let Verified { kernel, object, program, instructions, .. } = one;
            let budget = self.of(one);
            let is_over = budget.is_none_or(|budget| instructions * 100 > budget * MOST);
            over += u64::from(is_over);
            let growth =
                budget.map_or_else(|| "?".to_owned(), |budget| growth(*instructions, budget));
            let budget = budget.map_or_else(|| "none".to_owned(), |budget| budget.to_string());
            let share = format!("{:.0}%", *instructions as f64 * 100.0 / REFUSED as f64);
            let name = format!("{program} ({object})");
            let time = format!("{:.2} s", one.microseconds as f64 / 1e6);
            let emulated = if one.emulated { ", emulated" } else { "" };
            let verdict = if is_over { "  OVER THE BUDGET" } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "{kernel:<33} {name:<18} {instructions:>12} {budget:>9} {growth:>7} {share:>12}  {time}{emulated}{verdict}"
            );
        }
        if over > 0 {
            table.push_str(
                "The verifier's work grew by more than a fifth, or is that of a new program. If that is what the change is worth, write \
                 it down: `cargo xtask kernels --write-budget`.\n",
            );
        }
        (table, over)
    }

    /// Writes the file anew: what was verified, and lines of series that were not run here.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self, verified: &[Verified]) -> Result<PathBuf> {
        let ran: Vec<String> = verified.iter().map(Verified::series).collect();
        let kept = self.lines.into_iter().filter(|line| !ran.contains(&line.series));
        let new = verified.iter().map(|one| Line {
            series: one.series(),
            object: one.object.clone(),
            program: one.program.clone(),
            instructions: one.instructions,
        });
        let mut lines: Vec<Line> = kept.chain(new).collect();
        lines
            .sort_by_key(|line| (numbers(&line.series), line.object.clone(), line.program.clone()));
        let lines = lines.iter().map(|Line { series, object, program, instructions }| {
            format!("{series:<6} {object:<10} {program:<12} {instructions:>8}\n")
        });
        let path = Path::new(FILE);
        fs::write(path, HEAD.to_owned() + &lines.collect::<String>())
            .with_context(|| format!("cannot write {FILE}"))?;
        Ok(path.to_owned())
    }
}

fn line_of(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let line = Line {
        series: words.next()?,
        object: words.next()?,
        program: words.next()?,
        instructions: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(line)
}

fn growth(instructions: u64, budget: u64) -> String {
    format!("{:+.1}%", (instructions as f64 / budget as f64 - 1.0) * 100.0)
}

fn numbers(series: &str) -> Vec<u64> {
    series.split('.').filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(kernel: &str, instructions: u64) -> Verified {
        let line = format!("verified shipped limiter {instructions} 1500000");
        Verified::parse(&line, kernel, true).expect("a line of the tests")
    }

    #[test]
    fn a_fifth_more_is_allowed_and_no_more() {
        let budget =
            Budget::parse("# a comment\n6.1 shipped limiter 1000\n6.12 shipped limiter 2000\n")
                .expect("a budget");
        for (kernel, most) in
            [("6.1.0-56-cloud-amd64", 1200), ("6.12.9+deb12-cloud-amd64", 2400), ("6.99.1", 2400)]
        {
            assert_eq!(budget.table(&[verified(kernel, most)]).1, 0, "{kernel}");
            let (table, over) = budget.table(&[verified(kernel, most + 1)]);
            assert_eq!(over, 1, "{table}");
            assert!(table.contains("OVER THE BUDGET"), "{table}");
        }
    }

    #[test]
    fn a_program_without_a_budget_is_over_it() {
        let budget = Budget::parse("6.1 shipped other 1000\n").expect("a budget");
        assert_eq!(budget.table(&[verified("6.1.0", 10)]).1, 1);
        assert!(Budget::parse("6.1 shipped limiter\n").is_err());
    }
}
