//! What the daemon makes of interfaces that go, come, are detached or refuse.

use super::*;

fn seen(here: &[(&str, u32)], attached: &[(&str, u32)], pinned: &[u32]) -> Devices {
    let attached = attached.iter().map(|(name, index)| Attached {
        index: *index,
        name: Some((*name).to_owned()),
        attachment: Some(Attachment::Native),
        in_dispatcher: false,
    });
    let here = here.iter().map(|(name, index)| ((*name).to_owned(), *index));
    Devices { here: here.collect(), attached: attached.collect(), pinned: pinned.to_vec() }
}

fn of_file(names: &[&str], now: Instant) -> Interfaces {
    let mut interfaces = Interfaces::default();
    interfaces.follow(&document(names), now);
    interfaces
}

fn document(names: &[&str]) -> Document {
    Document {
        interfaces: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Document::default()
    }
}

fn names(wanted: Vec<Wanted>) -> Vec<String> {
    wanted.into_iter().map(|one| one.name).collect()
}

#[test]
fn what_goes_with_its_device_comes_back_and_what_is_detached_stays_away() {
    let now = Instant::now();
    let mut interfaces = of_file(&["web0", "web1"], now);
    let both = seen(&[("web0", 4), ("web1", 5)], &[("web0", 4), ("web1", 5)], &[4, 5]);
    assert_eq!(interfaces.look(&both, now).len(), 2);
    assert!(interfaces.look(&both, now).is_empty(), "no news twice");
    // web0 is gone and leaves its pin; web1 was detached and leaves none.
    let after = seen(&[("web1", 5)], &[], &[4]);
    let changes = interfaces.look(&after, now);
    assert_eq!(changes, [LinkNews::Gone("web0".to_owned()), LinkNews::Detached("web1".to_owned())]);
    assert_eq!((interfaces.wanted(&after, now), interfaces.claimed()), (Vec::new(), vec![4]));
    let back = seen(&[("web0", 9), ("web1", 5)], &[], &[4]);
    assert!(interfaces.look(&back, now).is_empty());
    let wanted = interfaces.wanted(&back, now);
    assert_eq!((wanted[0].index, wanted[0].before), (9, Some(4)));
    assert_eq!(names(wanted), ["web0"]);
    interfaces.attached("web0", 9);
    assert!(interfaces.wanted(&back, now).is_empty());
    // Reading the file again means it.
    interfaces.follow(&document(&["web1"]), now);
    assert_eq!(names(interfaces.wanted(&back, now)), ["web1"]);
}

#[test]
fn others_are_watched_while_they_are_attached() {
    let now = Instant::now();
    let mut interfaces = of_file(&[], now);
    let one = seen(&[("dmz0", 7)], &[("dmz0", 7)], &[7]);
    assert_eq!(interfaces.look(&one, now), [LinkNews::Adopted("dmz0".to_owned())]);
    assert!(interfaces.concerns(7, Some("renamed")) && interfaces.concerns(8, Some("dmz0")));
    assert!(!interfaces.concerns(8, Some("other")) && interfaces.concerns(8, None));
    interfaces.look(&seen(&[], &[], &[7]), now);
    assert_eq!(names(interfaces.wanted(&seen(&[("dmz0", 8)], &[], &[7]), now)), ["dmz0"]);
    interfaces.attached("dmz0", 8);
    interfaces.look(&seen(&[("dmz0", 8)], &[], &[]), now);
    assert!(!interfaces.concerns(8, Some("dmz0")), "detached, and forgotten");
}

#[test]
fn what_is_missing_is_told_at_growing_intervals() {
    let start = Instant::now();
    let mut interfaces = of_file(&["web0"], start);
    let mut told = Vec::new();
    for second in 0..100 {
        let now = start + Duration::from_secs(second);
        interfaces.look(&seen(&[], &[], &[]), now);
        told.extend(interfaces.overdue(now).iter().map(|_| second));
    }
    assert_eq!(told, [0, 5, 15, 35, 75]);
}

#[test]
fn what_refuses_is_tried_again_later() {
    let start = Instant::now();
    let mut interfaces = of_file(&["web0"], start);
    let here = seen(&[("web0", 4)], &[], &[]);
    assert_eq!(names(interfaces.wanted(&here, start)), ["web0"]);
    assert!(interfaces.refused("web0", "LRO".to_owned(), start));
    assert!(interfaces.wanted(&here, start).is_empty() && !interfaces.is_due(start));
    let later = start + FIRST_PAUSE;
    assert!(interfaces.is_due(later) && interfaces.overdue(later).is_empty());
    assert_eq!(names(interfaces.wanted(&here, later)), ["web0"]);
    assert!(interfaces.refused("web0", "LRO".to_owned(), later), "said again when it is due");
    assert!(!interfaces.is_due(later + FIRST_PAUSE), "the pause grows");
    // When it goes, the next one of that name is tried at once.
    interfaces.look(&seen(&[], &[], &[]), later);
    assert_eq!(names(interfaces.wanted(&here, later)), ["web0"]);
}
