//! Changes of mode or policy, as marks on the axis of time: those that the history knows, and those that were only seen.

use super::reading::Reading;

/// How far apart a change that was seen and the note of it can be, in seconds.
const NEAR: f64 = 4.0;
/// Marks that are kept.
const MOST: usize = 100;

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub at: f64,
    /// Empty when it was only seen.
    pub clock: String,
    pub who: Option<String>,
    pub what: String,
}

/// The changes, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// Takes the changes between two readings, and what the history says by now.
    pub fn take(&mut self, before: Option<&Reading>, after: &Reading) {
        if let Some(mark) = before.and_then(|before| seen(before, after)) {
            self.0.push(mark);
        }
        let newest = self
            .0
            .iter()
            .filter(|mark| mark.who.is_some())
            .map(|mark| mark.at)
            .fold(f64::MIN, f64::max);
        for change in after.changes.iter().filter(|change| change.at > newest + 0.001) {
            // The note of what was seen takes its place; going back by itself is never noted.
            self.0.retain(|mark| {
                mark.who.is_some()
                    || mark.what.contains("by itself")
                    || (mark.at - change.at).abs() > NEAR
            });
            self.0.push(Mark {
                at: change.at,
                clock: change.clock.clone(),
                who: Some(change.who.clone()),
                what: change.what.clone(),
            });
        }
        self.forget_doubles();
        self.0.sort_by(|one, other| one.at.total_cmp(&other.at));
        self.0.drain(..self.0.len().saturating_sub(MOST));
    }

    /// What was seen after its note came.
    fn forget_doubles(&mut self) {
        let noted: Vec<f64> =
            self.0.iter().filter(|mark| mark.who.is_some()).map(|mark| mark.at).collect();
        self.0.retain(|mark| {
            let known = noted.iter().any(|at| (mark.at - at).abs() <= NEAR);
            mark.who.is_some() || mark.what.contains("by itself") || !known
        });
    }

    pub fn last(&self) -> Option<&Mark> {
        self.0.last()
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Mark> {
        self.0.iter().rev()
    }
}

/// The change that two readings show, if they do.
fn seen(before: &Reading, after: &Reading) -> Option<Mark> {
    let mode = |reading: &Reading| if reading.enforces { "enforce" } else { "observe" };
    let mut what = Vec::new();
    if before.life != after.life {
        what.push("loaded anew".to_owned());
    }
    if before.enforces != after.enforces {
        what.push(format!("mode {} -> {}", mode(before), mode(after)));
    }
    if before.life == after.life && before.generation != after.generation {
        what.push(format!("policy {} -> {}", before.generation, after.generation));
    }
    if what.is_empty() {
        return None;
    }
    let gap = after.at - before.at;
    let due = before.back.as_ref().is_some_and(|back| back.in_seconds <= gap + 0.5)
        && after.back.is_none();
    let by_itself = if due { "went back by itself: " } else { "" };
    Some(Mark {
        at: after.at,
        clock: String::new(),
        who: None,
        what: format!("{by_itself}{}", what.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reading::{Back, ChangeMark};
    use super::super::screens::bare;
    use super::*;

    fn change(at: f64) -> ChangeMark {
        ChangeMark {
            at,
            clock: "02:14:31".to_owned(),
            who: "ada".to_owned(),
            what: "mode observe -> enforce".to_owned(),
        }
    }

    #[test]
    fn a_change_is_one_mark_whichever_is_first() {
        let (calm, armed) = (bare(), Reading { at: 1.0, enforces: true, ..bare() });
        for noted_at in [1, 2] {
            let mut marks = Marks::default();
            marks.take(None, &calm);
            let first = Reading {
                changes: if noted_at == 1 { vec![change(0.5)] } else { vec![] },
                ..armed.clone()
            };
            marks.take(Some(&calm), &first);
            let second = Reading { at: 2.0, changes: vec![change(0.5)], ..armed.clone() };
            marks.take(Some(&first), &second);
            marks.take(Some(&second), &Reading { at: 3.0, ..second.clone() });
            assert_eq!(
                marks.newest().map(|mark| mark.who.as_deref()).collect::<Vec<_>>(),
                [Some("ada")]
            );
        }
    }

    #[test]
    fn going_back_by_itself_is_seen() {
        let back = Some(Back { in_seconds: 0.7, mode: "observe".to_owned(), policy: false });
        let armed = Reading { enforces: true, back, changes: vec![change(-2.0)], ..bare() };
        let mut marks = Marks::default();
        marks.take(None, &armed);
        marks.take(Some(&armed), &Reading { at: 1.0, changes: vec![change(-2.0)], ..bare() });
        let words: Vec<_> = marks.newest().map(|mark| mark.what.as_str()).collect();
        assert_eq!(
            words,
            ["went back by itself: mode enforce -> observe", "mode observe -> enforce"]
        );
    }

    #[test]
    fn without_a_history_what_was_seen_stays() {
        let mut marks = Marks::default();
        marks.take(Some(&bare()), &Reading { at: 1.0, generation: 2, ..bare() });
        assert_eq!(marks.last().map(|mark| mark.what.as_str()), Some("policy 1 -> 2"));
    }
}
