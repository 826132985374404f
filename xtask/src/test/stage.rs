//! One command after another, and one beside them: what they say is shown, and what became of their tests is kept.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::count::{self, Count};
use super::nextest::{self, Ran, Run};

/// Tests whose times are shown in the end.
const SLOWEST: usize = 20;

/// What was run so far.
#[derive(Default)]
pub struct Report {
    count: Count,
    /// Tests and stages that failed.
    failed: Vec<String>,
    /// What was not run, and why.
    skipped: Vec<String>,
    ran: Vec<Ran>,
}

/// A stage that runs while others do: what it said, what became of it, and how long it took.
pub struct Beside {
    name: &'static str,
    thread: JoinHandle<Result<(Vec<String>, bool, Duration)>>,
}

impl Report {
    /// Whether nothing has failed.
    pub fn is_good(&self) -> bool {
        self.count.failed == 0
    }

    /// Runs a command that is a check of its own: one that passes or fails.
    pub fn check(&mut self, name: &str, command: &mut Command) -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let passed = watch(command, |line| println!("{line}"))?;
        self.checked(name, passed, start.elapsed());
        Ok(())
    }

    /// Adds what became of a check.
    pub fn checked(&mut self, name: &str, passed: bool, took: Duration) {
        self.add(name, Count::one(passed), passed, took);
    }

    /// Runs a command whose success is a matter of course, such as a build: only its failure counts.
    pub fn need(&mut self, name: &str, command: &mut Command) -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let passed = watch(command, |line| println!("{line}"))?;
        self.add(name, Count::default(), passed, start.elapsed());
        Ok(())
    }

    /// Runs tests. `furnish` adds to their environment.
    pub fn tests(
        &mut self,
        name: &str,
        run: &Run,
        furnish: impl FnOnce(&mut Command),
    ) -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let mut command = run.command()?;
        furnish(&mut command);
        let passed = watch(&mut command, |line| println!("{line}"))?;
        let ran = run.results()?;
        self.failed.extend(ran.iter().filter(|test| !test.passed).map(|test| test.name.clone()));
        self.add(name, nextest::count(&ran), passed, start.elapsed());
        self.ran.extend(ran);
        Ok(())
    }

    /// Starts a command whose output comes at its end.
    pub fn start(&self, name: &'static str, mut command: Command) -> Beside {
        let thread = thread::spawn(move || {
            let (start, mut said) = (Instant::now(), Vec::new());
            let passed = watch(&mut command, |line| said.push(line.to_owned()))?;
            Ok((said, passed, start.elapsed()))
        });
        Beside { name, thread }
    }

    /// Waits for a command that prints results of test programs, and what was skipped.
    pub fn finish(&mut self, Beside { name, thread }: Beside) -> Result<()> {
        let (said, passed, took) =
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        println!("== {name}, meanwhile");
        let mut count = Count::default();
        for line in said {
            println!("{line}");
            count = count.plus(count::parse(&line).unwrap_or_default());
            self.skipped.extend(count::skipped(&line).map(str::to_owned));
            self.failed
                .extend(line.strip_suffix(" ... FAILED").map(|test| format!("{name}: {test}")));
        }
        self.add(name, count, passed, took);
        Ok(())
    }

    /// Says that something is not run.
    pub fn skip(&mut self, what: &str, why: &str) {
        self.skipped.push(format!("{what}: {why}"));
    }

    /// A command that fails without a failed test counts as one.
    fn add(&mut self, name: &str, mut count: Count, passed: bool, took: Duration) {
        if !passed && count.failed == 0 {
            count.failed = 1;
            self.failed.push(name.to_owned());
        }
        println!(
            "== {name}: {}, {} s",
            if count.failed == 0 { "ok" } else { "FAILED" },
            took.as_secs()
        );
        self.count = self.count.plus(count);
    }

    /// Shows what took longest, what was skipped and why, what failed, and the sum on the last line.
    pub fn print(&self, took: Duration) {
        println!("== the slowest");
        let mut slowest: Vec<&Ran> = self.ran.iter().collect();
        slowest.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
        for test in slowest.iter().take(SLOWEST) {
            println!("{:7.1} s  {}", test.seconds, test.name);
        }
        println!("== all of it: {} s", took.as_secs());
        self.skipped.iter().for_each(|skipped| println!("skipped: {skipped}"));
        self.failed.iter().for_each(|failed| println!("FAILED: {failed}"));
        println!("{}", self.sum());
    }

    /// Skipped are those that a test program ignored, and those of which a line says why.
    fn sum(&self) -> String {
        let Count { passed, failed, skipped } = self.count;
        format!("{passed} passed, {failed} failed, {} skipped", skipped + self.skipped.len() as u64)
    }
}

/// Runs a command and hands its output on line by line; whether it succeeded.
fn watch(command: &mut Command, mut tell: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    for line in BufReader::new(child.stdout.take().context("a piped output")?).lines() {
        tell(&line?);
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_without_tests_counts_as_one() {
        let mut report = Report::default();
        report.need("a build", &mut Command::new("true")).expect("it runs");
        assert_eq!(
            (report.sum().as_str(), report.is_good()),
            ("0 passed, 0 failed, 0 skipped", true)
        );
        report.check("a check", &mut Command::new("true")).expect("it runs");
        report.need("a build", &mut Command::new("false")).expect("it runs");
        report.check("a check", &mut Command::new("false")).expect("it runs");
        assert_eq!(
            (report.sum().as_str(), report.is_good()),
            ("1 passed, 2 failed, 0 skipped", false)
        );
    }

    #[test]
    fn what_runs_beside_is_counted_with_what_it_skipped() {
        let mut report = Report::default();
        let mut command = Command::new("printf");
        command.arg(
            "skipped: a kernel: none known\ntest a::b ... FAILED\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n",
        );
        let beside = report.start("kernels", command);
        report.finish(beside).expect("it runs");
        report.skip("soak", "--quick");
        assert_eq!(report.sum(), "3 passed, 1 failed, 2 skipped");
        assert_eq!(report.failed, ["kernels: test a::b"]);
    }
}
