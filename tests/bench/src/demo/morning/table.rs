//! What the morning comes to: a table of three rows, its JSON and its plot.

use std::fmt::Write as _;

use lab::Person;
use serde::{Deserialize, Serialize};

use super::super::super::bars::{Bar, Plot, Series};
use super::stage::{CAPACITY, FORGED, PUPILS, Played, VISIT};

/// An act's figures.
#[derive(Deserialize, Serialize)]
pub struct Figures {
    act: String,
    /// Forged SYNs a second, as many as were sent.
    forged_per_second: f64,
    /// Whole pages in a second.
    pages_per_second: f64,
    /// Pupils who had all pages that they came for.
    done: usize,
    /// Others who had some.
    begun: usize,
    /// Others who saw a page that told them to wait.
    told_to_wait: usize,
    /// Those who saw nothing but errors.
    saw_nothing: usize,
    /// Nine of ten pupils had a first page, of either kind, within so many seconds.
    first_page_90: Option<f64>,
    /// What `limiter report` says of it.
    report: Vec<String>,
}

/// All acts, for programs.
#[derive(Deserialize, Serialize)]
pub struct Results {
    pupils: usize,
    capacity_in_pages: u64,
    acts: Vec<Figures>,
}

/// The figures of all acts.
pub fn results(acts: &[Played]) -> Results {
    Results {
        pupils: PUPILS,
        capacity_in_pages: CAPACITY,
        acts: acts.iter().map(Figures::of).collect(),
    }
}

impl Figures {
    fn of(played: &Played) -> Self {
        let Played { act, seconds, pupils, forged, report } = played;
        let pages: u64 = pupils.iter().map(|pupil| pupil.pages).sum();
        let count = |which: fn(&Person) -> bool| pupils.iter().filter(|pupil| which(pupil)).count();
        let mut first: Vec<_> = pupils.iter().filter_map(|pupil| pupil.first).collect();
        first.sort();
        let ninth = (pupils.len() * 9).div_ceil(10).saturating_sub(1);
        Self {
            act: act.name().to_owned(),
            forged_per_second: *forged as f64 / seconds,
            pages_per_second: pages as f64 / seconds,
            done: count(|pupil| pupil.done.is_some()),
            begun: count(|pupil| pupil.done.is_none() && pupil.pages > 0),
            told_to_wait: count(|pupil| pupil.pages == 0 && pupil.waits > 0),
            saw_nothing: count(|pupil| pupil.pages == 0 && pupil.waits == 0),
            first_page_90: first.get(ninth).map(std::time::Duration::as_secs_f64),
            report: report.clone(),
        }
    }
}

/// The table, and what `limiter report` says of each act.
pub fn text(results: &Results) -> String {
    let mut text = format!("\n{:<22}", format!("{} pupils", results.pupils));
    let heads = ["whole pages/s", "had all", "had some", "were told", "saw errors"];
    heads.iter().for_each(|head| text += &format!("{head:>14}"));
    text += &format!("\n{:<22}", "");
    let possible = format!("of {}", results.capacity_in_pages);
    let all = format!("{VISIT} pages");
    let heads = [possible.as_str(), all.as_str(), "pages", "\"wait\"", "only"];
    heads.iter().for_each(|head| text += &format!("{head:>14}"));
    text.push('\n');
    for figures in &results.acts {
        let Figures { act, pages_per_second, done, begun, told_to_wait, saw_nothing, .. } = figures;
        let _ = writeln!(
            text,
            "{act:<22}{pages_per_second:>14.1}{done:>14}{begun:>14}{told_to_wait:>14}{saw_nothing:>14}"
        );
    }
    for figures in results.acts.iter().filter(|figures| !figures.report.is_empty()) {
        let _ = writeln!(text, "\n`limiter report`, {}:", figures.act);
        figures.report.iter().for_each(|sentence| text += &wrapped(sentence));
    }
    text
}

/// A paragraph in lines, indented.
fn wrapped(paragraph: &str) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split_whitespace() {
        if lines.last().is_none_or(|line| line.len() + word.len() > 90) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            let gap = if line.is_empty() { "    " } else { " " };
            *line += gap;
            *line += word;
        }
    }
    lines.join("\n") + "\n"
}

/// Where the pupils are in the end, act by act.
pub fn plot(results: &Results) -> Plot {
    let figures = &results.acts;
    let series = |name: &str, value: fn(&Figures) -> usize| {
        let bar = |figures: &Figures| {
            let value = value(figures) as f64;
            Some(Bar { value, spread: (value, value) })
        };
        Series { name: name.to_owned(), bars: figures.iter().map(bar).collect() }
    };
    Plot {
        title: format!(
            "{} pupils come at once, the server takes {} pages a second",
            results.pupils, results.capacity_in_pages
        ),
        subtitle: format!(
            "where they are when each act ends; the flood is {FORGED} SYN/s from forged addresses"
        ),
        unit: "pupils".to_owned(),
        groups: figures.iter().map(|figures| figures.act.clone()).collect(),
        series: vec![
            series("were told to wait", |figures| figures.told_to_wait),
            series("had some pages", |figures| figures.begun),
            series("saw errors only", |figures| figures.saw_nothing),
            series("had all pages", |figures| figures.done),
        ],
        range: (0.0, results.pupils as f64 * 1.1),
        logarithmic: false,
        mark: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = include_str!("../../../../../docs/bench/demo.json");
    const TEXT: &str = include_str!("../../../../../docs/bench/demo.txt");
    const PICTURE: &str = include_str!("../../../../../docs/bench/demo.svg");
    const README: &str = include_str!("../../../../../README.md");

    #[test]
    fn what_is_shown_is_what_was_measured() {
        let results: Results = serde_json::from_str(JSON).expect("what `--keep` wrote");
        assert_eq!(text(&results), TEXT);
        assert_eq!(plot(&results).to_svg(), PICTURE);
        let rows = TEXT.lines().skip(1).take(2 + results.acts.len());
        rows.for_each(|row| assert!(README.contains(&format!("    {row}\n")), "README: {row}"));
    }
}
