//! The terminal: taken, drawn on until a key or a signal ends it, and given back as it was, after a panic too.

use std::io::Stdout;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::choices::{Choices, Step};
use super::model::Model;
use super::source::Source;
use super::{Options, view};
use crate::history::Moment;

/// The terminal while it is ours.
struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    fn take() -> Result<Self> {
        // Also sees to it that a panic gives the terminal back before it speaks.
        ratatui::try_init().map(Self).context("cannot draw on this terminal; use `limiter status`")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// What is drawn.
struct Shown {
    model: Model,
    /// The moment that the display is held at.
    held: Option<Model>,
    choices: Choices,
}

impl Shown {
    fn read(&mut self, source: &mut Source) {
        let reading = source.read();
        let clock = Moment::now().local();
        let time = clock.split_once(' ').map_or(clock.as_str(), |(_, time)| time).to_owned();
        self.model.take(source.seconds(), time, reading);
    }

    fn draw(&self, screen: &mut Screen, options: &Options) -> Result<()> {
        let (model, held) = match &self.held {
            Some(held) => (held, Some(self.model.now - held.now)),
            None => (&self.model, None),
        };
        screen.0.draw(|frame| view::draw(frame, model, &self.choices, held, options.paint))?;
        Ok(())
    }

    fn step(&mut self, step: Step) -> bool {
        if step == Step::Pause {
            self.held = if self.held.is_some() { None } else { Some(self.model.clone()) };
        }
        step != Step::Quit
    }
}

/// How many times as long as a reading took the CPU, drawing included, the next one waits at least: long policies and a slow machine make
/// the display slower, never watching dearer.
const RESTING: u32 = 66;

/// CPU time that this thread took so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// What there is to do next.
enum Next {
    /// Read: it is time.
    Read,
    Event(Event),
    /// End: a signal, or the terminal is gone.
    End,
}

/// What is waited for.
struct Awaited {
    signals: [Signal; 3],
    events: EventStream,
    ticks: Interval,
}

impl Awaited {
    fn new(options: &Options) -> Result<Self> {
        let mut ticks = interval(options.interval);
        // What was missed is missed: the next reading covers it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { signals, events: EventStream::new(), ticks })
    }

    async fn next(&mut self) -> Next {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => Next::End,
            _ = terminate.recv() => Next::End,
            _ = hangup.recv() => Next::End,
            _ = self.ticks.tick() => Next::Read,
            event = self.events.next() => event.and_then(Result::ok).map_or(Next::End, Next::Event),
        }
    }
}

/// Watches until the operator or a signal ends it.
pub fn run(mut source: Source, options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let choices = Choices { window: options.window, service: None, help: false };
    let mut shown = Shown { model: Model::default(), held: None, choices };
    let mut screen = Screen::take()?;
    let mut awaited = runtime.block_on(async { Awaited::new(options) })?;
    loop {
        let mut before = None;
        // Reading asks the kernel for interfaces, with a runtime of its own: it is done outside of this one.
        match runtime.block_on(awaited.next()) {
            Next::Read => {
                before = Some(cpu_time());
                shown.read(&mut source);
            }
            Next::Event(event) => {
                let step = shown.choices.take(&event, &shown.model.services());
                if !shown.step(step) {
                    return Ok(());
                }
            }
            Next::End => return Ok(()),
        }
        shown.draw(&mut screen, options)?;
        let rest = before.map_or(Duration::ZERO, |before| (cpu_time() - before) * RESTING);
        if rest > options.interval {
            awaited.ticks.reset_after(rest);
        }
    }
}
