//! What docs/performance.md says of the verdict: what was said of staged surges, and what they were.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Deserialize;

use super::claim;

/// What is promised, in percent: right of those judged, and people called an attack.
const RIGHT: f64 = 95.0;
const WRONGED: f64 = 1.0;

/// What `bench verdict --json` prints.
#[derive(Deserialize)]
struct Report {
    surges: u32,
    seed: u64,
    answers: Vec<String>,
    watch: Matrix,
    report: Matrix,
    shares: [Shares; 2],
}

#[derive(Deserialize)]
struct Matrix {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    truth: String,
    said: Vec<u32>,
}

#[derive(Deserialize)]
struct Shares {
    right: f64,
    people_called_attack: f64,
    not_known: f64,
}

/// The part of the section.
pub fn words(json: &str) -> Result<String> {
    let report: Report = serde_json::from_str(json)?;
    let mut text = format!(
        "### Crowd or attack\n\n\
         {} staged surges, drawn with seed {} and not used to choose thresholds, simulated into the records of\n\
         production. Rows are what they were, columns what was said; a botnet at the pace of people cannot be told\n\
         from a crowd, and does not count below.\n",
        report.surges, report.seed
    );
    let both = [("`watch`, at a moment of the surge", &report.watch), ("`report`, of the whole", &report.report)];
    for (name, matrix) in both {
        write!(text, "\n{name}:\n\n    {:<30}", "")?;
        report.answers.iter().try_for_each(|answer| write!(text, "{answer:>10}"))?;
        for row in matrix.rows.iter().filter(|row| !row.truth.is_empty()) {
            write!(text, "\n    {:<30}", row.truth)?;
            row.said.iter().try_for_each(|count| write!(text, "{count:>10}"))?;
        }
        text.push('\n');
    }
    text.push('\n');
    for (name, shares) in ["watch", "report"].iter().zip(&report.shares) {
        let right = format!(
            "`{name}` is right of at least {RIGHT:.0}% that it judges: {:.1}%; of {:.1}% it says that it does not know",
            shares.right, shares.not_known
        );
        text.push_str(&claim(shares.right >= RIGHT, &right));
        let wronged = format!(
            "`{name}` calls at most {WRONGED:.0}% of the people an attack: {:.1}%",
            shares.people_called_attack
        );
        text.push_str(&claim(shares.people_called_attack <= WRONGED, &wronged));
    }
    Ok(text)
}
