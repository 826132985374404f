//! The lab's small XDP programs: the flood generator, `volley` for a few given frames at once, and
//! `pass`, `drop_all` and `empty` to meet it.
//!
//! `flood` is run by BPF_PROG_TEST_RUN with live frames. It writes every frame whole, from a
//! template in its record: the kernel recycles the pages without restoring them, so a frame may
//! come back as the receiver left it.

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "`#[xdp]` moves an entry point's comment to where the lint does not see it"
)]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_get_smp_processor_id, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use record::{
    COUNTERS, FloodRecord, PORTS_COUNTING, PORTS_FIXED, SEEN, SENT, SOURCE_MANY, SOURCE_NETWORKS,
    SOURCE_RANDOM, STOPPED, TEMPLATE_WORDS, VOLLEY_FRAMES, VOLLEY_WORDS,
};

#[path = "../../../../limiter-ebpf/src/object.rs"]
mod object;
#[path = "../record.rs"]
mod record;

#[btf_map]
static FLOOD: Array<FloodRecord, 1> = Array::new();

#[btf_map]
static VOLLEY: Array<[u64; VOLLEY_WORDS], VOLLEY_FRAMES> = Array::new();

#[btf_map]
static FRAMES: PerCpuArray<u64, COUNTERS> = PerCpuArray::new();

/// Bytes that the verifier is told an IP header's offset stays below.
const OFFSET_MASK: usize = 0x3f;

/// Makes the next frame of the flood and sends it.
#[xdp(frags)]
pub fn flood(ctx: XdpContext) -> u32 {
    next_frame(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Sends given frames, each of them whole and as long as any other: what follows a packet in its
/// frame is nobody's business.
#[xdp(frags)]
pub fn volley(ctx: XdpContext) -> u32 {
    next_of_volley(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

fn next_of_volley(ctx: &XdpContext) -> Option<u32> {
    let sent = FRAMES.get_ptr_mut(SENT)?;
    // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
    let number = unsafe { *sent };
    let words = VOLLEY.get(number as u32 & (VOLLEY_FRAMES as u32 - 1))?;
    // Once: the verifier knows only this copy of the pointer to be good.
    let start = ctx.data();
    if start + VOLLEY_WORDS * 8 > ctx.data_end() {
        return None;
    }
    let mut word = 0;
    while word < VOLLEY_WORDS {
        // SAFETY: inside the frame, as was just seen, which starts 256 bytes into a page, so that
        // the word is aligned too.
        unsafe { *((start + word * 8) as *mut u64) = words[word] };
        word += 1;
    }
    // SAFETY: as above.
    unsafe { *sent = number + 1 };
    Some(xdp_action::XDP_TX)
}

/// Passes and counts: a veth needs a program of its own to take frames from XDP_TX and redirects.
#[xdp(frags)]
pub fn pass(_ctx: XdpContext) -> u32 {
    count(SEEN);
    xdp_action::XDP_PASS
}

/// Drops and counts.
#[xdp(frags)]
pub fn drop_all(_ctx: XdpContext) -> u32 {
    count(SEEN);
    xdp_action::XDP_DROP
}

/// The baseline of every bench: what a program costs that does nothing.
#[xdp(frags)]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

fn count(counter: u32) {
    if let Some(slot) = FRAMES.get_ptr_mut(counter) {
        // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
        unsafe { *slot += 1 };
    }
}

fn next_frame(ctx: &XdpContext) -> Option<u32> {
    let record = FLOOD.get(0)?;
    let sent = FRAMES.get_ptr_mut(SENT)?;
    // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
    let number = unsafe { *sent };
    if number >= record.limit {
        count(STOPPED);
        return Some(xdp_action::XDP_DROP);
    }
    copy_template(ctx, record)?;

    // SAFETY: the helper takes nothing and only reads the CPU's number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let draw = record.seed.wrapping_add(u64::from(cpu) << 48).wrapping_add(number.wrapping_mul(3));
    let (port, sequence) = match record.ports {
        PORTS_COUNTING => ((1024 + number % 64_512) as u16, number as u32),
        PORTS_FIXED => (record.port as u16, record.sequence),
        _ => {
            let random = scramble(draw);
            (random as u16 | 0x400, (random >> 32) as u32)
        }
    };
    if record.family == 4 {
        write_ipv4(ctx, record, source_ipv4(record, number, draw), port, sequence)?;
    } else {
        write_ipv6(ctx, record, source_ipv6(record, number, draw), port, sequence)?;
    }

    // SAFETY: as above.
    unsafe { *sent = number + 1 };
    if record.redirect == 0 {
        return Some(xdp_action::XDP_TX);
    }
    // SAFETY: the helper takes plain numbers and checks them.
    Some(unsafe { bpf_redirect(record.redirect, 0) } as u32)
}

fn copy_template(ctx: &XdpContext, record: &FloodRecord) -> Option<()> {
    let mut word = 0;
    while word < TEMPLATE_WORDS && word < record.words as usize {
        let at = ctx.data() + word * 8;
        if at + 8 > ctx.data_end() {
            return None;
        }
        // SAFETY: inside the frame, which starts 256 bytes into a page, so that the word is aligned too.
        unsafe { *(at as *mut u64) = record.template[word] };
        word += 1;
    }
    Some(())
}

fn source_ipv4(record: &FloodRecord, number: u64, draw: u64) -> [u16; 2] {
    let address = match record.sources {
        SOURCE_RANDOM => routable(scramble(draw + 1)),
        _ => (record.base_low as u32).wrapping_add(step(record, number) as u32),
    };
    let [a, b, c, d] = address.to_be_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

/// How far from the base the source of this frame is.
fn step(record: &FloodRecord, number: u64) -> u64 {
    match record.sources {
        SOURCE_MANY | SOURCE_NETWORKS => number % u64::from(record.count.max(1)),
        _ => 0,
    }
}

/// Moves what the stack would refuse (0/8, 127/8, 224/3) and the lab's own 10/8 elsewhere.
fn routable(random: u64) -> u32 {
    let address = random as u32;
    match address >> 24 {
        0 | 10 | 127 | 224.. => (11 + (random >> 58) as u32) << 24 | address & 0xff_ffff,
        _ => address,
    }
}

fn source_ipv6(record: &FloodRecord, number: u64, draw: u64) -> [u64; 2] {
    if record.sources == SOURCE_RANDOM {
        let high = 0x2001_0db8 << 32 | scramble(draw + 1) >> 32;
        return [high, scramble(draw + 2)];
    }
    let step = step(record, number);
    if record.sources == SOURCE_NETWORKS {
        return [record.base_high.wrapping_add(step), record.base_low];
    }
    [record.base_high, record.base_low.wrapping_add(step)]
}

fn write_ipv4(
    ctx: &XdpContext,
    record: &FloodRecord,
    source: [u16; 2],
    port: u16,
    sequence: u32,
) -> Option<()> {
    let ip = header::<40>(ctx, record)?;
    let address = u32::from(source[0]) + u32::from(source[1]);
    put(ip, 12, source[0]);
    put(ip, 14, source[1]);
    put(ip, 10, checksum(record.network_sum + address));
    write_tcp(ip + 20, record.transport_sum + address, port, sequence);
    Some(())
}

fn write_ipv6(
    ctx: &XdpContext,
    record: &FloodRecord,
    source: [u64; 2],
    port: u16,
    sequence: u32,
) -> Option<()> {
    let ip = header::<60>(ctx, record)?;
    let mut sum = record.transport_sum;
    let mut half = 0;
    while half < 2 {
        let [a, b, c, d, e, f, g, h] = source[half].to_be_bytes();
        let at = ip + 8 + half * 8;
        for (offset, pair) in [(0, [a, b]), (2, [c, d]), (4, [e, f]), (6, [g, h])] {
            let word = u16::from_ne_bytes(pair);
            sum += u32::from(word);
            put(at, offset, word);
        }
        half += 1;
    }
    write_tcp(ip + 40, sum, port, sequence);
    Some(())
}

/// The address of the IP header when `LENGTH` bytes from it are inside the frame.
#[inline(always)]
fn header<const LENGTH: usize>(ctx: &XdpContext, record: &FloodRecord) -> Option<usize> {
    let ip = ctx.data() + (record.network_offset as usize & OFFSET_MASK);
    if ip + LENGTH > ctx.data_end() {
        return None;
    }
    Some(ip)
}

#[inline(always)]
fn write_tcp(tcp: usize, sum: u32, port: u16, sequence: u32) {
    let port = port.to_be();
    let [a, b, c, d] = sequence.to_be_bytes();
    let sequence = [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])];
    put(tcp, 0, port);
    put(tcp, 4, sequence[0]);
    put(tcp, 6, sequence[1]);
    let sum = sum + u32::from(port) + u32::from(sequence[0]) + u32::from(sequence[1]);
    put(tcp, 16, checksum(sum));
}

/// Writes a 16-bit word; the caller has checked the header's bounds with `header`.
#[inline(always)]
fn put(header: usize, offset: usize, word: u16) {
    // SAFETY: `header` checked the longest header that its caller writes, and all headers start at even offsets.
    unsafe { *((header + offset) as *mut u16) = word };
}

/// Folds a ones' complement sum (RFC 1071). The sums here stay far below 2^21, so that two folds are enough.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The output function of SplitMix64: a number from a number, without state to keep or a helper to call.
#[inline(always)]
fn scramble(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
