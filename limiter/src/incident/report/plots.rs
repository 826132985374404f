//! The plots: what is drawn from the points, and what each is to be read as.

use limiter_common::reason::{Group, Reason};

use super::super::points::{Point, sum};
use super::Subject;
use super::clock::length;
use super::page::Block;
use super::steps::{Layer, Plot};

/// Columns of a plot; of a longer record each is an average.
const COLUMNS: usize = 450;

/// Name and colour of the layer of a group of attempts.
const fn layer_of(group: Group) -> (&'static str, usize) {
    match group {
        Group::LetIn => ("let in", 2),
        Group::Challenged => ("challenged", 5),
        Group::OverLimit => ("source over its limit", 1),
        Group::InLine => ("waiting in line", 4),
        Group::Diverted => ("sent to the waiting room", 3),
        Group::Spent => ("budget spent", 0),
        Group::Unfit => ("other refusals", 6),
    }
}

/// Makes plots of one record.
pub struct Plots<'a> {
    subject: &'a Subject<'a>,
    /// Points of each column.
    columns: Vec<&'a [Point]>,
    /// Words about columns that are averages.
    coarse: String,
}

impl<'a> Plots<'a> {
    /// Of this record.
    pub fn of(subject: &'a Subject<'a>) -> Self {
        let points = &subject.record.series.points;
        let size = points.len().div_ceil(COLUMNS).max(1);
        let coarse = if size > 1 {
            format!(" Each step is an average of {}.", length(size as f64))
        } else {
            String::new()
        };
        Self { subject, columns: points.chunks(size).collect(), coarse }
    }

    /// Attempts, what was let in and what the server opened.
    pub fn overview(&self) -> Block {
        let attempts = |point: &Point| Some(point.counted.as_ref()?.attempts());
        let layers = vec![
            self.layer("attempts", 1, attempts),
            self.layer("let through by limiter", 2, |point| {
                Some(point.counted.as_ref()?.let_through())
            }),
            self.layer("opened by the server", 0, |point| Some(point.tcp?.opened)),
        ];
        self.plot(
            "Attempts, and how many became connections, per second",
            "Each line is ten times the one below; zero is at the bottom. Shaded: the surge. Numbers: what was changed.",
            layers,
        )
        .map(|plot| Plot { logarithmic: true, ..plot })
        .into()
    }

    /// Attempts by what became of them.
    pub fn fates(&self) -> Block {
        let mut layers = Vec::new();
        for group in Group::ALL {
            let (name, colour) = layer_of(group);
            let of = move |reason: Reason| reason.group() == Some(group);
            layers.push(
                self.layer(name, colour, move |point| {
                    Some(sum(&point.counted.as_ref()?.decided, of))
                }),
            );
        }
        let over = |point: &Point| Some(sum(&point.counted.as_ref()?.observed, Reason::is_attempt));
        layers.push(self.layer("only counted, and passed (observe mode)", 7, over));
        layers.retain(|layer| layer.values.iter().flatten().any(|value| *value > 0.0));
        self.plot(
            "What became of the attempts, per second",
            "Stacked: the upper edge is all attempts.",
            layers,
        )
        .map(|plot| Plot { stacked: true, ..plot })
        .into()
    }

    /// Budgets and the machine.
    pub fn machine(&self) -> Block {
        let mut layers = vec![
            self.layer("CPU busy", 0, |point| Some(point.cpu?[0])),
            self.layer("CPU in soft interrupts (packets)", 1, |point| Some(point.cpu?[1])),
            self.layer("host's budget used", 4, |point| point.budgets[0]),
            self.layer("service's budget used", 3, |point| point.budgets[1]),
        ];
        layers.retain(|layer| layer.values.iter().any(Option::is_some));
        self.plot(
            "CPU and budgets, percent",
            "A budget at 100% lets in only as much as flows into it.",
            layers,
        )
        .map(|plot| Plot { least: 100.0, ..plot })
        .into()
    }

    /// What the kernel's TCP noticed.
    pub fn kernel(&self) -> Block {
        let mut layers = vec![
            self.layer("accept queue full (ListenOverflows)", 1, |point| {
                Some(point.tcp?.overflows)
            }),
            self.layer("dropped by listeners (ListenDrops)", 3, |point| Some(point.tcp?.drops)),
            self.layer("cookies sent by the kernel", 5, |point| Some(point.tcp?.cookies[0])),
            self.layer("cookies that came back", 2, |point| Some(point.tcp?.cookies[1])),
            self.layer("segments sent again", 6, |point| Some(point.tcp?.retransmitted)),
        ];
        layers.retain(|layer| layer.values.iter().flatten().any(|value| *value > 0.0));
        if layers.is_empty() {
            return Block::Paragraph(
                "The kernel turned nobody away, sent no cookie by itself and sent no segment again in the whole record.".to_owned(),
            );
        }
        self.plot(
            "What the kernel counted, per second",
            "Each line is ten times the one below. The kernel's own counters, for all listeners of the machine.",
            layers,
        )
        .map(|plot| Plot { logarithmic: true, ..plot })
        .into()
    }

    /// How many sources there are; nothing where it was not counted.
    pub fn sources(&self) -> Option<Block> {
        let layers = vec![
            self.layer("sources", 1, |point| Some(point.distinct?.sources as f64)),
            self.layer("/24 prefixes", 0, |point| Some(point.distinct?.prefixes_24 as f64)),
        ];
        layers[0].values.iter().any(Option::is_some).then(|| {
            self.plot(
                "Distinct sources",
                "Each line is ten times the one below. Estimates over the last half minute or more.",
                layers,
            )
            .map(|plot| Plot { logarithmic: true, ..plot })
            .into()
        })
    }

    fn layer(&self, name: &str, colour: usize, value: impl Fn(&Point) -> Option<f64>) -> Layer {
        let average = |points: &&[Point]| {
            let known = points.iter().filter_map(|point| Some((value(point)?, point.seconds)));
            let (sum, seconds) = known.fold((0.0, 0.0), |sum, (value, seconds)| {
                (sum.0 + value * seconds, sum.1 + seconds)
            });
            (seconds > 0.0).then(|| sum / seconds)
        };
        Layer { name: name.to_owned(), colour, values: self.columns.iter().map(average).collect() }
    }

    fn plot(&self, title: &str, about: &str, layers: Vec<Layer>) -> Drawn {
        let (record, story) = (self.subject.record, self.subject.story);
        let ends = |points: &&[Point]| match (points.first(), points.last()) {
            (Some(first), Some(last)) => [first.at - first.seconds, last.at],
            _ => [0.0; 2],
        };
        let length = record.series.length();
        Drawn(Plot {
            title: title.to_owned(),
            about: format!("{about}{}", self.coarse),
            columns: self.columns.iter().map(ends).collect(),
            layers,
            length,
            shade: story.span(&record.series.points),
            marks: story
                .changes
                .iter()
                .enumerate()
                .map(|(number, change)| (change.at, number + 1))
                .collect(),
            times: self.subject.clock.ticks(length),
            ..Plot::default()
        })
    }
}

/// A plot that is not finished.
struct Drawn(Plot);

impl Drawn {
    fn map(self, change: impl FnOnce(Plot) -> Plot) -> Self {
        Self(change(self.0))
    }
}

impl From<Drawn> for Block {
    fn from(drawn: Drawn) -> Self {
        Self::Plot(drawn.0)
    }
}
