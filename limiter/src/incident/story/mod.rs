//! What happened, as far as the numbers tell: when it was calm, when attempts surged, what speaks
//! for a crowd or for a flood and what follows from it, and what was changed meanwhile. Everything
//! here is computed from a record, and says what it rests on; `report` puts it into words.

mod changes;
mod evidence;
mod judgement;
mod surge;
mod totals;

use std::ops::Range;

use serde::Serialize;

use super::archive::Record;
use super::points::Point;

pub use changes::{Rates, ToldChange};
pub use evidence::{Speaks, percent};
pub use judgement::{Judgement, Pattern};
pub use totals::Totals;

/// What happened.
#[derive(Debug, Serialize)]
pub struct Story {
    /// Attempts per second in calm; `None` when there is nothing to tell it by.
    pub calm_rate: Option<f64>,
    /// When attempts were far above that, in seconds from the beginning, oldest first.
    pub surges: Vec<[f64; 2]>,
    /// Which of them is told: the largest.
    #[serde(skip)]
    pub main: Option<Range<usize>>,
    /// The time before it, or what calm there is; `None` when there is none.
    pub before: Option<Totals>,
    /// The time of it; the whole record when there was no surge.
    pub during: Totals,
    /// The time after it.
    pub after: Option<Totals>,
    /// What it was.
    pub verdict: Judgement,
    /// What was changed.
    pub changes: Vec<ToldChange>,
}

/// Tells what happened.
pub fn tell(record: &Record) -> Story {
    let points = &record.series.points;
    let surges = surge::find(points);
    let main = surges.main.clone();
    let is_calm = |at: &usize| !surges.all.iter().any(|surge| surge.contains(at));
    let calm = |range: Range<usize>| -> Vec<&Point> {
        range.filter(is_calm).map(|at| &points[at]).collect()
    };
    let (before, during, after) = match &main {
        Some(main) => (
            calm(0..main.start),
            points[main.clone()].iter().collect(),
            calm(main.end..points.len()),
        ),
        None => (Vec::new(), points.iter().collect(), Vec::new()),
    };
    let totals = |points: &[&Point]| (!points.is_empty()).then(|| Totals::of(points));
    let (before, after) = (totals(&before), totals(&after));
    let during: Vec<&Point> = during;
    let during = Totals::of(&during);
    // A recording that began too late may have its calm at the end.
    let calm = before.as_ref().or(after.as_ref());
    let verdict = judgement::judge(points, main.as_ref(), calm, &during);
    let start = |range: &Range<usize>| points[range.start].at - points[range.start].seconds;
    Story {
        calm_rate: surges.calm,
        surges: surges.all.iter().map(|range| [start(range), points[range.end - 1].at]).collect(),
        changes: changes::list(record, &surges.all),
        verdict,
        main,
        before,
        during,
        after,
    }
}

impl Story {
    /// The span of the surge that is told, in seconds from the beginning.
    pub fn span(&self, points: &[Point]) -> Option<[f64; 2]> {
        let main = self.main.as_ref()?;
        let first = points.get(main.start)?;
        Some([first.at - first.seconds, points.get(main.end.checked_sub(1)?)?.at])
    }
}
