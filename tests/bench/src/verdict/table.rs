//! What was said of each surge beside what it was: a confusion matrix for `watch` and for `report`.

use limiter::assess::Cause;
use limiter::incident::Pattern;
use serde::Serialize;

use super::Told;
use super::cases::Truth;

/// What may be said, as the matrix has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Crowd,
    FewKnown,
    Few,
    Botnet,
    Programs,
    Spoofed,
    Mixed,
    OwnLimit,
    Server,
    Nothing,
    Unclear,
}

const COLUMNS: [(Said, &str); 11] = [
    (Said::Crowd, "crowd"),
    (Said::FewKnown, "few known"),
    (Said::Few, "few"),
    (Said::Botnet, "botnet"),
    (Said::Programs, "programs"),
    (Said::Spoofed, "forged"),
    (Said::Mixed, "mixed"),
    (Said::OwnLimit, "own limit"),
    (Said::Server, "server"),
    (Said::Nothing, "nothing"),
    (Said::Unclear, "unclear"),
];

const ROWS: [(Truth, &str); 10] = [
    (Truth::Crowd, "a crowd"),
    (Truth::KnownFew, "carriers, a tool gone wild"),
    (Truth::Few, "few heavy"),
    (Truth::Botnet, "a botnet"),
    (Truth::Spoofed, "forged addresses"),
    (Truth::Mixed, "forged, and a crowd"),
    (Truth::OwnLimit, "our own limit"),
    (Truth::Server, "the server"),
    (Truth::Nothing, "nothing"),
    (Truth::Imitators, "a botnet of browsers"),
];

impl From<Cause> for Said {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Crowd => Self::Crowd,
            Cause::Familiar => Self::FewKnown,
            Cause::Few => Self::Few,
            Cause::Botnet => Self::Botnet,
            Cause::Programs => Self::Programs,
            Cause::Spoofed => Self::Spoofed,
            Cause::Mixed => Self::Mixed,
            Cause::OwnLimit => Self::OwnLimit,
            Cause::Server | Cause::Down => Self::Server,
            Cause::Nothing | Cause::Quiet => Self::Nothing,
            _ => Self::Unclear,
        }
    }
}

impl From<Pattern> for Said {
    fn from(kind: Pattern) -> Self {
        match kind {
            Pattern::Crowd => Self::Crowd,
            Pattern::Familiar => Self::FewKnown,
            Pattern::FewSources | Pattern::FloodOfFew | Pattern::HeavyClients => Self::Few,
            Pattern::Botnet => Self::Botnet,
            Pattern::Programs => Self::Programs,
            Pattern::SpoofedFlood => Self::Spoofed,
            Pattern::Mixed => Self::Mixed,
            Pattern::Server => Self::Server,
            Pattern::NoSurge => Self::Nothing,
            Pattern::Unknown => Self::Unclear,
        }
    }
}

/// How one of what was said stands to the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Right,
    /// It says that it does not know, or names two causes.
    Open,
    Wrong,
}

fn mark(truth: Truth, said: Said) -> Mark {
    let is_right = match truth {
        Truth::Crowd | Truth::Imitators => said == Said::Crowd,
        Truth::KnownFew => said == Said::FewKnown,
        Truth::Few => said == Said::Few,
        Truth::Botnet => said == Said::Botnet,
        // There are real clients on any day, and what is done is the same.
        Truth::Spoofed | Truth::Mixed => matches!(said, Said::Mixed | Said::Spoofed),
        Truth::OwnLimit => said == Said::OwnLimit,
        // Slow readers are machines too.
        Truth::Server => matches!(said, Said::Server | Said::Botnet),
        Truth::Nothing => said == Said::Nothing,
    };
    // "Few sources: do you know them?" does not say that they attack.
    let is_open = match truth {
        Truth::KnownFew => matches!(said, Said::Unclear | Said::Few),
        Truth::Botnet => matches!(said, Said::Unclear | Said::Programs),
        // One that is served hurts nobody.
        Truth::Crowd => matches!(said, Said::Unclear | Said::Programs | Said::Nothing),
        _ => said == Said::Unclear,
    };
    match (is_right, is_open) {
        (true, _) => Mark::Right,
        (_, true) => Mark::Open,
        _ => Mark::Wrong,
    }
}

/// The sums of a matrix.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sums {
    pub right: usize,
    pub open: usize,
    pub wrong: usize,
    pub crowds: usize,
    pub crowds_called_an_attack: usize,
}

/// `report` tells of surges only, and what nobody can tell counts for neither.
fn counts(truth: Truth, is_report: bool) -> bool {
    let is_surge = !matches!(truth, Truth::OwnLimit | Truth::Server | Truth::Nothing);
    truth != Truth::Imitators && (is_surge || !is_report)
}

/// What counts of each.
pub fn sums(told: &[Told], is_report: bool) -> Sums {
    let mut sums = Sums::default();
    for one in told.iter().filter(|one| counts(one.truth, is_report)) {
        let said = one.said_by(is_report);
        match mark(one.truth, said) {
            Mark::Right => sums.right += 1,
            Mark::Open => sums.open += 1,
            Mark::Wrong => sums.wrong += 1,
        }
        if matches!(one.truth, Truth::Crowd | Truth::KnownFew) {
            let attacks = [Said::Botnet, Said::Spoofed, Said::Mixed];
            let is_attack =
                attacks.contains(&said) || said == Said::Few && one.truth == Truth::Crowd;
            sums.crowds += 1;
            sums.crowds_called_an_attack += usize::from(is_attack);
        }
    }
    sums
}

/// The matrix and its sums.
pub fn text(told: &[Told], is_report: bool) -> String {
    let mut text = format!("{:28}", if is_report { "report" } else { "watch" });
    COLUMNS.iter().for_each(|(_, name)| text += &format!("{name:>11}"));
    text.push('\n');
    for (truth, name) in ROWS {
        if is_report && !counts(truth, true) && truth != Truth::Imitators {
            continue;
        }
        text += &format!("{name:28}");
        for (said, _) in COLUMNS {
            let of = told.iter().filter(|one| one.truth == truth);
            let count = of.filter(|one| one.said_by(is_report) == said).count();
            let count = if count == 0 { "-".to_owned() } else { count.to_string() };
            text += &format!("{count:>11}");
        }
        text.push('\n');
    }
    let Sums { right, open, wrong, crowds, crowds_called_an_attack } = sums(told, is_report);
    let all = (right + open + wrong).max(1);
    let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    text + &format!(
        "of {all}: {right} right ({:.1}%), {open} left open ({:.1}%), {wrong} wrong ({:.1}%); of {crowds} \
         crowds {crowds_called_an_attack} called an attack ({:.1}%)\n",
        percent(right, all),
        percent(open, all),
        percent(wrong, all),
        percent(crowds_called_an_attack, crowds),
    )
}
