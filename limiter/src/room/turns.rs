//! Where a source stands in line, read from the words that the kernel side keeps: its place is the
//! time at which it was first refused, and the line's head is a time too. How fast the head moves
//! says when it will be there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use limiter_common::address::Address;
use limiter_common::hash;
use limiter_common::line::service::State;
use limiter_common::line::visit::{PLACE_SHIFT, Visit};
use limiter_common::record::{self, Instance};
use limiter_common::source_table::WAYS;

use super::{Places, Turn};
use crate::kernel::words::Access;
use crate::kernel::{Maps, clock};
use crate::observe::waiting::{self, Ages};
use crate::policy::prefix::address;

/// How often heads and policy are looked at, nanoseconds.
const FRESH: u64 = 1_000_000_000;
/// For so many nanoseconds visits are looked at before they say how fast newcomers are let in.
const KNOWN: u64 = 3 * FRESH;
/// So many looks say how fast a head moves.
const LOOKS: usize = 20;
/// A head that needs longer than this for what is left says nothing of when it will be there.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// So far behind the head a place is near it.
const NEAR: Duration = Duration::from_secs(3);

/// Classes by the first bits of an address.
type Classes = HashMap<(u64, u64), u32>;

/// The lines of a loaded limiter.
pub struct Turns {
    maps: Maps,
    instance: Instance,
    known: Mutex<Known>,
}

/// What was seen at the last look.
#[derive(Default)]
struct Known {
    at: u64,
    /// Slot and generation of the policy that the rest is of.
    policy: (u32, u64),
    services: BTreeMap<u32, record::Service>,
    listeners: Vec<(SocketAddr, u32)>,
    classes: BTreeMap<u32, record::Class>,
    /// Prefixes by length, the longest first: the bits of each, and its class.
    prefixes: Vec<(u8, Classes)>,
    /// When each line's head was seen, and where it was, by service.
    heads: BTreeMap<u32, VecDeque<(u64, u64)>>,
    /// When the lines were seen, and how many newcomers all of them had let in.
    visits: VecDeque<(u64, u64)>,
    /// Pages a second that all budgets with a line have room for.
    room: f64,
    /// Who waits, in any of the lines.
    waiting: Ages,
}

impl Turns {
    /// Of these maps.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(maps: Maps) -> Result<Self> {
        let instance = maps.instance.get(&0, 0).context("cannot read the instance")?.0;
        let turns = Self { maps, instance, known: Mutex::default() };
        turns.look(&mut Known::default(), clock::now())?;
        Ok(turns)
    }

    /// Looks at policy and heads.
    fn look(&self, known: &mut Known, now: u64) -> Result<()> {
        known.at = now;
        let slot = self.maps.switch()?.at(now).slot;
        let generation =
            self.maps.host.get(&slot, 0).context("cannot read the policy")?.0.generation;
        if known.policy != (slot, generation) {
            known.policy = (slot, generation);
            known.services = self.maps.services(slot)?;
            known.classes = self.maps.classes(slot)?;
            let mut prefixes: BTreeMap<u8, Classes> = BTreeMap::new();
            for prefix in self.maps.class_prefixes(slot)? {
                let bits = cut(Address::from_bytes(prefix.address), prefix.length);
                prefixes.entry(prefix.length).or_default().insert(bits, prefix.class.into());
            }
            known.prefixes = prefixes.into_iter().rev().collect();
            let listeners = self.maps.listeners()?.into_iter();
            known.listeners = listeners
                .filter(|(key, _)| u32::from(key.slot) == slot)
                .map(|(key, id)| {
                    let ip = crate::policy::prefix::ip(Address::from_bytes(key.address));
                    (SocketAddr::new(ip, key.port), id)
                })
                .collect();
            known.heads.clear();
            known.visits.clear();
        }
        known.waiting = waiting::ages(&self.maps)?;
        let mut visits = 0;
        known.room = 0.0;
        for (id, service) in &known.services {
            if service.line.interval == 0 {
                continue;
            }
            let line = self.maps.line.get(id, 0).context("cannot read a line")?.0;
            let state = State::read(&line, now);
            let head = now.saturating_sub(state.wait);
            visits += state.visits;
            known.room += 1e9 / service.line.interval as f64 * 256.0 / state.page.max(256) as f64;
            let heads = known.heads.entry(*id).or_default();
            heads.push_back((now, head));
            if heads.len() > LOOKS {
                heads.pop_front();
            }
        }
        known.visits.push_back((now, visits));
        if known.visits.len() > LOOKS {
            known.visits.pop_front();
        }
        Ok(())
    }

    fn read(&self, client: SocketAddr, service: SocketAddr) -> Option<Turn> {
        let now = clock::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(known.at) > FRESH {
            self.look(&mut known, now).ok()?;
        }
        let id = known.service(service)?;
        let record = known.services.get(&id).filter(|service| service.line.interval != 0)?;
        let client = address(client.ip());
        let (class, mask) = known.class(client, record);
        let place = hash::place(&self.instance.key, record.number, class, mask.apply(client));
        let words = self.maps.visits.words(Access::Read).ok()?;
        let first = place.set(self.instance.sets) as usize * WAYS;
        let mut ways = (first..first + WAYS).filter_map(|index| words.get(index));
        let word = ways.find(|word| *word as u32 & 0xff_ffff == place.fingerprint())?;
        let visit = Visit::read(word, now);
        if visit.present {
            return None;
        }
        let waited = Duration::from_nanos(visit.place.max(0) as u64) * (1 << PLACE_SHIFT);
        let line = self.maps.line.get(&id, 0).ok()?.0;
        let lag = Duration::from_nanos(State::read(&line, now).wait);
        let left = lag.saturating_sub(waited);
        let head = wait(left, known.heads.get(&id)?);
        // Where many came at once the head has passed them all, and room for a few of them is left.
        let others = wait_for(known.waiting.before(visit.place), &known.visits, known.room);
        let wait = head.max(others).filter(|_| head.is_some());
        Some(Turn { waited, wait, least: least(left, head, others) })
    }
}

impl Places for Turns {
    fn turn(&self, client: SocketAddr, service: SocketAddr) -> Option<Turn> {
        self.read(client, service)
    }
}

impl Known {
    /// The service at an address, before one at every address of its family.
    fn service(&self, at: SocketAddr) -> Option<u32> {
        let matches = self.listeners.iter().filter(|(listener, _)| {
            listener.port() == at.port()
                && listener.is_ipv4() == at.is_ipv4()
                && (listener.ip() == at.ip() || listener.ip().is_unspecified())
        });
        matches.min_by_key(|(listener, _)| listener.ip().is_unspecified()).map(|(_, id)| *id)
    }

    /// The class of a client, and what makes a source of it.
    fn class(
        &self,
        client: Address,
        service: &record::Service,
    ) -> (u32, limiter_common::address::SourceMask) {
        let mut found = self
            .prefixes
            .iter()
            .filter_map(|(length, prefixes)| prefixes.get(&cut(client, *length)).copied());
        match found.next().and_then(|id| Some((id, self.classes.get(&id)?))) {
            Some((id, class)) if class.own_mask != 0 => (id, class.mask),
            Some((id, _)) => (id, service.mask),
            None => (0, service.mask),
        }
    }
}

/// The first bits of an address.
const fn cut(address: Address, bits: u8) -> (u64, u64) {
    let word = address.to_bytes();
    let whole = (u64::from_be(word[0]) as u128) << 64 | u64::from_be(word[1]) as u128;
    let mask = match bits {
        0 => 0,
        bits => u128::MAX << (128 - if bits > 128 { 128 } else { bits }),
    };
    let cut = whole & mask;
    ((cut >> 64) as u64, cut as u64)
}

/// How long a head needs for a way, by how it moved lately; `None` if it hardly does.
fn wait(left: Duration, heads: &VecDeque<(u64, u64)>) -> Option<Duration> {
    if left.is_zero() {
        return Some(Duration::ZERO);
    }
    let ((from, first), (to, last)) = (heads.front()?, heads.back()?);
    let (time, moved) = (to.checked_sub(*from)?, last.checked_sub(*first)?);
    if time == 0 || moved == 0 {
        return None;
    }
    let nanoseconds = left.as_nanos() * u128::from(time) / u128::from(moved);
    let wait = Duration::from_nanos(u64::try_from(nanoseconds).ok()?);
    (wait <= LONGEST).then_some(wait)
}

/// How long lines need for so many sources, by how many newcomers they let in lately, or by what
/// they have room for (pages a second) while that is not known.
fn wait_for(sources: usize, visits: &VecDeque<(u64, u64)>, room: f64) -> Option<Duration> {
    let ((from, first), (to, last)) = (visits.front()?, visits.back()?);
    let (time, let_in) = (to.saturating_sub(*from), last.saturating_sub(*first));
    let rate = match time >= KNOWN && let_in > 0 {
        true => let_in as f64 * 1e9 / time as f64,
        false => room,
    };
    let seconds = sources as f64 / rate;
    (seconds <= LONGEST.as_secs_f64()).then(|| Duration::from_secs_f64(seconds))
}

/// After what time one may be let in at the earliest whose place is `left` behind the head: when
/// the head has passed it, or when all before it are in. At once if the head is near, because it
/// moves by leaps where there is room.
fn least(left: Duration, head: Option<Duration>, others: Option<Duration>) -> Option<Duration> {
    if left <= NEAR {
        return Some(Duration::ZERO);
    }
    head.into_iter().chain(others).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn many_that_came_at_once_wait_for_one_another() {
        let visits = VecDeque::from([(100 * SECOND, 40), (110 * SECOND, 240)]);
        assert_eq!(wait_for(300, &visits, 1.0), Some(Duration::from_secs(15)));
        assert_eq!(wait_for(0, &visits, 1.0), Some(Duration::ZERO));
        let begun = VecDeque::from([(100 * SECOND, 40), (101 * SECOND, 240)]);
        assert_eq!(wait_for(300, &begun, 10.0), Some(Duration::from_secs(30)), "not yet known");
        assert_eq!(wait_for(300, &begun, 0.0), None);
        assert_eq!(wait_for(300, &VecDeque::new(), 10.0), None);
    }

    #[test]
    fn a_wait_is_what_the_head_needs() {
        let heads = VecDeque::from([(100 * SECOND, 40 * SECOND), (110 * SECOND, 45 * SECOND)]);
        assert_eq!(wait(Duration::ZERO, &heads), Some(Duration::ZERO));
        assert_eq!(wait(Duration::from_secs(30), &heads), Some(Duration::from_secs(60)));
        assert_eq!(wait(Duration::from_secs(30), &VecDeque::from([(100, 40)])), None, "one look");
        let still = VecDeque::from([(100 * SECOND, 40 * SECOND), (110 * SECOND, 40 * SECOND)]);
        assert_eq!(wait(Duration::from_secs(30), &still), None, "it stands");
        let slow = VecDeque::from([(100 * SECOND, 40 * SECOND), (110 * SECOND, 40 * SECOND + 1)]);
        assert_eq!(wait(Duration::from_secs(30), &slow), None, "it hardly moves");
    }

    #[test]
    fn nobody_is_sent_away_for_longer_than_until_his_turn() {
        let [none, near, far, ten] = [0, 3, 40, 10].map(Duration::from_secs);
        assert_eq!(least(none, Some(none), Some(far)), Some(none), "the head has passed");
        assert_eq!(least(near, None, Some(far)), Some(none), "it has nearly");
        assert_eq!(least(far, None, None), None);
        assert_eq!(least(far, Some(ten), None), Some(ten));
        assert_eq!(least(far, None, Some(ten)), Some(ten), "the head stood");
        assert_eq!(least(far, Some(far), Some(ten)), Some(ten));
    }

    #[test]
    fn the_first_bits_of_an_address() {
        let address = Address::v4(0xc000_0280);
        assert_eq!(cut(address, 120), cut(Address::v4(0xc000_0201), 120));
        assert_ne!(cut(address, 121), cut(Address::v4(0xc000_0201), 121));
        assert_eq!(cut(address, 0), (0, 0));
        assert_eq!(cut(address, 128), (0, 0xffff_c000_0280));
    }
}
