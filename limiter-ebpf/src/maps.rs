//! The maps, and the words in them that CPUs share.
//!
//! Which there are is said in the table of `limiter_common::names`. Policy maps are written by user
//! space and read here; state maps the reverse. Never both.

use core::cell::UnsafeCell;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{self, Array, LpmTrie, PerCpuArray, SockHash};
use aya_ebpf::macros::btf_map;
use limiter_common::bases::Bases;
use limiter_common::budget::Lease;
use limiter_common::challenge;
use limiter_common::checksum;
use limiter_common::class_tree::{FAN, Root};
use limiter_common::distinct::{self, REGISTERS, SKETCHES};
use limiter_common::heavy::Set as HeavySet;
use limiter_common::line;
use limiter_common::line::seats::{self, SharedCount};
use limiter_common::names::entries;
use limiter_common::open;
use limiter_common::record::{
    Class, ClassPrefix, Counters, Counting, Host, Instance, Kernel, ListEntry, ListKey,
    ListenerKey, Network, Observer, Opened, Port, SERVICES, Service,
};
use limiter_common::reply::{Draft, Own};
use limiter_common::share::Share;
use limiter_common::sighting::Sighting;
use limiter_common::source_table::WAYS;
use limiter_common::switch::Switch;
use limiter_common::turn::Draft as LineDraft;
use limiter_common::word::{SharedByte, SharedNote, SharedWord};

// What the kinds of the table are here.
type Aligned<T, const N: usize> = Array<T, N, { BPF_F_MMAPABLE as usize }>;
type Mapped<T, const N: usize> = Aligned<T, N>;
type Table<T, const N: usize> = Aligned<T, N>;
type SkStorage<T, const N: usize> = btf_maps::SkStorage<T>;
type HashMap<K, V, const N: usize> = btf_maps::HashMap<K, V, N, { BPF_F_NO_PREALLOC as usize }>;

// Words that CPUs share are plain numbers to user space.
type SourceSet = [MapWord; WAYS];
type Line = [MapWord; line::WORDS];
type Opens = [MapWord; open::WORDS];
type Seats = seats::Seats<MapWord>;
type ChallengeLine = [MapWord; challenge::WORDS];

macro_rules! statics {
    ($($owner:ident {
        $($(#[$doc:meta])* $name:ident $field:ident: $kind:ident<$($type:ty),+>[$entries:expr];)*
    })*) => {
        $($($(#[$doc])* #[btf_map] pub static $name: $kind<$($type,)+ { entries::$name }> = $kind::new();)*)*
    };
}
limiter_common::maps!(statics);

/// The switch word as it is now.
#[inline(always)]
pub fn switch() -> Option<Switch> {
    // SAFETY: a pointer that a map lookup returned is valid for this run. Volatile, because user space stores to it.
    SWITCH.get_ptr(0).map(|word| Switch(unsafe { word.read_volatile() }))
}

/// What is in force at the index of a budget instead of its stated rate.
#[inline(always)]
pub fn share(index: u32) -> Share {
    // SAFETY: as above.
    SHARE.get_ptr(index).map_or(Share::NONE, |word| Share(unsafe { word.read_volatile() }))
}

/// The same of places, at an index of [`limiter_common::share`].
#[inline(always)]
pub fn places(index: u32) -> Share {
    // SAFETY: as above.
    PLACES.get_ptr(index).map_or(Share::NONE, |word| Share(unsafe { word.read_volatile() }))
}

/// What the kernel says in its own SYN-ACKs for a service.
#[inline(always)]
pub fn own(id: u32, is_v6: bool) -> Own {
    let word = OWN.get_ptr(id * 2 + is_v6 as u32);
    // SAFETY: as above.
    word.map_or(Own::UNKNOWN, |word| Own(unsafe { word.read_volatile() }))
}

/// A word in a map that several CPUs change.
#[repr(transparent)]
pub struct MapWord(UnsafeCell<u64>);

// SAFETY: every access goes through SharedWord, whose two operations are single 64-bit loads and compare-and-swaps.
unsafe impl Sync for MapWord {}

impl SharedWord for MapWord {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the word is in map memory, which outlives the run. Atomic loads do not select on this target; an aligned
        // volatile one is a single instruction.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn replace(&self, old: u64, new: u64) -> bool {
        // SeqCst and not Relaxed: LLVM 22 can miscompile a relaxed read-modify-write whose result is used.
        // SAFETY: as above.
        let (_, replaced) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                self.0.get(),
                old,
                new,
            )
        };
        replaced
    }
}

impl SharedCount for MapWord {
    #[inline(always)]
    fn add(&self, delta: u64) {
        // SAFETY: as in `replace`.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(self.0.get(), delta) };
    }
}

impl SharedNote for MapWord {
    #[inline(always)]
    fn store(&self, new: u64) {
        // SAFETY: as in `load`.
        unsafe { self.0.get().write_volatile(new) };
    }
}

/// A byte in a map that several CPUs change.
#[repr(transparent)]
pub struct MapByte(UnsafeCell<u8>);

// SAFETY: every access is a single load or store of the byte.
unsafe impl Sync for MapByte {}

impl SharedByte for MapByte {
    #[inline(always)]
    fn load(&self) -> u8 {
        // SAFETY: the byte is in map memory, which outlives the run.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn store(&self, new: u8) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(new) };
    }
}

/// The sketches of an interval.
#[repr(C)]
pub struct Sketches {
    /// Number of the interval.
    pub interval: MapWord,
    /// How often its sample of the sources is halved.
    pub halvings: MapWord,
    /// Attempts of the sample that were kept.
    pub kept: MapWord,
    padding: [u64; distinct::HEAD - 3],
    /// The registers of each sketch.
    pub registers: [[MapByte; REGISTERS]; SKETCHES],
}

/// A budget's word, alone on its cache line.
#[repr(C)]
pub struct BudgetLine {
    /// The word.
    pub arrival: MapWord,
    padding: [u64; 7],
}

/// The record of a service.
#[inline(always)]
pub fn service(slot: u32, id: u32) -> Option<&'static Service> {
    SERVICE.get(slot * SERVICES + id)
}

/// The record of the host.
#[inline(always)]
pub fn host(slot: u32) -> Option<&'static Host> {
    HOST.get(slot)
}

/// The answer that this CPU is writing.
#[inline(always)]
pub fn draft() -> Option<&'static mut Draft> {
    // SAFETY: the element belongs to this CPU, and nothing holds an earlier borrow when it is asked
    // for again.
    REPLY.get_ptr_mut(0).map(|draft| unsafe { &mut *draft })
}
