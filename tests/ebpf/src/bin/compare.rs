//! The bench's own object: limiter over changing sources, the same limiter over an LRU hash, and what both stand on.
//!
//! Every program that ends in `_many` or `_random` writes a new source into the frame first; `empty_many` and
//! `empty_random` do only that, so that the difference is the limiter; `_anew` writes the whole frame, because it is answered in place. None of this is in the shipped object.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the xdp macro drops the comments of functions")]

#[path = "../../../../limiter-ebpf/src/object.rs"]
mod object;

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_xdp_store_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use limiter_common::address::Address;
use limiter_common::admission::Attempt;
use limiter_common::hash::Place;
use limiter_common::packet::{self, Cursor};
use limiter_common::reason::Reason;
use limiter_common::record::Instance;
use limiter_common::source_table::{Charge, Charged, OVER, SourceLimit, Ticks, step};
use limiter_common::word::SharedWord as _;
use limiter_ebpf::exit::{self, Decision};
use limiter_ebpf::limits::Question;
use limiter_ebpf::observe::{Observe, Observer};
use limiter_ebpf::source::{Sources, Table};
use limiter_ebpf::{clock, maps, subprograms, way};

/// Entries of the LRU hash, as in the nftables and hashlimit examples that people copy.
const LRU_ENTRIES: usize = 262_144;
/// Sources of the `_many` programs, a power of two.
const MANY: u32 = 65_536;

#[repr(C)]
#[derive(Clone, Copy)]
struct LruKey {
    service: u64,
    source: [u64; 2],
}

#[btf_map]
static LRU: LruHashMap<LruKey, u64, LRU_ENTRIES> = LruHashMap::new();
/// Classes of IPv4 prefixes, as other limiters keep them.
#[btf_map]
static TRIE: LpmTrie<u32, u32, 65_536> = LpmTrie::new();
#[btf_map]
static TURN: PerCpuArray<u32, 1> = PerCpuArray::new();

/// An untagged IPv4 SYN with one option, the MSS: the bench writes it.
#[btf_map]
static ANEW: Array<[u8; ANEW_BYTES], 1> = Array::new();
const ANEW_BYTES: usize = 14 + 20 + 24;
/// Where the source of an untagged IPv4 frame stands.
const SOURCE: usize = 14 + 12;

/// One LRU hash entry per source, as every open XDP limiter keeps it, with limiter's own GCRA and clock.
struct Lru;

impl Sources for Lru {
    #[inline(always)]
    fn charge(_: &Place, attempt: &Attempt<'_>) -> Option<Charged> {
        let SourceLimit { interval, window } = *attempt.limit;
        let said =
            lru_charge(attempt.service.into(), attempt.source.low, attempt.now, interval, window);
        let charge = if said & 0xff == 0 { Charge::Conforms } else { Charge::Exceeds };
        Some(Charged { charge, step: (said >> 8) as u8 })
    }
}

/// Charges an IPv4 source: 0 conforms, 1 exceeds, and above these 8 bits the step. A call, as
/// limiter's own: see `subprograms`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lru_charge(service: u64, source: u64, now: u64, interval: u64, window: u64) -> u64 {
    let key = LruKey { service, source: [0, source] };
    let limit = SourceLimit { interval, window };
    let now = Ticks::at(now).0;
    let Some(arrival) = LRU.get_ptr_mut(key) else {
        return u64::from(LRU.insert(key, now.wrapping_add(interval), 0).is_err()) | 1 << 8;
    };
    // SAFETY: a pointer that a map lookup returned is valid for this run.
    let ahead = unsafe { arrival.read_volatile() }.wrapping_sub(now);
    let debt = if ahead > limit.horizon() { 0 } else { ahead };
    if debt > window {
        return 1 | u64::from(OVER) << 8;
    }
    // SAFETY: as above.
    unsafe { arrival.write_volatile(now.wrapping_add(debt).wrapping_add(interval)) };
    u64::from(step(debt, window)) << 8
}

#[inline(always)]
#[xdp]
pub fn empty(_: XdpContext) -> u32 {
    XDP_DROP
}

/// The floor: one clock read and one random line of the table.
#[inline(always)]
#[xdp]
pub fn floor(_: XdpContext) -> u32 {
    // SAFETY: the helper takes nothing and only returns a number.
    let random = unsafe { bpf_get_prandom_u32() };
    let Some(&Instance { key, sets, .. }) = maps::INSTANCE.get(0) else { return XDP_ABORTED };
    let place = Place(u64::from(random ^ key[0] as u32) << 32);
    let Some(set) = maps::SOURCES.get(place.set(sets)) else { return XDP_ABORTED };
    if set[0].load() == clock::coarse() { XDP_ABORTED } else { XDP_DROP }
}

/// The floor of a packet that is no attempt: it is parsed and counted.
#[inline(always)]
#[xdp]
pub fn floor_parse(context: XdpContext) -> u32 {
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    exit::pass(packet::parse(frame).map_or_else(|reason| reason, |_| Reason::NotAttempt))
}

/// The class of a random address, as limiter finds it: among boundaries.
#[inline(always)]
#[xdp]
pub fn class_boundaries(_: XdpContext) -> u32 {
    let Some(switch) = maps::switch() else { return XDP_ABORTED };
    let Address { high, low } = Address::v4(random());
    let class = subprograms::limiter_class(switch.fallback().slot.into(), high, low);
    if class == u64::MAX { XDP_ABORTED } else { XDP_DROP }
}

/// The same as the kernel's own longest-prefix match finds it.
#[inline(always)]
#[xdp]
pub fn class_trie(_: XdpContext) -> u32 {
    let Some(switch) = maps::switch() else { return XDP_ABORTED };
    let key = Key::new(32, (random() ^ switch.fallback().slot).to_be());
    if TRIE.get(&key) == Some(&u32::MAX) { XDP_ABORTED } else { XDP_DROP }
}

/// What `floor` stands on: the random number alone.
#[inline(always)]
#[xdp]
pub fn floor_random(_: XdpContext) -> u32 {
    // SAFETY: the helper takes nothing and only returns a number.
    if unsafe { bpf_get_prandom_u32() } == 7 { XDP_ABORTED } else { XDP_DROP }
}

/// Notes nothing: what limiter would cost if it could not be asked who comes.
struct Blind;

impl Observe for Blind {
    #[inline(always)]
    fn attempt(_: &Question, _: &Decision) {}
}

#[inline(always)]
#[xdp]
pub fn blind(context: XdpContext) -> u32 {
    way::run::<Table, Blind>(&context)
}

#[inline(always)]
#[xdp]
pub fn blind_many(context: XdpContext) -> u32 {
    with_source(&context, many).map_or(XDP_ABORTED, |()| way::run::<Table, Blind>(&context))
}

#[inline(always)]
#[xdp]
pub fn blind_random(context: XdpContext) -> u32 {
    with_source(&context, random).map_or(XDP_ABORTED, |()| way::run::<Table, Blind>(&context))
}

#[inline(always)]
#[xdp]
pub fn lru(context: XdpContext) -> u32 {
    way::run::<Lru, Observer>(&context)
}

#[inline(always)]
#[xdp]
pub fn lru_many(context: XdpContext) -> u32 {
    with_source(&context, many).map_or(XDP_ABORTED, |()| way::run::<Lru, Observer>(&context))
}

#[inline(always)]
#[xdp]
pub fn lru_random(context: XdpContext) -> u32 {
    with_source(&context, random).map_or(XDP_ABORTED, |()| way::run::<Lru, Observer>(&context))
}

#[inline(always)]
#[xdp]
pub fn table_many(context: XdpContext) -> u32 {
    with_source(&context, many).map_or(XDP_ABORTED, |()| way::run::<Table, Observer>(&context))
}

#[inline(always)]
#[xdp]
pub fn table_random(context: XdpContext) -> u32 {
    with_source(&context, random).map_or(XDP_ABORTED, |()| way::run::<Table, Observer>(&context))
}

#[inline(always)]
#[xdp]
pub fn table_flows(context: XdpContext) -> u32 {
    with_source(&context, flows).map_or(XDP_ABORTED, |()| way::run::<Table, Observer>(&context))
}

#[inline(always)]
#[xdp]
pub fn empty_flows(context: XdpContext) -> u32 {
    with_source(&context, flows).map_or(XDP_ABORTED, |()| XDP_DROP)
}

#[inline(always)]
#[xdp]
pub fn empty_many(context: XdpContext) -> u32 {
    with_source(&context, many).map_or(XDP_ABORTED, |()| XDP_DROP)
}

#[inline(always)]
#[xdp]
pub fn empty_random(context: XdpContext) -> u32 {
    with_source(&context, random).map_or(XDP_ABORTED, |()| XDP_DROP)
}

#[inline(always)]
#[xdp]
pub fn table_anew(context: XdpContext) -> u32 {
    anew(&context).map_or(XDP_ABORTED, |()| way::run::<Table, Observer>(&context))
}

#[inline(always)]
#[xdp]
pub fn empty_anew(context: XdpContext) -> u32 {
    anew(&context).map_or(XDP_ABORTED, |()| XDP_DROP)
}

/// Writes the frame of [`ANEW`] from a random source of 11.0.0.0/8: an answer stands where the last
/// one was, and is as long.
#[inline(always)]
fn anew(context: &XdpContext) -> Option<()> {
    const CHECKSUM: usize = 14 + 20 + 16;
    let frame = ANEW.get(0)?;
    let bytes = frame.as_ptr().cast_mut().cast::<c_void>();
    // SAFETY: the buffer is as long as said; the helper checks the frame.
    if unsafe { bpf_xdp_store_bytes(context.ctx, 0, bytes, ANEW_BYTES as u32) } != 0 {
        return None;
    }
    let source = 0x0b00_0000 | random() & 0x00ff_ffff;
    with_source(context, || source)?;
    let half = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    // RFC 1624 3: the sum without the old source, with the new one.
    let mut sum =
        (!half(CHECKSUM) & 0xffff) + (!half(SOURCE) & 0xffff) + (!half(SOURCE + 2) & 0xffff);
    sum += (source >> 16) + (source & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    let checksum = !((sum >> 16) + sum) as u16;
    let (start, end) = (context.data(), context.data_end());
    if start + CHECKSUM + 2 > end {
        return None;
    }
    // SAFETY: as in `with_source`.
    unsafe { ((start + CHECKSUM) as *mut u16).write(checksum.to_be()) };
    Some(())
}

/// One of 10,000 flows, each a source of its own.
#[inline(always)]
fn flows() -> u32 {
    0x0b00_0000 | (many() & (MANY - 1)) % 10_000
}

/// One of [`MANY`] sources, in an order that no prefetcher guesses: an odd multiplier permutes them.
#[inline(always)]
fn many() -> u32 {
    let Some(turn) = TURN.get_ptr_mut(0) else { return 0 };
    // SAFETY: the element belongs to this CPU.
    unsafe {
        *turn = turn.read().wrapping_add(1);
        0x0b00_0000 | (turn.read().wrapping_mul(40_503) & (MANY - 1))
    }
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: the helper takes nothing and only returns a number.
    unsafe { bpf_get_prandom_u32() }
}

/// Writes the source of an untagged IPv4 frame.
#[inline(always)]
fn with_source(context: &XdpContext, source: impl FnOnce() -> u32) -> Option<()> {
    let (start, end) = (context.data(), context.data_end());
    if start + SOURCE + 4 > end {
        return None;
    }
    // SAFETY: checked above to lie within the frame; the verifier lets packet stores be unaligned where limiter runs.
    unsafe { ((start + SOURCE) as *mut u32).write(source().to_be()) };
    Some(())
}
