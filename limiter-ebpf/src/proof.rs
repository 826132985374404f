//! ACKs while cookies may come back: which of them bring one.
//!
//! From a challenge until two minutes later each ACK is looked at with the socket that it meets, and what brings a wrong cookie to a listening
//! one is dropped: a flood of ACKs goes no further. In calm the kernel's own cookies come back, where it makes any, and only what brings one
//! is looked at.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use limiter_common::challenge;
use limiter_common::packet::{self, Cursor, Segment};
use limiter_common::record::RECENT as WORDS;

use crate::limits::{self, challenge_line};
use crate::listener::{self, Checked};
use crate::maps::RECENT;
use crate::service;

const ACK: u8 = 0x10;
const SYN_OR_RST: u8 = 0x06;
/// Nanoseconds of one step of a note's time, as a power of two: 67 ms.
const STEP: u32 = 26;

/// What a segment that opens no connection is.
pub enum Proof {
    /// None of ours: it belongs to a connection, or to nothing that a cookie was made for.
    None,
    /// It brings a good cookie.
    Good(Note),
    /// Right behind an ACK that was let in a moment ago: the kernel has that one, and has not made the socket yet.
    Behind,
    /// It meets a listening socket with a wrong cookie.
    Bad,
}

const NO_LISTENER: u64 = 0;
/// Above the 48 bits of a flow.
const BAD: u64 = 1 << 62;
const GOOD: u64 = 1 << 63;
const FLOW: u64 = (1 << 48) - 1;

/// What the kernel says of the frame's cookie, and the flow: cookie and source port. In calm, what brings no cookie is nobody's business. A
/// function that the verifier checks once: see `global`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_check(context: *mut xdp_md, calm: u64) -> u64 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return NO_LISTENER };
    let Some((asked, _)) = segment.numbers() else { return fragment(&context, &segment) };
    if calm != 0 && !listener::is_cookie(&segment) {
        return NO_LISTENER;
    }
    let flow = u64::from(asked.acknowledgment) << 16 | u64::from(asked.source_port);
    match listener::check(&context, &segment.network, &asked) {
        Checked::NoListener => NO_LISTENER,
        Checked::Bad => BAD | flow,
        Checked::Good => GOOD | flow,
    }
}

/// The kernel puts fragments together and would take the cookie in them, which nobody can check here. No client sends a handshake in
/// fragments; those of connections that exist meet a socket of their own.
#[inline(always)]
fn fragment(context: &XdpContext, segment: &Segment<'_>) -> u64 {
    let meets = segment.ports().is_some_and(|asked| listener::is_there(context, &segment.network, &asked));
    if meets { BAD } else { NO_LISTENER }
}

/// Whether a segment that opens no connection may bring a cookie, while no challenge is on. Costs no clock, and what is for no port of a
/// service next to nothing.
#[inline(always)]
pub fn may_be(segment: &Segment<'_>) -> bool {
    // The ports are half a megabyte: where no cookie is taken their lines stay cold.
    is_ack(segment.flags)
        && limits::takes_cookies()
        && service::may_be(segment.port)
        && (segment.is_fragment || listener::is_cookie(segment))
}

#[inline(always)]
const fn is_ack(flags: u8) -> bool {
    flags & (ACK | SYN_OR_RST) == ACK
}

/// Looks at a segment with these TCP flags to service `id`.
#[inline(always)]
pub fn find(context: &XdpContext, flags: u8, id: u32, now: u64) -> Proof {
    let is_checking = challenge_line(id).is_some_and(|line| challenge::is_checking(line, now));
    if !is_ack(flags) || !is_checking && !limits::takes_cookies() {
        return Proof::None;
    }
    let said = limiter_check(context.ctx, u64::from(!is_checking));
    if said == NO_LISTENER {
        return Proof::None;
    }
    let (is_good, note) = (said & GOOD != 0, Note::new(said & FLOW, now));
    match note.left() {
        // Only the first byte of a connection brings a cookie. What comes later makes no socket, whoever sends it.
        Some(_) if !is_good => Proof::Behind,
        Some(1) => {
            Note { uses: 0, ..note }.keep();
            Proof::Behind
        }
        Some(_) => Proof::Good(Note { uses: 0, ..note }),
        None if is_good => Proof::Good(note),
        None => Proof::Bad,
    }
}

/// Remembers for a moment, on this CPU, that a cookie was let in. A client sends its first data right behind the ACK, ten segments or
/// so; the ACK and the first of them bring the cookie, and all may be here before the kernel has made a socket of the ACK. They are of one
/// flow, and so on one CPU.
///
/// One more packet with the cookie passes uncharged, not any number: a client that resets its connection and sends the ACK again gets a
/// second one.
pub struct Note {
    index: usize,
    /// `flow (48) | uses left (1) | time (15)`, without the uses.
    word: u64,
    /// Packets with the cookie that will pass uncharged: 0 or 1.
    uses: u64,
}

/// Bits of a note's time.
const TIME: u64 = 0x7fff;

impl Note {
    /// The cookie and the port say which connection it is: nobody chooses a cookie but the kernel.
    #[inline(always)]
    const fn new(flow: u64, now: u64) -> Self {
        Self { index: (flow >> 16) as usize & (WORDS - 1), word: flow << 16 | (now >> STEP & TIME), uses: 1 }
    }

    /// Packets with the cookie that may still pass uncharged, if it was let in a moment ago.
    #[inline(always)]
    fn left(&self) -> Option<u64> {
        let words = RECENT.get_ptr_mut(0)?;
        // SAFETY: the element belongs to this CPU, and the index is below its length.
        let word = unsafe { (*words)[self.index & (WORDS - 1)] };
        // The same step or the one before; zero is a fragment's flow, and what was never written.
        let is_mine = word >> 16 == self.word >> 16 && word >> 16 != 0;
        let is_fresh = is_mine && self.word.wrapping_sub(word) & TIME <= 1;
        if is_fresh { Some(word >> 15 & 1) } else { None }
    }

    /// Notes that it was let in.
    #[inline(always)]
    pub fn keep(&self) {
        if let Some(words) = RECENT.get_ptr_mut(0) {
            // SAFETY: as above.
            unsafe { (*words)[self.index & (WORDS - 1)] = self.word | self.uses << 15 };
        }
    }
}
