//! TCP options of a SYN (RFC 9293 3.1, RFC 7323, RFC 2018, RFC 8684).

use super::Cursor;

/// Longest list of options that is read; what comes later is not seen.
const MOST: usize = 12;

/// All bits of a length.
const LONGEST: usize = 0x3f;

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;
const AUTHENTICATION: u8 = 29;
const MULTIPATH: u8 = 30;
/// Length and subtype of what a SYN says that joins a connection (RFC 8684 3.2).
const JOIN_BYTES: usize = 12;
const JOIN: u8 = 1;

/// What a SYN offers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The timestamp.
    pub timestamp: u32,
    /// Maximum segment size; 0 if none is said.
    pub mss: u16,
    /// Window scale, 0 to 14; 15 if none is offered.
    pub window_scale: u8,
    /// Whether selective acknowledgments are permitted.
    pub sack: bool,
    /// Whether there is a timestamp.
    pub has_timestamp: bool,
    /// Whether only the kernel can answer: the segment is signed (RFC 2385, RFC 5925), or joins a
    /// connection of Multipath TCP, whose key the kernel has.
    pub is_kernels: bool,
}

/// Reads `length` bytes of options (0 to 40) behind the byte at `frame`. What is malformed ends the reading, as it does in the kernel.
///
/// From the byte before, because a comparison of a place with the end of the frame tells the verifier nothing, and one behind it does.
/// The options are written to where the caller says: in map memory the verifier does not follow what is known of them, and so has not
/// to try every combination.
#[inline(always)]
pub fn read(frame: Cursor<'_>, length: usize, options: &mut Options) {
    *options = Options { window_scale: 15, ..Options::default() };
    let (mut at, mut count) = (0, 0);
    while count < MOST && at < length {
        count += 1;
        let mut option = frame;
        option.skip(at);
        let Some(head) = option.ahead::<2>() else { break };
        let kind = head.byte::<1>();
        let mut size = 1;
        if kind == END {
            break;
        }
        if kind != NOTHING {
            let Some(head) = option.ahead::<3>() else { break };
            size = usize::from(head.byte::<2>());
            if size < 2 || size > length - at {
                break;
            }
            one(option, kind, size, options);
        }
        // The mask says nothing new, but makes every list of the options so far the same to the verifier.
        at = (at + size) & LONGEST;
    }
}

#[inline(always)]
fn one(frame: Cursor<'_>, kind: u8, size: usize, options: &mut Options) {
    match (kind, size) {
        (MSS, 4) => {
            if let Some(option) = frame.ahead::<5>() {
                options.mss = option.half::<3>();
            }
        }
        (WINDOW_SCALE, 3) => {
            if let Some(option) = frame.ahead::<4>() {
                // RFC 7323 2.3: more than 14 counts as 14.
                let scale = option.byte::<3>();
                options.window_scale = if scale > 14 { 14 } else { scale };
            }
        }
        (SACK_PERMITTED, 2) => options.sack = true,
        (TIMESTAMPS, 10) => {
            if let Some(option) = frame.ahead::<7>() {
                (options.has_timestamp, options.timestamp) = (true, option.word::<3>());
            }
        }
        (MD5 | AUTHENTICATION, _) => options.is_kernels = true,
        (MULTIPATH, JOIN_BYTES) => {
            if let Some(option) = frame.ahead::<4>() {
                options.is_kernels |= option.byte::<3>() >> 4 == JOIN;
            }
        }
        _ => {}
    }
}
