//! observe: what is noted of an attempt after it was decided, so that people can see who comes and who is refused. It decides nothing.
//!
//! What happens seldom is in functions of its own, as in `subprograms`: numbers in, 0 out.

use limiter_common::address::Address;
use limiter_common::distinct::{self, Hashes, INTERVALS, REGISTERS, SKETCHES};
use limiter_common::heavy::{self, Tallied, Weighed};
use limiter_common::reason::{Reason, bits};
use limiter_common::record;
use limiter_common::sighting::{self, Sighting, What, line};
use limiter_common::switch::Mode;
use limiter_common::word::{SharedNote as _, SharedWord as _};

use crate::exit::Decision;
use crate::limits::{self, Question};
use crate::maps::{
    ATTEMPTS, CLAIMS, DISTINCT, EVENTS, HEAVY, INSTANCE, MapByte, MapWord, OBSERVER, Sketches,
};
use crate::what::unpack_what;

/// A gap that is no longer, one in sixteen, ends with a look whether the floors have risen: that is up to 1,536 words.
const LEARNS_AFTER: u32 = heavy::ONE_IN / 8;
/// Floors are below this: a billion sources bring them to 15.
const MOST_FLOOR: u8 = 32;

/// Something that watches attempts. The shipped one is [`Observer`]; a bench compares with nothing.
pub trait Observe {
    /// Notes an attempt and what was decided.
    fn attempt(question: &Question, decision: &Decision);
}

/// Notes how many sources there are, which come most, and samples.
pub struct Observer;

impl Observe for Observer {
    #[inline(always)]
    fn attempt(question: &Question, decision: &Decision) {
        let Question { slot, id, client, now, .. } = *question;
        let enforced = matches!(decision.mode, Mode::Enforce);
        let what = What::new(0, decision.reason as u8, enforced, decision.notes.stole(), 0);
        let seen = Attempt::new(slot, id, what);
        if bits::has(bits::OWN, decision.reason as u64) {
            // Here and not behind the call: a flood from few sources pays for nothing else.
            let Some(observer) = OBSERVER.get_ptr_mut(0) else { return };
            // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
            let weight = unsafe { (*observer).weigh_refusal(now) };
            if weight != 0 {
                limiter_refused(seen.0, client.high, client.low, now, weight);
            }
        } else {
            attempt(seen, client.high, client.low, now);
        }
    }
}

/// An attempt as it crosses the calls of this file: a [`What`] with the id of the service and the
/// slot (bits 30 and 31) in the place of the service's number, which is looked up only where it is
/// needed.
#[derive(Clone, Copy)]
struct Attempt(u64);

impl Attempt {
    const SLOT_SHIFT: u32 = 30;

    #[inline(always)]
    const fn new(slot: u32, id: u32, what: What) -> Self {
        Self(what.0 | (slot as u64 & 3) << Self::SLOT_SHIFT | id as u64)
    }

    /// Number of the service; 0 if it is gone.
    #[inline(always)]
    fn number(self) -> u32 {
        let word = self.0 as u32;
        let (slot, id) = (word >> Self::SLOT_SHIFT, word & ((1 << Self::SLOT_SHIFT) - 1));
        limits::service(slot, id).map_or(0, |service| service.number)
    }

    /// Number of the reason.
    #[inline(always)]
    const fn reason(self) -> u8 {
        What(self.0).reason()
    }

    /// Whether it is to be told of: it is refused, or another source's debt was forgotten for it.
    #[inline(always)]
    const fn is_event(self) -> bool {
        bits::has(bits::DROP, self.reason() as u64) || What(self.0).stole()
    }

    /// With how often the sample was halved.
    #[inline(always)]
    const fn halved(self, halvings: u64) -> Self {
        Self(self.0 | What::new(0, 0, false, false, halvings).0)
    }

    /// What stands in a ring.
    #[inline(always)]
    fn entry(self) -> What {
        What(self.0).of_service(self.number())
    }
}

/// What this CPU keeps, true of this interval.
#[inline(always)]
fn observer(now: u64) -> Option<&'static mut record::Observer> {
    let observer = OBSERVER.get_ptr_mut(0)?;
    // SAFETY: the element belongs to this CPU, and nothing else in this run holds it: the call is over before the borrow begins.
    if now >= unsafe { (*observer).until } {
        limiter_learn(now);
    }
    // SAFETY: as above.
    Some(unsafe { &mut *observer })
}

/// Notes an attempt that its source's own limit did not refuse. Not behind a call: to return from one costs 5 ns where the kernel guards its returns
/// (`srso` on AMD). What happens once in many attempts is.
#[inline(always)]
fn attempt(seen: Attempt, high: u64, low: u64, now: u64) {
    let Some(observer) = observer(now) else { return };
    let hashes = Hashes::of(&observer.key, Address { high, low });
    let Hashes { source, network, sketch } = hashes;
    let (halvings, told) = (u64::from(observer.halvings), observer.told);
    observer.left = observer.left.wrapping_sub(1);
    let is_counted = observer.left == 0;
    let raises = distinct::may_raise(observer.floors[0], source)
        | distinct::may_raise(observer.floors[sketch], network);
    if raises && let Some(sketches) = DISTINCT.get(distinct::interval(now) as u32 & (INTERVALS - 1))
    {
        distinct::see(&sketches.registers[0], source);
        distinct::see(&sketches.registers[sketch], network);
    }
    if is_counted {
        limiter_turn(seen.0, high, low, now, source);
    }
    if sighting::is_sampled(halvings, source) {
        limiter_sample(seen.halved(halvings).0, high, low, now);
    }
    if seen.is_event() && told != now >> sighting::SLICE_SHIFT {
        limiter_tell(seen.0, high, low, now);
    }
}

/// The attempt that is counted for all since the last one.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_turn(seen: u64, high: u64, low: u64, now: u64, source: u64) -> u64 {
    let Some(observer) = OBSERVER.get_ptr_mut(0) else { return 0 };
    // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
    let gap = unsafe { (*observer).gap() };
    // SAFETY: as above.
    unsafe { (*observer).left = gap };
    limiter_count(seen, high, low, now, Tallied::Others as u64 | source >> 2 << 2);
    if bits::has(bits::BUDGET, Attempt(seen).reason().into()) {
        limiter_count(seen, high, low, now, Tallied::Budget as u64 | source >> 2 << 2);
    }
    if gap <= LEARNS_AFTER {
        limiter_learn(now);
    }
    0
}

/// Counts a proof that a budget refused, or that waits in line. Its attempt was asked for it,
/// because there was a budget then; and it is in the sketches and samples.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_waits(what: u64, high: u64, low: u64, now: u64) -> u64 {
    let (address, (slot, id)) = (Address { high, low }, unpack_what(what));
    let Some(observer) = observer(now) else { return 0 };
    observer.left = observer.left.wrapping_sub(1);
    if observer.left == 0 {
        let source = Hashes::of(&observer.key, address).source;
        let (random, gap) = (observer.random(), observer.gap());
        observer.left = gap;
        let seen = Attempt::new(slot, id, What::new(0, Reason::Waiting as u8, true, false, 0));
        count(random, seen, Tallied::Budget as u64 | source >> 2 << 2, address, now, 1);
    }
    0
}

/// Notes an attempt that the limit of its source refused, for as many of them as `weight` says. It
/// is in the sketches: each of them lets a source in at its rate, so it was admitted a moment ago.
/// (With a limit of less than four a minute, it may be missing from an interval.)
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_refused(seen: u64, high: u64, low: u64, now: u64, weight: u64) -> u64 {
    let (seen, address) = (Attempt(seen), Address { high, low });
    let Some(observer) = observer(now) else { return 0 };
    let source = Hashes::of(&observer.key, address).source;
    let (random, halvings, told) = (observer.random(), u64::from(observer.halvings), observer.told);
    if sighting::is_sampled(halvings, source) {
        limiter_sample(seen.halved(halvings).0, high, low, now);
    }
    count(random, seen, Tallied::Refused as u64 | source >> 2 << 2, address, now, weight);
    if told != now >> sighting::SLICE_SHIFT {
        limiter_tell(seen.0, high, low, now);
    }
    0
}

/// Counts a source, in the kind that the lowest two bits of its hash are.
#[inline(always)]
fn count(random: u32, seen: Attempt, source: u64, address: Address, now: u64, weight: u64) {
    let service = u64::from(seen.number());
    let hash = heavy::hash(source >> 2, service);
    let index = (source as u32 & 3) * heavy::SETS + heavy::set(hash);
    if let Some(set) = HEAVY.get_ptr_mut(index) {
        // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
        heavy::count(
            unsafe { &mut *set },
            &Weighed { address, service, now, hash, weight },
            random,
        );
    }
}

/// The sketches of this interval.
#[inline(always)]
fn sketches(now: u64) -> Option<&'static Sketches> {
    let interval = distinct::interval(now);
    let sketches = DISTINCT.get(interval as u32 & (INTERVALS - 1))?;
    if sketches.interval.load() != interval {
        limiter_begin(interval);
    }
    Some(sketches)
}

/// Learns what this CPU has to know of the interval: the floors rise by one at a time.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_learn(now: u64) -> u64 {
    let (Some(sketches), Some(instance), Some(observer)) =
        (sketches(now), INSTANCE.get(0), OBSERVER.get_ptr_mut(0))
    else {
        return 0;
    };
    // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
    let observer = unsafe { &mut *observer };
    if now >= observer.until {
        observer.key = instance.key;
        observer.until = (distinct::interval(now) + 1) << distinct::INTERVAL_SHIFT;
        observer.floors = [0; SKETCHES];
        if observer.left == 0 {
            // The first one of this CPU.
            observer.left = observer.gap();
        }
    }
    observer.halvings = sketches.halvings.load() as u8;
    let mut sketch = 0;
    while sketch < SKETCHES {
        let floor = observer.floors[sketch] + 1;
        if floor < MOST_FLOOR && is_at_least(&sketches.registers[sketch], floor) {
            observer.floors[sketch] = floor;
        }
        sketch += 1;
    }
    0
}

/// Whether all registers of a sketch hold that much.
#[inline(always)]
fn is_at_least(registers: &[MapByte; REGISTERS], floor: u8) -> bool {
    let words = registers.as_ptr().cast::<u64>();
    let mut word = 0;
    while word < REGISTERS / 8 {
        // SAFETY: below the length of the sketch, which begins on a word. Volatile, because other CPUs write.
        if !distinct::are_at_least(unsafe { words.add(word).read_volatile() }, floor) {
            return false;
        }
        word += 1;
    }
    true
}

/// Begins an interval: one CPU clears its sketches.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_begin(interval: u64) -> u64 {
    let index = interval as u32 & (INTERVALS - 1);
    let (Some(sketches), Some(last)) = (
        DISTINCT.get_ptr_mut(index),
        DISTINCT.get(interval.wrapping_sub(1) as u32 & (INTERVALS - 1)),
    ) else {
        return 0;
    };
    // SAFETY: a pointer that a map lookup returned is valid for this run, and these words are accessed as such by everybody.
    let (number, halvings, kept) =
        unsafe { (&(*sketches).interval, &(*sketches).halvings, &(*sketches).kept) };
    let old = number.load();
    if old == interval || !number.replace(old, interval) {
        return 0;
    }
    halvings.store(sighting::next_halvings(last.kept.load(), last.halvings.load()));
    kept.store(0);
    let words = sketches.cast::<u64>();
    let mut word = distinct::HEAD;
    while word < distinct::WORDS {
        // SAFETY: below the length of the value. Volatile, so that it stays a loop and does not become a call.
        unsafe { words.add(word).write_volatile(0) };
        word += 1;
    }
    0
}

/// Keeps an attempt of a sampled source.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_sample(seen: u64, high: u64, low: u64, now: u64) -> u64 {
    let (Some(sketches), Some(claims)) = (sketches(now), word(line::ATTEMPTS)) else { return 0 };
    let (Some(()), Some(number)) =
        (sighting::keep(&sketches.kept, &sketches.halvings), sighting::claim(claims))
    else {
        return 0;
    };
    if let Some(observer) = OBSERVER.get_ptr_mut(0) {
        // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
        unsafe { (*observer).halvings = sketches.halvings.load() as u8 };
    }
    if let Some(entry) = ATTEMPTS.get_ptr_mut(number as u32 & (sighting::ATTEMPTS - 1)) {
        let what = Attempt(seen).entry().in_lap(number, sighting::ATTEMPTS).0;
        write(entry, &Sighting { time: now, high, low, what });
    }
    0
}

/// Tells of a refusal or a steal, if this slice of time has events left.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_tell(seen: u64, high: u64, low: u64, now: u64) -> u64 {
    let (Some(claims), Some(slice)) = (word(line::EVENTS), word(line::SLICE)) else { return 0 };
    if !sighting::may_tell(slice, now) {
        if sighting::one_more(slice.load(), now).is_none()
            && let Some(observer) = OBSERVER.get_ptr_mut(0)
        {
            // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
            unsafe { (*observer).told = now >> sighting::SLICE_SHIFT };
        }
        return 0;
    }
    let Some(number) = sighting::claim(claims) else { return 0 };
    if let Some(entry) = EVENTS.get_ptr_mut(number as u32 & (sighting::EVENTS - 1)) {
        let what = Attempt(seen).entry().in_lap(number, sighting::EVENTS).0;
        write(entry, &Sighting { time: now, high, low, what });
    }
    0
}

/// Counts a source of a sample: [`count`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_count(seen: u64, high: u64, low: u64, now: u64, source: u64) -> u64 {
    if let Some(observer) = OBSERVER.get_ptr_mut(0) {
        // SAFETY: the element belongs to this CPU, and nothing else in this run holds it.
        let random = unsafe { (*observer).random() };
        count(random, Attempt(seen), source, Address { high, low }, now, heavy::ONE_IN.into());
    }
    0
}

/// One of the words that all CPUs share.
#[inline(always)]
fn word(line: u32) -> Option<&'static MapWord> {
    CLAIMS.get(line).map(|line| &line.arrival)
}

/// Writes an entry of a ring: its time last.
#[inline(always)]
fn write(entry: *mut Sighting, sighting: &Sighting) {
    // SAFETY: a pointer that a map lookup returned is valid for this run. Volatile, so that the order stays.
    unsafe {
        (&raw mut (*entry).time).write_volatile(0);
        (&raw mut (*entry).high).write_volatile(sighting.high);
        (&raw mut (*entry).low).write_volatile(sighting.low);
        (&raw mut (*entry).what).write_volatile(sighting.what);
        (&raw mut (*entry).time).write_volatile(sighting.time);
    }
}
