//! The plots in docs/bench, one file for each subject and family.

use lab::peer::Family;

use super::super::bars::{Bar, Plot, Series};
use super::results::{Cell, Figure, Results};
use super::shape::Shape;

/// A subject: the file's name, the title, the unit, the axis, and the bar of a cell.
struct Subject {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    range: (f64, f64),
    logarithmic: bool,
    with_calm: bool,
    bar: fn(&Cell) -> Option<Bar>,
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        file: "cost",
        title: "CPU time of a SYN, above an XDP program that drops everything",
        unit: "ns (log)",
        range: (10.0, 20_000.0),
        logarithmic: true,
        with_calm: false,
        bar: |cell| cell.ns().map(bar),
    },
    Subject {
        file: "digested",
        title: "SYN/s that one CPU digests while it makes them too",
        unit: "SYN/s (log)",
        range: (1e5, 1e7),
        logarithmic: true,
        with_calm: false,
        bar: |cell| cell.syn_per_second().map(bar),
    },
    Subject {
        file: "pages",
        title: "Pages that ordinary clients complete",
        unit: "%",
        range: (0.0, 115.0),
        logarithmic: false,
        with_calm: true,
        bar: |cell| alone(cell.pages().share() * 100.0),
    },
    Subject {
        file: "connect",
        title: "99th percentile of the time that ordinary clients take to connect",
        unit: "ms (log)",
        range: (0.01, 20_000.0),
        logarithmic: true,
        with_calm: true,
        bar: |cell| {
            let spread = cell.connect_p99()?;
            Some(Bar { value: cell.pages().connect_p99(), spread: (spread.least, spread.greatest) })
        },
    },
];

/// All of them, by the names of their files.
pub fn plots(results: &Results, conditions: &str) -> Vec<(String, Plot)> {
    let of = |family: Family| {
        let named = move |subject: &Subject| format!("{}-ipv{}", subject.file, family.number());
        SUBJECTS
            .iter()
            .map(move |subject| (named(subject), plot(results, subject, family, conditions)))
    };
    results.families().into_iter().flat_map(of).collect()
}

fn plot(results: &Results, subject: &Subject, family: Family, conditions: &str) -> Plot {
    let calm = subject.with_calm.then_some(Shape::Calm);
    let shapes: Vec<Shape> = calm.into_iter().chain(results.floods()).collect();
    let series = results.peers().into_iter().map(|peer| {
        let bar = |shape: &Shape| results.cell(*shape, family, peer).and_then(subject.bar);
        Series { name: peer.name().to_owned(), bars: shapes.iter().map(bar).collect() }
    });
    let series = series.collect();
    let first = conditions.split(", veth").next().unwrap_or_default();
    Plot {
        title: format!("{} (IPv{})", subject.title, family.number()),
        subtitle: format!("{first}; medians, with the least and the greatest of the rounds"),
        unit: subject.unit.to_owned(),
        groups: shapes.iter().map(group).collect(),
        series,
        range: subject.range,
        logarithmic: subject.logarithmic,
        mark: None,
    }
}

fn group(shape: &Shape) -> String {
    match shape {
        Shape::Calm => "calm".to_owned(),
        Shape::One => "flood of 1 source".to_owned(),
        Shape::Many(count) => format!("flood of {count} sources"),
        Shape::Random => "flood of random sources".to_owned(),
    }
}

fn bar(figure: Figure) -> Bar {
    Bar { value: figure.median, spread: (figure.least, figure.greatest) }
}

#[expect(clippy::unnecessary_wraps, reason = "a subject may have no bar for a cell")]
fn alone(value: f64) -> Option<Bar> {
    Some(Bar { value, spread: (value, value) })
}
