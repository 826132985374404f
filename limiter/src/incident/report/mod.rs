//! The report: what happened, in words, tables and plots; as text or as one page.

mod appendix;
mod clock;
mod html;
mod page;
mod plots;
mod sections;
mod sources;
mod steps;
mod text;
mod words;

use serde::Serialize;

use super::archive::Record;
use super::story::{self, Story};
use clock::Clock;
use page::Block;

/// A report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// What happened, in sentences.
    pub summary: Vec<String>,
    /// What that rests on.
    pub story: Story,
    /// What could not be read of the record.
    pub problems: Vec<String>,
    #[serde(skip)]
    blocks: Vec<Block>,
}

/// What every part of it needs.
struct Subject<'a> {
    record: &'a Record,
    story: &'a Story,
    clock: Clock,
}

impl Report {
    /// Makes it.
    pub fn of(record: &Record) -> Self {
        let story = story::tell(record);
        let subject = Subject { record, story: &story, clock: Clock::of(record) };
        let host = record.meta.as_ref().map_or("an unnamed machine", |meta| meta.host.as_str());
        let title = format!("Incident on {host}, {}", subject.clock.span(record.series.length()));
        let summary = words::summary(&subject);
        let mut blocks =
            vec![Block::Heading(1, title.clone()), Block::Paragraph(words::about(&subject))];
        blocks.extend(sections::first(&subject, &summary));
        blocks.extend(sections::course(&subject));
        blocks.extend(sections::evidence(&subject));
        blocks.extend(sections::changes(&subject));
        blocks.extend(sections::users(&subject));
        blocks.extend(sections::server(&subject));
        blocks.extend(sources::section(&subject));
        blocks.extend(sections::open_questions(&subject));
        blocks.extend(sections::glossary());
        blocks.extend(appendix::section(&subject));
        Self { title, summary, problems: record.problems.clone(), story, blocks }
    }

    /// For a terminal or a mail.
    pub fn text(&self) -> String {
        text::text(&self.blocks)
    }

    /// As a page in one file.
    pub fn html(&self) -> String {
        html::html(&self.title, &self.blocks)
    }
}
