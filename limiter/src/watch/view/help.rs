//! The line of keys, and what everything means.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{Rows, Scene, text};

const HELP: &str = "
 This only reads. No key changes a limit, a mode or a list.

 q Esc Ctrl-C     end
 1 2 3 4   + -    the last 1m, 5m, 30m, 2h; a longer or a shorter time
 Tab, arrows      all services together, or one
 p                hold the display, and let it go on; reading goes on meanwhile
 ?                this page; any key leaves it

 attempt          a client tries to open a connection to a service
 admitted         within every limit; if challenged, after its answer
 refused          over a limit; dropped in ENFORCE, only counted in OBSERVE
 let through      attempts that reached the servers: in OBSERVE all of them
 peak             the full height of a line; each line has its own
 now              the average of the last 3 seconds

 To change something, in another terminal: limiter arm, disarm, set, profile,
 confirm, rollback; each goes into `limiter history`, and from there to here.
";

/// What everything means.
pub fn draw(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let mut rows = Rows(area);
    for line in HELP.trim_start_matches('\n').lines() {
        text(frame, rows.take(1), line, Style::new());
    }
    let paint = scene.paint;
    let change = format!(
        " {} a change       what it did: the 10 seconds before it -> the last 10",
        paint.change()
    );
    text(frame, rows.take(1), &change, Style::new());
    let unseen = paint.unseen();
    text(
        frame,
        rows.take(1),
        &format!(" {unseen}{unseen}{unseen} in a line    watch did not run then"),
        Style::new(),
    );
}

/// The last line.
pub fn keys(scene: &Scene<'_>, frame: &mut Frame<'_>, area: Rect) {
    let pause = if scene.held.is_some() { "p go on" } else { "p pause" };
    let words =
        format!(" only reads, changes no limit  q quit  1-4 window  Tab service  {pause}  ? help");
    text(frame, area, &words, scene.paint.quiet());
}
