//! A report for a terminal or a mail: 100 columns, no plots.

use std::fmt::Write as _;

use super::page::{Block, Table};
use crate::markup::clean;

/// Columns.
const WIDTH: usize = 100;

/// The text.
pub fn text(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        // Writing to a String cannot fail.
        let _ = write_block(&mut out, block);
    }
    clean(&out)
}

fn write_block(to: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Heading(level, text) => {
            let text = wrapped(text, WIDTH).join("\n");
            let line = if *level == 1 { "=" } else { "-" };
            let width = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            match level {
                3 => writeln!(to, "\n{text}:\n"),
                _ => writeln!(
                    to,
                    "{}{text}\n{}\n",
                    if to.is_empty() { "" } else { "\n" },
                    line.repeat(width)
                ),
            }
        }
        Block::Lead(text) | Block::Paragraph(text) => {
            writeln!(to, "{}\n", wrapped(text, WIDTH).join("\n"))
        }
        Block::List(items) => {
            for item in items {
                writeln!(to, "- {}", wrapped(item, WIDTH - 2).join("\n  "))?;
            }
            writeln!(to)
        }
        Block::Figures(figures) => {
            let width = figures.iter().map(|(number, _)| number.chars().count()).max().unwrap_or(0);
            for (number, what) in figures {
                writeln!(to, "  {number:>width$}  {what}")?;
            }
            writeln!(to)
        }
        Block::Table(table) => write_table(to, table),
        Block::Plot(_) => Ok(()),
        Block::Code(caption, text) => {
            writeln!(to, "{caption}:\n")?;
            text.lines().try_for_each(|line| writeln!(to, "    {line}"))?;
            writeln!(to)
        }
    }
}

/// Columns as wide as they need, the widest ones cut into lines.
fn write_table(to: &mut String, table: &Table) -> std::fmt::Result {
    if !table.caption.is_empty() {
        writeln!(to, "{}:\n", wrapped(&table.caption, WIDTH).join("\n"))?;
    }
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let longest = |column| {
        let cells =
            table.rows.iter().chain([&table.head]).map(|row| cell(row, column).chars().count());
        cells.max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..table.head.len()).map(longest).collect();
    while widths.iter().map(|width| width + 2).sum::<usize>() > WIDTH {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > 12) else { break };
        *widest -= 1;
    }
    for row in [&table.head].into_iter().chain(&table.rows) {
        let cells: Vec<Vec<String>> =
            widths.iter().enumerate().map(|(at, width)| wrapped(&cell(row, at), *width)).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut text = String::new();
            for ((column, width), is_number) in cells.iter().zip(&widths).zip(&table.numbers) {
                let part = column.get(line).map_or("", String::as_str);
                let _ = if *is_number {
                    write!(text, "  {part:>width$}")
                } else {
                    write!(text, "  {part:<width$}")
                };
            }
            writeln!(to, "{}", text.trim_end())?;
        }
        if std::ptr::eq(row, &table.head) {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(to, "  {}", rule.join("  "))?;
        }
    }
    writeln!(to)
}

/// Lines of at most `width` columns; a word that is longer is broken.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(4);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for part in letters.chunks(width) {
            let part: String = part.iter().collect();
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + part.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&part);
                }
                _ => lines.push(part),
            }
        }
    }
    if lines.is_empty() { vec![String::new()] } else { lines }
}
