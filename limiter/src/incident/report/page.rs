//! A report as a sequence of blocks, so that text and page say the same.
//!
//! Words from a record may be anybody's: `clean` takes from them what could mislead a terminal, a browser or a reader.

use super::svg::Plot;

/// A part of a report.
#[derive(Clone, Debug)]
pub enum Block {
    /// A heading of level 1 (the report), 2 or 3.
    Heading(u8, String),
    /// The sentences that matter most.
    Lead(String),
    /// A paragraph.
    Paragraph(String),
    /// Sentences, one after another.
    List(Vec<String>),
    /// Figures that matter most: number, and what it is.
    Figures(Vec<(String, String)>),
    /// A table.
    Table(Table),
    /// A plot; the text leaves it out.
    Plot(Plot),
    /// Text as it is, under a caption.
    Code(String, String),
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Heads of its columns.
    pub head: Vec<String>,
    /// Which columns hold numbers.
    pub numbers: Vec<bool>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; a head that begins with `#` is of a column of numbers.
    pub fn new(caption: &str, head: &[&str]) -> Self {
        Self {
            caption: caption.to_owned(),
            head: head.iter().map(|name| name.trim_start_matches('#').to_owned()).collect(),
            numbers: head.iter().map(|name| name.starts_with('#')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// The text without control characters, and without those that reverse the order of letters. Lines stay.
pub fn clean(text: &str) -> String {
    let misleads = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|c| if misleads(c) { '\u{fffd}' } else { c }).collect()
}
