//! A report as a sequence of blocks, so that text and page say the same.

use super::steps::Plot;

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
