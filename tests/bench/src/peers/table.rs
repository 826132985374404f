//! The tables, at most 110 columns wide: what a SYN costs, how many are digested, what becomes of the clients, memory.

use std::fmt::{self, Write as _};

use lab::peer::Family;

use super::results::{Cell, Figure, Results};
use super::shape::Shape;

/// All tables.
pub fn text(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, results);
    text
}

fn write(to: &mut String, results: &Results) -> fmt::Result {
    let floods = results.floods();
    let with_calm: Vec<Shape> =
        std::iter::once(Shape::Calm).chain(floods.iter().copied()).collect();
    let mut sheet =
        |title: &str, shapes: &[Shape], width: usize, value: &dyn Fn(&Cell) -> String| {
            grid(to, results, title, shapes, width, value)
        };
    sheet("CPU ns per SYN", &floods, 11, &|cell| cell.ns().map_or_else(nothing, spread))?;
    sheet("million SYN/s", &floods, 11, &|cell| {
        cell.syn_per_second().map_or_else(nothing, |rate| format!("{:.2}", rate.median / 1e6))
    })?;
    sheet("pages, of all", &with_calm, 9, &|cell| percent(cell.pages().share()))?;
    sheet("connect p50", &with_calm, 9, &|cell| milliseconds(cell.pages().connect_p50()))?;
    sheet("connect p99", &with_calm, 9, &|cell| milliseconds(cell.pages().connect_p99()))?;
    memory(to, results)
}

/// A row for each peer, a column for each flood of each family.
fn grid(
    to: &mut String,
    results: &Results,
    title: &str,
    shapes: &[Shape],
    width: usize,
    value: &dyn Fn(&Cell) -> String,
) -> fmt::Result {
    let columns: Vec<(Family, Shape)> = results
        .families()
        .into_iter()
        .flat_map(|family| shapes.iter().map(move |shape| (family, *shape)))
        .collect();
    write!(to, "{title:<18}")?;
    for (index, (family, shape)) in columns.iter().enumerate() {
        let first = index % shapes.len() == 0;
        let name =
            if first { format!("v{}: {}", family.number(), head(*shape)) } else { head(*shape) };
        write!(to, "{name:>width$}")?;
    }
    to.push('\n');
    for peer in results.peers() {
        write!(to, "{:<18}", peer.name())?;
        for (family, shape) in &columns {
            let cell = results.cell(*shape, *family, peer);
            write!(to, "{:>width$}", cell.map_or_else(nothing, value))?;
        }
        to.push('\n');
    }
    to.push('\n');
    Ok(())
}

fn head(shape: Shape) -> String {
    match shape {
        Shape::Many(count) if count >= 1024 => format!("{}k", count / 1024),
        other => other.to_string(),
    }
}

/// The largest that a peer kept under any flood.
fn memory(to: &mut String, results: &Results) -> fmt::Result {
    writeln!(to, "{:<18}{:>11}{:>13}   how that is known", "memory", "MiB", "sources")?;
    for peer in results.peers() {
        let cells = results.families().into_iter().flat_map(|family| {
            let cells = results
                .floods()
                .into_iter()
                .filter_map(move |shape| results.cell(shape, family, peer));
            cells.collect::<Vec<_>>()
        });
        let most =
            cells.filter_map(Cell::memory).max_by_key(|memory| (memory.bytes, memory.entries));
        let Some(memory) = most else { continue };
        let bytes = memory
            .bytes
            .map_or_else(nothing, |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
        let entries = memory.entries.map_or_else(nothing, |entries| entries.to_string());
        writeln!(to, "{:<18}{bytes:>11}{entries:>13}   {}", peer.name(), memory.how)?;
    }
    Ok(())
}

/// The median, and half of the way from the least to the greatest.
fn spread(figure: Figure) -> String {
    format!("{:.0} ±{:.0}", figure.median, figure.spread())
}

fn percent(share: f64) -> String {
    match share {
        share if share.is_nan() => nothing(),
        1.0 => "100%".to_owned(),
        // Never rounded up to all of them.
        share => format!("{:.1}%", (share * 1000.0).floor() / 10.0),
    }
}

fn milliseconds(value: f64) -> String {
    match value {
        value if value.is_nan() => nothing(),
        value if value >= 1000.0 => format!("{:.1} s", value / 1000.0),
        value if value >= 10.0 => format!("{value:.0} ms"),
        value => format!("{value:.2} ms"),
    }
}

fn nothing() -> String {
    "-".to_owned()
}

/// The words for a flood in a sentence.
pub fn flood(shape: Shape, family: Family) -> String {
    let sources = match shape {
        Shape::Calm => "the calm".to_owned(),
        Shape::One => "1 source".to_owned(),
        Shape::Many(count) => format!("{count} sources"),
        Shape::Random => "random sources".to_owned(),
    };
    format!("{sources}, IPv{}", family.number())
}
