//! The maps, and the words in them that CPUs share.
//!
//! Policy maps are written by user space and read here; state maps the reverse. Never both.

use core::cell::UnsafeCell;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::macros::btf_map;
use limiter_common::budget::Lease;
use limiter_common::challenge;
use limiter_common::class_tree::{FAN, Root};
use limiter_common::distinct::{self, REGISTERS, SKETCHES};
use limiter_common::heavy::{self, Set};
use limiter_common::record::{
    BUDGET_LINES, CLASS_LINES, CLASS_PREFIXES, CLASS_ROOTS, CLASSES, Class, ClassPrefix, Counters, DEFAULT_SETS,
    HOST_BUDGET, Host, Instance, Kernel, LEASES, LIST_HOSTS, LIST_PREFIXES, LISTENERS, ListEntry, ListKey, ListenerKey,
    Observer, Port, RECENT as RECENT_WORDS, SERVICES, Service,
};
use limiter_common::reply::Draft;
use limiter_common::sighting::{self, Sighting, line};
use limiter_common::source_table::WAYS;
use limiter_common::switch::Switch;
use limiter_common::word::{SharedByte, SharedNote, SharedWord};

const MAPPED: usize = BPF_F_MMAPABLE as usize;
const SPARSE: usize = BPF_F_NO_PREALLOC as usize;

/// Policy: the switch word. Memory-mapped, so that user space replaces it with one store.
#[btf_map]
static SWITCH: Array<u64, 1, MAPPED> = Array::new();
/// Policy: what was fixed when the maps were made.
#[btf_map]
pub static INSTANCE: Array<Instance, 1> = Array::new();
/// Policy: the host part of each slot.
#[btf_map]
pub static HOST: Array<Host, 2> = Array::new();
/// Policy: services, at `slot * SERVICES + id`.
#[btf_map]
pub static SERVICE: Array<Service, { 2 * SERVICES as usize }> = Array::new();
/// Policy: what is protected on each port. An array, because that costs 2 ns where a hash costs 15.
#[btf_map]
pub static PORT: Array<Port, 65_536> = Array::new();
/// Policy: service ids of address:port pairs.
#[btf_map]
pub static LISTENER: HashMap<ListenerKey, u32, { LISTENERS as usize }, SPARSE> = HashMap::new();
/// Policy: classes, at `slot * CLASSES + id`.
#[btf_map]
pub static CLASS: Array<Class, { 2 * CLASSES as usize }> = Array::new();
/// Policy: the trees that find a client's class, at `slot * CLASS_ROOTS + tree`. Memory-mapped, as are their lines: a slot with fifty
/// thousand prefixes is written in milliseconds.
#[btf_map]
pub static CLASS_ROOT: Array<Root, { 2 * CLASS_ROOTS as usize }, MAPPED> = Array::new();
/// Policy: their keys, a cache line each.
#[btf_map]
pub static CLASS_KEYS: Array<[u64; FAN], { 2 * CLASS_LINES as usize }, MAPPED> = Array::new();
/// Policy: the values of the keys.
#[btf_map]
pub static CLASS_VALUES: Array<[u16; FAN], { 2 * CLASS_LINES as usize }, MAPPED> = Array::new();
/// Policy: the prefixes as stated, which only user space reads.
#[btf_map]
pub static CLASS_PREFIX: Array<ClassPrefix, { 2 * CLASS_PREFIXES as usize }, MAPPED> = Array::new();
/// Policy: single addresses that are allowed or banned.
#[btf_map]
pub static LIST_HOST: HashMap<ListKey, ListEntry, { LIST_HOSTS as usize }, SPARSE> = HashMap::new();
/// Policy: prefixes that are allowed or banned.
#[btf_map]
pub static LIST_PREFIX: LpmTrie<ListKey, ListEntry, { LIST_PREFIXES as usize }> = LpmTrie::new();
/// Policy: the kernel's settings that a challenge depends on.
#[btf_map]
pub static KERNEL: Array<Kernel, 1> = Array::new();
/// State: the source table. Memory-mapped, so that its values start on a page and a set is one cache line.
#[btf_map]
pub static SOURCES: Array<[MapWord; WAYS], { DEFAULT_SETS as usize }, MAPPED> = Array::new();
/// State: tickets, in as many sets.
#[btf_map]
pub static TICKETS: Array<[MapWord; WAYS], { DEFAULT_SETS as usize }, MAPPED> = Array::new();
/// State: challenges by service, and the host's line.
#[btf_map]
pub static CHALLENGE: Array<[MapWord; challenge::WORDS], { HOST_BUDGET as usize + 1 }, MAPPED> = Array::new();
/// State: connections that this CPU has just let in by their ACK.
#[btf_map]
pub static RECENT: PerCpuArray<[u64; RECENT_WORDS], 1> = PerCpuArray::new();
/// State: the reply that this CPU is writing: it does not fit on the stack.
#[btf_map]
pub static REPLY: PerCpuArray<Draft, 1> = PerCpuArray::new();
/// State: the shared words of the budgets, by the indices of `record`.
#[btf_map]
pub static BUDGET: Array<BudgetWord, { BUDGET_LINES as usize }, MAPPED> = Array::new();
/// State: what this CPU holds of each budget.
#[btf_map]
pub static LEASE: PerCpuArray<Lease, { LEASES as usize }> = PerCpuArray::new();
/// State: counters of this CPU; index 0 for what belongs to no service.
#[btf_map]
pub static COUNTER: PerCpuArray<Counters, { SERVICES as usize + 1 }> = PerCpuArray::new();
/// State: how many sources there are, by interval.
#[btf_map]
pub static DISTINCT: Array<Sketches, { distinct::INTERVALS as usize }, MAPPED> = Array::new();
/// State: the sources that come most, at `kind * SETS + set`.
#[btf_map]
pub static HEAVY: PerCpuArray<Set, { (heavy::KINDS * heavy::SETS) as usize }> = PerCpuArray::new();
/// State: the ring of refusals and steals.
#[btf_map]
pub static EVENTS: Array<Sighting, { sighting::EVENTS as usize }, MAPPED> = Array::new();
/// State: the ring of sampled attempts.
#[btf_map]
pub static ATTEMPTS: Array<Sighting, { sighting::ATTEMPTS as usize }, MAPPED> = Array::new();
/// State: the words that go with the rings.
#[btf_map]
pub static CLAIMS: Array<BudgetWord, { line::LINES as usize }, MAPPED> = Array::new();
/// State: what this CPU keeps while it observes.
#[btf_map]
pub static OBSERVER: PerCpuArray<Observer, 1> = PerCpuArray::new();

/// The switch word as it is now.
#[inline(always)]
pub fn switch() -> Option<Switch> {
    // SAFETY: a pointer that a map lookup returned is valid for this run. Volatile, because user space stores to it.
    SWITCH.get_ptr(0).map(|word| Switch(unsafe { word.read_volatile() }))
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
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0.get(), old, new)
        };
        replaced
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
pub struct BudgetWord {
    /// The word.
    pub arrival: MapWord,
    padding: [u64; 7],
}
