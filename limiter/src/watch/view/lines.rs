//! Lines over time: the three rates with their axis, and the reasons of refusals.

use limiter_common::reason::Reason;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Sparkline;

use super::{Rows, Scene, text};
use crate::report::{Counts, Rates, percent, rate, refusals};
use crate::watch::series::Axis;

/// Columns of names, and of numbers: the lines between them lie below each other.
const NAMES: u16 = 22;
const NUMBERS: u16 = 26;

/// What of the counts a line shows.
type Pick = fn(&Counts) -> u64;

/// Where on a row its line lies.
fn middle(row: Rect) -> Rect {
    Rect { x: row.x + NAMES, width: row.width.saturating_sub(NAMES + NUMBERS), ..row }
}

fn axis(scene: &Scene<'_>, columns: u16) -> Axis {
    Axis::new(scene.choices.window.seconds(), columns as usize, scene.model.now)
}

/// Attempts, admitted and refused per second, each in so many rows, and the axis of time with the changes below.
pub fn rates(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect, height: u16) {
    let mut rows = Rows(area);
    let paint = scene.paint;
    let of = match scene.service() {
        Some(name) if scene.reading().is_some_and(|reading| reading.service(name).is_none()) => {
            format!("service {name}, which is GONE")
        }
        Some(name) => format!("service {name}"),
        None => "all services".to_owned(),
    };
    scene.rule(
        frame,
        rows.take(1),
        &format!("per second, last {}, {of}", scene.choices.window.name()),
    );
    let refused = if scene.enforces() { "refused" } else { "would refuse" };
    let drawn: [(&str, Pick, Style); 3] = [
        ("attempts", Counts::attempts, paint.plain()),
        ("admitted", Counts::admitted, paint.good()),
        (refused, Counts::refused, paint.alarm()),
    ];
    let now = scene.model.rates(scene.service());
    for (name, pick, style) in drawn {
        let row = rows.take(height);
        let peak = line(scene, frame, row, pick, style);
        let last =
            Rect { y: row.y + row.height.saturating_sub(1), height: row.height.min(1), ..row };
        text(frame, left(last), &format!(" {name}"), paint.strong());
        let numbers = format!("{:>8}/s  peak {:>8}", shown(now, pick), rate(peak));
        text(frame, right(last), &numbers, paint.strong());
    }
    time(scene, frame, rows.take(1));
}

fn shown(rates: Option<Rates>, pick: impl Fn(&Counts) -> u64) -> String {
    rates.map_or_else(|| "-".to_owned(), |rates| rate(rates.of(pick)))
}

fn left(row: Rect) -> Rect {
    Rect { width: NAMES.min(row.width), ..row }
}

fn right(row: Rect) -> Rect {
    Rect { x: row.x + row.width.saturating_sub(NUMBERS), width: NUMBERS.min(row.width), ..row }
}

/// One line; what its full height stands for.
fn line(
    scene: &Scene<'_>,
    frame: &mut Frame<'_>,
    row: Rect,
    pick: impl Fn(&Counts) -> u64,
    style: Style,
) -> f64 {
    let place = middle(row);
    let columns = scene.model.series.columns(scene.service(), axis(scene, place.width), pick);
    let peak = columns.iter().flatten().copied().fold(0.0, f64::max);
    let full = u64::from(place.height) * 8;
    // Anything at all is at least the lowest bar.
    let bars = columns.iter().map(|rate| {
        rate.map(
            |rate| if rate > 0.0 { ((rate / peak * full as f64).round() as u64).max(1) } else { 0 },
        )
    });
    let spark = Sparkline::default()
        .data(bars.collect::<Vec<Option<u64>>>())
        .max(full)
        .style(style)
        .bar_set(scene.paint.bars())
        .absent_value_symbol(" ");
    frame.render_widget(spark, place);
    let unseen = (0..).zip(&columns).filter(|(_, rate)| rate.is_none());
    for (column, _) in unseen {
        let place = (place.x + column, place.y + place.height.saturating_sub(1));
        if let Some(cell) = frame.buffer_mut().cell_mut(place) {
            cell.set_symbol(scene.paint.unseen()).set_style(scene.paint.quiet());
        }
    }
    peak
}

/// The axis, with a sign for each change.
fn time(scene: &Scene<'_>, frame: &mut Frame<'_>, row: Rect) {
    let place = middle(row);
    text(frame, left(row), " changes", scene.paint.quiet());
    text(frame, place, &format!("-{}", scene.choices.window.name()), scene.paint.quiet());
    let axis = axis(scene, place.width);
    let positions: Vec<f64> =
        scene.model.marks.newest().map(|mark| axis.position(mark.at).floor()).collect();
    let on_axis: Vec<f64> = positions
        .into_iter()
        .filter(|position| (0.0..f64::from(place.width)).contains(position))
        .collect();
    let now =
        Rect { x: place.x + place.width.saturating_sub(3), width: place.width.min(3), ..place };
    if on_axis.iter().all(|position| place.x + (*position as u16) < now.x) {
        text(frame, now, "now", scene.paint.quiet());
    }
    for position in &on_axis {
        if let Some(cell) = frame.buffer_mut().cell_mut((place.x + *position as u16, place.y)) {
            cell.set_symbol(scene.paint.change()).set_style(scene.paint.notice());
        }
    }
    let words = match on_axis.len() {
        0 => "  no change in this time".to_owned(),
        1 => format!("  {} a change", scene.paint.change()),
        many => format!("  {} {many} changes", scene.paint.change()),
    };
    text(frame, right(row), &words, scene.paint.quiet());
}

/// Refusals by reason, the most frequent first.
pub fn reasons(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    let verb = if scene.enforces() { "refused" } else { "would be refused" };
    scene.rule(frame, rows.take(1), &format!("{verb} by reason, share of the attempts"));
    let found = listed(scene);
    if found.is_empty() {
        let words = format!(" nothing {verb} in the last {}", scene.choices.window.name());
        text(frame, rows.take(1), &words, scene.paint.good());
    }
    let now = scene.model.rates(scene.service());
    let attempts = now.map_or(0.0, |rates| rates.of(Counts::attempts));
    let room = rows.0.height as usize;
    for (row, reason) in found.iter().enumerate().take(room) {
        let place = rows.take(1);
        if row + 1 == room && found.len() > room {
            text(
                frame,
                place,
                &format!(" and {} more reasons", found.len() - row),
                scene.paint.quiet(),
            );
            break;
        }
        one(scene, frame, place, *reason, now, attempts);
    }
}

fn one(
    scene: &Scene<'_>,
    frame: &mut Frame<'_>,
    place: Rect,
    reason: Reason,
    now: Option<Rates>,
    attempts: f64,
) {
    // Where there is room, what it means is said too.
    let meaning = if place.width >= super::LARGE.0 { 78 } else { 0 };
    let short = Rect { width: place.width - meaning, ..place };
    let pick = move |counts: &Counts| counts.one(reason);
    text(frame, left(short), &format!(" {}", reason.name()), Style::new());
    line(scene, frame, short, pick, scene.paint.alarm());
    let part = match now {
        Some(rates) if reason.is_attempt() => percent(rates.of(pick), attempts),
        _ => String::new(),
    };
    text(frame, right(short), &format!("{:>8}/s  {part:>6}", shown(now, pick)), Style::new());
    if meaning > 0 {
        let rest = Rect { x: short.x + short.width, width: meaning, ..place };
        text(frame, rest, reason.text(), scene.paint.quiet());
    }
}

/// Reasons that refuse now, most frequent first, then those that did in the window.
fn listed(scene: &Scene<'_>) -> Vec<Reason> {
    let of = |rates: Option<Rates>| rates.map(|rates| refusals(&rates)).unwrap_or_default();
    let now = of(scene.model.rates(scene.service()));
    let start = scene.model.now - scene.choices.window.seconds();
    let all = of(scene.model.series.between(scene.service(), start, scene.model.now));
    let mut found: Vec<Reason> = Vec::new();
    for (reason, _) in now.into_iter().chain(all) {
        if !found.contains(&reason) {
            found.push(reason);
        }
    }
    found
}
