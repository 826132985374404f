//! Seats: so many users and not one more, and whoever leaves makes room.

use std::collections::HashMap;

use limiter_common::hash;
use limiter_common::line::{Habits, Said};

use super::{Door, SECOND, START};

fn taken(door: &Door) -> u64 {
    let sum: u64 = door.seats.seen.iter().flatten().map(std::cell::Cell::get).sum();
    assert_eq!(sum, door.seats.taken.get(), "those who sit are those who are counted");
    sum
}

/// Each table has eight ways: one door with one set a source, and one service's line and seats for
/// all.
fn says(door: &mut Door, sets: &mut HashMap<u32, Door>, source: u32, now: u64) -> Said {
    let own = sets.entry(source).or_insert_with(|| Door::new(10, &Habits::default()));
    std::mem::swap(&mut own.set, &mut door.set);
    let said = door.says(source, now);
    std::mem::swap(&mut own.set, &mut door.set);
    said
}

/// A thousand clients who come back every few seconds, and 200 seats: never more than 200 are
/// present, and all seats are used.
#[test]
fn never_more_than_so_many_are_present() {
    let habits = Habits { users: 200, allowance: 60_000, ..Habits::default() };
    let (mut door, mut sets) = (Door::new(100_000, &habits), HashMap::new());
    let mut seen: HashMap<u32, u64> = HashMap::new();
    let (mut least_after, mut refused) = (u64::MAX, 0);
    for step in 0..120_000_u64 {
        let now = START + step * SECOND / 500;
        let source = 1 + (hash::mix(step) % 1000) as u32;
        // Some of them leave for good, every minute others.
        if u64::from(source) % 5 == (step / 30_000) % 5 {
            continue;
        }
        let said = says(&mut door, &mut sets, source, now);
        if said.admits() {
            seen.insert(source, now);
        }
        refused += u64::from(said == Said::Full);
        let taken = taken(&door);
        assert!(taken <= 200, "{taken} at {step}");
        let present = seen.values().filter(|&&at| at + 29 * SECOND > now).count() as u64;
        assert!(present <= taken, "{present} were let in lately and {taken} are counted");
        if step > 5000 {
            least_after = least_after.min(taken);
        }
    }
    assert!(
        refused > 10_000 && least_after >= 170,
        "{refused} refused, at least {least_after} present"
    );
}

/// A seat is free within a second after its source has been idle for so long as it may, and the
/// next in line gets it.
#[test]
fn whoever_leaves_makes_room() {
    for idle in [6, 30, 600] {
        let habits = Habits { users: 1, idle_seconds: idle, allowance: 60_000 };
        let (mut door, mut sets) = (Door::new(1000, &habits), HashMap::new());
        for offset in 0..20 {
            let start = START + offset * (4 * idle + 60) * SECOND + offset * SECOND / 7;
            assert_eq!(says(&mut door, &mut sets, 1, start), Said::Newcomer);
            let stays = start + 5 * SECOND;
            says(&mut door, &mut sets, 1, stays);
            let mut now = stays;
            while says(&mut door, &mut sets, 2, now) != Said::Newcomer {
                now += SECOND / 20;
            }
            let late = (now - stays) as f64 / SECOND as f64 - idle as f64;
            let bucket = 0.54 * (1 << door.rules.bucket_shift) as f64;
            // The head stood, and comes to the second in a sixteenth of the time that it waited.
            let head = (now - stays) as f64 / SECOND as f64 / 16.0;
            let range = -2.0 * bucket..bucket + 0.2 + head;
            assert!(range.contains(&late), "{late} s after {idle} s");
            assert_eq!(taken(&door), 1);
            // The second leaves too.
            let gone = now + (idle + 2) * SECOND + (SECOND << door.rules.bucket_shift);
            assert_eq!(says(&mut door, &mut sets, 3, gone), Said::Newcomer);
            door.seats = Default::default();
            sets.clear();
        }
    }
}

/// After a pause of any length the seats are free, and the ring begins anew.
#[test]
fn seats_are_free_after_any_pause() {
    let habits = Habits { users: 100, ..Habits::default() };
    for pause in [31, 32, 40, 60, 100, 3600, 1_000_000] {
        let (mut door, mut sets) = (Door::new(100_000, &habits), HashMap::new());
        for source in 1..=200 {
            says(&mut door, &mut sets, source, START + u64::from(source) * SECOND / 10);
        }
        assert_eq!(taken(&door), 100);
        says(&mut door, &mut sets, 1000, START + (20 + pause) * SECOND);
        assert_eq!(taken(&door), 1, "after {pause} s");
    }
}

/// While no seat is free the head stands, so that the next seat is for who was refused first,
/// whoever comes first when it is free.
#[test]
fn the_next_seat_is_for_who_was_refused_first() {
    let habits = Habits { users: 1, idle_seconds: 6, allowance: 60_000 };
    let (mut door, mut sets) = (Door::new(1000, &habits), HashMap::new());
    let mut now = START;
    // One more every four seconds, and each comes once a second.
    for second in 0..24 {
        now += SECOND;
        assert!(says(&mut door, &mut sets, 1, now).admits());
        for source in (2..=2 + second / 4).rev() {
            let said = says(&mut door, &mut sets, source, now);
            assert!(matches!(said, Said::Full | Said::InLine), "{source}: {said:?}");
        }
    }
    // The first is gone. All others come a hundred times a second, the last first.
    let mut order = Vec::new();
    while order.len() < 6 {
        now += SECOND / 100;
        assert!(now < START + 120 * SECOND, "only {order:?} were let in");
        for source in (2..=7).rev().filter(|source| !order.contains(source)).collect::<Vec<_>>() {
            if says(&mut door, &mut sets, source, now) == Said::Newcomer {
                order.push(source);
            }
        }
    }
    assert_eq!(order, [2, 3, 4, 5, 6, 7]);
}

/// Whatever was seen before: the last seat is claimed once, and again when it was given back.
#[test]
fn the_last_seat_is_claimed_once() {
    let door = Door::new(1000, &Habits { users: 2, ..Habits::default() });
    let claim = || door.seats.claim(door.rules.users);
    assert_eq!([claim(), claim(), claim()], [true, true, false]);
    door.seats.unclaim();
    assert_eq!([claim(), claim()], [true, false]);
}
