//! Open connections against plain counts, on threads, and while nobody counts.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use fastrand::Rng;
use limiter_common::address::Address;
use limiter_common::hash::{NETWORK, Place, place};
use limiter_common::open::{
    self, Bounds, Counts, Full, GONE, MOST, Part, QUIET, State, WORDS, beat, begin, end, judge,
};
use limiter_common::record::Opened;
use limiter_common::source_table::WAYS;
use limiter_common::word::SharedWord;

const SECOND: u64 = 1_000_000_000;
const WEB: u32 = 65;

/// The counts of one service.
struct Table<W> {
    sets: Vec<[W; WAYS]>,
    service: [W; WORDS],
    host: [W; WORDS],
}

impl<W: SharedWord + Default> Table<W> {
    fn new(sets: usize) -> Self {
        let line = || std::array::from_fn(|_| W::default());
        Self {
            sets: (0..sets).map(|_| std::array::from_fn(|_| W::default())).collect(),
            service: line(),
            host: line(),
        }
    }

    fn counts(&self, place: Place) -> Counts<'_, W> {
        let set = &self.sets[place.set(self.sets.len() as u32) as usize];
        Counts { set, service: &self.service, host: &self.host }
    }

    fn open(&self, place: Place) -> Opened {
        self.open_as(place, WEB)
    }

    fn open_as(&self, place: Place, number: u32) -> Opened {
        self.open_in(place, Place::default(), number)
    }

    /// With its network.
    fn open_in(&self, place: Place, network: Place, number: u32) -> Opened {
        let mut opened = Opened { place: place.0, network: network.0, number, ..Opened::default() };
        let is = opened;
        let add = |part| {
            let place = place_of(&is, part);
            open::add(&self.counts(place), part, place, number)
        };
        if !begin(&mut opened, add) {
            open::note_uncounted(&self.host);
        }
        opened
    }

    fn close(&self, mut opened: Opened) {
        let was = opened;
        end(&mut opened, |part| {
            let place = place_of(&was, part);
            open::subtract(&self.counts(place), part, place, was.number)
        });
        assert_eq!(opened.counted, 0);
    }

    fn of(&self, place: Place) -> u64 {
        open::count(self.counts(place).set, place)
    }

    fn host(&self) -> State {
        State::read(&std::array::from_fn(|word| self.host[word].load()))
    }
}

fn place_of(opened: &Opened, part: Part) -> Place {
    Place(if part == Part::Network { opened.network } else { opened.place })
}

/// The /24 of a source.
fn network(number: u32) -> Place {
    place(&[3, 4], WEB, NETWORK, Address::v4(number & !255))
}

fn source(number: u32) -> Place {
    place(&[3, 4], WEB, 0, Address::v4(number))
}

#[test]
fn counts_are_those_of_a_plain_reference() {
    let mut random = Rng::with_seed(7);
    let table = Table::<Cell<u64>>::new(256);
    let mut reference: HashMap<u32, u64> = HashMap::new();
    let mut opened = Vec::new();
    for step in 0..200_000 {
        let grows = opened.len() < 400 || opened.len() < 800 && random.bool();
        if grows {
            let number = random.u32(..300);
            *reference.entry(number).or_default() += 1;
            opened.push((number, table.open(source(number))));
        } else {
            let (number, one) = opened.swap_remove(random.usize(..opened.len()));
            *reference.get_mut(&number).expect("it was counted") -= 1;
            table.close(one);
        }
        if step % 97 == 0 {
            let number = random.u32(..300);
            let expected = reference.get(&number).copied().unwrap_or_default();
            assert_eq!(table.of(source(number)), expected);
            assert_eq!(open::total(&table.service, WEB), opened.len() as u64);
        }
    }
    assert_eq!(table.host().uncounted, 0);
    opened.into_iter().for_each(|(_, one)| table.close(one));
    assert!(table.sets.iter().flatten().all(|way| way.get() >> 32 == 0));
    assert_eq!((open::total(&table.service, WEB), table.host().open), (0, 0));
}

/// Each source within its own number, and all of them together as many as their network may have.
#[test]
fn networks_are_counted_beside_their_sources() {
    let table = Table::<Cell<u64>>::new(256);
    let opens = |number| table.open_in(source(number), network(number), WEB);
    let mut opened: Vec<_> = (0..40).chain(0..10).chain(256..266).map(opens).collect();
    // Of a policy that counts no networks.
    let alone = table.open(source(0));
    beat(&table.host, SECOND * 100);
    let is_full = |number, bound, now| {
        let place = network(number);
        open::is_network_full(&table.counts(place), place, bound, now, false)
    };
    let now = SECOND * 100;
    assert_eq!((table.of(network(0)), table.of(network(256))), (50, 10));
    assert_eq!((table.of(source(0)), table.of(source(20))), (3, 1));
    assert_eq!(open::total(&table.service, WEB), 61);
    assert_eq!(
        (is_full(7, 51, now), is_full(7, 50, now), is_full(7, 0, now)),
        (false, true, false)
    );
    assert_eq!((is_full(256, 11, now), is_full(256, 10, now)), (false, true));
    assert!(!is_full(7, 50, now + GONE), "nobody counts");
    opened.drain(..25).for_each(|one| table.close(one));
    assert_eq!((table.of(network(0)), table.of(network(256))), (25, 10));
    table.close(alone);
    opened.into_iter().for_each(|one| table.close(one));
    assert!(table.sets.iter().flatten().all(|way| way.get() >> 32 == 0));
    assert_eq!((open::total(&table.service, WEB), table.host().open), (0, 0));
}

/// Whatever does not fit is not counted, and so never refused; what fits stays exact.
#[test]
fn a_full_table_counts_too_few_and_never_too_many() {
    let table = Table::<Cell<u64>>::new(16);
    let opened: Vec<_> = (0..10_000).map(|number| table.open(source(number))).collect();
    let bounds = Bounds { source: 2, ..Bounds::default() };
    beat(&table.host, SECOND * 100);
    for number in 0..10_000 {
        let place = source(number);
        assert!(table.of(place) <= 1, "source {number} has one");
        let judged = judge(&table.counts(place), place, WEB, &bounds, SECOND * 100, false);
        assert_eq!(judged, None, "source {number} has less than it may");
    }
    assert_eq!(table.host().open, 10_000, "the totals count all of them");
    assert_eq!(table.host().uncounted, 10_000 - 16 * WAYS as u64);
    opened.into_iter().for_each(|one| table.close(one));
    assert!(table.sets.iter().flatten().all(|way| way.get() >> 32 == 0));
    assert_eq!(table.host().open, 0);
}

#[test]
fn threads_lose_nothing() {
    let table = Table::<AtomicU64>::new(1);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                let mut random = Rng::with_seed(thread);
                let mut opened = Vec::new();
                for _ in 0..50_000 {
                    if opened.len() < 20 && random.bool() {
                        opened.push(table.open(source(random.u32(..4))));
                    } else if !opened.is_empty() {
                        table.close(opened.swap_remove(random.usize(..opened.len())));
                    }
                }
                opened.into_iter().for_each(|one| table.close(one));
            });
        }
    });
    assert!((0..4).all(|number| table.of(source(number)) == 0));
    assert_eq!((open::total(&table.service, WEB), table.host().open), (0, 0));
    assert_eq!(table.host().uncounted, 0);
}

/// The end of what was never counted, and of what another service's line counted meanwhile.
#[test]
fn an_end_takes_back_only_what_was_counted() {
    let table = Table::<Cell<u64>>::new(4);
    let first = table.open(source(1));
    table.close(Opened { place: source(1).0, number: WEB, ..Opened::default() });
    assert_eq!((table.of(source(1)), table.host().open), (1, 1));
    // The id goes to another service, whose line it is from its first connection on.
    let other = table.open_as(source(2), WEB + 64);
    assert_eq!(open::total(&table.service, WEB + 64), 1);
    assert_eq!(open::total(&table.service, WEB), 0, "that of the old one is not the new one's");
    table.close(first);
    assert_eq!(open::total(&table.service, WEB + 64), 1);
    table.close(other);
    assert_eq!((open::total(&table.service, WEB + 64), table.host().open), (0, 0));
}

#[test]
fn what_is_full_refuses() {
    let table = Table::<Cell<u64>>::new(4);
    let now = SECOND * 1000;
    beat(&table.host, now);
    let asks = |source_has: u64, service: u64, host: u64| {
        let bounds = Bounds { source: source_has, service, host, has_room: false };
        judge(&table.counts(source(1)), source(1), WEB, &bounds, now, false)
    };
    assert_eq!(asks(1, 1, 1), None);
    let opened: Vec<_> = (0..3).map(|_| table.open(source(1))).collect();
    assert_eq!(asks(0, 0, 0), None, "0 stands for any number");
    assert_eq!((asks(4, 0, 0), asks(3, 0, 0)), (None, Some(Full::Source)));
    assert_eq!((asks(0, 4, 0), asks(0, 3, 0)), (None, Some(Full::Budget)));
    assert_eq!((asks(0, 0, 4), asks(0, 0, 3)), (None, Some(Full::Budget)));
    // Both are full: whether the source is, too, is asked where that decides what he sees.
    let both = |has_room| {
        let bounds = Bounds { source: 3, service: 3, host: 0, has_room };
        judge(&table.counts(source(1)), source(1), WEB, &bounds, now, false)
    };
    assert_eq!([false, true].map(both), [Full::Budget, Full::Source].map(Some));
    opened.into_iter().for_each(|one| table.close(one));
    assert_eq!(asks(1, 1, 1), None);
}

/// Whoever counts is gone: within a minute nothing is refused any more. One that is only quiet is
/// found out by one attempt a second, whose connection is its sign.
#[test]
fn what_nobody_counts_refuses_nothing() {
    let table = Table::<Cell<u64>>::new(4);
    let bounds = Bounds { source: 1, ..Bounds::default() };
    let start = SECOND * 1000;
    beat(&table.host, start);
    let _held = table.open(source(1));
    let refuses =
        |now, peeks| judge(&table.counts(source(1)), source(1), WEB, &bounds, now, peeks).is_some();
    assert!(refuses(start, false) && refuses(start + QUIET - 1, false));
    // Another CPU's clock may be a tick behind the sign.
    assert!(refuses(start - SECOND / 100, false));
    let quiet = start + QUIET;
    assert!(!refuses(quiet, true), "what only looks leaves the trial to its proof");
    assert!(!refuses(quiet, false), "one is let in");
    assert!(refuses(quiet, false) && refuses(quiet + SECOND - 1, false));
    assert!(!refuses(quiet + SECOND, false), "and one a second later");
    assert!(!refuses(start + GONE, false) && !refuses(start + GONE + 1, false));
    assert!(!table.host().is_counted(start + GONE));
    beat(&table.host, start + GONE + 5);
    assert!(refuses(start + GONE + 6, false), "it is there again");
    let never = Table::<Cell<u64>>::new(1);
    assert!(!never.host().is_counted(SECOND * 1000), "nobody has ever counted");
}

#[test]
fn a_count_ends_at_its_most() {
    let table = Table::<Cell<u64>>::new(1);
    table.sets[0][3].set(MOST << 32 | source(1).0 & 0xffff_ffff);
    let one = table.open(source(1));
    assert_eq!(one.counted & Opened::SOURCE, 0, "not counted, and so not taken back");
    assert_eq!(table.of(source(1)), MOST);
    table.close(one);
    assert_eq!(table.of(source(1)), MOST);
}
