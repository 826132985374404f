//! Answers in place of the packet they answer: a SYN-ACK with the kernel's cookie, or a reset.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_check_mtu, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use limiter_common::packet::{self, Cursor, Found};
use limiter_common::reply::{self, Draft, Offer, Own};

use crate::checksum::limiter_is_whole;
use crate::frame::read;
use crate::maps::{self, KERNEL, draft};
use crate::what::unpack_what;
use crate::{clock, listener};

/// Bounds that say nothing new, but that the verifier wants to see.
const MOST_OFFSET: usize = 0x7fff;
const MOST_OPTIONS: usize = 0x3f;
/// What is left of an MTU for TCP's data.
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;
/// Largest MSS that is offered: what fits into the largest frame that any NIC takes.
const MOST_MSS: u32 = 9000 - HEADERS_V4;
/// What a client that offers none can take (RFC 9293 3.7.1).
const LEAST_MSS_V4: u16 = 536;
const LEAST_MSS_V6: u16 = 1220;

/// The SYN-ACK is made.
pub const ANSWERED: u32 = 1;
/// Somebody listens, and the kernel makes no cookie.
pub const NO_COOKIE: u32 = 2;
/// The attempt meets what is left of a connection, of which the kernel makes another without a
/// cookie.
pub const TIME_WAIT: u32 = 3;
/// Somebody listens.
pub const LISTENS: u32 = 4;
/// Nobody listens, nobody else can answer it, or there is such a connection.
const UNANSWERABLE: u32 = 0;

/// Turns an attempt into the SYN-ACK that carries its cookie, and says [`ANSWERED`] or why it
/// cannot; the frame is untouched then. `found`, here and below: a [`Found`]. `what`: the service,
/// `subprograms::pack_what`. If it has a waiting room, that room's socket makes the cookie where the
/// listener's accept queue is full: the kernel takes a cookie whichever socket made it.
///
/// Like [`limiter_reset`] a function that the verifier checks once: see `subprograms`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_syn_ack(context: *mut xdp_md, found: u64, what: u64) -> u32 {
    try_syn_ack(&XdpContext::new(context), Found(found), what).unwrap_or(UNANSWERABLE)
}

#[inline(always)]
fn try_syn_ack(context: &XdpContext, found: Found, what: u64) -> Option<u32> {
    let frame = Frame::of(context, found)?;
    let segment = found.read(frame.cursor)?;
    let (asked, cursor) = segment.numbers()?;
    let kernel = KERNEL.get(0)?;
    if frame.is_group() || segment.network.is_group() || limiter_is_whole(context.ctx, found.0) == 0
    {
        return None;
    }
    limiter_options(context.ctx, cursor.offset(&frame.cursor) as u64, asked.options as u64);
    let options = draft()?.options;
    if options.is_kernels {
        return None;
    }
    let v6 = segment.network.is_v6();
    let least = if v6 { LEAST_MSS_V6 } else { LEAST_MSS_V4 };
    let theirs = if options.mss == 0 { least } else { options.mss };
    let milliseconds = clock::coarse() / 1_000_000;
    let (slot, id) = unpack_what(what);
    let own = maps::own(id, v6).at(milliseconds);
    let mss = own_mss(context, v6, own)?;
    let mss = match maps::service(slot, id).map_or(0, |service| service.mss) {
        stated if stated != 0 && stated < u64::from(mss) => stated as u16,
        _ => mss,
    };
    let met = listener::cookie(context, &segment.network, &asked, theirs);
    if !met.is_listener() {
        return met.is_time_wait().then_some(TIME_WAIT);
    }
    let cookie = match met.cookie() {
        Some(cookie) => cookie,
        None => match listener::cookie_of_room(what, &segment.network, &asked, theirs) {
            cookie if cookie > 0 => cookie as u32,
            _ => return Some(NO_COOKIE),
        },
    };
    let window = own.window().unwrap_or(reply::WINDOW);
    // Where scaling is off, it is whatever was seen before.
    let scale = own.scale().filter(|_| kernel.window_scale < 15).unwrap_or(kernel.window_scale);
    let offer = Offer { cookie, mss, window, scale, milliseconds };
    let Draft { words, options } = draft()?;
    let length =
        reply::syn_ack(words, &segment.network, &asked, options, &offer, kernel, frame.room)?;
    frame.replace(context, length).map(|()| ANSWERED)
}

/// What an attempt meets that is to pass to the kernel: [`LISTENS`], [`TIME_WAIT`] or neither; and
/// where the service (`what`) has a waiting room, [`NO_COOKIE`] if the listener's accept queue is
/// full: the kernel would drop the attempt.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_meets(context: *mut xdp_md, found: u64, what: u64) -> u32 {
    let context = XdpContext::new(context);
    let Some(segment) = read(&context, Found(found)) else { return UNANSWERABLE };
    let Some(ports) = segment.ports() else { return UNANSWERABLE };
    let met = match listener::has_room(what) {
        false => listener::meets(&context, &segment.network, &ports),
        true => listener::room(&context, &segment.network, &ports),
    };
    if met.is_full() {
        NO_COOKIE
    } else if met.is_listener() {
        LISTENS
    } else if met.is_time_wait() {
        TIME_WAIT
    } else {
        UNANSWERABLE
    }
}

/// Reads `length` bytes of TCP options behind the byte at `offset` into this CPU's draft. On its own, because the verifier would follow every list of
/// options behind every chain of headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_options(context: *mut xdp_md, offset: u64, length: u64) -> u32 {
    let context = XdpContext::new(context);
    // SAFETY: these are the kernel's packet pointers, valid for this run.
    let mut frame = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
    frame.skip(offset as usize & MOST_OFFSET);
    let Some(draft) = draft() else { return 0 };
    packet::read_options(frame, length as usize & MOST_OPTIONS, &mut draft.options);
    1
}

/// Turns a refused segment into the reset that answers it. Says whether it could.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_reset(context: *mut xdp_md, found: u64) -> u32 {
    try_reset(&XdpContext::new(context), Found(found)).is_some().into()
}

#[inline(always)]
fn try_reset(context: &XdpContext, found: Found) -> Option<()> {
    let frame = Frame::of(context, found)?;
    let segment = found.read(frame.cursor)?;
    let (asked, _) = segment.numbers()?;
    if frame.is_group() || segment.network.is_group() {
        return None;
    }
    let length = reply::reset(&mut draft()?.words, &segment.network, &asked, frame.room)?;
    frame.replace(context, length)
}

/// The largest segment that the device receives, or that the kernel says if it says less.
#[inline(always)]
fn own_mss(context: &XdpContext, v6: bool, own: Own) -> Option<u16> {
    let mut mtu = 0;
    // SAFETY: the context is this run's; the helper writes the device's MTU whatever it returns.
    unsafe { bpf_check_mtu(context.ctx.cast(), 0, &raw mut mtu, 0, 0) };
    let headers = if v6 { HEADERS_V6 } else { HEADERS_V4 };
    let mss = mtu.checked_sub(headers)?;
    let most = own.mss().map_or(MOST_MSS, u32::from);
    Some(if mss > most { most } else { mss } as u16)
}

/// What of the frame matters to who replaces it.
struct Frame<'a> {
    /// All of it.
    cursor: Cursor<'a>,
    /// Both MAC addresses, swapped.
    macs: [u8; 12],
    /// Bytes before the IP header.
    link: u32,
    /// Bytes from there to the end.
    room: usize,
    /// All bytes.
    length: i32,
}

impl Frame<'_> {
    /// Whether it is for many or, wrongly, from many (IEEE 802.3 3.2.3).
    #[inline(always)]
    const fn is_group(&self) -> bool {
        (self.macs[0] | self.macs[6]) & 1 != 0
    }

    #[inline(always)]
    fn of(context: &XdpContext, found: Found) -> Option<Self> {
        // SAFETY: these are the kernel's packet pointers, valid for this run.
        let cursor = unsafe { Cursor::from_raw(context.data(), context.data_end()) };
        let link = found.link();
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = cursor.ahead::<12>()?.copied();
        // SAFETY: the context is this run's.
        let length = unsafe { bpf_xdp_get_buff_len(context.ctx) } as usize;
        let macs = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5];
        Some(Self {
            cursor,
            macs,
            link: link as u32,
            room: length.checked_sub(link)?,
            length: length as i32,
        })
    }

    /// Writes this CPU's reply of `length` bytes over the packet and sets the frame's length. What can fail is asked before the first
    /// byte changes; the helpers only refuse what lies outside the frame.
    #[inline(always)]
    fn replace(&self, context: &XdpContext, length: usize) -> Option<()> {
        let words = core::ptr::from_mut(&mut draft()?.words).cast::<c_void>();
        let length = length as u32;
        if !(40..=80).contains(&length) || length as usize > self.room {
            return None;
        }
        let macs = (&raw const self.macs).cast_mut().cast::<c_void>();
        let change = self.link as i32 + length as i32 - self.length;
        // SAFETY: both buffers are at least as long as said; the helpers check the frame.
        let stored = unsafe {
            bpf_xdp_store_bytes(context.ctx, self.link, words, length) == 0
                && bpf_xdp_store_bytes(context.ctx, 0, macs, 12) == 0
                && (change == 0 || bpf_xdp_adjust_tail(context.ctx, change) == 0)
        };
        if stored { Some(()) } else { None }
    }
}
