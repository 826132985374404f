//! A report as one page: no script, no network, nothing beside it. It is well-formed XML too, so that tools can take it apart.

use std::fmt::Write as _;

use super::page::{Block, Table};
use crate::markup::escape;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn html(title: &str, blocks: &[Block]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(title)
    );
    for block in blocks {
        // Writing to a String cannot fail.
        let _ = write_block(&mut out, block);
    }
    out + "</main>\n</body>\n</html>\n"
}

fn write_block(to: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Heading(level, text) => writeln!(to, "<h{level}>{}</h{level}>", escape(text)),
        Block::Lead(text) => writeln!(to, "<p class=\"lead\">{}</p>", inline(text)),
        Block::Paragraph(text) => writeln!(to, "<p>{}</p>", inline(text)),
        Block::List(items) => {
            let items: String =
                items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            writeln!(to, "<ul>\n{items}</ul>")
        }
        Block::Figures(figures) => {
            writeln!(to, "<div class=\"figures\">")?;
            for (number, what) in figures {
                writeln!(to, "<div><b>{}</b><span>{}</span></div>", escape(number), escape(what))?;
            }
            writeln!(to, "</div>")
        }
        Block::Table(table) => write_table(to, table),
        Block::Plot(plot) => writeln!(to, "<figure>\n{}</figure>", plot.svg()),
        Block::Code(caption, text) => {
            writeln!(to, "<h3>{}</h3>\n<pre>{}</pre>", escape(caption), escape(text.trim_end()))
        }
    }
}

fn write_table(to: &mut String, table: &Table) -> std::fmt::Result {
    let class =
        |column: usize| if table.numbers.get(column) == Some(&true) { " class=\"n\"" } else { "" };
    writeln!(to, "<div class=\"scroll\"><table>")?;
    if !table.caption.is_empty() {
        writeln!(to, "<caption>{}</caption>", escape(&table.caption))?;
    }
    writeln!(to, "<thead><tr>")?;
    for (column, head) in table.head.iter().enumerate() {
        writeln!(to, "<th scope=\"col\"{}>{}</th>", class(column), escape(head))?;
    }
    writeln!(to, "</tr></thead>\n<tbody>")?;
    for row in &table.rows {
        write!(to, "<tr>")?;
        for (column, cell) in row.iter().enumerate() {
            write!(to, "<td{}>{}</td>", class(column), inline(cell))?;
        }
        writeln!(to, "</tr>")?;
    }
    writeln!(to, "</tbody></table></div>")
}

/// Escaped text, with commands between backticks as such. One that is not closed stays as it is.
fn inline(text: &str) -> String {
    let escaped = escape(text);
    let parts: Vec<&str> = escaped.split('`').collect();
    let last = parts.len() - 1;
    let part = |(number, part): (usize, &&str)| match (number % 2, number == last) {
        (1, false) => format!("<code>{part}</code>"),
        (1, true) => format!("`{part}"),
        _ => (*part).to_owned(),
    };
    parts.iter().enumerate().map(part).collect()
}
