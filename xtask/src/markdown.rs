//! What the tests of pages read of Markdown: prose, links, and the words that the glossary rules out. No parser: the project's pages use
//! little of Markdown, and `prose` says what.

use std::fs;
use std::path::{Path, PathBuf};

/// All pages of the repository.
pub fn pages(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    gather(root, &mut found);
    found.sort();
    found
}

fn gather(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            if !hidden && !path.ends_with("target") {
                gather(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

/// A line of a page, and what stands on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Between paragraphs.
    Blank,
    /// Indented by four or fenced: commands, output, figures.
    Code(&'a str),
    /// A row of a table, also one that is drawn in prose.
    Table(&'a str),
    /// Everything else.
    Prose(&'a str),
}

/// The lines of a page, without HTML comments.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let (mut fenced, mut comment) = (false, false);
    let line = |line| {
        let fence = str::starts_with(line, "```");
        fenced ^= fence;
        comment |= line.starts_with("<!--");
        let kind = match line {
            _ if comment || line.trim().is_empty() => Line::Blank,
            _ if fenced || fence || line.starts_with("    ") => Line::Code(line),
            _ if line.starts_with('|') => Line::Table(line),
            _ => Line::Prose(line),
        };
        comment &= !line.contains("-->");
        kind
    };
    text.lines().map(line).collect()
}

/// Paragraphs and cells of tables, each in one line and without inline code, and the number of the line on which it begins.
pub fn prose(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(lines(text)) {
        match (line, found.last_mut()) {
            (Line::Prose(line), Some((_, paragraph))) if inside => {
                *paragraph += &format!(" {}", line.trim())
            }
            (Line::Prose(line) | Line::Table(line), _) => {
                found.push((number, line.trim().to_owned()))
            }
            _ => {}
        }
        inside = matches!(line, Line::Prose(_));
    }
    for (_, paragraph) in &mut found {
        *paragraph = paragraph.split('`').step_by(2).collect::<Vec<_>>().join("`");
    }
    found
}

/// Where links and pictures lead, as written.
pub fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.iter().flat_map(|(_, paragraph)| paragraph.split("](").skip(1));
    targets.filter_map(|rest| rest.split(')').next()).map(ToOwned::to_owned).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(kept).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

/// The words that the glossary rules out: the last of three columns, and the first of two.
pub fn ruled_out(glossary: &str) -> Vec<String> {
    let mut found = Vec::new();
    for row in glossary.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
    {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let words = match cells[..] {
            ["word", ..] | ["instead of", _] => continue,
            [_, _, words] | [words, _] => words,
            _ => panic!("a row of the glossary has two or three cells: {row}"),
        };
        found.extend(words.split(", ").map(str::to_lowercase));
    }
    found
}

/// Those of `words` that stand in the text, whole and in any case; and any word that stands there twice in a row.
pub fn found<'a>(words: &'a [String], text: &'a str) -> Vec<&'a str> {
    let lower = text.to_lowercase();
    let edge = |letter: Option<char>| {
        !letter.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
    };
    let stands = |word: &&String| {
        let mut places = lower.match_indices(word.as_str());
        places.any(|(at, _)| {
            edge(lower[..at].chars().next_back()) && edge(lower[at + word.len()..].chars().next())
        })
    };
    let mut found: Vec<&str> = words.iter().filter(stands).map(String::as_str).collect();
    let split: Vec<&str> = text.split(' ').collect();
    let twice = split.windows(2).filter(|two| {
        two[0] == two[1] && two[0].len() > 1 && two[0].chars().all(char::is_alphabetic)
    });
    found.extend(twice.map(|two| two[0]));
    found
}
