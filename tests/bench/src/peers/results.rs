//! What was measured, over all rounds: medians and spread.

use lab::PageReport;
use lab::peer::{Family, Memory, Peer};
use serde::Serialize;

use super::measure::Sample;
use super::shape::Shape;

/// All cells, in the order in which they first came.
#[derive(Default)]
pub struct Results {
    cells: Vec<Cell>,
}

/// One peer under one flood.
pub struct Cell {
    /// The flood.
    pub shape: Shape,
    /// IP's version.
    pub family: Family,
    /// The peer.
    pub peer: Peer,
    samples: Vec<Sample>,
}

/// A median with the least and the greatest.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Figure {
    /// Half of the way from the least to the greatest.
    pub fn spread(self) -> f64 {
        (self.greatest - self.least) / 2.0
    }
}

/// A cell as JSON has it: medians over the rounds, with their spread.
#[derive(Serialize)]
pub struct Row {
    flood: String,
    family: u8,
    peer: &'static str,
    syn_per_second: Option<f64>,
    syn_per_second_spread: Option<f64>,
    cpu_ns_per_syn: Option<f64>,
    cpu_ns_per_syn_spread: Option<f64>,
    refused_share: Option<f64>,
    pages_tried: u64,
    pages_ok: u64,
    /// Those that came, of those that were tried.
    pages_share: Option<f64>,
    pages_per_second: f64,
    connect_ms_p50: Option<f64>,
    connect_ms_p99: Option<f64>,
    connect_ms_p99_spread: Option<f64>,
    memory_bytes: Option<u64>,
    memory_entries: Option<u64>,
    memory_how: Option<&'static str>,
    rounds: usize,
}

impl Results {
    /// Adds a sample to its cell.
    pub fn add(&mut self, shape: Shape, family: Family, peer: Peer, sample: Sample) {
        let found = self
            .cells
            .iter_mut()
            .find(|cell| (cell.shape, cell.family, cell.peer) == (shape, family, peer));
        match found {
            Some(cell) => cell.samples.push(sample),
            None => self.cells.push(Cell { shape, family, peer, samples: vec![sample] }),
        }
    }

    /// The cell of a peer under a flood, if it was measured.
    pub fn cell(&self, shape: Shape, family: Family, peer: Peer) -> Option<&Cell> {
        self.cells.iter().find(|cell| (cell.shape, cell.family, cell.peer) == (shape, family, peer))
    }

    /// Those of all there are, that were measured.
    pub fn peers(&self) -> Vec<Peer> {
        Peer::ALL
            .into_iter()
            .filter(|peer| self.cells.iter().any(|cell| cell.peer == *peer))
            .collect()
    }

    /// Families that were measured.
    pub fn families(&self) -> Vec<Family> {
        Family::ALL
            .into_iter()
            .filter(|family| self.cells.iter().any(|cell| cell.family == *family))
            .collect()
    }

    /// Floods that were measured, without the calm.
    pub fn floods(&self) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = Vec::new();
        for cell in &self.cells {
            if cell.shape != Shape::Calm && !shapes.contains(&cell.shape) {
                shapes.push(cell.shape);
            }
        }
        shapes
    }

    /// All cells for JSON.
    pub fn rows(&self) -> Vec<Row> {
        self.cells.iter().map(Cell::row).collect()
    }
}

impl Cell {
    /// CPU nanoseconds per SYN; none in the calm.
    pub fn ns(&self) -> Option<Figure> {
        figure(self.samples.iter().filter_map(|sample| Some(sample.flood?.ns)))
    }

    /// SYNs digested per second; none in the calm.
    pub fn syn_per_second(&self) -> Option<Figure> {
        figure(
            self.samples
                .iter()
                .filter_map(|sample| sample.flood.map(|cost| cost.digested as f64 / cost.seconds)),
        )
    }

    /// Share of the SYNs that the peer says that it refused, 0 to 1; none if it has no count.
    pub fn refused_share(&self) -> Option<f64> {
        let costs = || self.samples.iter().filter_map(|sample| sample.flood);
        let refused: u64 = costs().map(|cost| cost.refused).sum::<Option<u64>>()?;
        let digested: u64 = costs().map(|cost| cost.digested).sum();
        (digested > 0).then(|| refused as f64 / digested as f64)
    }

    /// The clients of all rounds together.
    pub fn pages(&self) -> PageReport {
        let mut all = PageReport::default();
        for PageReport { tried, ok, connect_ms, page_ms } in
            self.samples.iter().map(|sample| &sample.pages)
        {
            all.tried += tried;
            all.ok += ok;
            all.connect_ms.extend(connect_ms);
            all.page_ms.extend(page_ms);
        }
        all
    }

    /// The 99th percentile of the time to connect, round by round.
    pub fn connect_p99(&self) -> Option<Figure> {
        figure(
            self.samples
                .iter()
                .map(|sample| sample.pages.connect_p99())
                .filter(|value| value.is_finite()),
        )
    }

    /// What the peer kept after the last round.
    pub fn memory(&self) -> Option<Memory> {
        self.samples.iter().rev().find_map(|sample| sample.memory)
    }

    fn row(&self) -> Row {
        let pages = self.pages();
        let (ns, rate, p99, memory) =
            (self.ns(), self.syn_per_second(), self.connect_p99(), self.memory());
        let finite = |value: f64| value.is_finite().then_some(value);
        Row {
            flood: self.shape.to_string(),
            family: self.family.number(),
            peer: self.peer.name(),
            syn_per_second: rate.map(|rate| rate.median),
            syn_per_second_spread: rate.map(Figure::spread),
            cpu_ns_per_syn: ns.map(|ns| ns.median),
            cpu_ns_per_syn_spread: ns.map(Figure::spread),
            refused_share: self.refused_share(),
            pages_tried: pages.tried,
            pages_ok: pages.ok,
            pages_share: finite(pages.share()),
            pages_per_second: pages.share() * super::measure::PAGES_PER_SECOND,
            connect_ms_p50: finite(pages.connect_p50()),
            connect_ms_p99: finite(pages.connect_p99()),
            connect_ms_p99_spread: p99.map(Figure::spread),
            memory_bytes: memory.and_then(|memory| memory.bytes),
            memory_entries: memory.and_then(|memory| memory.entries),
            memory_how: memory.map(|memory| memory.how),
            rounds: self.samples.len(),
        }
    }
}

fn figure(values: impl Iterator<Item = f64>) -> Option<Figure> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (least, greatest) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    };
    Some(Figure { median, least, greatest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_in_the_middle() {
        let of = |values: &[f64]| {
            figure(values.iter().copied())
                .map(|figure| (figure.least, figure.median, figure.greatest))
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(of(&[]), None);
    }
}
