//! The kernel's own listening socket that a segment is for, and its SYN cookies.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr::from_ref;

use aya_ebpf::bindings::{bpf_sock, bpf_sock_tuple};
use aya_ebpf::helpers::generated::{
    bpf_map_lookup_elem, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_gen_syncookie,
    bpf_tcp_raw_check_syncookie_ipv4, bpf_tcp_raw_check_syncookie_ipv6,
    bpf_tcp_raw_gen_syncookie_ipv4, bpf_tcp_raw_gen_syncookie_ipv6,
};
use aya_ebpf::programs::XdpContext;
use limiter_common::packet::{Header, Numbers};
use limiter_common::record::Service;
use limiter_common::room;

use crate::maps::{self, ROOM, draft};
use crate::what::unpack_what;

/// States in include/net/tcp_states.h.
const TIME_WAIT: u32 = 6;
const LISTEN: u32 = 10;
/// Those of a connection that no packet of its client but a reset ends: established, its handshake,
/// and closed by its client. One that its server has closed ends with the next data.
const ALIVE: u32 = 1 << 1 | 1 << 3 | 1 << 8 | 1 << 12;
/// The device's own network namespace (BPF_F_CURRENT_NETNS).
const OWN_NAMESPACE: u64 = u64::MAX;

/// A TCP header as the cookie helpers want it: made on the stack, of constant length.
#[repr(C, align(4))]
struct Tcp<const WORDS: usize>([u32; WORDS]);

/// What a segment meets: a socket's state, and what a listening one says.
///
/// Both are always written. Of an enum LLVM reads a payload before it asks which case it is, and
/// the verifiers of 6.1 and 6.12 refuse that.
pub struct Met {
    /// 0 where there is no socket of this namespace.
    state: u32,
    said: i64,
}

impl Met {
    const NOBODY: Self = Self { state: 0, said: 0 };

    /// A connection, or what is left of one.
    #[inline(always)]
    pub const fn is_socket(&self) -> bool {
        self.state != Self::NOBODY.state && !self.is_listener()
    }

    /// A connection that the packets before this one cannot have ended, if they are no resets.
    #[inline(always)]
    pub const fn is_alive(&self) -> bool {
        ALIVE >> (self.state & 31) & 1 != 0
    }

    /// What the kernel makes a connection of without a cookie, if the SYN is new enough
    /// (`tcp_conn_request`: not with `isn`).
    #[inline(always)]
    pub const fn is_time_wait(&self) -> bool {
        self.state == TIME_WAIT
    }

    /// A socket that listens.
    #[inline(always)]
    pub const fn is_listener(&self) -> bool {
        self.state == LISTEN
    }

    /// The cookie that a listening socket answers with, if it makes one.
    #[inline(always)]
    pub const fn cookie(&self) -> Option<u32> {
        if self.is_listener() && self.said > 0 { Some(self.said as u32) } else { None }
    }

    /// A socket that listens and makes no cookie.
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.is_listener() && self.said <= 0
    }
}

/// The cookie that the listening socket would answer a SYN with, if it is above 0. The kernel also notes that it made one, and so will accept
/// it. It makes none while `net.ipv4.tcp_syncookies` is not 2, or the accept queue is full.
#[inline(always)]
pub fn cookie(context: &XdpContext, header: &Header<'_>, asked: &Numbers, mss: u16) -> Met {
    with_listener(context, header, asked, |socket| make_cookie(socket, header, asked, mss))
}

/// The cookie that a listening socket would answer a SYN with: [`cookie`].
#[inline(always)]
pub fn make_cookie(socket: *mut c_void, header: &Header<'_>, asked: &Numbers, mss: u16) -> i64 {
    const SYN: u32 = 0x02;
    // Where the reply will be written, to spare the stack.
    let Some(draft) = draft() else { return 0 };
    let tcp = &mut draft.words[..6];
    tcp.copy_from_slice(&[
        ports(asked),
        asked.sequence.to_be(),
        0,
        (6 << 28 | SYN << 16_u32).to_be(),
        0,
        (0x0204_0000 | u32::from(mss)).to_be(),
    ]);
    let tcp = tcp.as_mut_ptr();
    with_ip(header, |ip, length| {
        // SAFETY: the socket is a listening one that is held; the headers are whole, with their
        // sizes.
        unsafe { bpf_tcp_gen_syncookie(socket, ip, length, tcp.cast(), size_of::<Tcp<6>>() as u32) }
    })
}

/// What a segment meets; a listener says whether its accept queue has room: it makes no cookie
/// else.
#[inline(always)]
pub fn room(context: &XdpContext, header: &Header<'_>, asked: &Numbers) -> Met {
    cookie(context, header, asked, 536)
}

/// What a segment meets, of which no more than the ports need be known.
#[inline(always)]
pub fn meets(context: &XdpContext, header: &Header<'_>, asked: &Numbers) -> Met {
    with_listener(context, header, asked, |_| 1)
}

/// Whether the kernel may have made the cookie that a segment brings, lately: a matter of two
/// numbers and a hash, without any socket. The segment has ACK and neither SYN nor RST; what brings
/// no such cookie makes no connection.
#[inline(always)]
pub fn is_cookie(header: &Header<'_>, tcp: *const u8) -> bool {
    let tcp = tcp.cast_mut().cast();
    // SAFETY: both headers are whole where they stand, and the helpers only read them.
    let said = unsafe {
        match header {
            Header::V4(ip) => bpf_tcp_raw_check_syncookie_ipv4(ip.as_ptr().cast_mut().cast(), tcp),
            Header::V6(ip) => bpf_tcp_raw_check_syncookie_ipv6(ip.as_ptr().cast_mut().cast(), tcp),
        }
    };
    said == 0
}

/// The kernel's own cookie of this minute for a SYN of a flow, of any class of segment size.
/// `ports` as in the header.
#[inline(always)]
pub fn own_cookie(header: &Header<'_>, ports: u32, sequence: u32) -> Option<u32> {
    const SYN: u32 = 0x02;
    let tcp = Tcp([ports.to_be(), sequence.to_be(), 0, (5 << 28 | SYN << 16_u32).to_be(), 0]);
    let (tcp, length) = ((&raw const tcp).cast_mut().cast(), size_of::<Tcp<5>>() as u32);
    // SAFETY: both headers are whole, and the helpers only read them.
    let said = unsafe {
        match header {
            Header::V4(ip) => {
                bpf_tcp_raw_gen_syncookie_ipv4(ip.as_ptr().cast_mut().cast(), tcp, length)
            }
            Header::V6(ip) => {
                bpf_tcp_raw_gen_syncookie_ipv6(ip.as_ptr().cast_mut().cast(), tcp, length)
            }
        }
    };
    if said < 0 { None } else { Some(said as u32) }
}

#[inline(always)]
fn ports(asked: &Numbers) -> u32 {
    (u32::from(asked.source_port) << 16 | u32::from(asked.port)).to_be()
}

/// Calls `f` with the IP header where it stands, and its length.
#[inline(always)]
fn with_ip(header: &Header<'_>, f: impl Fn(*mut c_void, u32) -> i64) -> i64 {
    match header {
        Header::V4(ip) => f(ip.as_ptr().cast_mut().cast(), 20),
        Header::V6(ip) => f(ip.as_ptr().cast_mut().cast(), 40),
    }
}

/// Calls `f` with the listening socket that the segment meets, if that is what it meets.
#[inline(always)]
fn with_listener(
    context: &XdpContext,
    header: &Header<'_>,
    asked: &Numbers,
    f: impl FnOnce(*mut c_void) -> i64,
) -> Met {
    // `struct bpf_sock_tuple` as words: of a union LLVM would leave some to chance, which the verifier refuses. Where the reply will be
    // written, to spare the stack.
    let Some(draft) = draft() else { return Met::NOBODY };
    let tuple = &mut draft.words;
    let ports = ports(asked);
    let size = match header {
        Header::V4(ip) => {
            tuple[..2].copy_from_slice(&[ip.word::<12>().to_be(), ip.word::<16>().to_be()]);
            tuple[2] = ports;
            12
        }
        Header::V6(ip) => {
            let from = [ip.word::<8>(), ip.word::<12>(), ip.word::<16>(), ip.word::<20>()];
            let to = [ip.word::<24>(), ip.word::<28>(), ip.word::<32>(), ip.word::<36>()];
            tuple[..4].copy_from_slice(&from.map(u32::to_be));
            tuple[4..8].copy_from_slice(&to.map(u32::to_be));
            tuple[8] = ports;
            36
        }
    };
    let address = core::ptr::from_mut(tuple).cast::<bpf_sock_tuple>();
    // SAFETY: the tuple is in map memory, and its size is one of the two that the kernel knows.
    let socket: *mut bpf_sock =
        unsafe { bpf_skc_lookup_tcp(context.ctx.cast(), address, size, OWN_NAMESPACE, 0) };
    if socket.is_null() {
        return Met::NOBODY;
    }
    // SAFETY: the kernel returned a socket and holds it for us. Volatile, so that the load keeps its width.
    let state = unsafe { (&raw const (*socket).state).read_volatile() };
    let said = if state == LISTEN { f(socket.cast()) } else { 0 };
    // SAFETY: it is released once.
    unsafe { bpf_sk_release(socket.cast()) };
    Met { state, said }
}

/// Calls `f` with the room's socket, if there is one.
#[inline(always)]
pub fn with_socket(key: u32, f: impl FnOnce(*mut c_void) -> bool) -> bool {
    let map = from_ref(&ROOM).cast_mut().cast::<c_void>();
    // SAFETY: the map is one of sockets with keys of this type. What the kernel returns is held for
    // us, and released once.
    unsafe {
        let socket = bpf_map_lookup_elem(map, (&raw const key).cast());
        if socket.is_null() {
            return false;
        }
        let said = f(socket);
        bpf_sk_release(socket);
        said
    }
}

/// Whether the service has a waiting room: [`crate::what::pack_what`].
#[inline(always)]
pub fn has_room(what: u64) -> bool {
    let (slot, id) = unpack_what(what);
    maps::service(slot, id).is_some_and(Service::has_room)
}

/// The cookie that the socket of the service's waiting room would answer a SYN with, if it is above
/// 0: [`make_cookie`].
#[inline(always)]
pub fn cookie_of_room(what: u64, header: &Header<'_>, asked: &Numbers, mss: u16) -> i64 {
    let mut cookie = 0;
    if has_room(what) {
        with_socket(room::key(asked.port, header.is_v6()), |socket| {
            cookie = make_cookie(socket, header, asked, mss);
            true
        });
    }
    cookie
}
