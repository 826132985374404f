//! `limiter events`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use limiter_common::address::Address;
use limiter_common::reason::{Reason, Verdict};
use limiter_common::sighting::{Sighting, What};
use serde::Serialize;

use super::Context;
use crate::history::Moment;
use crate::kernel::{Maps, clock, link};
use crate::observe::Ring;
use crate::output::{self, Reader};
use crate::policy::{prefix, text};
use crate::report::Format;
use crate::run::reverts::Follower;

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks from one look at the history and the interfaces to the next.
const SELDOM: u64 = 5;

/// Arguments of `events`.
#[derive(Args, Debug)]
pub struct Events {
    /// Keep showing new events, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Start with the last N events so far.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
}

/// Something that happened.
#[derive(Serialize)]
struct Event {
    time: Moment,
    #[serde(flatten)]
    what: Happened,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Happened {
    /// An attempt was refused: one of a sample.
    Refused { source: String, service: String, reason: &'static str, dropped: bool },
    /// The debt of a source was forgotten for this one's.
    Steal { source: String, service: String },
    /// Somebody changed something.
    Changed { who: String, changed: Vec<String> },
    /// The kernel side went back by itself.
    WentBack { mode: &'static str },
    /// An interface has a program of limiter's now, or has none any more.
    Interface { name: String, attached: bool },
    /// Events were overwritten before they were read.
    Missed { events: u64 },
}

/// What is followed.
struct Watch<'a> {
    context: &'a Context,
    maps: Maps,
    ring: Ring,
    services: HashMap<u32, String>,
    reverts: Follower,
    interfaces: Vec<String>,
    /// The last change that was shown.
    since: Moment,
}

impl Events {
    /// Prints what was, then what comes.
    pub fn run(&self, context: &Context) -> Result<()> {
        context.pins.require()?;
        let mut watch = Watch::new(context)?;
        let mut events = watch.look()?;
        events.extend(watch.changes()?);
        events.sort_by_key(|event| event.time);
        events.drain(..events.len().saturating_sub(self.lines));
        match show(context.format, &events)? {
            Reader::There if self.follow => watch.follow(),
            _ => Ok(()),
        }
    }
}

impl<'a> Watch<'a> {
    /// Prints what comes, until limiter is unloaded or the reader is gone.
    fn follow(mut self) -> Result<()> {
        for turn in 1_u64.. {
            std::thread::sleep(PAUSE);
            let mut events = Vec::new();
            if turn.is_multiple_of(SELDOM) {
                if !self.context.pins.is_loaded()? {
                    output::note(format_args!(
                        "limiter: limiter was unloaded, so no more events will come"
                    ));
                    return Ok(());
                }
                self.services = services(&self.maps)?;
                events.extend(self.changes()?);
            }
            events.extend(self.look()?);
            events.sort_by_key(|event| event.time);
            if show(self.context.format, &events)? == Reader::Gone
                || output::reader() == Reader::Gone
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn new(context: &'a Context) -> Result<Self> {
        let maps = Maps::open(&context.pins.root())?;
        let mut reverts = Follower::default();
        if let Some(went_back) = reverts.look(maps.switch()?, clock::now()) {
            reverts.told(went_back);
        }
        Ok(Self {
            context,
            ring: Ring::events(),
            services: services(&maps)?,
            reverts,
            interfaces: attached(context)?,
            since: Moment::of(0).unwrap_or_else(Moment::now),
            maps,
        })
    }

    /// What the kernel side tells.
    fn look(&mut self) -> Result<Vec<Event>> {
        let look = self.ring.look(&self.maps)?;
        let mut events: Vec<Event> =
            look.seen.iter().filter_map(|sighting| self.told(sighting)).collect();
        if look.missed > 0 {
            events.push(Event {
                time: Moment::now(),
                what: Happened::Missed { events: look.missed },
            });
        }
        if let Some(went_back) = self.reverts.look(self.maps.switch()?, clock::now()) {
            self.reverts.told(went_back);
            let mode = text::show_mode(went_back.to.mode);
            events.extend(
                Moment::of(went_back.at)
                    .map(|time| Event { time, what: Happened::WentBack { mode } }),
            );
        }
        Ok(events)
    }

    fn told(&self, sighting: &Sighting) -> Option<Event> {
        let what = What(sighting.what);
        let reason = Reason::from_number(what.reason())?;
        let source = prefix::ip(Address { high: sighting.high, low: sighting.low }).to_string();
        let service = self
            .services
            .get(&what.service())
            .cloned()
            .unwrap_or_else(|| format!("#{}", what.service()));
        let what = match reason.verdict() {
            Verdict::Drop => Happened::Refused {
                source,
                service,
                reason: reason.name(),
                dropped: what.is_enforced(),
            },
            _ => Happened::Steal { source, service },
        };
        Some(Event { time: Moment::of(sighting.time)?, what })
    }

    /// What people changed, and interfaces that came and went.
    fn changes(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for entry in self.context.history.read(usize::MAX)?.entries {
            if entry.time > self.since {
                self.since = entry.time;
                let what = Happened::Changed { who: entry.who.to_string(), changed: entry.changed };
                events.push(Event { time: entry.time, what });
            }
        }
        let now = attached(self.context)?;
        let came =
            now.iter().filter(|name| !self.interfaces.contains(name)).map(|name| (name, true));
        let went =
            self.interfaces.iter().filter(|name| !now.contains(name)).map(|name| (name, false));
        events.extend(came.chain(went).map(|(name, attached)| Event {
            time: Moment::now(),
            what: Happened::Interface { name: name.clone(), attached },
        }));
        self.interfaces = now;
        Ok(events)
    }
}

fn services(maps: &Maps) -> Result<HashMap<u32, String>> {
    let services = maps.services(maps.selection()?.slot)?;
    Ok(services
        .values()
        .filter_map(|record| Some((record.number, text::name(&record.name)?.to_string())))
        .collect())
}

fn attached(context: &Context) -> Result<Vec<String>> {
    Ok(link::attached(&context.pins)?.into_iter().filter_map(|attached| attached.name).collect())
}

/// One line each, so that JSON too can be read as it comes.
fn show(format: Format, events: &[Event]) -> Result<Reader> {
    let mut lines = String::new();
    for event in events {
        match format {
            Format::Json => lines.push_str(&serde_json::to_string(event)?),
            Format::Human => lines.push_str(&event.line()),
        }
        lines.push('\n');
    }
    output::data(lines.as_bytes())
}

impl Event {
    fn line(&self) -> String {
        let what = match &self.what {
            Happened::Refused { source, service, reason, dropped } => {
                let what = if *dropped { "refused" } else { "would be refused" };
                format!("{what:<16}  {source} to {service}: {reason}")
            }
            Happened::Steal { source, service } => {
                format!(
                    "{:<16}  for {source} to {service}: the table is too small for what comes",
                    "debt forgotten"
                )
            }
            Happened::Changed { who, changed } => {
                let what =
                    if changed.is_empty() { "nothing".to_owned() } else { changed.join("; ") };
                format!("{:<16}  by {who}: {what}", "CHANGED")
            }
            Happened::WentBack { mode } => format!("{:<16}  by itself, mode {mode}", "WENT BACK"),
            Happened::Interface { name, attached: true } => format!("{:<16}  {name}", "ATTACHED"),
            Happened::Interface { name, attached: false } => {
                format!("{:<16}  {name}", "NOT ATTACHED")
            }
            Happened::Missed { events } => {
                format!("{:<16}  {events} events: this reader was too slow", "missed")
            }
        };
        format!("{}  {what}", self.time.local())
    }
}
