//! Budgets and how full they are, the sources that are refused most, warnings, and the state of the rest.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Rows, Scene, cut, text};
use crate::report::{Counts, numbers, percent, rate};
use crate::watch::paint::Paint;
use crate::watch::reading::{Budget, Service};

/// From here on a budget is as good as spent.
const SPENT: f64 = 95.0;

/// Budgets on the left, sources on the right.
pub fn halves(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let left = area.width / 2;
    budgets(scene, frame, Rect { width: left, ..area });
    sources(scene, frame, Rect { x: area.x + left, width: area.width - left, ..area });
}

/// The host's budget and those of the services, the fullest first.
fn budgets(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    scene.rule(frame, rows.take(1), "budgets: used, admitted/s of");
    let Some(reading) = scene.reading() else { return };
    let mut services: Vec<_> = reading.services.iter().collect();
    // Those without a budget last.
    let fullness = |service: &Service| service.budget.used_percent.unwrap_or(-1.0);
    services.sort_by(|one, other| fullness(other).total_cmp(&fullness(one)));
    let all = std::iter::once(("whole host", None, &reading.host)).chain(
        services
            .iter()
            .map(|service| (service.name.as_str(), Some(service.name.as_str()), &service.budget)),
    );
    let (room, count) = (rows.0.height as usize, services.len() + 1);
    for (row, (label, service, budget)) in all.enumerate().take(room) {
        let place = rows.take(1);
        if row + 1 == room && count > room {
            text(frame, place, &format!(" and {} more budgets", count - row), scene.paint.quiet());
            break;
        }
        let admitted = scene
            .model
            .rates(service)
            .map_or_else(|| "-".to_owned(), |it| rate(it.of(Counts::admitted)));
        frame.render_widget(
            budget_line(scene.paint, label, budget, &admitted, place.width - 1),
            place,
        );
    }
}

fn budget_line(
    paint: Paint,
    label: &str,
    budget: &Budget,
    admitted: &str,
    width: u16,
) -> Line<'static> {
    let names = if width > 60 { 32 } else { 10 };
    let name = Span::raw(format!(" {:<names$} ", cut(label, names)));
    let Some(percent) = budget.used_percent else {
        return Line::from(vec![
            name,
            Span::styled(format!("no budget, {admitted} admitted/s"), paint.quiet()),
        ]);
    };
    let whole = if width > 60 {
        budget.stated.as_str()
    } else {
        budget.stated.split(',').next().unwrap_or_default()
    };
    let style = if percent >= SPENT { paint.alarm() } else { paint.good() };
    let columns = if width > 60 { 20 } else { 6 };
    Line::from(vec![
        name,
        Span::styled(gauge(paint, percent, columns), style),
        Span::raw(format!(" {percent:>3.0}% {admitted} of {whole}")),
    ])
}

/// How full something is, in so many columns.
pub fn gauge(paint: Paint, percent: f64, columns: usize) -> String {
    let full = ((percent / 100.0 * columns as f64).round() as usize).min(columns);
    let [filled, empty] = paint.gauge();
    filled.repeat(full) + &empty.repeat(columns - full)
}

/// The sources that their own limit refuses most.
fn sources(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    scene.rule(frame, rows.take(1), "most refused by their own limit");
    let Some(reading) = scene.reading() else { return };
    let wanted = |service: &str| scene.service().is_none_or(|name| name == service);
    let heavy: Vec<_> =
        reading.refused_most.iter().filter(|heavy| wanted(&heavy.service)).collect();
    if heavy.is_empty() {
        text(frame, rows.take(1), " none is refused by its own limit", scene.paint.quiet());
        return;
    }
    for heavy in heavy.into_iter().take(rows.0.height as usize) {
        let place = rows.take(1);
        let count = numbers::count(heavy.count);
        let class = heavy.class.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        let words = if place.width > 60 {
            let ago = numbers::seconds(heavy.last_seconds_ago.floor());
            format!(" {:<43} {count:>11} times, {ago} ago, {}{class}", heavy.source, heavy.service)
        } else {
            format!(" {:<20} {count:>10} {}{class}", cut(&heavy.source, 20), heavy.service)
        };
        text(frame, place, &words, Style::new());
    }
}

/// What would make the numbers mean something else; those that have no room are counted.
pub fn warnings(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    let all = scene.reading().map_or(&[][..], |reading| &reading.warnings);
    for (row, warning) in all.iter().enumerate().take(area.height as usize) {
        let left = all.len() - row - 1;
        let more = if row + 1 == area.height as usize && left > 0 {
            format!("(+{left}) ")
        } else {
            String::new()
        };
        text(frame, rows.take(1), &format!(" ! {more}{warning}"), scene.paint.notice());
    }
}

/// Challenge, sources, table, lists.
pub fn state(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let Some(reading) = scene.reading() else { return };
    let on: Vec<&str> = reading
        .services
        .iter()
        .filter(|one| one.challenging)
        .map(|one| one.name.as_str())
        .collect();
    let able = reading.services.iter().any(|service| service.challenge != "off");
    let challenge = match (on.is_empty(), able) {
        (false, _) => format!("challenge ON: {}", cut(&on.join(" "), 20)),
        (true, true) => "challenge not on now".to_owned(),
        (true, false) => "challenge off".to_owned(),
    };
    let mut parts = vec![challenge];
    let tries = reading.services.iter().filter_map(|one| {
        let is_meant = scene.service().is_none_or(|name| *name == one.name);
        one.shadow.filter(|_| is_meant)
    });
    if let Some([judged, refused]) = tries.reduce(|sum, more| [sum[0] + more[0], sum[1] + more[1]])
    {
        let percent = percent(refused as f64, judged.max(1) as f64);
        parts.push(format!("shadow would refuse {percent}"));
    }
    parts.push(format!("source table {}", percent(reading.table_percent, 100.0)));
    parts.push(format!(
        "{} banned, {} allowed",
        numbers::count(reading.banned as u64),
        numbers::count(reading.allowed as u64)
    ));
    if area.width >= super::LARGE.0 {
        parts.push(format!("{} steals", numbers::count(reading.steals)));
        let distinct = &reading.distinct;
        if distinct.seconds > 0.0 {
            parts.push(format!(
                "about {} sources in {} /24 and {} /48 in {} (+-{:.0}%)",
                numbers::count(distinct.sources),
                numbers::count(distinct.prefixes_24),
                numbers::count(distinct.prefixes_48),
                numbers::seconds(distinct.seconds),
                distinct.standard_error_percent
            ));
        }
    }
    text(frame, area, &format!(" {}", parts.join(" | ")), Style::new());
}
