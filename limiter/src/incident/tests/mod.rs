//! Records that were never recorded, and whether the report tells what is in them.

mod hostile;
mod kinds;
mod places;

use std::io::Write as _;

use super::archive::Record;
use super::names;
use super::report::Report;
use super::series::{Counts, Cpu, Distinct, Limiter, Line, Service, Tick};
use super::story::{self, Story};
use crate::history::Moment;

/// 2021-04-06 at 8 in the morning, UTC.
const MORNING: u64 = 1_617_696_000;

/// A series that is told second by second.
pub struct Told {
    lines: Vec<Line>,
    tick: Tick,
}

/// What happens in a second.
#[derive(Clone, Copy, Default)]
pub struct Second<'a> {
    /// Packets by reason, whose verdict was carried out.
    pub decided: &'a [(&'a str, u64)],
    /// Packets by reason that were only counted.
    pub observed: &'a [(&'a str, u64)],
    /// Counters of the kernel.
    pub tcp: &'a [(&'a str, u64)],
    /// Sources, and /24 prefixes.
    pub sources: Option<(u64, u64)>,
    /// Percent of the sources that had been there before.
    pub returning: f64,
}

impl Told {
    /// A limiter in this mode, with one service.
    pub fn new(mode: &str) -> Self {
        let service = Service { name: "web".to_owned(), ..Service::default() };
        let limiter = Limiter {
            mode: mode.to_owned(),
            generation: 1,
            services: vec![service],
            ..Limiter::default()
        };
        let mut told = Self {
            lines: Vec::new(),
            tick: Tick { monotonic: 1000.0, limiter: Some(limiter), ..Tick::default() },
        };
        for name in [
            "PassiveOpens",
            "ListenOverflows",
            "ListenDrops",
            "SyncookiesSent",
            "SyncookiesRecv",
            "RetransSegs",
        ] {
            told.tick.tcp.insert(name.to_owned(), 5000);
        }
        told.write();
        told
    }

    /// The same, again and again.
    pub fn seconds(&mut self, number: u64, second: Second<'_>) -> &mut Self {
        for _ in 0..number {
            self.tick.monotonic += 1.0;
            self.tick.cpu = Cpu {
                total: self.tick.cpu.total + 200,
                busy: self.tick.cpu.busy + 30,
                softirq: self.tick.cpu.softirq + 10,
            };
            add(&mut self.tick.tcp, second.tcp);
            if let Some(limiter) = &mut self.tick.limiter {
                add(&mut limiter.services[0].decided, second.decided);
                add(&mut limiter.services[0].observed, second.observed);
                limiter.distinct = second.sources.map(|(sources, prefixes_24)| Distinct {
                    seconds: 30.0,
                    sources,
                    prefixes_24,
                    returning_percent: Some(second.returning),
                    ..Distinct::default()
                });
            }
            self.write();
        }
        self
    }

    /// Changes what stands, without a second passing.
    pub fn change(&mut self, change: impl FnOnce(&mut Tick)) -> &mut Self {
        change(&mut self.tick);
        self
    }

    /// Another line.
    pub fn line(&mut self, line: Line) -> &mut Self {
        self.lines.push(line);
        self
    }

    /// The wall time of now.
    pub fn now(&self) -> Moment {
        let millis = MORNING * 1000 + ((self.tick.monotonic - 1000.0) * 1000.0) as u64;
        (std::time::UNIX_EPOCH + std::time::Duration::from_millis(millis)).into()
    }

    fn write(&mut self) {
        self.tick.time = Some(self.now());
        self.lines.push(Line::Tick(Box::new(self.tick.clone())));
    }

    /// The series as it would be in a file.
    pub fn series(&self) -> Vec<u8> {
        let lines = self.lines.iter().map(|line| serde_json::to_string(line).expect("JSON") + "\n");
        lines.collect::<String>().into_bytes()
    }

    /// The record, read from an archive.
    pub fn record(&self) -> Record {
        let mut record = Record::default();
        record.read_archive(&archive(&[(names::SERIES, &self.series())])[..]);
        record
    }

    /// The words of the page about it, which no column breaks.
    pub fn words(&self) -> String {
        let page = Report::of(&self.record()).html();
        let options =
            roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        let document =
            roxmltree::Document::parse_with_options(&page, options).expect("well-formed");
        let words =
            document.descendants().filter(|node| node.is_text()).filter_map(|node| node.text());
        words.collect::<String>()
    }

    /// What it tells.
    pub fn story(&self) -> Story {
        story::tell(&self.record())
    }
}

fn add(counts: &mut Counts, more: &[(&str, u64)]) {
    for (name, number) in more {
        *counts.entry((*name).to_owned()).or_default() += number;
    }
}

/// An archive of these files.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        let path = format!("{}/{name}", names::DIRECTORY);
        // Not by a method of tar, which would refuse the names that a hostile archive has.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).expect("appended");
    }
    let mut compressed = tar.into_inner().expect("finished");
    compressed.flush().expect("flushed");
    compressed.finish().expect("finished")
}
