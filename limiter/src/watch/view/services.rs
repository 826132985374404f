//! The table of services, where there is room for it.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::bottom::gauge;
use super::{Rows, Scene, cut, text};
use crate::report::{Counts, rate};
use crate::watch::reading::Service;

/// A line for each service; the one that is chosen has a sign.
pub fn table(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    scene.rule(frame, rows.take(1), "services");
    let Some(reading) = scene.reading() else { return };
    let refused = if scene.enforces() { "refused/s" } else { "would ref/s" };
    let titles = format!(
        "   {:<18} {:<24} {:>10} {:>10} {:>11}  {:<16} {:<22} {:<28} {:<16} {}",
        "name",
        "listens on",
        "attempts/s",
        "admitted/s",
        refused,
        "budget used",
        "budget",
        "limit of a source",
        "challenge",
        "line"
    );
    text(frame, rows.take(1), &titles, scene.paint.quiet());
    let (room, count) = (rows.0.height as usize, reading.services.len());
    for (row, service) in reading.services.iter().enumerate().take(room) {
        let place = rows.take(1);
        if row + 1 == room && count > room {
            text(
                frame,
                place,
                &format!("   and {} more services; Tab shows each", count - row),
                scene.paint.quiet(),
            );
            break;
        }
        let chosen = scene.service() == Some(&service.name);
        let style = if chosen { scene.paint.strong() } else { Style::new() };
        text(frame, place, &line(scene, service, chosen), style);
    }
}

fn line(scene: &Scene<'_>, service: &Service, chosen: bool) -> String {
    let rates = scene.model.rates(Some(&service.name));
    let show = |pick: fn(&Counts) -> u64| {
        rates.map_or_else(|| "-".to_owned(), |rates| rate(rates.of(pick)))
    };
    let used = service.budget.used_percent;
    let used = used
        .map_or_else(String::new, |used| format!("{} {used:>3.0}%", gauge(scene.paint, used, 10)));
    let challenge = if service.challenging {
        format!("{}, ON now", service.challenge)
    } else {
        service.challenge.clone()
    };
    let waits = match service.waited.map(f64::round) {
        None => "-".to_owned(),
        Some(0.0) => "no wait".to_owned(),
        Some(seconds) => format!("{seconds:.0} s"),
    };
    format!(
        " {} {:<18} {:<24} {:>10} {:>10} {:>11}  {used:<16} {:<22} {:<28} {challenge:<16} {waits}",
        if chosen { ">" } else { " " },
        cut(&service.name, 18),
        cut(&service.listeners, 24),
        show(Counts::attempts),
        show(Counts::admitted),
        show(Counts::refused),
        cut(&service.budget.stated, 22),
        cut(&service.source_limit, 28),
    )
}
