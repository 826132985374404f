//! What the generator and the lab agree on: the flood's record and the numbers of the counters.
//!
//! Compiled into both sides by path: the host does not depend on `lab-ebpf`, whose other dependencies want the BPF
//! toolchain. It knows neither aya nor the kernel.

/// Longest template, in 8-byte words: two VLAN tags, IPv6, and TCP with 14 bytes of options.
pub const TEMPLATE_WORDS: usize = 12;

/// Frames of a volley at most: what BPF_PROG_TEST_RUN hands on at once, by default.
pub const VOLLEY_FRAMES: usize = 64;
/// Length of each frame of a volley, in 8-byte words: two extension headers, TCP and a little data
/// over IPv6.
pub const VOLLEY_WORDS: usize = 20;

/// Counter of the frames that `flood` handed on.
pub const SENT: u32 = 0;
/// Counter of the frames that `flood` withheld because its limit was reached.
pub const STOPPED: u32 = 1;
/// Counter of the frames that `pass` and `drop_all` saw.
pub const SEEN: u32 = 2;
/// How many counters there are.
pub const COUNTERS: usize = 3;

/// Sources: always the base. The program takes any number that it does not know for this one.
#[cfg(not(target_arch = "bpf"))]
pub const SOURCE_ONE: u32 = 0;
/// Sources: the base plus the frame's number modulo the count.
pub const SOURCE_MANY: u32 = 1;
/// Sources: as `SOURCE_MANY`, each in a /64 of its own: the base's upper half counts (IPv6 only).
pub const SOURCE_NETWORKS: u32 = 3;
/// Sources: drawn from the whole routable space (IPv4) or from 2001:db8::/32 (IPv6).
pub const SOURCE_RANDOM: u32 = 2;

/// Source port and sequence number are random. The program takes any number that it does not know for this one.
#[cfg(not(target_arch = "bpf"))]
pub const PORTS_RANDOM: u32 = 0;
/// They count up.
pub const PORTS_COUNTING: u32 = 1;
/// They are always the same.
pub const PORTS_FIXED: u32 = 2;

/// One flood.
///
/// The sums are unfolded ones' complement sums of native-order 16-bit words, with everything that changes from frame
/// to frame (source address, source port, sequence number, checksums) taken as zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FloodRecord {
    /// Frames after which one CPU stops.
    pub limit: u64,
    /// Start of the pseudo-random sequence: the same seed gives the same frames.
    pub seed: u64,
    /// Upper half of the base address (0 for IPv4).
    pub base_high: u64,
    /// Lower half of the base address (all of it for IPv4).
    pub base_low: u64,
    /// Number of sources of `SOURCE_MANY` and `SOURCE_NETWORKS`.
    pub count: u32,
    /// One of the `SOURCE_` numbers.
    pub sources: u32,
    /// 4 or 6.
    pub family: u32,
    /// Offset of the IP header in bytes.
    pub network_offset: u32,
    /// Device to redirect to, or 0 for XDP_TX.
    pub redirect: u32,
    /// One of the `PORTS_` numbers.
    pub ports: u32,
    /// Source port of `PORTS_FIXED`.
    pub port: u32,
    /// Sequence number of `PORTS_FIXED`.
    pub sequence: u32,
    /// Sum of the IPv4 header (unused for IPv6).
    pub network_sum: u32,
    /// Sum of the pseudo-header and the TCP header.
    pub transport_sum: u32,
    /// Words of `template` in use: the frame's length / 8.
    pub words: u32,
    /// Zero.
    pub padding: u32,
    /// The frame.
    pub template: [u64; TEMPLATE_WORDS],
}

const _: () = assert!(size_of::<FloodRecord>() == 4 * 8 + 12 * 4 + 8 * TEMPLATE_WORDS);
