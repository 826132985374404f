//! Tests by what became of them, and what was not run and why.

/// Tests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run.
    pub skipped: u64,
}

impl Count {
    /// The sum.
    pub fn plus(self, more: Self) -> Self {
        Self {
            passed: self.passed + more.passed,
            failed: self.failed + more.failed,
            skipped: self.skipped + more.skipped,
        }
    }

    /// One that passed, or one that failed.
    pub fn one(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed), skipped: 0 }
    }
}

/// What a test program of Rust says last: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
pub fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Count {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
    })
}

/// What a stage says of something that it does not run: `skipped: WHAT: WHY`.
pub fn skipped(line: &str) -> Option<&str> {
    line.strip_prefix("skipped: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(parse(line), Some(Count { passed: 3, failed: 2, skipped: 1 }));
        assert_eq!(parse("test a::b ... ok"), None);
        assert_eq!(parse("3 passed; 0 failed; 0 ignored"), None);
    }

    #[test]
    fn what_is_skipped_is_told_by_the_beginning_of_its_line() {
        assert_eq!(
            skipped("skipped: Linux 6.1: apt knows none"),
            Some("Linux 6.1: apt knows none")
        );
        assert_eq!(skipped("test a_torn_line_is_skipped: ok"), None);
    }
}
