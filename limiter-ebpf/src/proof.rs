//! ACKs while cookies may come back: which of them bring one.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use limiter_common::challenge;
use limiter_common::packet::{self, Cursor, Segment};
use limiter_common::record::{HOST_BUDGET, RECENT as WORDS};

use crate::limits::challenge_line;
use crate::listener::{self, Checked};
use crate::maps::RECENT;

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
    /// The same as a moment ago: the kernel has the first one, and has not made the socket yet.
    Again,
    /// It meets a listening socket with a wrong cookie.
    Bad,
}

const NO_LISTENER: u64 = 0;
const BAD: u64 = 1;
/// Above the 48 bits of a flow.
const GOOD: u64 = 1 << 63;

/// What the kernel says of the frame's cookie, and if it is good, the flow: cookie and source port. A function that the verifier checks
/// once: see `global`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_check(context: *mut xdp_md) -> u64 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    let Ok(segment) = packet::parse(frame) else { return NO_LISTENER };
    let Some((asked, _)) = segment.numbers() else { return fragment(&context, &segment) };
    match listener::check(&context, &segment.network, &asked) {
        Checked::NoListener => NO_LISTENER,
        Checked::Bad => BAD,
        Checked::Good => GOOD | u64::from(asked.acknowledgment) << 16 | u64::from(asked.source_port),
    }
}

/// The kernel puts fragments together and would take the cookie in them, which nobody can check here. No client sends a handshake in
/// fragments; those of connections that exist meet a socket of their own.
#[inline(always)]
fn fragment(context: &XdpContext, segment: &Segment<'_>) -> u64 {
    let meets = segment.ports().is_some_and(|asked| listener::is_there(context, &segment.network, &asked));
    if meets { BAD } else { NO_LISTENER }
}

/// Looks at a segment with these TCP flags to service `id`.
#[inline(always)]
pub fn find(context: &XdpContext, flags: u8, id: u32, now: u64) -> Proof {
    if let Some(host) = challenge_line(HOST_BUDGET) {
        challenge::settle(host, now);
    }
    if flags & (ACK | SYN_OR_RST) != ACK || !challenge_line(id).is_some_and(|line| challenge::is_checking(line, now)) {
        return Proof::None;
    }
    match limiter_check(context.ctx) {
        NO_LISTENER => Proof::None,
        BAD => Proof::Bad,
        flow => {
            let note = Note::new(flow, now);
            if note.is_fresh() { Proof::Again } else { Proof::Good(note) }
        }
    }
}

/// Remembers for a moment, on this CPU, that a cookie was let in. A client sends its first data right behind the ACK; both bring the
/// cookie, and both may be here before the kernel has made a socket of the first. Both are of one flow, and so on one CPU.
pub struct Note {
    index: usize,
    word: u64,
}

impl Note {
    /// The cookie and the port say which connection it is: nobody chooses a cookie but the kernel.
    #[inline(always)]
    const fn new(flow: u64, now: u64) -> Self {
        Self { index: (flow >> 16) as usize & (WORDS - 1), word: flow << 16 | (now >> STEP & 0xffff) }
    }

    #[inline(always)]
    fn is_fresh(&self) -> bool {
        let Some(words) = RECENT.get_ptr_mut(0) else { return false };
        // SAFETY: the element belongs to this CPU, and the index is below its length.
        let word = unsafe { (*words)[self.index & (WORDS - 1)] };
        // The same step or the one before.
        word >> 16 == self.word >> 16 && self.word.wrapping_sub(word) & 0xffff <= 1
    }

    /// Notes that it was let in.
    #[inline(always)]
    pub fn keep(&self) {
        if let Some(words) = RECENT.get_ptr_mut(0) {
            // SAFETY: as above.
            unsafe { (*words)[self.index & (WORDS - 1)] = self.word };
        }
    }
}
