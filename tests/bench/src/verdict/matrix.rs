//! What was said, against what was.

use std::fmt::Write as _;

use serde::Serialize;

use super::scene::Truth;

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Crowd,
    Few,
    Botnet,
    Forged,
    Mixed,
    OwnLimit,
    Server,
    Nothing,
    NotKnown,
}

/// In the order of the columns.
const ANSWERS: [(Answer, &str); 9] = [
    (Answer::Crowd, "crowd"),
    (Answer::Few, "few"),
    (Answer::Botnet, "botnet"),
    (Answer::Forged, "forged"),
    (Answer::Mixed, "both"),
    (Answer::OwnLimit, "limit"),
    (Answer::Server, "server"),
    (Answer::Nothing, "nothing"),
    (Answer::NotKnown, "not known"),
];

/// The columns.
pub fn names() -> Vec<&'static str> {
    ANSWERS.iter().map(|(_, name)| *name).collect()
}

/// Whether an answer is right; `None`: it is not known, or cannot be.
pub fn is_right(truth: Truth, answer: Answer) -> Option<bool> {
    if answer == Answer::NotKnown || truth == Truth::BotnetAsPeople {
        return None;
    }
    Some(match truth {
        Truth::Crowd => answer == Answer::Crowd,
        // That few addresses are very many people, or not, only their owner knows.
        Truth::BehindFew => matches!(answer, Answer::Crowd | Answer::Few),
        Truth::Few => answer == Answer::Few,
        Truth::Botnet => answer == Answer::Botnet,
        Truth::BotnetAsPeople => true,
        Truth::Spoofed => answer == Answer::Forged,
        Truth::Mixed => matches!(answer, Answer::Forged | Answer::Mixed),
    })
}

/// Surges by what they were and what was said.
#[derive(Default, Serialize)]
pub struct Matrix {
    rows: [Row; 7],
}

#[derive(Default, Serialize)]
struct Row {
    truth: &'static str,
    said: [u32; 9],
    #[serde(skip)]
    right: u32,
    #[serde(skip)]
    judged: u32,
    #[serde(skip)]
    attack: u32,
    #[serde(skip)]
    people: u32,
}

/// Percent.
#[derive(Clone, Copy, Serialize)]
pub struct Shares {
    /// Right of those that were judged and can be.
    pub right: f64,
    /// Of crowds, those called an attack.
    pub people_called_attack: f64,
    /// Not known, of all that can be.
    pub not_known: f64,
}

impl Matrix {
    /// Adds a surge.
    pub fn add(&mut self, truth: Truth, answer: Answer) {
        let place = Truth::ALL.iter().position(|one| *one == truth).unwrap_or(0);
        let row = &mut self.rows[place];
        row.truth = truth.name();
        if let Some(column) = ANSWERS.iter().position(|(one, _)| *one == answer) {
            row.said[column] += 1;
        }
        let judged = is_right(truth, answer);
        row.judged += u32::from(judged.is_some());
        row.right += u32::from(judged == Some(true));
        row.people += u32::from(truth.is_people());
        let attack = matches!(answer, Answer::Botnet | Answer::Forged | Answer::Mixed)
            || (answer == Answer::Few && truth == Truth::Crowd);
        row.attack += u32::from(truth.is_people() && attack);
    }

    /// The shares that count.
    pub fn shares(&self) -> Shares {
        let sum = |of: fn(&Row) -> u32| self.rows.iter().map(of).sum::<u32>();
        let percent = |part: u32, whole: u32| 100.0 * f64::from(part) / f64::from(whole.max(1));
        let can = self.rows.iter().filter(|row| row.truth != Truth::BotnetAsPeople.name());
        let (mut all, mut unknown) = (0, 0);
        for row in can {
            all += row.said.iter().sum::<u32>();
            unknown += row.said[8];
        }
        Shares {
            right: percent(sum(|row| row.right), sum(|row| row.judged)),
            people_called_attack: percent(sum(|row| row.attack), sum(|row| row.people)),
            not_known: percent(unknown, all),
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = format!("    {:<30}", "it was \\ it said");
        for (_, name) in ANSWERS {
            let _ = write!(text, "{name:>10}");
        }
        for row in self.rows.iter().filter(|row| !row.truth.is_empty()) {
            let _ = write!(text, "\n    {:<30}", row.truth);
            for count in row.said {
                let _ = write!(text, "{count:>10}");
            }
        }
        text + "\n"
    }
}
