//! What is read first: mode and countdown, whether it is us or them, and what the last change did.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Rows, Scene, cut, text, wrapped};
use crate::assess::Level;
use crate::report::{Counts, Rates, numbers, rate};
use crate::watch::marks::Mark;
use crate::watch::model::Effect;
use crate::watch::reading::Back;

/// Time, mode, policy; below it when it goes back, or where it is attached.
pub fn header(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    let paint = scene.paint;
    let clock = Span::raw(format!(" {}  ", scene.model.clock));
    let mut spans = match scene.held {
        Some(held) => vec![Span::styled(format!(" PAUSED {} ago  ", ago(held)), paint.notice())],
        None => vec![clock],
    };
    let (mode, style) = match scene.reading() {
        _ if scene.model.trouble.is_some() => ("NO DATA of now", paint.alarm()),
        None => ("...", paint.strong()),
        Some(reading) if reading.enforces => ("ENFORCE: excess is DROPPED", paint.alarm()),
        Some(_) => ("OBSERVE: nothing is dropped", paint.notice()),
    };
    spans.push(Span::styled(mode, style));
    let reading = scene.reading().filter(|_| scene.model.trouble.is_none());
    if let Some(reading) = reading {
        let profile =
            reading.profile.as_ref().map_or_else(String::new, |name| format!(", profile {name}"));
        spans.push(Span::raw(format!("   policy {}{profile}", reading.generation)));
    }
    frame.render_widget(Line::from(spans), rows.take(1));
    let Some(reading) = reading else { return };
    match &reading.back {
        Some(back) => text(frame, rows.take(1), &countdown(back), paint.notice()),
        None => text(
            frame,
            rows.take(1),
            &format!(" on {}{}", interfaces(&reading.interfaces), shares(&reading.shares)),
            Style::new(),
        ),
    }
}

fn interfaces(names: &[String]) -> String {
    if names.is_empty() { "NO interface".to_owned() } else { names.join(", ") }
}

/// What is in force instead of stated budgets: of a fleet, or of an auto budget.
fn shares(shares: &[String]) -> String {
    if shares.is_empty() { String::new() } else { format!("   share: {}", shares.join(", ")) }
}

fn countdown(back: &Back) -> String {
    let left = numbers::seconds(back.in_seconds);
    match back.policy {
        true => format!(
            " ON TRIAL: back to the policy before ({}) in {left}; keep it: limiter confirm",
            back.mode
        ),
        false => format!(" goes back to {} by itself in {left}", back.mode),
    }
}

/// What happens, what is likely wrong, and what comes next.
pub fn words(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    let (width, height) = (area.width as usize - 1, area.height as usize);
    let said = said(scene);
    let style = match said.level {
        Level::Good => scene.paint.good(),
        Level::Notice => scene.paint.notice(),
        Level::Alarm => scene.paint.alarm(),
    };
    let styled = |words: &str, style| wrapped(words, width).into_iter().map(move |it| (it, style));
    let mut lines: Vec<_> = styled(&said.what, style).collect();
    lines.extend(styled(&said.meaning, Style::new()));
    // Of what comes next, the first and what else there is room for.
    let mut next = said.next.into_iter();
    if let Some(mut words) = next.next() {
        for more in next {
            let longer = format!("{words}; then {more}");
            if lines.len() + wrapped(&longer, width).len() > height {
                break;
            }
            words = longer;
        }
        lines.extend(styled(&words, Style::new()));
    }
    for (line, style) in lines.into_iter().take(height) {
        text(frame, rows.take(1), &format!(" {line}"), style);
    }
}

struct Said {
    level: Level,
    what: String,
    meaning: String,
    next: Vec<String>,
}

fn said(scene: &Scene<'_>) -> Said {
    let model = scene.model;
    let without_next = |level, what, meaning: &str| Said {
        level,
        what,
        meaning: meaning.to_owned(),
        next: vec![],
    };
    if let Some(trouble) = &model.trouble {
        let meaning = match model.reading.is_some() {
            true => "What is below is of before. It goes on by itself when limiter can be read.",
            false => "It goes on by itself when limiter can be read.",
        };
        return without_next(Level::Alarm, format!("{}.", trouble.trim_end_matches('.')), meaning);
    }
    let Some(mut found) = model.assessment(scene.service()) else {
        let what = "MEASURING: the first rates come with the second reading.".to_owned();
        return without_next(Level::Notice, what, "");
    };
    // What is likely is said of the whole host.
    let of = scene.service().map_or_else(String::new, |name| format!("{name}: "));
    if let Some(first) = found.next.first_mut() {
        first.insert_str(0, "next: ");
    }
    Said {
        level: found.level,
        what: format!("{of}{}", found.what),
        meaning: format!("likely: {}", found.likely),
        next: found.next,
    }
}

/// The last changes, the newest with what it did.
pub fn changes(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    let large = area.width >= super::LARGE.0;
    let mut marks = scene.model.marks.newest();
    let Some(newest) = marks.next() else {
        text(frame, rows.take(1), " no change of policy or mode is noted", scene.paint.quiet());
        return;
    };
    text(frame, rows.take(1), &format!(" {}", told(scene, newest, large)), scene.paint.strong());
    match scene.model.effect(scene.service()) {
        Some(effect) => text(frame, rows.take(1), &effect_words(&effect, large), Style::new()),
        None => text(frame, rows.take(1), "   what it did was not watched", scene.paint.quiet()),
    }
    for mark in marks.take(rows.0.height as usize) {
        text(frame, rows.take(1), &format!(" {}", told(scene, mark, large)), scene.paint.quiet());
    }
}

/// A change; with its time of day where there is room for that.
fn told(scene: &Scene<'_>, mark: &Mark, large: bool) -> String {
    let clock =
        if mark.clock.is_empty() || !large { String::new() } else { format!(" ({})", mark.clock) };
    let who = mark.who.as_ref().map_or_else(String::new, |who| format!("{}: ", cut(who, 24)));
    format!(
        "{} {} ago{clock} {who}{}",
        scene.paint.change(),
        ago(scene.model.now - mark.at),
        mark.what
    )
}

/// A time that is over, with no more than it takes: `41s`, `12m 5s`, `1h 4m`.
fn ago(seconds: f64) -> String {
    let unit = match seconds {
        _ if seconds < 3600.0 => 1.0,
        _ if seconds < 86_400.0 => 60.0,
        _ => 3600.0,
    };
    numbers::seconds((seconds.max(0.0) / unit).floor() * unit)
}

fn effect_words(effect: &Effect, large: bool) -> String {
    let Some(since) = effect.since else { return "   measuring what it does".to_owned() };
    let pair = |name: &str, pick: fn(&Counts) -> u64| {
        let one = |rates: &Rates| rate(rates.of(pick));
        match &effect.before {
            Some(before) => format!("{name} {} -> {}/s", one(before), one(&since)),
            None => format!("{name} {}/s", one(&since)),
        }
    };
    let mut parts =
        vec![pair("attempts", Counts::attempts), pair("let through", |counts| counts.through)];
    if large {
        parts.push(pair("dropped", |counts| counts.dropped));
    }
    let when = if effect.before.is_some() { "" } else { " since (not watched before)" };
    format!("   {}{when}", parts.join(", "))
}
