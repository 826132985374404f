//! `cargo xtask pictures`: draws screens of `limiter watch` that were captured as text, for README and guide.
//!
//! A capture holds no colours. The picture gives them to what the view colours for a meaning: the verdict, the bars, the rules. Block
//! elements are drawn as rectangles on the grid of cells, so no font decides how high a bar is.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The captures that are drawn, and what a reader who cannot see them is told. Both sit in docs/watch.
const PICTURES: [(&str, &str); 3] = [
    ("calm-80x24", "limiter watch in calm: all attempts are admitted"),
    ("crowd-80x24", "limiter watch with a crowd: more attempts than the budget"),
    (
        "flood-80x24",
        "limiter watch under a flood: millions of attempts a second, nearly all of them refused",
    ),
];

/// Size of a cell.
const CELL: (f64, f64) = (9.0, 19.0);
const MARGIN: f64 = 14.0;
/// Between the highest bar of a line and the line above.
const GAP: f64 = 2.0;
/// Of a line's letters, from the top of its cells.
const BASELINE: f64 = 14.5;

const BACKGROUND: &str = "#16191d";
const PLAIN: &str = "#d6d9de";
const QUIET: &str = "#767d88";
const ALARM: &str = "#ff7b72";
const GOOD: &str = "#7ee787";
const BARS: &str = "#56b4e9";

/// Writes all pictures beside their captures.
pub fn run() -> Result<()> {
    for (name, title) in PICTURES {
        let (path, svg) = picture(name, title)?;
        fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Where a picture belongs, and what it should be.
fn picture(name: &str, title: &str) -> Result<(std::path::PathBuf, String)> {
    let capture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/watch").join(format!("{name}.txt"));
    let screen = fs::read_to_string(&capture)
        .with_context(|| format!("cannot read {}", capture.display()))?;
    Ok((capture.with_extension("svg"), draw(&screen, title)))
}

fn draw(screen: &str, title: &str) -> String {
    let columns = screen.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = MARGIN.mul_add(2.0, columns as f64 * CELL.0);
    let height = MARGIN.mul_add(2.0, screen.lines().count() as f64 * CELL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"15\">\n<title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n",
        escape(title)
    );
    for (row, line) in screen.lines().enumerate() {
        draw_line(&mut svg, MARGIN + row as f64 * CELL.1, line);
    }
    svg + "</svg>\n"
}

fn draw_line(svg: &mut String, top: f64, line: &str) {
    let colour = colour(line);
    let weight = if matches!(colour, ALARM | GOOD) { " font-weight=\"bold\"" } else { "" };
    let cells: Vec<char> = line.chars().collect();
    let mut start = 0;
    for run in cells.chunk_by(|one, other| Kind::of(*one) == Kind::of(*other)) {
        let (x, width) = (MARGIN + start as f64 * CELL.0, run.len() as f64 * CELL.0);
        start += run.len();
        // Writing to a String cannot fail.
        let _ = match Kind::of(run[0]) {
            Kind::Blank => Ok(()),
            Kind::Bar => run.iter().enumerate().try_for_each(|(at, cell)| {
                let (height, opacity) = bar(*cell);
                let height = height * (CELL.1 - GAP);
                let (x, y) = (x + at as f64 * CELL.0, top + CELL.1 - height);
                writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y:.1}\" width=\"{}\" height=\"{:.1}\" fill=\"{BARS}\"{opacity}/>",
                    CELL.0 - 1.0,
                    height
                )
            }),
            Kind::Rule => {
                let y = top + CELL.1 / 2.0;
                writeln!(svg, "<path d=\"M{x} {y}h{width}\" stroke=\"{QUIET}\"/>")
            }
            // The length keeps the columns where they are, whatever the font is.
            Kind::Letters => writeln!(
                svg,
                "<text x=\"{x}\" y=\"{}\" fill=\"{colour}\"{weight} textLength=\"{width}\">{}</text>",
                top + BASELINE,
                escape(&run.iter().collect::<String>())
            ),
        };
    }
}

/// What a cell is drawn as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Bar,
    Rule,
    Letters,
}

impl Kind {
    fn of(cell: char) -> Self {
        match cell {
            ' ' => Self::Blank,
            '▁'..='█' | '░' => Self::Bar,
            '─' => Self::Rule,
            _ => Self::Letters,
        }
    }
}

/// Height of a bar as a part of the cell, and how it is shaded.
fn bar(cell: char) -> (f64, &'static str) {
    match cell {
        '░' => (1.0, " opacity=\"0.25\""),
        cell => (f64::from(u32::from(cell) - u32::from('▁') + 1) / 8.0, ""),
    }
}

fn colour(line: &str) -> &'static str {
    let first = line.split_whitespace().next().unwrap_or_default();
    match first {
        "REFUSING" => ALARM,
        "CALM:" => GOOD,
        "only" | "changes" => QUIET,
        _ => PLAIN,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture that was taken anew, or another way of drawing, needs the pictures drawn anew.
    #[test]
    fn pictures_are_those_of_the_captures() {
        for (name, title) in PICTURES {
            let (path, svg) = picture(name, title).expect("a capture");
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == svg,
                "{} is not what {name}.txt shows: run `cargo xtask pictures`",
                path.display()
            );
        }
    }

    #[test]
    fn a_cell_is_a_letter_a_bar_or_a_rule() {
        let svg = draw("─ a<b ▄░\n", "x & y");
        assert!(svg.contains("<title>x &amp; y</title>"), "{svg}");
        assert!(svg.contains("textLength=\"27\">a&lt;b</text>"), "{svg}");
        assert!(svg.contains("height=\"8.5\"") && svg.contains("opacity=\"0.25\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        assert_eq!((bar('▁').0, bar('█').0), (0.125, 1.0));
    }
}
