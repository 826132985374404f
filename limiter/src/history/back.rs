//! What became of a change that goes back by itself. The kernel side does it and writes nothing down, so it follows from the entries.

use serde::Serialize;

use super::{Entry, Moment};

/// How a change that goes back by itself stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Back {
    /// The time is still to come.
    Due,
    /// The time came, and nothing had decided otherwise.
    Done,
    /// A later entry decided otherwise before the time.
    Overtaken,
}

/// What became of `entry` by `now`, with the entries behind it; `None` when it does not go back by itself.
pub fn back(entry: &Entry, later: &[Entry], now: Moment) -> Option<Back> {
    let at = entry.goes_back_at?;
    let in_time: Vec<&Entry> = later.iter().take_while(|one| one.time < at).collect();
    let unloaded = in_time.iter().any(|one| one.after.is_none());
    let overtaken = |subject: &String| in_time.iter().any(|one| one.decides.contains(subject));
    // Of several bans some may be lifted: the rest still ends by itself.
    Some(if unloaded || !entry.decides.is_empty() && entry.decides.iter().all(overtaken) {
        Back::Overtaken
    } else if at <= now {
        Back::Done
    } else {
        Back::Due
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::{SWITCH, State, Who};
    use super::*;

    fn at(seconds: u64) -> Moment {
        (UNIX_EPOCH + Duration::from_secs(seconds)).into()
    }

    fn entry(time: u64, goes_back: Option<u64>, decides: &[&str]) -> Entry {
        let state = Some(State { mode: "enforce".to_owned(), profile: None });
        Entry {
            time: at(time),
            who: Who::default(),
            command: Vec::new(),
            changed: Vec::new(),
            before: state.clone(),
            after: state,
            goes_back_at: goes_back.map(at),
            decides: decides.iter().map(|subject| (*subject).to_owned()).collect(),
            counters: None,
        }
    }

    #[test]
    fn it_goes_back_unless_something_decides_otherwise_in_time() {
        let armed = entry(10, Some(20), &[SWITCH]);
        assert_eq!(back(&entry(10, None, &[SWITCH]), &[], at(15)), None);
        assert_eq!(back(&armed, &[], at(15)), Some(Back::Due));
        assert_eq!(back(&armed, &[], at(20)), Some(Back::Done));
        let set = entry(12, None, &[]);
        assert_eq!(back(&armed, std::slice::from_ref(&set), at(25)), Some(Back::Done));
        let disarmed = entry(15, None, &[SWITCH]);
        assert_eq!(back(&armed, &[set, disarmed], at(25)), Some(Back::Overtaken));
        let late = entry(21, None, &[SWITCH]);
        assert_eq!(back(&armed, &[late], at(25)), Some(Back::Done));
        let unloaded = Entry { after: None, ..entry(15, None, &[]) };
        assert_eq!(back(&armed, &[unloaded], at(25)), Some(Back::Overtaken));
    }

    #[test]
    fn what_is_left_of_several_bans_still_ends() {
        let banned = entry(10, Some(20), &["ban 192.0.2.1", "ban 192.0.2.2"]);
        let lifted = entry(12, None, &["ban 192.0.2.1"]);
        assert_eq!(back(&banned, std::slice::from_ref(&lifted), at(25)), Some(Back::Done));
        let rest = entry(13, Some(60), &["ban 192.0.2.2"]);
        assert_eq!(back(&banned, &[lifted, rest], at(25)), Some(Back::Overtaken));
    }
}
