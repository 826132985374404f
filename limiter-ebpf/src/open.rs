//! Open connections: counted where the kernel makes and ends them, and looked up where an attempt
//! comes.
//!
//! A socket that is counted carries two marks: the flag that has the kernel call [`follow`] when
//! its state changes, and in [`OPENED`] what it was counted as. The kernel runs nothing of this for
//! a packet of a connection.

use core::ffi::c_void;
use core::ptr::{from_mut, from_ref, null_mut};

use aya_ebpf::bindings::{
    BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_TCP_CLOSE,
};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_getsockopt, bpf_probe_read_kernel, bpf_setsockopt, bpf_sk_storage_get,
};
use aya_ebpf::programs::SockOpsContext;
use limiter_common::address::Address;
use limiter_common::hash::Place;
use limiter_common::open::{self, Part, Step};
use limiter_common::record::{CLASSES, Class, Counting, Opened, SERVICES};

use crate::clock::{coarse, precise};
use crate::held::{self, counts};
use crate::limits::{self, limiter_place};
use crate::maps::{self, CLASS, COUNTING, OPENED, OPENS};
use crate::subprograms::limiter_class;
use crate::{room, service};

/// From linux/socket.h, linux/in.h and linux/bpf.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOL_TCP: i32 = 6;
const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;
/// From net/tcp_states.h: those of a connection that was made and has not ended.
const LIVE: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Whose connection it is, as its server sees it.
struct Ends {
    remote: Address,
    local: Address,
    remote_port: u16,
    port: u16,
}

/// Beside a number of [`Part`]: it takes back.
const TAKES: u64 = 1 << 8;

/// One try to count a connection, or to take it back: a number of [`Step`]. `what`: a [`Part`], and
/// [`TAKES`]; `whose`: the id of the service, and above it the number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limiter_tally(what: u64, hash: u64, whose: u64) -> u64 {
    let (place, id, number) = (Place(hash), whose as u32, (whose >> 32) as u32);
    let (Some(part), Some(counts)) = (Part::from_number(what as u32 & 15), counts(place, id))
    else {
        return Step::Full as u64;
    };
    let step = if what & TAKES == 0 {
        open::add(&counts, part, place, number)
    } else {
        open::subtract(&counts, part, place, number)
    };
    step as u64
}

#[inline(always)]
fn tally(part: Part, takes: u64, opened: &Opened) -> Step {
    let whose = u64::from(opened.id) | u64::from(opened.number) << 32;
    let place = if matches!(part, Part::Network) { opened.network } else { opened.place };
    match limiter_tally(part as u64 | takes, place, whose) {
        0 => Step::Done,
        1 => Step::Again,
        _ => Step::Full,
    }
}

/// Follows one change of a socket: it became a connection of a server, or ended.
#[inline(always)]
pub fn follow(context: &SockOpsContext) {
    if let Some(host) = OPENS.get(SERVICES) {
        open::beat(host, coarse());
    }
    // SAFETY: the kernel's context is there for this run. Volatile, so that each load keeps the
    // width that the kernel allows.
    let (operation, socket) = unsafe {
        (
            (&raw const (*context.ops).op).read_volatile(),
            (&raw const (*context.ops).__bindgen_anon_2.sk).read_volatile().cast::<c_void>(),
        )
    };
    if socket.is_null() {
        return;
    }
    match operation {
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            begins(context, socket);
        }
        BPF_SOCK_OPS_STATE_CB if context.arg(1) == BPF_TCP_CLOSE => {
            ends(socket);
        }
        _ => {}
    }
}

/// A server's connection is there.
#[inline(always)]
fn begins(context: &SockOpsContext, socket: *mut c_void) -> Option<()> {
    let counting = COUNTING.get(0)?;
    // SAFETY: the context is this run's.
    if unsafe { bpf_get_netns_cookie(context.ops.cast()) } != counting.namespace {
        return None;
    }
    let ends = told(context)?;
    let noted = opened(&ends, coarse())?;
    // One of the waiting room's is not one of the server's.
    if room::is_diverted(ends.remote, ends.local, ends.remote_port, ends.port) {
        return None;
    }
    let flags = context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    if context.set_cb_flags(flags as i32).is_err() {
        return None;
    }
    note(socket, counting, noted)
}

/// A connection that may have been counted is over.
#[inline(always)]
fn ends(socket: *mut c_void) -> Option<()> {
    let counting = COUNTING.get(0)?;
    let record = record(socket, None)?;
    // SAFETY: the kernel holds the socket's lock, so the record is this run's alone.
    let opened = unsafe { &mut *record };
    if opened.epoch != 0 && opened.epoch == counting.epoch {
        let was = *opened;
        open::end(opened, |part| tally(part, TAKES, &was));
    }
    opened.epoch = 0;
    Some(())
}

/// Counts a connection, unless it was, and notes at its socket as what.
#[inline(always)]
fn note(socket: *mut c_void, counting: &Counting, mut noted: Opened) -> Option<()> {
    let record = record(socket, Some(&mut noted))?;
    // SAFETY: as in `ends`.
    let was = unsafe { (*record).epoch };
    let epoch = counting.epoch;
    if epoch != 0 && was != epoch {
        let is = noted;
        if !open::begin(&mut noted, |part| tally(part, 0, &is)) {
            open::note_uncounted(OPENS.get(SERVICES)?);
        }
        noted.epoch = epoch;
        // SAFETY: as in `ends`.
        unsafe { *record = noted };
    }
    Some(())
}

/// The record at a socket; one that has none gets `new`.
#[inline(always)]
fn record(socket: *mut c_void, new: Option<&mut Opened>) -> Option<*mut Opened> {
    let map = from_ref(&OPENED).cast_mut().cast::<c_void>();
    let (value, flags) = match new {
        Some(new) => (from_mut(new).cast(), u64::from(BPF_SK_STORAGE_GET_F_CREATE)),
        None => (null_mut(), 0),
    };
    // SAFETY: the map keeps records of this type at sockets, and the socket is the kernel's.
    let record = unsafe { bpf_sk_storage_get(map, socket, value, flags) }.cast::<Opened>();
    if record.is_null() { None } else { Some(record) }
}

/// What a connection is to be counted as; `None` if it is of no service.
#[inline(always)]
fn opened(ends: &Ends, now: u64) -> Option<Opened> {
    let switch = maps::switch().filter(|switch| switch.is_ready())?;
    let slot = switch.at(now).slot;
    let id = service::at(ends.local, !ends.local.is_v4(), ends.port, slot)?;
    let (service, host) = (limits::service(slot, id)?, limits::host(slot)?);
    let mut mask = &service.mask;
    let mut class = 0;
    if host.class_prefixes != 0 {
        // The mask says nothing new, but the verifier wants to see it.
        class =
            limiter_class(slot.into(), ends.remote.high, ends.remote.low) as u32 & (CLASSES - 1);
        if class != 0
            && let Some(Class { mask: own, own_mask: 1, .. }) = CLASS.get(slot * CLASSES + class)
        {
            mask = own;
        }
    }
    let source = mask.apply(ends.remote);
    let what = u64::from(service.number) | u64::from(class) << 32;
    let place = limiter_place(what, source.high, source.low);
    let network = match service.has_networks() {
        true => held::network(slot, id, service.number, class, ends.remote)?.0.0,
        false => 0,
    };
    Some(Opened { place, network, epoch: 0, number: service.number, id, counted: 0 })
}

/// The ends of a connection as the kernel tells them. One of an IPv4 client to a socket of IPv6 has
/// mapped addresses.
#[inline(always)]
fn told(context: &SockOpsContext) -> Option<Ends> {
    let ops = context.ops;
    // SAFETY: as in `follow`.
    unsafe {
        let (remote, local) = match (&raw const (*ops).family).read_volatile() {
            AF_INET => (
                room::v4((&raw const (*ops).remote_ip4).read_volatile()),
                room::v4((&raw const (*ops).local_ip4).read_volatile()),
            ),
            AF_INET6 => {
                (room::v6(&raw const (*ops).remote_ip6), room::v6(&raw const (*ops).local_ip6))
            }
            _ => return None,
        };
        // In the order of the wire, in the upper half of the word on a machine of low byte first.
        let remote_port = u32::from_be((&raw const (*ops).remote_port).read_volatile()) as u16;
        let port = (&raw const (*ops).local_port).read_volatile() as u16;
        Some(Ends { remote, local, remote_port, port })
    }
}

/// Takes over one socket of those that were there before the count, of which the kernel shows one
/// after the other and holds its lock meanwhile. `context`: `struct bpf_iter__tcp`, whose second
/// word is the socket.
#[inline(always)]
pub fn adopt(context: *mut c_void) -> Option<()> {
    // SAFETY: the context is this run's, and of two words.
    let socket = unsafe { context.cast::<*mut c_void>().add(1).read_volatile() };
    if socket.is_null() {
        return None;
    }
    let ends = kept(socket)?;
    let counting = COUNTING.get(0)?;
    // An iterator may not ask for the coarse clock.
    let noted = opened(&ends, precise())?;
    if record(socket, None).is_none() && !flag(socket) {
        open::note_older(OPENS.get(SERVICES)?);
        return None;
    }
    note(socket, counting, noted)
}

/// Has the kernel say when the socket ends. Linux 6.12 and newer let this be done here.
#[inline(always)]
fn flag(socket: *mut c_void) -> bool {
    let mut flags = 0_u32;
    let size = size_of::<u32>() as i32;
    // SAFETY: the socket is the kernel's, and the word outlives the calls.
    unsafe {
        let word = (&raw mut flags).cast::<c_void>();
        if bpf_getsockopt(socket, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, word, size) != 0 {
            return false;
        }
        word.cast::<u32>().write(word.cast::<u32>().read() | BPF_SOCK_OPS_STATE_CB_FLAG);
        bpf_setsockopt(socket, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, word, size) == 0
    }
}

/// The first words of the kernel's `struct sock_common`, which have been in these places since
/// Linux 4.16 where the kernel has network namespaces and IPv6: addresses of IPv4 (0 and 4), ports
/// (12 and 14), family (16), state (18), addresses of IPv6 (56 and 72). Elsewhere the address is of
/// no service, and nothing is taken over.
const COMMON: usize = 11;

/// The ends of a connection that is there, as the kernel keeps them.
#[inline(always)]
fn kept(socket: *mut c_void) -> Option<Ends> {
    let mut words = [0_u64; COMMON];
    let size = size_of_val(&words) as u32;
    // SAFETY: the words outlive the call, which checks what it reads.
    if unsafe { bpf_probe_read_kernel(words.as_mut_ptr().cast(), size, socket) } != 0 {
        return None;
    }
    let (family, state) = (words[2] as u16, (words[2] >> 16) as u8);
    if state > 31 || LIVE >> state & 1 == 0 {
        return None;
    }
    let (remote, local) = match u32::from(family) {
        AF_INET => (room::v4(words[0] as u32), room::v4((words[0] >> 32) as u32)),
        AF_INET6 => {
            (Address::from_bytes([words[7], words[8]]), Address::from_bytes([words[9], words[10]]))
        }
        _ => return None,
    };
    let remote_port = u16::from_be((words[1] >> 32) as u16);
    Some(Ends { remote, local, remote_port, port: (words[1] >> 48) as u16 })
}
