//! Drawing: panels from the model, in a layout for 80x24 that stretches, and one for large terminals. It decides nothing.

mod bottom;
mod help;
mod lines;
mod services;
mod top;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::choices::Choices;
use super::model::Model;
use super::paint::Paint;
use super::reading::Reading;

/// The smallest terminal that holds all of what matters.
const SMALLEST: (u16, u16) = (80, 24);
/// From here on there is room for more.
const LARGE: (u16, u16) = (120, 40);

/// What is drawn.
struct Scene<'a> {
    model: &'a Model,
    choices: &'a Choices,
    /// Seconds that the display has been held for.
    held: Option<f64>,
    paint: Paint,
}

/// Rows of the screen, given out from the top.
struct Rows(Rect);

impl Rows {
    /// The next rows; fewer when there are no more.
    fn take(&mut self, rows: u16) -> Rect {
        let rows = rows.min(self.0.height);
        let taken = Rect { height: rows, ..self.0 };
        self.0 = Rect { y: self.0.y + rows, height: self.0.height - rows, ..self.0 };
        taken
    }
}

impl<'a> Scene<'a> {
    fn service(&self) -> Option<&'a str> {
        self.choices.service.as_deref()
    }

    fn reading(&self) -> Option<&'a Reading> {
        self.model.reading.as_ref()
    }

    /// Whether what is over a limit is dropped.
    fn enforces(&self) -> bool {
        self.reading().is_some_and(|reading| reading.enforces)
    }

    /// A line between panels.
    fn rule(&self, frame: &mut Frame<'_>, area: Rect, title: &str) {
        let paint = self.paint;
        let title = cut(title, area.width.saturating_sub(6) as usize);
        let rest = (area.width as usize).saturating_sub(title.chars().count() + 4);
        let line = Line::from(vec![
            Span::styled(paint.rule().repeat(2), paint.quiet()),
            Span::styled(format!(" {title} "), paint.strong()),
            Span::styled(paint.rule().repeat(rest), paint.quiet()),
        ]);
        frame.render_widget(line, area);
    }
}

/// Draws the whole screen. `held`: seconds that the display has been held for, if it is.
pub fn draw(
    frame: &mut Frame<'_>,
    model: &Model,
    choices: &Choices,
    held: Option<f64>,
    paint: Paint,
) {
    let scene = Scene { model, choices, held, paint };
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let words =
            format!("needs {}x{}, is {}x{}", SMALLEST.0, SMALLEST.1, area.width, area.height);
        text(frame, Rect { height: area.height.min(1), ..area }, &words, paint.strong());
        return;
    }
    let mut rows = Rows(Rect { height: area.height - 1, ..area });
    top::header(&scene, frame, rows.take(2));
    if choices.help {
        help::draw(&scene, frame, rows.0);
    } else if model.reading.is_none() {
        top::words(&scene, frame, rows.take(4));
    } else if area.width >= LARGE.0 && area.height >= LARGE.1 {
        large(&scene, frame, &mut rows);
    } else {
        small(&scene, frame, &mut rows);
    }
    help::keys(&scene, frame, Rect { y: area.y + area.height - 1, height: 1, ..area });
}

fn small(scene: &Scene<'_>, frame: &mut Frame<'_>, rows: &mut Rows) {
    top::words(scene, frame, rows.take(5));
    top::changes(scene, frame, rows.take(2));
    lines::rates(scene, frame, rows.take(5), 1);
    let rest = rows.0.height;
    // A rule and the last line; the rest is shared.
    let bottom = rest / 2;
    lines::reasons(scene, frame, rows.take(rest - bottom - 1));
    let body = rows.take(bottom.saturating_sub(warnings(scene)));
    bottom::halves(scene, frame, body);
    bottom::warnings(scene, frame, rows.take(warnings(scene)));
    bottom::state(scene, frame, rows.take(1));
}

/// Rows for warnings where there is little room.
fn warnings(scene: &Scene<'_>) -> u16 {
    u16::from(scene.reading().is_some_and(|reading| !reading.warnings.is_empty()))
}

fn large(scene: &Scene<'_>, frame: &mut Frame<'_>, rows: &mut Rows) {
    let count = |of: fn(&Reading) -> usize| scene.reading().map_or(0, of) as u16;
    top::words(scene, frame, rows.take(3));
    top::changes(scene, frame, rows.take(4));
    let height = if rows.0.height >= 40 { 5 } else { 3 };
    lines::rates(scene, frame, rows.take(3 * height + 2), height);
    let warnings = count(|reading| reading.warnings.len()).min(4);
    let services = (count(|reading| reading.services.len()) + 2).min(rows.0.height / 3);
    let rest = rows.0.height - warnings - 1 - services;
    lines::reasons(scene, frame, rows.take(rest / 2));
    bottom::halves(scene, frame, rows.take(rest - rest / 2));
    services::table(scene, frame, rows.take(services));
    bottom::warnings(scene, frame, rows.take(warnings));
    bottom::state(scene, frame, rows.take(1));
}

/// A line of text that is cut where the area ends.
fn text(frame: &mut Frame<'_>, area: Rect, words: &str, style: Style) {
    frame.render_widget(Line::styled(cut(words, area.width as usize), style), area);
}

/// The text in at most `width` columns; what is cut off leaves a sign.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(2)).chain("..".chars()).take(width).collect()
}

/// Lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
